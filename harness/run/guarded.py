"""The child process that tries plugins from outside: see :mod:`harness.core.guard`.

It reads requests from standard input, and answers each with a line on standard output.
"""

import contextlib
import json
import sys
import threading
from pathlib import Path
from typing import Any

from harness import plugins
from harness.core import children, guard, plugin_files


def main() -> None:
    """Answer requests until standard input ends."""
    requests, answers = children.take_pipes()
    guard.turn_off()
    print("{}", file=answers, flush=True)
    for line in requests:
        request = json.loads(line)
        # The process that asked does the same next, and raises the same error with its message.
        before = threading.enumerate()
        with contextlib.suppress(Exception, SystemExit):
            _do(request)
        started = [each for each in threading.enumerate() if each not in before]
        thread = next((each.name for each in started if not each.daemon), None)
        print(json.dumps({"thread": thread}), file=answers, flush=True)


def _do(request: dict[str, Any]) -> None:
    for name, module, *paths in request["files"]:
        file = plugin_files.PluginFile(name, module, *map(Path, paths))
        if plugin_files.file_of(name) != file:  # A notebook's cell was edited and run again.
            sys.modules.pop(module, None)
            plugin_files.register(file)
    group, spec = request["group"], request["spec"]
    if request["action"] == "import":
        file_asked = plugin_files.file_of(spec)
        assert file_asked is not None
        plugin_files.load(file_asked)
    elif request["action"] == "load":
        plugins.load(group, spec)
    else:
        made = plugins.build(group, spec)
        if request["action"] == "fetch":
            made.fetch()


if __name__ == "__main__":
    main()
