"""Studies with plugins in files: run by workers from copies, stale once a file is edited."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, environment

from harness.core import children, plugin_files, registry
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run import status
from harness.run.estimate import unrecorded
from harness.run.runner import run, run_one
from harness.store.records import Store
from harness.store.table import load_records
from harness.study.study import Study

LOSS = """
from typing import Annotated
from triptych import Between, ScoreLoss
from {stem}_helper import SCALE


class Gap(ScoreLoss):
    '''Push negatives a margin below the positive.'''

    label = "Gap (ours)"
    margin: Annotated[float, Between(0, 2)] = 0.2

    def per_anchor(self, pos, neg, keep):
        gaps = (neg - pos[:, None] + self.margin).clamp_min(0) * keep
        return SCALE * gaps.sum(dim=1) / keep.sum(dim=1).clamp_min(1)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A loss in a file of a user's folder, with a helper beside it."""
    monkeypatch.chdir(tmp_path)
    stem = f"gap_{time.monotonic_ns()}"
    path = tmp_path / f"{stem}.py"
    path.write_text(LOSS.format(stem=stem))
    (tmp_path / f"{stem}_helper.py").write_text("SCALE = 1.0\n")
    yield path
    for name in [name for name in sys.modules if name.startswith(stem)]:
        sys.modules.pop(name)
    plugin_files._files.pop(path.name, None)
    registry._given.clear()
    plugin_files._stamps.clear()


def study_of(file: Path, **changes: Any) -> Study:
    losses = ["infonce", f"{file.name}:Gap", f"{file.name}:Gap(margin=0.5)"]
    values = {"tasks": ["blobs(steps=2)"], "losses": losses, "seeds": 2, **changes}
    return Study("s", **values)


def test_an_edit_during_a_run_changes_none_of_its_cells_and_makes_them_stale(
    file: Path, tmp_path: Path
) -> None:
    helper = tmp_path / f"{file.stem}_helper.py"

    def edit(event: Any, summary: Any) -> None:
        """Break the file, and change its helper, once the first cell is done."""
        if len(summary.done) == 1:
            file.write_text(file.read_text() + "\nraise RuntimeError('edited')\n")
            helper.write_text("SCALE = 3.0\n")

    folder = tmp_path / "run"
    text = file.read_text()
    summary = run(study_of(file), folder, jobs=1, listen=edit, progress=False)
    assert (len(summary.done), summary.failed, summary.stale) == (8, {}, {})
    records = {Cell(**record.cell): record for record in Store(folder).records()}
    sources = {record.source for cell, record in records.items() if "Gap" in cell.loss}
    assert len(sources) == 1, "all cells ran the code that was planned"
    copies = list((folder / "plugins").iterdir())
    assert len(copies) == 1
    for cell, record in records.items():
        assert record.plugins == (f"plugins/{copies[0].name}" if "Gap" in cell.loss else "")

    # All who read the folder have one notion of stale.
    file.write_text(text)
    why = f"{helper.name} changed since"
    states = status.states(Store(folder))
    old = [state for state in states if state.state == "stale"]
    assert len(old) == 4 and {state.note for state in old} == {why}
    assert all("Gap" in state.cell.loss for state in old)
    table = load_records(folder)
    assert [n.text for n in table.attrs["notes"] if n.kind == "stale"] == [
        f"4 cells are stale: {why}. The study's command runs them again."
    ]
    assert {cell.loss for cell in unrecorded(study_of(file), folder)} == {
        f"{file.name}:Gap", f"{file.name}:Gap(margin=0.5)"
    }  # fmt: skip
    assert table.attrs["labels"][f"{file.name}:Gap"] == "Gap (ours)"

    again = run(study_of(file), folder, jobs=1, progress=False)
    assert len(again.done) == 4 and set(again.stale.values()) == {why}
    assert {state.state for state in status.states(Store(folder))} == {"done"}
    assert not [n for n in load_records(folder).attrs["notes"] if n.kind == "stale"]


