"""The bar that `triptych.run` shows: one over all cells, with the last score."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import STUDY, TUNED, Inside
from tqdm.std import tqdm

from harness.core.cells import Cell
from harness.run import runner
from harness.run.bar import Bar
from harness.run.engines import Engine, Event
from harness.run.runner import Interrupted, Summary, run


def test_a_run_shows_a_bar_with_the_last_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = run(STUDY, tmp_path, engine=Inside())
    done = capsys.readouterr()
    last = done.err.split("\r")[-1]
    assert "100%" in last and "6/6" in last
    cell = summary.done[-1]
    assert f"{cell.loss} · seed {cell.seed} · " in last
    assert ": accuracy " in last
    assert done.out == ""
    run(STUDY, tmp_path, engine=Inside())
    assert "6/6" in capsys.readouterr().err.split("\r")[-1], "cells with a record count"


def test_a_tuned_run_shows_one_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(TUNED, tmp_path, engine=Inside())
    text = capsys.readouterr().err
    assert f"{summary.expected}/{summary.expected}" in text.split("\r")[-1]
    assert text.count("\n") == 1, "one bar, for the trials and for the cells of the board"


def test_no_bar_if_none_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    run(STUDY, tmp_path, engine=Inside(), progress=False, listen=lambda e, _: events.append(e))
    assert capsys.readouterr().err == ""
    scores = [event.score for event in events if event.kind == "done"]
    assert len(scores) == 6 and None not in scores


class Stopping(Inside):
    def events(self) -> Iterator[Event]:
        yield next(super().events())
        raise KeyboardInterrupt


def test_the_bar_is_closed_when_a_run_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Bar] = []

    def made(total: int) -> Bar:
        bars.append(Bar(total))
        return bars[0]

    monkeypatch.setattr(runner, "Bar", made)
    engine: Engine = Stopping()
    with pytest.raises(Interrupted):
        run(STUDY, tmp_path, engine=engine)
    assert bars[0].bar.disable, "a closed bar draws no more"


def test_a_long_name_keeps_loss_and_seed() -> None:
    bar = Bar(1)
    cell = Cell("images(size=14, draws=3)", "siamese", "adnce(temperature=0.4, mu=0.7)", 10001)
    bar.draw(Event("done", cell, metric="accuracy", score=61.234), Summary(expected=1, done=[cell]))
    bar.close(Summary(expected=1, done=[cell]))
    assert "adnce(" in bar.bar.postfix and "seed 10001" in bar.bar.postfix
    assert bar.bar.postfix.endswith(": accuracy 61.23")


NOTEBOOK = """
import sys, types, warnings
warnings.simplefilter("error")
sys.modules["ipywidgets"] = None
# What tqdm asks for, to know whether it runs in a notebook.
shell = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: shell
ipython.__path__ = []
from harness.run.bar import Bar
bar = Bar(1)
print(type(bar.bar).__module__)
"""


def test_a_notebook_without_ipywidgets_gets_the_plain_bar_without_a_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.startswith("tqdm.")


def test_the_bar_outside_of_a_notebook_is_the_plain_one() -> None:
    bar = Bar(1)
    bar.close(Summary(expected=1))
    assert isinstance(bar.bar, tqdm)
