"""``triptych cell``: one cell in 15 lines, or its record as JSON."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from harness.core.telling import CUT

Call = Callable[..., CompletedProcess[str]]


def fields(text: str) -> dict[str, str]:
    """Return {name: text} of the lines of a cell."""
    return dict(re.findall(r"^(\w[\w ]*?)  +(.*)$", text, re.MULTILINE))


def test_a_cell_is_shown_in_15_lines_and_as_json(here: Call, tmp_path: Path) -> None:
    command = ["cell", "blobs(steps=3)", "--loss", "adnce(mu=0.5)", "--out", str(tmp_path)]
    done = here(*command, "--save", str(tmp_path / "encoder"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("blobs(steps=3) / siamese / adnce(mu=0.5) / seed 0\n")
    assert len(done.stdout.splitlines()) <= 15
    found = fields(done.stdout)
    assert found["state"] == "done"
    assert re.fullmatch(r"accuracy [\d.]+ % \(test\)", found["score"])
    assert re.match(r"3 steps in [\d.]+ s, training", found["cost"])
    assert found["encoder"] == str(tmp_path / "encoder")
    assert found["run again"].startswith("triptych cell 'blobs(steps=3)' --method siamese --loss")
    assert "step 3 of 3" in Path(found["log"]).read_text()
    again = here(*command, "--json")
    assert again.returncode == 0, again.stderr
    assert again.stdout == Path(found["record"]).read_text()
    assert json.loads(again.stdout)["key"] == found["key"]


CRASHES = """
import os, signal
from harness.losses.base import ScoreLoss

class Crash(ScoreLoss):
    kill: bool = False

    def per_anchor(self, pos, rows, *rest):
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.deeper(pos)

    def deeper(self, pos):
        raise ValueError("bad luck " * 100)
"""


@pytest.fixture
def crash(plugin: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugin("lossfalls", "losses:lossfalls = lossfalls:Crash", CRASHES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def test_a_failed_cell_shows_the_end_of_its_traceback(
    here: Call, crash: None, tmp_path: Path
) -> None:
    done = here("cell", "blobs(steps=3)", "--loss", "lossfalls", "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) <= 15
    found = fields(done.stdout)
    assert found["state"].startswith("failed: ValueError: bad luck")
    assert CUT in found["state"] and found["state"].endswith(").")
    assert Path(found["failure"]).is_file()
    assert "Traceback" in Path(found["log"]).read_text()
    traceback = done.stdout.split("\n\n")[1]
    assert traceback.startswith("  File ")
    assert "in deeper" in traceback
    assert "\nValueError: bad luck" in traceback
    assert done.stderr.startswith("failed: ValueError: bad luck")
    failure = here(
        "cell", "blobs(steps=3)", "--loss", "lossfalls", "--out", str(tmp_path / "run"), "--json"
    )
    assert failure.returncode == 1
    assert json.loads(failure.stdout)["outcome"] == "failed"


def test_a_killed_cell_says_so(here: Call, crash: None, tmp_path: Path) -> None:
    done = here(
        "cell", "blobs(steps=3)", "--loss", "lossfalls(kill=True)", "--out", str(tmp_path / "r")
    )
    assert done.returncode == 1
    assert re.search(r"SIGKILL|signal 9|killed", fields(done.stdout)["state"])
    assert len(done.stdout.splitlines()) <= 15
