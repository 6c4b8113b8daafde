"""The table that boards are made from: versions, places, and cells without a record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import CELL, record, texts
from typer.testing import CliRunner

from harness.cli import app
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run import status
from harness.store import table
from harness.store.records import SCHEMA, Failure, Store, _signed
from harness.store.table import load_records
from leaderboards import leaderboard


def place(cell: Cell, key: str, label: str = "", **more: Any) -> dict[str, Any]:
    return {
        "label": label or cell.loss, "trial": None, "modality": "points", "key": key,
        "cell": cell.to_dict(), **more,
    }  # fmt: skip


def plan(*places: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"baseline": None, "plan": list(places), **more}


def test_the_table_has_one_row_per_score(tmp_path: Path) -> None:
    Store(tmp_path).write_record(CELL, record(probed=[(10, {"accuracy": 30.0})]))
    found = load_records(tmp_path)
    assert list(found.columns) == list(table.COLUMNS)
    assert found[["split", "metric", "step", "steps", "value"]].to_numpy().tolist() == [
        ["validation", "accuracy", 10, 40, 30.0],
        ["validation", "accuracy", 40, 40, 0.1 + 0.2],
        ["test", "accuracy", 40, 40, 61.5],
    ]
    assert set(found["status"]) == {"done"}
    assert found["settings"].tolist()[0] == '{"mu": 0.5}'


def test_a_folder_without_records_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no record under .* Run a study first"):
        load_records(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = Store(tmp_path).write_record(CELL, record())
    other = replace(CELL, seed=9)
    Store(tmp_path).write_record(other, record("o" * 16, cell=other.to_dict()))
    path.write_text(path.read_text()[:100])
    found = load_records(tmp_path)
    assert texts(found) == [f"Left out a file that is not a valid record: {path}"]
    assert set(found["seed"]) == {9}


def test_the_newer_of_two_records_of_a_cell_is_shown(tmp_path: Path) -> None:
    """Code or data changed between two runs: both records stay, one counts."""
    store = Store(tmp_path)
    new = record("n" * 16, scores={"test": {"accuracy": 70.0}}, finished="2026-02-01T00:00:00")
    store.write_record(CELL, new)
    store.write_record(CELL, record("a" * 16))
    assert load_records(tmp_path)["value"].tolist() == [70.0]
    assert len(list(store.records())) == 2


def test_the_record_that_the_last_run_planned_comes_first(tmp_path: Path) -> None:
    """Code that was put back finds its own record, and the board shows it."""
    store = Store(tmp_path)
    store.write_record(CELL, record("a" * 16))
    newer = record("n" * 16, scores={"test": {"accuracy": 70.0}}, finished="2026-02-01T00:00:00")
    store.write_record(CELL, newer)
    store.write_study(plan(place(CELL, "a" * 16)))
    assert load_records(tmp_path)["value"].tolist() == [0.1 + 0.2, 61.5]


@pytest.mark.parametrize("change", [{"source": "new"}, {"frame": "new"}, {"data": {"x": "new"}}])
def test_versions_of_code_and_data_are_never_mixed_in_a_row(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """Three seeds of the old version and one of the new: the new one alone is shown."""
    store = Store(tmp_path)
    cells = [replace(CELL, seed=seed) for seed in (0, 1, 2)]
    for cell in cells:
        store.write_record(cell, record(f"old{cell.seed}", cell=cell.to_dict()))
    newer = {"finished": "2026-02-01T00:00:00", "cell": cells[0].to_dict()}
    what = "data" if "data" in change else "code"
    store.write_record(cells[0], record("new0", **newer, **change))
    found = load_records(tmp_path)
    assert set(found["key"]) == {"new0"}
    assert f"{tmp_path}: left out 3 records made with other {what} than" in texts(found)[0]
    store.write_study(plan(*(place(cell, f"old{cell.seed}") for cell in cells)))
    assert set(load_records(tmp_path)["key"]) == {"old0", "old1", "old2"}


def test_losses_of_different_frames_are_not_shown_together(tmp_path: Path) -> None:
    """The task's code changed and one loss was run again: the other is not shown with it."""
    other = replace(CELL, loss="infonce")
    store = Store(tmp_path)
    store.write_record(CELL, record("a" * 16, frame="old", source="1"))
    later = {"frame": "new", "source": "2", "finished": "2026-02-01"}
    store.write_record(other, record("b" * 16, cell=other.to_dict(), **later))
    assert set(load_records(tmp_path)["loss"]) == {"infonce"}
    store.write_record(CELL, record("c" * 16, **(later | {"source": "3"})))
    assert set(load_records(tmp_path)["loss"]) == {"infonce", "adnce(mu=0.5)"}


