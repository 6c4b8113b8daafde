"""Start Triptych's worker processes in milliseconds: fork a process that has done their imports.

An interpreter takes seconds to import torch, and the runs in these tests start hundreds. Here they
are forked from one process, the template, which has imported libraries and run nothing else.
A forked worker then does all that a started one does.

Run as a script, this file is the template.
"""

import atexit
import ctypes
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODULES = ("harness.run.worker", "harness.run.guarded")
"""What is forked. Any other command is started as usual."""

FIRST = "TRIPTYCH_TESTS_FIRST"
"""A variable of the environment: what a forked worker calls first, such as ``module:function``."""

_PR_SET_CHILD_SUBREAPER = 36
_usual = subprocess.Popen._execute_child  # type: ignore[attr-defined]


def fork_workers(monkeypatch: Any) -> None:
    """Fork the workers that this process starts; without Linux, start them as usual."""
    if sys.platform == "linux":
        monkeypatch.setattr(subprocess.Popen, "_execute_child", _execute_child)


def _execute_child(process: Any, command: Any, *rest: Any) -> None:
    """Do what ``subprocess.Popen._execute_child`` of Python 3.11 does, by a fork."""
    if not (isinstance(command, list) and command[1:3] == ["-P", "-m"] and command[3] in MODULES):
        _usual(process, command, *rest)
        return
    pipes = rest[9:15]
    stdin, _, _, stdout, _, stderr = pipes
    request = {"module": command[3], "environment": rest[5], "folder": str(Path.cwd())}
    process.pid = _TEMPLATE.fork(request, [stdin, stdout, stderr])
    process._child_created = True
    process._close_pipe_fds(*pipes)


class _Template:
    """The process that is forked; it is started when the first fork is asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # Each worker of a run is started by a thread of its own.
        self.socket: socket.socket | None = None

    def fork(self, request: Mapping[str, Any], handles: Sequence[int]) -> int:
        """Return the number of a new process, which is a child of this one."""
        with self.lock, _adopting_orphans():
            if self.socket is None:
                self.socket = self.start()
            self.socket.send(json.dumps({"parent": os.getpid()} | request).encode())
            socket.send_fds(self.socket, [b"handles"], list(handles))
            return int(self.socket.recv(100))

    def start(self) -> socket.socket:
        from harness.run.processes import _environment

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            handle = theirs.fileno()
            command = [sys.executable, "-P", __file__, str(handle)]
            self.process = subprocess.Popen(command, pass_fds=[handle], env=_environment(None))
        atexit.register(self.end)
        return ours

    def end(self) -> None:
        assert self.socket is not None
        self.socket.close()  # It ends on the end of its input.
        self.process.wait()


_TEMPLATE = _Template()


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Let orphans below this process become its children meanwhile, not those of process 1."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _serve(requests: socket.socket) -> str:
    """Fork this process for each request; in a forked process, return the module to run."""
    while message := requests.recv(2**20):
        _, handles, _, _ = socket.recv_fds(requests, 100, 3)
        # The process between the two ends at once, which makes an orphan of the new one.
        reader, writer = os.pipe()
        if between := os.fork():
            os.close(writer)
            with os.fdopen(reader) as number:
                forked = number.read()
            os.waitpid(between, 0)
            for handle in handles:
                os.close(handle)
            requests.send(forked.encode())
            continue
        if forked_number := os.fork():
            os.write(writer, str(forked_number).encode())
            os._exit(0)
        os.close(reader)
        os.close(writer)
        requests.close()
        return _become(json.loads(message), handles)
    os._exit(0)


def _become(request: Mapping[str, Any], handles: Sequence[int]) -> str:
    """Make this process what the request asks for; return the module to run."""
    from harness.core import registry

    while os.getppid() != request["parent"]:
        time.sleep(0.001)
    os.setsid()
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    environment = request["environment"]
    of_template = os.environ["PYTHONPATH"].split(os.pathsep)
    path = environment["PYTHONPATH"].split(os.pathsep)
    sys.path[:] = [*path, *(each for each in sys.path if each not in (*path, *of_template))]
    importlib.invalidate_caches()
    registry._entries.cache_clear()  # This path may lead to other plugins.
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(request["folder"])
    sys.argv = [request["module"]]
    if first := environment.get(FIRST):
        name, _, function = first.partition(":")
        getattr(importlib.import_module(name), function)()
    module: str = request["module"]
    return module


def _import() -> None:
    """Import what workers import before they run anything."""
    from harness.run.worker import preload

    preload()
    for name in MODULES:
        importlib.import_module(name)
    for name in MODULES:  # They are run as scripts, not imported.
        del sys.modules[name]


if __name__ == "__main__":
    served = socket.socket(fileno=int(sys.argv[1]))
    _import()
    runpy.run_module(_serve(served), run_name="__main__", alter_sys=True)