def test_rows_that_a_narrower_run_leaves_out_are_stale_too(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(study_of(file, seeds=1), folder, jobs=1, progress=False)
    text = file.read_text()
    for scale in (2, 3):  # The same again: a third version of the file.
        file.write_text(text.replace("return SCALE", f"return {scale} * SCALE"))
        run(study_of(file, losses=["infonce"], seeds=1), folder, jobs=1, progress=False)
        (note,) = (n for n in load_records(folder).attrs["notes"] if n.kind == "stale")
        assert note.text.startswith(f"2 cells are stale: {file.name} changed since.")
    file.write_text(text)
    assert not [n for n in load_records(folder).attrs["notes"] if n.kind == "stale"]


def test_a_cell_that_never_ran_is_not_stale(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(study_of(file, seeds=2), folder, jobs=1, shard="1/2", progress=False)
    count = sum("Gap" in record.cell["loss"] for record in Store(folder).records())
    file.write_text(file.read_text() + "\nMORE = 1\n")
    found = [state.state for state in status.states(Store(folder))]
    assert 0 < found.count("stale") == count < 4
    done = subprocess.run(
        [sys.executable, "-m", "triptych", "plan", "quickstart", "--out", str(folder)],
        capture_output=True, text=True, check=True,
        env=environment(PYTHONPATH=":".join(children.import_path())),
    )  # fmt: skip
    assert f"{count} cells are stale: {file.name} changed since." in done.stdout


@pytest.mark.parametrize(
    "blocks", [None, 3, {"modules": {}}, [3], [{"modules": 1}], [{"modules": {}, "uses": {"a": 1}}]]
)
def test_a_plan_without_readable_code_makes_nothing_stale(
    file: Path, tmp_path: Path, blocks: object
) -> None:
    folder = tmp_path / "run"
    run(study_of(file, losses=["infonce"], seeds=1), folder, jobs=1, progress=False)
    store = Store(folder)
    store.write_study(store.study() | {"code": blocks})
    assert {state.state for state in status.states(Store(folder))} == {"done"}
    assert run(study_of(file, losses=["infonce"], seeds=1), folder, progress=False).done == []


def test_a_remark_makes_nothing_stale(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(study_of(file, seeds=1), folder, jobs=1, progress=False)
    file.write_text("# a remark\n" + file.read_text().replace("Push negatives", "Push all"))
    assert {state.state for state in status.states(Store(folder))} == {"done"}
    assert run(study_of(file, seeds=1), folder, jobs=1, progress=False).done == []


def test_the_command_of_a_record_runs_it_again_from_the_copy(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    spec = f"{file.name}:Gap"
    run(study_of(file, losses=[spec], seeds=1), folder, jobs=1, progress=False)
    table = load_records(folder)
    command = table.loc[table["loss"] == spec, "command"].iloc[0]
    assert f"--plugin {folder}/plugins/" in command
    (scores,) = {r.scores["test"]["accuracy"] for r in Store(folder).records() if r.plugins}
    file.unlink()
    words = command.replace("triptych", f"{sys.executable} -m triptych", 1)
    subprocess.run(
        f"{words} --out again", shell=True, check=True, capture_output=True, cwd=tmp_path,
        env={"PYTHONPATH": ":".join(children.import_path()), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    (record,) = Store(tmp_path / "again").records()
    assert record.scores["test"]["accuracy"] == scores


def test_one_cell_runs_from_a_file(file: Path, tmp_path: Path) -> None:
    cell = Cell("blobs(steps=2)", "siamese", f"{file.name}:Gap", 0)
    assert run_one(cell, tmp_path / "one").kind == "done"
    (record,) = Store(tmp_path / "one").records()
    assert (tmp_path / "one" / record.plugins / file.name).exists()


SCRIPT = """
import triptych

SCALE = 2.0


class Mine(triptych.ScoreLoss):
    margin: float = 0.2

    def per_anchor(self, pos, neg, keep):
        gaps = (neg - pos[:, None] + self.margin).clamp_min(0) * keep
        return SCALE * gaps.sum(dim=1) / keep.sum(dim=1).clamp_min(1)


study = triptych.Study("s", tasks=["blobs(steps=2)"], losses=["infonce", Mine, Mine(margin=0.5)],
                       seeds=1)
summary = triptych.run(study, "run", jobs=1, progress=False)
print(len(summary.done), summary.failed)
"""


def script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a script without a main guard, as a user does, in its own folder."""
    (folder / "study.py").write_text(text)
    path = ":".join([str(ROOT), *(each for each in sys.path if "thirdparty" in each)])
    return subprocess.run(
        [sys.executable, "study.py"], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_classes_of_a_script_are_run_without_running_the_script(tmp_path: Path) -> None:
    done = script(tmp_path, SCRIPT)
    assert done.stdout == "4 {}\n", done.stderr
    losses = {record.cell["loss"] for record in Store(tmp_path / "run").records()}
    assert losses == {"infonce", "untrained", "study.py:Mine", "study.py:Mine(margin=0.5)"}


def test_a_class_of_a_script_is_stale_once_its_own_definitions_change(tmp_path: Path) -> None:
    assert script(tmp_path, SCRIPT).stdout == "4 {}\n"

    def states() -> list[str]:
        return sorted(state.state for state in status.states(Store(tmp_path / "run")))

    assert states() == ["done"] * 4
    (tmp_path / "study.py").write_text("# a remark\n" + SCRIPT + "\nprint('another line')\n")
    assert states() == ["done"] * 4
    (tmp_path / "study.py").write_text(SCRIPT.replace("SCALE = 2.0", "SCALE = 3.0"))
    assert states() == ["done", "done", "stale", "stale"]
    (tmp_path / "study.py").write_text("print('without the class')\n")
    assert states() == ["done"] * 4, "nobody knows: as with a notebook, which has no file"
    assert script(tmp_path, SCRIPT.replace("SCALE = 2.0", "SCALE = 3.0")).stdout == "2 {}\n"
    assert states() == ["done"] * 4


REFUSED = {
    "SCALE = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0": "reads `sys.argv`, and workers can",
    "SCALE = random.random()": "'SCALE' has another value there than the statements give",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_class_whose_values_workers_cannot_repeat_is_refused(tmp_path: Path, line: str) -> None:
    done = script(tmp_path, "import random, sys\n" + SCRIPT.replace("SCALE = 2.0", line))
    assert done.returncode == 1
    assert REFUSED[line] in done.stderr
    assert "must be a list of specs" not in done.stderr
    assert not (tmp_path / "run/records").exists()


def test_a_class_of_a_file_that_a_script_has_patched_is_refused(tmp_path: Path, file: Path) -> None:
    (tmp_path / f"{file.stem}_helper.py").write_text("SCALE = 1.0\n")
    done = script(
        tmp_path,
        f"""
import triptych
from {file.stem} import Gap
Gap.per_anchor = lambda self, pos, neg, keep: -pos
triptych.Study("s", tasks=["blobs(steps=2)"], losses=["infonce", Gap], seeds=1)
""",
    )
    assert "the script or notebook has replaced its per_anchor" in done.stderr


def test_files_of_one_name_in_one_run_folder_are_told_apart(tmp_path: Path) -> None:
    text = 'tasks = ["blobs(steps=2)"]\nseeds = 1\nlosses = ["infonce", "{0}.py:{1}"]\n'
    stem = f"same_{time.monotonic_ns()}"
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        body = LOSS.replace("from {stem}_helper import SCALE", "SCALE = 1.0")
        (tmp_path / name / f"{stem}.py").write_text(body.replace("class Gap", f"class {name}"))
        (tmp_path / name / "study.toml").write_text(text.format(stem, name))
    for name in ("A", "B", "A"):
        done = subprocess.run(
            [sys.executable, "-m", "triptych", "run", f"{name}/study.toml", "--out", "run",
             "--add"], cwd=tmp_path, capture_output=True, text=True, check=True,
            env=environment(PYTHONPATH=":".join(children.import_path())),
        )  # fmt: skip
        assert "stale" not in done.stdout + done.stderr
    assert "0 cells run" in done.stdout


def test_a_file_beside_the_script_that_hides_a_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluate.py").write_text("print('the wrong one')\n")
    done = script(tmp_path, SCRIPT)
    assert done.returncode == 1
    assert f"{tmp_path}/evaluate.py must not have the name of a library" in done.stderr


def test_a_files_run_at_import_is_refused(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text() + "import triptych\ntriptych.run('quickstart', 'here')\n")
    with pytest.raises(InputError, match=r"starts a run when it is imported. Put the call below"):
        study_of(file)
    assert not (tmp_path / "here").exists()


def test_workers_look_for_modules_in_the_scripts_folder_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", ["/a/script", "/b/library", "", "/c/library"])
    found = children.import_path()
    assert found[0] == str(ROOT) and found[1:] == ["/b/library", "/c/library", "/a/script"]