def test_folders_of_several_machines_are_merged(tmp_path: Path) -> None:
    for number, seeds in enumerate([(0, 1), (1, 2)]):
        store = Store(tmp_path / str(number))
        cells = [replace(CELL, seed=seed) for seed in seeds]
        for cell in cells:
            scores = {"test": {"accuracy": 60.0 + cell.seed + number / 100}}
            made = record(f"key{cell.seed}", cell=cell.to_dict(), scores=scores)
            store.write_record(cell, replace(made, finished=f"2026-01-0{number + 1}"))
        every = [place(replace(CELL, seed=seed), f"key{seed}") for seed in (0, 1, 2)]
        store.write_study(plan(*every))
    found = load_records(tmp_path / "0", tmp_path / "1")
    assert found.sort_values("seed")["value"].tolist() == [60.0, 61.01, 62.01]
    assert (
        "1 cells have two records of the same key whose scores differ, by up to 0.01 points"
        in (texts(found)[0])
    )
    alone = load_records(tmp_path / "0")
    assert alone.loc[alone["status"] == "missing", "seed"].tolist() == [2]


def test_cells_without_a_record_are_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cells = [replace(CELL, seed=seed) for seed in range(4)]
    store.write_record(cells[0], record("key0", cell=cells[0].to_dict()))
    store.write_failure(cells[1], Failure("key1", "diverged", "Diverged: nan at step 3"))
    store.write_failure(cells[2], Failure("key2", "failed", "the worker was killed"))
    store.write_failure(cells[3], Failure("another key", "failed", "of older code"))
    store.write_study(plan(*(place(cell, f"key{cell.seed}") for cell in cells)))
    found = load_records(tmp_path)
    lost = found[found["status"] != "done"].set_index("seed")
    assert lost["status"].tolist() == ["diverged", "failed", "missing"]
    assert lost["reason"].tolist() == [
        "Diverged: nan at step 3", "the worker was killed", "not run yet",
    ]  # fmt: skip
    assert lost["value"].isna().all()
    assert set(lost["modality"]) == {"points"}


