"""What a cell is: its settings, its data by content, its code; and nothing of where things lie."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from harness.core import plugin_files
from harness.core.cells import Cell
from harness.core.content import Content, contents_of, training_data
from harness.core.errors import InputError
from harness.run import attempt
from harness.run.runner import run
from harness.settings import location
from harness.store.identity import Identity, forget, identify, label_of, require_one_content_a_name
from harness.store.records import Store
from harness.store.table import load_records
from harness.study.study import Study

CELL = Cell("blobs", "siamese", "adnce(mu=0.5)", 3)


@pytest.fixture(autouse=True)
def afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRIPTYCH_DATA", "")
    forget()
    yield
    forget()


def pictures(folder: Path, *, shade: int = 0, zipped: bool = False) -> Path:
    """Write 24 pictures of two classes, with splits."""
    draw = np.random.default_rng(shade)
    for split, count in (("train", 9), ("test", 3)):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = draw.integers(0, 255, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    if zipped:
        files = sorted(folder.rglob("*.png"))
        with ZipFile(folder / "all.zip", "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(folder))
                file.unlink()
    return folder


TASK = "images(data='{}', steps=2, batch_size=8, draws=1, labels=2, validation=4)"


def cell(place: object, seed: int = 0) -> Cell:
    return Cell(TASK.format(place), "siamese", "infonce", seed)


# Places are in nothing


def test_no_key_label_or_seed_depends_on_where_data_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = pictures(tmp_path / "home" / "pets")
    scratch = pictures(tmp_path / "scratch" / "pets", zipped=True)
    monkeypatch.chdir(tmp_path / "home")
    cells = [
        cell(place) for place in (home, f"{home}/", scratch, "./pets", "./pets/", "../home/pets")
    ]
    cells.append(Cell(TASK.format("folder").replace("steps", f"root='{home}', steps"), "siamese",
                      "infonce", 0))  # fmt: skip
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "scratch"))
    cells.append(cell("pets"))
    found = [identify(each) for each in cells]
    assert len({identity.key for identity in found}) == 1
    assert {identity.task for identity in found} == {
        "images(data='pets', labels=2, draws=1, validation=4, steps=2, batch_size=8)"
    }
    assert len({identity.randomness.seed("views", 3) for identity in found}) == 1
    names = {Store(tmp_path).record_path(i.cell, i.key).name for i in found}
    assert len(names) == 1


def test_content_is_part_of_the_key_and_its_name_is_not(tmp_path: Path) -> None:
    one, other = pictures(tmp_path / "a" / "pets"), pictures(tmp_path / "b" / "pets", shade=1)
    renamed = pictures(tmp_path / "a" / "beasts")
    first, second, third = (identify(cell(place)) for place in (one, other, renamed))
    assert first.key != second.key
    assert first.key == third.key, "a name is a label"
    assert third.task.startswith("images(data='beasts'")
    assert first.randomness != second.randomness


def test_the_same_data_elsewhere_are_not_run_again(tmp_path: Path) -> None:
    pictures(tmp_path / "home" / "pets")
    pictures(tmp_path / "scratch" / "pets")
    studies = [
        Study("s", tasks=[TASK.format(tmp_path / place / "pets")], losses=["infonce"], seeds=1)
        for place in ("home", "scratch")
    ]
    first, second = (run(study, tmp_path / "runs") for study in studies)
    assert (len(first.done), len(second.done), len(second.skipped)) == (2, 0, 2)
    both = Study("s", tasks=[*studies[0].tasks, *studies[1].tasks], losses=["infonce"], seeds=1)
    third = run(both, tmp_path / "runs")
    assert (third.expected, third.settled) == (2, 2), "two paths to one set are one cell"
    table = load_records(tmp_path / "runs")
    assert table["task"].unique().tolist() == [label_of(studies[0].tasks[0])]
    settings = json.loads(table["task_settings"].iloc[0])
    assert (settings["data"], settings["root"]) == ("pets", "")
    (record, *_) = Store(tmp_path / "runs").records()
    assert str(tmp_path / "home") in record.cell["task"], "the place stands in the record"


def test_evaluation_settings_do_not_change_the_training(tmp_path: Path) -> None:
    place = pictures(tmp_path / "pets")
    records = []
    for setting in ("", "knn=3, "):
        task = TASK.format(place).replace("steps", f"{setting}steps")
        one = Cell(task, "siamese", "infonce", 0)
        records.append(attempt.run_cell(one, identify(one).key, tmp_path / f"{len(records)}"))
    first, second = records
    assert first.key != second.key
    assert first.proof == second.proof
    assert first.curve == second.curve
    assert first.scores["test"]["accuracy"] == second.scores["test"]["accuracy"]
    assert "knn_accuracy" in second.scores["test"]


# What is in it


IDENTITY = Identity(
    CELL, "blobs", "blobs", (Content("data", "file", "sum"),), source="s", frame="f",
    modules=frozenset(),
)  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, cell=replace(CELL, seed=4)),
        replace(IDENTITY, cell=replace(CELL, loss="adnce")),
        replace(IDENTITY, cell=replace(CELL, method="moco")),
        replace(IDENTITY, cell=replace(CELL, scored="validation")),
        replace(IDENTITY, cell=replace(CELL, probes=4)),
        replace(IDENTITY, settings="blobs(noise=1.0)"),
        replace(IDENTITY, contents=(Content("data", "file", "other"),)),
        replace(IDENTITY, contents=(Content("data", "file", "sum", form="csv"),)),
        replace(IDENTITY, contents=(Content("corpus", "file", "sum"),)),
        replace(IDENTITY, source="t"),
    ],
)
def test_the_key_covers_all_that_a_result_depends_on(other: Identity) -> None:
    assert other.key != IDENTITY.key
    assert len(other.key) == 16


def test_the_key_does_not_depend_on_labels_or_paths() -> None:
    moved = replace(CELL, task="blobs(root='elsewhere')")
    named = (Content("data", "another name", "sum"),)
    assert replace(IDENTITY, cell=moved, task="label", contents=named).key == IDENTITY.key


def test_streams_are_keyed_by_name_training_data_and_seed_alone() -> None:
    one = identify(Cell("blobs", "siamese", "infonce", 0)).randomness
    for other in (
        Cell("blobs(noise=1.0, steps=9)", "siamese", "infonce", 0),
        Cell("blobs", "moco(queue=64)", "adnce(mu=0.1)", 0),
        Cell("blobs", "siamese", "untrained", 0),
    ):
        assert identify(other).randomness == one
    assert identify(Cell("blobs", "siamese", "infonce", 1)).randomness != one
    assert identify(Cell("scheduled", "siamese", "infonce", 0)).randomness != one


def test_only_training_data_key_the_streams() -> None:
    corpus = Content("corpus", "a", "1")
    scored = Content("evaluation", "b", "2", trained_on=False)
    assert training_data([corpus, scored]) == training_data([corpus]) == "1"
    assert training_data([]) == ""
    two = [corpus, Content("more", "c", "3")]
    assert training_data(two) == training_data(two[::-1]) != training_data([corpus])


def test_all_methods_share_one_untrained_cell(tmp_path: Path) -> None:
    study = Study("s", tasks=["blobs(steps=2)"], losses=["infonce"], methods=["siamese", "moco"],
                  seeds=1)  # fmt: skip
    assert study.size() == len(study.cells()) == 3
    run(study, tmp_path)
    table = load_records(tmp_path)
    untrained = table[(table["loss"] == "untrained") & (table["split"] == "test")]
    assert sorted(untrained["method"]) == ["moco", "siamese"], "a row for each method's panel"
    assert untrained["key"].nunique() == 1
    cells = [Cell("blobs", method, "untrained", 0) for method in ("siamese", "moco")]
    assert cells[0] == cells[1]
    assert str(cells[0]) == "blobs / untrained / seed 0"


# Bad input


def test_two_data_sets_of_one_name_in_a_run_are_an_error(tmp_path: Path) -> None:
    places = [pictures(tmp_path / "a" / "pets"), pictures(tmp_path / "b" / "pets", shade=1)]
    study = Study("s", tasks=[TASK.format(place) for place in places], losses=["infonce"], seeds=1)
    with pytest.raises(InputError, match=r"`data` must give each name to one .* got 'pets'"):
        run(study, tmp_path / "runs")
    assert not (tmp_path / "runs" / "records").exists(), "nothing was trained"
    same = [identify(cell(places[0])), identify(cell(places[0], seed=1))]
    require_one_content_a_name(same)


def test_data_that_changed_since_the_plan_are_an_error(tmp_path: Path) -> None:
    place = pictures(tmp_path / "pets")
    study = Study("s", tasks=[TASK.format(place)], losses=["infonce"], seeds=1)
    run(study, tmp_path / "runs")
    one, store = study.cells()[0], Store(tmp_path / "runs")
    key = identify(one).key
    (place / "train" / "cat" / "0.png").unlink()
    with pytest.raises(
        InputError, match=r"`data` of images.* must stay as it was .*'pets' had the checksum"
    ):
        attempt.run_cell(one, key, store.folder)


def test_a_folder_named_like_a_known_data_set_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "digits")
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"'digits' is a known data set, and .*'./digits'"):
        identify(cell("digits"))
    monkeypatch.chdir(tmp_path)
    assert "data='digits'" in identify(cell("./digits")).task


@pytest.mark.parametrize(
    ("fetched", "words"),
    [({"a": 1}, "must return texts"), ({1: "a"}, "must return texts"), ("abc", "must return the"),
     (None, "must return the con"), ([("a", "b")], "must return the con")],
)  # fmt: skip
def test_a_fetch_that_returns_other_values_is_an_error(fetched: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        contents_of(fetched, "mine")


def test_locations_without_a_checksum_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from triptych_example import Blobs

    noise = replace(Blobs.settings["noise"], role=location)
    monkeypatch.setattr(Blobs, "settings", {**Blobs.settings, "noise": noise})
    with pytest.raises(InputError, match="`fetch` of blobs must return a checksum of the data at"):
        identify(Cell("blobs", "siamese", "infonce", 0))


def test_the_label_of_missing_data_is_the_last_part_of_the_path(tmp_path: Path) -> None:
    """Where data are missing, the last part of the path is the name."""
    task = f"images(data='{tmp_path}/gone', root='{tmp_path}', steps=2)"
    assert label_of(task) == "images(data='gone', steps=2)"
    assert label_of("images(data='hub:me/pets')") == "images(data='hub:me/pets')"
    assert label_of("blobs(noise=1.0)") == "blobs(noise=1.0)"


def test_a_label_keeps_settings_that_are_not_locations() -> None:
    """The sets to be scored on are contents too, and their setting is written as it is."""
    contents = (
        Content("corpus", "lines.txt", "1"),
        Content("evaluation", "sts-b", "2", trained_on=False),
        Content("evaluation", "sts13", "3", trained_on=False),
        Content("network", "bert", "4", trained_on=False),
    )
    task = "sentences(network='my/bert', corpus='my/lines.txt', evaluation='sts-b+sts13')"
    found = label_of(task, contents)
    assert found == "sentences(network='bert', corpus='lines.txt', evaluation='sts-b+sts13')"


def test_a_default_from_the_environment_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"shifted_{time.monotonic_ns()}.py"
    path.write_text(
        "import os\nfrom triptych_example import Margin\n"
        "class Own(Margin):\n    margin: float = float(os.environ['OWN_MARGIN'])\n"
    )
    keys = []
    for margin in ("0.1", "0.1", "0.3"):
        monkeypatch.setenv("OWN_MARGIN", margin)
        sys.modules.pop(path.stem, None)
        forget()
        keys.append(identify(Cell("blobs(steps=2)", "siamese", f"{path.name}:Own", 0)).key)
    plugin_files._files.pop(path.name)
    assert keys[0] == keys[1] != keys[2]
