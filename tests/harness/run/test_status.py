import json
import shlex
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic import CELL, record

from harness.core.cells import Cell
from harness.core.commands import run_again
from harness.core.errors import InputError
from harness.core.files import this_process
from harness.core.states import save
from harness.run import claims
from harness.run.status import faults, recorded, states
from harness.store.records import SCHEMA, Failure, Store, key_of

CELLS = [replace(CELL, seed=seed) for seed in range(7)]


def identity_of(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.to_dict(), "source": "src"}


KEYS = {cell: key_of(identity_of(cell)) for cell in CELLS}


def write(store: Store, cell: Cell) -> Path:
    identity = identity_of(cell)
    made = record(key_of(identity), cell=cell.to_dict(), identity=identity)
    return store.write_record(cell, made)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One cell in each state, and one with the record of another."""
    made = Store(tmp_path)
    entry: dict[str, Any] = {"label": CELL.loss, "trial": None, "modality": "points"}
    plan = [entry | {"key": KEYS[cell], "cell": cell.to_dict()} for cell in CELLS]
    about = {"schema": SCHEMA, "baseline": None, "command": "triptych run x"}
    made.write_study({**about, "plan": plan})
    done, running, failed, diverged, damaged, begun, _ = CELLS
    write(made, done)
    path = made.claim_path(running, KEYS[running])
    claim = claims.take(path)
    assert claim is not None
    claim.step, claim.steps = 30, 400
    path.write_text(claim.text())
    made.write_failure(failed, Failure(KEYS[failed], "failed", "no luck"))
    made.write_failure(diverged, Failure(KEYS[diverged], "diverged", "diverged at step 3"))
    whole = write(made, done)
    made.record_path(CELLS[6], KEYS[CELLS[6]]).write_bytes(whole.read_bytes())  # Another's.
    cut = write(made, damaged)
    cut.write_text(cut.read_text()[:300])
    state = made.checkpoint_path(begun, KEYS[begun])
    save(state, {"weights": torch.zeros(9)})
    return made


def test_every_cell_has_its_state(store: Store) -> None:
    found = states(store)
    assert [state.cell for state in found] == CELLS
    words = ["done", "running", "failed", "diverged", "damaged", "to do", "damaged"]
    assert [state.state for state in found] == words
    notes = [state.note for state in found]
    me = this_process()
    assert notes[1] == f"step 30 of 400, on {me.host}, process {me.pid}"
    assert notes[2:4] == ["no luck", "diverged at step 3"]
    assert notes[5] == "will resume from a checkpoint"
    assert (found[0].metric, found[0].score) == ("accuracy", 61.5)
    assert all(state.score is None for state in found[1:])
    assert {state.rows for state in found} == {(CELL.loss,)}


def test_a_cell_is_to_do_if_its_claims_owner_is_gone_or_silent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.claim_path(CELLS[1], KEYS[CELLS[1]])
    with monkeypatch.context() as patch:
        patch.setattr(claims, "LEASE", -1.0)
        assert states(store)[1].state == "to do"
    values = json.loads(path.read_text())
    values["owner"]["born"] -= 1
    path.write_text(json.dumps(values))
    assert states(store)[1].state == "to do"


def test_a_running_cell_with_an_old_damaged_record_is_running(store: Store) -> None:
    store.record_path(CELLS[1], KEYS[CELLS[1]]).write_text("{")
    assert states(store)[1].state == "running"


def test_verify_finds_every_fault_and_no_other(store: Store) -> None:
    whole = CELLS[0]
    assert sorted(line.split(": ")[1] for line in faults(store)) == [
        "is the record of another cell", "was cut short or changed",
    ]  # fmt: skip
    # One whose key is not its own, with the right checksum.
    store.write_record(CELL, record("0" * 16))
    write(store, whole)
    identity = identity_of(CELLS[1])
    bad = record(KEYS[CELLS[1]], cell=CELLS[1].to_dict(), scores={"test": {}}, identity=identity)
    store.write_record(CELLS[1], bad)
    store.failure_path(CELLS[2]).write_text("{")
    state = store.checkpoint_path(CELLS[5], KEYS[CELLS[5]])
    state.write_bytes(state.read_bytes()[:-3])
    lines = faults(store)
    for words in (
        "was cut short or changed", "is the record of another cell", "its key does not match",
        "its scores are not all finite", "cannot be read; the next run tries", "is damaged; its",
    ):  # fmt: skip
        assert sum(words in line for line in lines) == 1, words
    assert len(lines) == 6
    store.study_path.write_text("{")
    assert any("study.json: cannot be read" in line for line in faults(store))


def test_a_cell_of_several_places_has_all_their_rows(store: Store) -> None:
    study = store.study()
    study["plan"].append(study["plan"][0] | {"label": "control"})
    store.write_study(study)
    found = states(store)
    assert [state.cell for state in found] == CELLS
    assert found[0].rows == (CELL.loss, "control")


def test_recorded_leaves_out_known_keys(store: Store) -> None:
    other = replace(CELL, loss="margin")
    write(store, other)
    known = {state.key for state in states(store)}
    assert {state.cell for state in recorded(store)} == {CELLS[0], other}
    assert [state.cell for state in recorded(store, known)] == [other]


def test_a_folder_without_a_plan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be the folder of a run: .*without a plan.*Run a"):
        states(Store(tmp_path))
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match=r"study.json cannot be read"):
        states(Store(tmp_path))


def test_the_command_states_every_field_of_a_cell() -> None:
    cell = Cell("t(a='x y')", "m", "l(k=1)", 4, "validation", 2)
    words = shlex.split(run_again(cell))
    assert words[:3] == ["triptych", "cell", "t(a='x y')"]
    assert words[3:] == [
        "--method", "m", "--loss", "l(k=1)", "--seed", "4", "--probes", "2", "--scored",
        "validation",
    ]  # fmt: skip
    assert Counter(words)["--seed"] == 1
    assert set(asdict(cell)) == {"task", "method", "loss", "seed", "scored", "probes"}