def test_tuned_rows_have_labels_spaces_and_trials(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trial = replace(CELL, scored="validation", seed=10000)
    scores = {"validation": {"accuracy": 50.0}}
    store.write_record(trial, record("t" * 16, cell=trial.to_dict(), scores=scores))
    store.write_record(CELL, record("f" * 16))
    stray = replace(trial, loss="adnce(mu=0.9)")
    store.write_record(stray, record("s" * 16, cell=stray.to_dict(), scores=scores))
    space = {"mu": {"low": 0.0, "high": 1.0}}
    label = "adnce[tuned]"
    store.write_study(
        plan(
            place(trial, "t" * 16, label, trial=2),
            place(CELL, "f" * 16, label),
            place(CELL, "f" * 16),
            spaces={label: space},
        )
    )
    found = load_records(tmp_path)
    tuning = found[found["stage"] == "tuning"]
    assert tuning[["loss", "trial", "spec"]].to_numpy().tolist() == [[label, 2, "adnce(mu=0.5)"]]
    assert tuning["space"].tolist() == ['{"mu": {"low": 0.0, "high": 1.0}}']
    # One record, two rows of the board: chosen settings that another loss has fixed.
    final = found[(found["stage"] == "final") & (found["split"] == "test")]
    assert set(final["loss"]) == {label, "adnce(mu=0.5)"}


def test_the_baseline_is_the_studys_else_infonce(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for loss in ("adnce", "infonce"):
        cell = replace(CELL, loss=loss)
        store.write_record(cell, record(loss, cell=cell.to_dict(), source=loss))
    found = load_records(tmp_path)
    assert set(found.loc[found["baseline"], "loss"]) == {"infonce"}
    store.write_study({"baseline": "adnce", "plan": []})
    found = load_records(tmp_path)
    assert set(found.loc[found["baseline"], "loss"]) == {"adnce"}


def test_folders_that_chose_other_settings_are_not_mixed(tmp_path: Path) -> None:
    """Two machines tuned alike and chose differently: the row shows one choice."""
    label = "adnce[tuned]"
    for number, mu in enumerate((0.2, 0.7)):
        store = Store(tmp_path / str(number))
        cells = [
            replace(CELL, loss=f"adnce(mu={mu})", seed=seed)
            for seed in (2 * number, 2 * number + 1)
        ]
        for cell in cells:
            made = record(f"{mu}-{cell.seed}", cell=cell.to_dict(), source=str(mu))
            store.write_record(cell, replace(made, finished=f"2026-01-0{number + 1}"))
        store.write_study(plan(*(place(cell, f"{mu}-{cell.seed}", label) for cell in cells)))
    found = load_records(tmp_path / "0", tmp_path / "1")
    done = found[found["status"] == "done"]
    assert set(done["spec"]) == {"adnce(mu=0.7)"}
    assert set(done["seed"]) == {2, 3}
    (note,) = texts(found)
    assert note.startswith(f"{tmp_path / '0'}: left out 2 records made with other chosen settings")
    missing = found[found["status"] == "missing"]
    assert missing["seed"].tolist() == [0, 1]
    assert set(missing["reason"]) == {
        "left out: a record made with other chosen settings than the row shown"
    }


def test_an_earlier_choice_of_settings_does_not_become_a_row(tmp_path: Path) -> None:
    """More trials, another choice: the earlier finals are of the same row, and left out."""
    store = Store(tmp_path)
    label = "adnce[tuned]"
    old, new = (replace(CELL, loss=f"adnce(mu={mu})") for mu in (0.2, 0.7))
    more = replace(old, seed=8)
    for cell, key in ((old, "old"), (more, "more"), (new, "new")):
        store.write_record(cell, record(key, cell=cell.to_dict(), source=cell.loss))
    store.write_study(plan(place(old, "old", label), place(more, "more", label)))
    store.write_study(plan(place(new, "new", label)))
    found = load_records(tmp_path)
    assert set(found["loss"]) == {label}
    assert set(found["key"]) == {"new"}
    one, other = texts(found)
    assert "1 record made with other code, data or settings" in one, "the seed that is planned anew"
    assert "1 record made with other chosen settings" in other, "the seed that no longer is"
    store.write_study(plan(place(old, "old", label)))
    found = load_records(tmp_path)
    assert set(found["key"]) == {"old", "more"}, "fewer seeds: the others keep their row"


def test_chosen_settings_are_not_scored_at_tuning_seeds(tmp_path: Path) -> None:
    """An earlier study of the folder had among its board's seeds one that tunes today."""
    store = Store(tmp_path)
    label = "adnce[tuned]"
    finals = [replace(CELL, seed=seed) for seed in (0, 1, 2)]
    trial = replace(CELL, seed=0, scored="validation")
    for cell in (*finals, trial):
        key = f"{cell.scored}{cell.seed}"
        store.write_record(cell, record(key, cell=cell.to_dict()))
    store.write_study(plan(*(place(cell, f"test{cell.seed}", label) for cell in finals[:2])))
    assert any("1 record of tuning trials that are no longer planned" in n
               for n in texts(load_records(tmp_path)))  # fmt: skip
    tuning = place(trial, "validation0", label) | {"trial": 0}
    store.write_study(plan(tuning, place(finals[2], "test2", label)))
    found = load_records(tmp_path)
    assert sorted(found.loc[found["stage"] == "final", "seed"].unique()) == [1, 2]
    assert any("1 record at seeds that the study tunes with" in n for n in texts(found))


def test_a_replaced_record_of_a_cell_gets_a_note(tmp_path: Path) -> None:
    """Another number of probes trains anew, and has a key of its own."""
    for name, probes in (("one", 0), ("two", 4)):
        cell = replace(CELL, probes=probes)
        made = record(name, cell=cell.to_dict(), finished=f"2026-01-0{probes + 1}")
        Store(tmp_path / name).write_record(cell, made)
    found = load_records(tmp_path / "one", tmp_path / "two")
    assert set(found["key"]) == {"two"}
    (note,) = texts(found)
    assert note.startswith(f"{tmp_path / 'one'}: left out 1 record replaced by a later record")


def test_a_cell_whose_record_was_left_out_has_that_reason(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        store = Store(tmp_path / name)
        cell = replace(CELL, seed=number)
        made = record(name, cell=cell.to_dict(), frame=name, finished=f"2026-01-0{number + 1}")
        store.write_record(cell, made)
        store.write_study(plan(place(cell, name), place(replace(CELL, seed=7), "never")))
    found = load_records(tmp_path / "one", tmp_path / "two")
    missing = found[found["status"] == "missing"].set_index("seed")["reason"]
    assert missing.to_dict() == {
        0: "left out: a record made with other code than the records shown",
        7: "not run yet",
    }


def test_trials_stay_while_only_some_tasks_are_run_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    label, about = "adnce[tuned]", {"spaces": {"adnce[tuned]": {"mu": [0, 1]}}, "tuning": (1, 2)}
    trials = [replace(CELL, task=task, seed=9, scored="validation") for task in ("a", "b")]
    for cell in trials:
        store.write_record(cell, record(cell.task, cell=cell.to_dict()))
    places = [place(cell, cell.task, label) | {"trial": 0} for cell in trials]
    store.write_study(plan(*places, **about))
    store.write_study(plan(places[0], **about))
    found = load_records(tmp_path)
    assert set(found.loc[found["stage"] == "tuning", "task"]) == {"a", "b"}
    assert not texts(found)
    store.write_study(plan(places[0], **about | {"tuning": (3, 4)}))
    found = load_records(tmp_path)
    assert set(found["task"]) == {"a"}
    assert any("1 record of tuning trials that are no longer planned" in n for n in texts(found))


def test_trials_without_their_study_cannot_be_shown(tmp_path: Path) -> None:
    cell = replace(CELL, scored="validation")
    Store(tmp_path).write_record(cell, record(cell=cell.to_dict()))
    with pytest.raises(InputError, match=r"No record can be shown.*\n.*1 record of tuning trials"):
        load_records(tmp_path)


def test_many_damaged_records_give_one_note(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cells = [replace(CELL, seed=seed) for seed in range(4)]
    paths = [
        store.write_record(cell, record(f"k{cell.seed}", cell=cell.to_dict())) for cell in cells
    ]
    for path in paths[:3]:
        path.write_text("{}")
    (note,) = texts(load_records(tmp_path))
    assert note.startswith("Left out 3 files that are damaged, or records of another version")


def test_a_failure_in_one_folder_outweighs_a_missing_cell_in_another(tmp_path: Path) -> None:
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        store.write_study(plan(place(CELL, "k" * 16)))
        other = replace(CELL, seed=9)
        store.write_record(other, record("o" * 16, cell=other.to_dict()))
    Store(tmp_path / "one").write_failure(CELL, Failure("k" * 16, "diverged", "nan"))
    for folders in (("one", "two"), ("two", "one")):
        found = load_records(*(tmp_path / name for name in folders))
        assert found.loc[found["seed"] == 3, "status"].tolist() == ["diverged"]


def test_folders_with_different_baselines_give_a_note(tmp_path: Path) -> None:
    for loss in ("adnce", "infonce"):
        cell = replace(CELL, loss=loss)
        store = Store(tmp_path / loss)
        store.write_record(cell, record(loss, cell=cell.to_dict(), source=loss))
        store.write_study(plan(place(cell, loss)) | {"baseline": loss})
    found = load_records(tmp_path / "adnce", tmp_path / "infonce")
    assert "baselines adnce, infonce: adnce is used" in texts(found)[0]


def test_a_failed_cell_is_not_shown_by_an_older_codes_record(tmp_path: Path) -> None:
    """The loss's code changed, and diverges: its old score is no score of the plan."""
    store = Store(tmp_path)
    other = replace(CELL, loss="infonce")
    store.write_record(CELL, record("old"))
    store.write_record(other, record("other", cell=other.to_dict()))
    store.write_study(plan(place(CELL, "new"), place(other, "other")))
    store.write_failure(CELL, Failure("new", "diverged", "Diverged: nan"))
    found = load_records(tmp_path)
    assert found.loc[found["loss"] == CELL.loss, "status"].tolist() == ["diverged"]
    assert any("1 record made with other code, data or settings" in n for n in texts(found))


def test_folders_tuned_with_different_budgets_are_not_mixed(tmp_path: Path) -> None:
    label = "adnce[tuned]"
    for number, high in enumerate((1.0, 0.3)):
        store = Store(tmp_path / str(number))
        trial = replace(CELL, scored="validation", seed=10000, loss=f"adnce(mu={high / 2})")
        final = replace(CELL, loss=trial.loss, seed=number)
        for cell in (trial, final):
            made = record(f"{number}{cell.scored}", cell=cell.to_dict(), source=cell.loss)
            store.write_record(cell, made)
        store.write_study(
            plan(
                place(trial, f"{number}validation", label, trial=0),
                place(final, f"{number}test", label),
                spaces={label: {"mu": {"low": 0.0, "high": high}}},
            )
        )
    found = load_records(tmp_path / "0", tmp_path / "1")
    assert set(found["key"]) == {"0validation", "0test"}
    assert set(found["space"]) == {'{"mu": {"low": 0.0, "high": 1.0}}'}
    assert "was tuned in" in texts(found)[0]


def test_every_folder_must_hold_a_record(tmp_path: Path) -> None:
    Store(tmp_path / "one").write_record(CELL, record())
    with pytest.raises(InputError, match=r"There is no record under .*nowhere"):
        load_records(tmp_path / "one", tmp_path / "nowhere")


def test_an_unreadable_study_gives_a_note(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record(CELL, record())
    store.write_study(plan(place(CELL, "k" * 16)))
    store.study_path.write_text(store.study_path.read_text()[:50])
    assert "study.json cannot be read" in texts(load_records(tmp_path))[0]


def test_a_baseline_without_a_row_gives_a_note(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record(CELL, record())
    store.write_study({"baseline": "infonce", "plan": []})
    assert "baseline infonce has no row" in texts(load_records(tmp_path))[0]


# Records of version 0.1.0


def of_first_release(cell: Cell, method: str = "siamese", **changes: Any) -> dict[str, Any]:
    """Return a record as version 0.1.0 wrote it, with the fields that it had then."""
    untrained = cell.loss == "untrained"
    seen = "" if untrained else f"seen {method} {cell.seed}"
    return {
        "key": f"old-{method}-{cell.loss}-{cell.seed}",
        "cell": {**cell.to_dict(), "method": method},
        "modality": "points",
        "settings": {"task": {"steps": 40}, "loss": {}},
        "scores": {"test": {"accuracy": 60.0 + cell.seed + 2 * (cell.loss == "adnce")}},
        "probed": [], "curve": [], "steps": 0 if untrained else 40, "continued": [],
        "seconds": {"train": 50.0, "evaluate": 10.0, "total": 60.0}, "throughput": 1.0,
        "peak_memory": {}, "digests": {"start": f"start {method} {cell.seed}", "seen": seen},
        "data": {"file": "sum"}, "source": "old code", "frame": f"old frame {method}",
        "versions": {"triptych": "0.1.0"}, "commit": None, "device": "cpu",
        "finished": "2026-01-01", "schema": 3, **changes,
    }  # fmt: skip


def write_first_release(folder: Path, methods: tuple[str, ...] = ("siamese",)) -> None:
    """Write a finished study of version 0.1.0: its records and its plan."""
    (folder / "records").mkdir(parents=True)
    plan = []
    for seed in range(3):
        for loss in ("infonce", "adnce", "untrained"):
            for method in methods:
                held = of_first_release(Cell("blobs", method, loss, seed), method)
                path = (
                    folder / "records" / f"blobs--{method}--{loss}--seed{seed}-{held['key']}.json"
                )
                path.write_text(_signed(json.dumps(held, indent=1)))
                entry = {"label": loss, "trial": None, "modality": "points", "key": held["key"]}
                plan.append({**entry, "cell": held["cell"]})
    about = {"baseline": "infonce", "plan": plan, "earlier": [], "command": "triptych run x"}
    (folder / "study.json").write_text(json.dumps(about))


def test_records_of_the_first_release_are_compared_only_with_each_other(tmp_path: Path) -> None:
    write_first_release(tmp_path, ("siamese", "moco"))
    found = load_records(tmp_path)
    assert set(found["status"]) == {"done"}
    (note,) = texts(found)
    assert note.startswith("18 records were made by Triptych 0.1.0 and are compared only")
    rows = leaderboard(found).rows
    assert rows["seeds"].tolist() == [3] * 6
    # Their frame has the method in it, so that cells of two methods are no pairs.
    own = rows.set_index(["method", "loss"])
    assert own.loc["siamese", "pairs"].tolist() == [3] * 3
    assert own.loc["moco", "pairs"].tolist() == [0] * 3
    assert own.loc[("siamese", "adnce"), "difference"] == 2.0


def test_records_of_the_first_release_are_never_paired_with_todays(tmp_path: Path) -> None:
    write_first_release(tmp_path / "old")
    store = Store(tmp_path / "new")
    cell = Cell("blobs", "siamese", "hcl", 0)
    store.write_record(cell, record("n" * 16, cell=cell.to_dict(), finished="2026-02-01"))
    store.write_study(plan(place(cell, "n" * 16)))
    found = load_records(tmp_path / "old", tmp_path / "new")
    done = found[found["status"] == "done"]
    assert set(done["loss"]) == {"hcl"}, "one version of code on a task with a method"
    assert any("9 records made with other" in note for note in texts(found))


def test_the_status_counts_the_cells_that_an_upgrade_makes_stale(tmp_path: Path) -> None:
    write_first_release(tmp_path)
    store = Store(tmp_path)
    assert status.upgrade(store) == status.Upgrade("0.1.0", 9, 9 * 60.0)
    assert {state.state for state in status.states(store)} == {"to do"}
    told = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert told.exit_code == 0, told.output
    words = "9 of these cells were run by Triptych 0.1.0, in 9:00 of one worker"
    assert words in " ".join(told.output.split())
    shown = CliRunner().invoke(app, ["show", str(tmp_path), "adnce 2"])
    assert "old-siamese-adnce-2" in shown.output, "its record is found under its old name"
    store.write_study({"schema": SCHEMA, "plan": [], "baseline": None})
    assert status.upgrade(store) is None


def test_a_damaged_record_of_the_first_release_is_left_out(tmp_path: Path) -> None:
    write_first_release(tmp_path)
    paths = sorted((tmp_path / "records").iterdir())
    held = of_first_release(Cell("blobs", "siamese", "adnce", 0))
    del held["digests"]
    paths[0].write_text(_signed(json.dumps(held, indent=1)))
    paths[1].write_text("{}")
    assert [record for _, record in Store(tmp_path).scan()].count(None) == 2
