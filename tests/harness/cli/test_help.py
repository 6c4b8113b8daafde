"""``--help``, ``--version``, completion, and the examples of every command."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from conftest import environment
from typer.main import get_command
from typer.testing import CliRunner

from harness.cli import app, completion

ROOT = Path(__file__).parent.parent.parent.parent


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command and group of the command line, with its words."""
    command = command or get_command(app)
    yield " ".join(words), command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, (*words, name))


def examples() -> list[str]:
    lines = [line for _, command in commands() for line in (command.epilog or "").splitlines()]
    return [line.strip() for line in lines if line.startswith("  triptych ")]


def documented() -> list[str]:
    """Return the commands in the blocks of the documentation."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in path.read_text(encoding="utf-8").split("```")[1::2]:
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.partition("  #")[0] for line in lines if line.startswith("triptych ")]
    # Parsing these acts: it prints the help, or changes the shell's own files.
    acting = ("-h", "--help", "--version", "--install-completion", "--show-completion")
    return [line for line in dict.fromkeys(found) if not set(line.split()) & {*acting}]


def parse(line: str) -> dict[str, Any]:
    """Parse a command line as the shell and its command do; return the parameters."""
    program, *words = shlex.split(line)
    assert program == "triptych"
    command, context = get_command(app), None
    name = program
    while True:
        context = command.make_context(name, words, parent=context)
        if not hasattr(command, "resolve_command"):
            return context.params
        name, command, words = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )


@pytest.mark.parametrize(("words", "command"), list(commands()))
def test_every_command_has_help_with_examples(words: str, command: Any) -> None:
    for option in ("-h", "--help"):
        done = CliRunner().invoke(app, [*words.split(), option])
        assert done.exit_code == 0
        assert done.stdout.startswith("Usage: ")
        assert f"Examples:\n    triptych {words}".rstrip() in done.stdout
        assert 1 <= done.stdout.count("\n    triptych ") <= 4
    assert command.help


@pytest.mark.parametrize("line", examples())
def test_every_example_of_help_can_be_parsed(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", documented())
def test_every_command_of_the_documentation_can_be_parsed(line: str) -> None:
    parse(line)


def test_the_examples_are_read_by_their_commands() -> None:
    assert parse("triptych run quickstart --seeds 5")["seeds"] == "5"
    with pytest.raises(Exception, match="No such option"):
        parse("triptych run quickstart --seedz 5")


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"triptych {version('triptych')}\n")


def completed(text: str) -> list[str]:
    """Return what a shell offers after ``text``."""
    words = text.split(" ")
    given = {
        "_TRIPTYCH_COMPLETE": "complete_bash",
        "COMP_WORDS": text,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = CliRunner().invoke(app, [], env=given, prog_name="triptych")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("triptych run quick", ["quickstart"]),
        ("triptych plan theory-m", ["theory-mi"]),
        ("triptych run quickstart --losses adnce_g", ["adnce_graph_paper"]),
        ("triptych run quickstart --losses infonce,vic", ["infonce,vicreg"]),
        ("triptych run quickstart --methods moco_", ["moco_v3"]),
        ("triptych cell imag", ["images"]),
        ("triptych show --loss adnce_s", ["adnce_sentence_paper"]),
        ("triptych run --engine da", ["dask"]),
        ("triptych list los", ["losses"]),
        ("triptych list losses adnce_g", ["adnce_graph_paper"]),
        ("triptych list studies theory-m", ["theory-mi"]),
        ("triptych list nothing a", []),
    ],
)
def test_a_shell_completes_names(text: str, names: list[str]) -> None:
    assert completed(text) == names


def test_a_shell_completes_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/one/records", "runs/not_a_run", "other/two/records"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "other" / "mine.toml").touch()
    (tmp_path / "other" / ".hidden").mkdir()
    assert completion.run_folder("") == ["runs/one"]
    assert completion.run_folder("runs/") == ["runs/one", "runs/not_a_run/"]
    assert completion.run_folder("other/") == ["other/two"]
    assert completion.run_folder("nowhere/") == []
    assert completion.study("oth") == ["other/"]
    assert completion.study("other/m") == ["other/mine.toml"]


def test_help_and_completion_import_no_torch() -> None:
    script = (
        "import sys\nfrom harness.cli import app, completion\n"
        "assert 'adnce' in completion.plugins_of('losses')('ad')\n"
        "assert completion.study('quick') == ['quickstart']\n"
        "print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env=environment(PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
