"""Labels of a written study, and how they reach the table behind boards."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from runs import Inside
from synthetic import CELL, record

from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run.runner import run
from harness.store.labels import aliases_of, board_tasks, display_names
from harness.store.records import Store
from harness.store.table import load_records, value_named
from harness.study.study import Study
from leaderboards.analysis.tables import RECORD_COLUMNS


def place(spec: str, loss: str, label: str = "", **more: Any) -> dict[str, Any]:
    cell = Cell(spec, "siamese", loss, 0)
    key = sha256(f"{spec} {loss}".encode()).hexdigest()[:16]
    return {
        "label": label or loss, "trial": None, "modality": "points", "key": key,
        "cell": cell.to_dict(), **more,
    }  # fmt: skip


def written(*places: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"baseline": None, "plan": list(places), **more}


def write(folder: Path, *places: dict[str, Any], **more: Any) -> Store:
    """Write a study, and the record of each of its cells."""
    store = Store(folder)
    for each in places:
        cell = Cell(**each["cell"])
        made = record(each["key"], cell=cell.to_dict(), task=each.get("task", cell.task))
        store.write_record(cell, made)
    store.write_study(written(*places, **more))
    return store


# A written study


def test_a_studys_labels_come_before_aliases_and_those_before_plugins_own() -> None:
    study = written(
        place("nodes", "adnce(mu=0.5)"), place("nodes(width=9)", "hcl"),
        names={"nodes": "Nodes", "adnce": "ADNCE", "hcl": "HCL", "accuracy": "acc."},
        aliases={"wide": "nodes(width=9)", "ours": "adnce(mu=0.5)"},
        labels={"adnce(mu=0.5)": "Ours", "hcl": "Hard negatives"},
    )  # fmt: skip
    assert display_names(study) == {
        "nodes": "Nodes", "adnce": "ADNCE", "accuracy": "acc.", "nodes(width=9)": "wide",
        "adnce(mu=0.5)": "Ours", "hcl": "Hard negatives",
    }  # fmt: skip


def test_an_alias_of_a_bare_name_never_names_another_spec_of_the_plugin() -> None:
    more = {"names": {"nodes": "Nodes"}, "aliases": {"cora": "nodes"}}
    alone = written(place("nodes", "hcl"), **more)
    assert display_names(alone) == {"nodes": "cora"}
    beside = written(place("nodes", "hcl"), place("nodes(data='x')", "hcl"), **more)
    assert display_names(beside) == {"nodes": "Nodes"}
    beside["labels"] = {"nodes(data='x')": "X"}
    assert display_names(beside) == {"nodes": "cora", "nodes(data='x')": "X"}


def test_a_label_of_a_path_is_that_of_the_task_on_boards() -> None:
    spec, shown = "images(data='/home/pets')", "images(data='pets')"
    study = written(place(spec, "hcl", task=shown), aliases={"pets": spec})
    assert board_tasks(study) == {spec: shown}
    assert display_names(study) == {spec: "pets", shown: "pets"}
    assert aliases_of(study) == {"pets": shown}


def test_older_studies_have_no_labels() -> None:
    assert display_names({}) == display_names(written(place("nodes", "hcl"))) == {}


def test_labels_of_what_only_an_earlier_run_planned_are_kept(tmp_path: Path) -> None:
    first = [place("blobs", "hcl"), place("nodes(width=9)", "hcl"), place("blobs", "dcl")]
    store = write(
        tmp_path, *first,
        names={"blobs": "Blobs", "nodes": "Nodes", "hcl": "HCL"},
        aliases={"wide": "nodes(width=9)", "b": "blobs"},
        labels={"hcl": "Hard", "dcl": "Decoupled", "nodes": "Graph"},
    )  # fmt: skip
    for _ in range(2):  # The third run finds them in the file of the second.
        store.write_study(written(first[0], names={"hcl": "HCL"}, labels={}, aliases={}))
        study = store.study()
        assert study["labels"] == {"dcl": "Decoupled", "nodes": "Graph"}
        assert study["aliases"] == {"wide": "nodes(width=9)"}
        assert study["names"] == {"blobs": "Blobs", "nodes": "Nodes", "hcl": "HCL"}


@pytest.mark.parametrize("key", ["names", "labels", "aliases"])
@pytest.mark.parametrize("value", [["a"], {"a": 3}, 3, None])
def test_a_damaged_study_is_not_read(tmp_path: Path, key: str, value: object) -> None:
    store = write(tmp_path, place("blobs", "hcl"))
    content = json.loads(store.study_path.read_text()) | {key: value}
    store.study_path.write_text(json.dumps(content))
    assert store.study() == {}


# The table


def test_the_columns_are_those_of_the_boards(tmp_path: Path) -> None:
    write(tmp_path, place("blobs", "hcl"))
    assert tuple(load_records(tmp_path).columns) == RECORD_COLUMNS


def test_a_row_has_the_name_and_the_settings_of_its_loss(tmp_path: Path) -> None:
    places = [
        place("blobs", "adnce(mu=0.5)"),
        place("blobs", "adnce(mu=0.5, sigma=0.3)", "adnce(mu=0.5)[tuned]"),
        place("blobs", "infonce(temperature=0.2)", "control"),
        place("blobs", "untrained"),
        place("blobs", "fixed:oracle"),
    ]
    write(tmp_path, *places)
    table = load_records(tmp_path).drop_duplicates("loss").set_index("loss")
    assert table["loss_name"].to_dict() == {
        "adnce(mu=0.5)": "adnce", "adnce(mu=0.5)[tuned]": "adnce", "control": "control",
        "untrained": "untrained", "fixed:oracle": "fixed:oracle",
    }  # fmt: skip
    given = {loss: json.loads(text) for loss, text in table["loss_given"].items()}
    assert given == {
        "adnce(mu=0.5)": {"mu": 0.5}, "adnce(mu=0.5)[tuned]": {"mu": 0.5}, "control": {},
        "untrained": {}, "fixed:oracle": {},
    }  # fmt: skip


def test_a_missing_row_has_them_too(tmp_path: Path) -> None:
    store = write(tmp_path, place("blobs", "hcl"))
    store.write_study(written(place("blobs", "hcl"), place("blobs", "adnce(mu=0.5)", key="")))
    table = load_records(tmp_path)
    (missing,) = table[table["status"] == "missing"][["loss_name", "loss_given"]].to_numpy()
    assert missing.tolist() == ["adnce", '{"mu": 0.5}']


def test_the_table_tells_labels_aliases_tasks_and_title(tmp_path: Path) -> None:
    """Over two folders, the first one's labels count; tasks stand in the studies' order."""
    write(
        tmp_path / "1", place("nodes", "hcl"), place("blobs", "hcl"),
        name="one", names={"hcl": "HCL"}, aliases={"cora": "nodes"}, labels={"hcl": "Hard"},
    )  # fmt: skip
    write(
        tmp_path / "2", place("graphs", "hcl"), place("blobs", "hcl"),
        name="two", names={"hcl": "HCL", "blobs": "Blobs"}, aliases={"cora": "graphs"},
    )  # fmt: skip
    other = replace(CELL, task="images", loss="hcl")
    Store(tmp_path / "2").write_record(other, record("i" * 16, cell=other.to_dict()))
    attrs = load_records(tmp_path / "1", tmp_path / "2").attrs
    assert attrs["labels"] == {
        "hcl": "Hard", "nodes": "cora", "graphs": "cora", "blobs": "Blobs",
    }  # fmt: skip
    assert attrs["aliases"] == {"cora": "nodes"}
    assert attrs["tasks"] == ["nodes", "blobs", "graphs", "images"]
    assert attrs["title"] == "one + two"
    assert load_records(tmp_path / "1", tmp_path / "1").attrs["title"] == "one"


def test_without_a_plan_there_are_no_labels(tmp_path: Path) -> None:
    Store(tmp_path).write_record(CELL, record())
    attrs = load_records(tmp_path).attrs
    assert (attrs["labels"], attrs["aliases"], attrs["title"]) == ({}, {}, "")
    assert attrs["tasks"] == [CELL.task]


def test_a_margin_of_a_path_reaches_its_task(tmp_path: Path) -> None:
    spec, shown = "images(data='/home/pets')", "images(data='pets')"
    cell = Cell(spec, "siamese", "hcl", 0)
    store = Store(tmp_path)
    store.write_record(cell, record("k" * 16, cell=cell.to_dict(), task=shown))
    planned = place(spec, "hcl", task=shown, key="k" * 16)
    store.write_study(written(planned, margins={spec: 2.5}))
    table = load_records(tmp_path)
    assert set(table.loc[table["main"], "margin"]) == {2.5}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("infonce[tuned]", "infonce[tuned]"),
        ("infonce", "infonce[tuned]"),
        ("InfoNCE", "infonce[tuned]"),
        ("ours", "adnce(mu=0.5)"),
        ("Ours", "adnce(mu=0.5)"),
        ("adnce(mu=.50)", "adnce(mu=0.5)"),
        ("ADNCE", "adnce"),
        ("untrained", "untrained"),
    ],
)
def test_a_row_is_found_by_its_alias_label_or_spec(tmp_path: Path, name: str, row: str) -> None:
    write(
        tmp_path, place("blobs", "infonce(temperature=0.2)", "infonce[tuned]"),
        place("blobs", "adnce"), place("blobs", "adnce(mu=0.5)"), place("blobs", "untrained"),
        names={"infonce": "InfoNCE", "adnce": "ADNCE"}, aliases={"ours": "adnce(mu=0.5)"},
        labels={"adnce(mu=0.5)": "Ours"},
    )  # fmt: skip
    assert value_named(load_records(tmp_path), "loss", name) == row


def test_a_task_is_found_by_its_alias_and_a_wrong_name_is_an_error(tmp_path: Path) -> None:
    write(
        tmp_path, place("nodes", "hcl"), place("nodes(width=9)", "dcl"),
        aliases={"wide": "nodes(width=9)"}, labels={"hcl": "Same", "dcl": "Same"},
    )  # fmt: skip
    table = load_records(tmp_path)
    assert value_named(table, "task", "wide") == "nodes(width=9)"
    assert value_named(table, "task", "nodes") == "nodes"
    with pytest.raises(InputError, match=r"There is no task 'wode'\. Did you mean 'wide'"):
        value_named(table, "task", "wode")
    with pytest.raises(InputError, match="There is no row 'infonec'"):
        value_named(table, "loss", "infonec")
    with pytest.raises(InputError, match="'Same' is the label of several rows: "):
        value_named(table, "loss", "Same")


def test_a_run_writes_labels_and_keeps_its_cells(tmp_path: Path) -> None:
    """Another label or alias runs nothing again, and the board knows it."""
    plain = Study("s", tasks=["blobs(steps=2)"], losses=["infonce", "adnce(mu=0.5)"], seeds=1)
    run(plain, tmp_path, engine=Inside())
    named = Study(
        "s",
        tasks={"points": {"use": "blobs", "steps": 2}},
        losses={"infonce": {}, "ours": {"use": "adnce(mu=0.5)"}},
        seeds=1,
        labels={"infonce": "NT-Xent", "accuracy": "acc."},
    )
    summary = run(named, tmp_path, engine=Inside())
    assert (len(summary.done), len(summary.skipped)) == (0, 3)
    table = load_records(tmp_path)
    assert table.attrs["labels"] == {
        "adnce": "ADNCE", "siamese": "Siamese", "blobs(steps=2)": "points",
        "adnce(mu=0.5)": "ours", "infonce": "NT-Xent", "accuracy": "acc.",
    }  # fmt: skip
    assert set(table["task"]) == {"blobs(steps=2)"}
