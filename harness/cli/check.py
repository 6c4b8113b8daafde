"""``triptych check``."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.shared import app, examples, input_errors
from harness.cli.terminal import counted, duration, err, out, say
from harness.core import guard


@app.command(
    "check", epilog=examples("check my_losses.py", "check my_losses.py:Margin", "check adnce")
)
def check_command(
    name: Annotated[
        str,
        typer.Argument(help="A Python file, or the name or spec of a loss, a method or a task."),
    ],
    seconds: Annotated[
        float, typer.Option(help="How long each check may take.", min=1)
    ] = guard.CONTRACT,
) -> None:
    """Check a loss, method or task, or all that a file defines, against its contracts.

    Each failed contract is one sentence. The exit status is 1 if one failed.
    """
    with input_errors():
        with out.status("Loading plugins"):
            from harness.plugins import kind_of
            from harness.testing import checking, find

            found = find(name)
        file = name if Path(name).suffix == ".py" else ""
        failed = 0
        for group, spec in found:
            say(f"{kind_of(group).capitalize()} {spec}", style="bold")
            passed = wrong = 0
            for one in checking.check(group, spec, file=file, seconds=seconds):
                if one.fault:
                    wrong += 1
                    say(one.fault, start="  FAILED  ", indent=10, style="red", lines=True)
                    say(one.rule, indent=10, style="dim")
                else:
                    passed += 1
                    time = f"  ({duration(one.seconds)})" if one.seconds >= 1 else ""
                    say(f"{one.rule}{time}", start="  ok      ", indent=10)
            say(f"{counted(passed, 'contract')} kept, {wrong} broken.", to=err if wrong else out)
            failed += wrong
    if failed:
        raise typer.Exit(1)
