"""Folders that `datasets` has saved: exactly the files that are read are listed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from adapters.data.saved_sets import is_saved, open_saved, saved_files
from harness.core.errors import InputError

TABLE = {"state.json", "dataset_info.json"}


def one_table(place: Path) -> Path:
    """Save a table of six rows in two files."""
    datasets.Dataset.from_dict({"text": list("abcdef")}).save_to_disk(str(place), num_shards=2)
    return place


def splits(place: Path) -> Path:
    tables = {s: datasets.Dataset.from_dict({"text": list(s)}) for s in ("train", "test")}
    datasets.DatasetDict(tables).save_to_disk(str(place))
    return place


def rewrite(file: Path, key: str, value: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


def names_as_data(place: Path, name: str) -> None:
    rewrite(one_table(place) / "state.json", "_data_files", [{"filename": name}])


def test_the_files_that_are_read_are_listed_and_no_others(tmp_path: Path) -> None:
    table, both = one_table(tmp_path / "one"), splits(tmp_path / "two")
    for stray in (table / "cache-1.arrow", both / "train/cache-1.arrow", both / "README.md"):
        stray.write_bytes(b"stray")
    shutil.copytree(both / "test", both / "old")
    shards = {f"data-0000{i}-of-00002.arrow" for i in range(2)}
    assert saved_files(table).keys() == TABLE | shards
    own = TABLE | {"data-00000-of-00001.arrow"}
    listed = {f"{split}/{name}" for split in ("train", "test") for name in own}
    assert saved_files(both).keys() == {"dataset_dict.json"} | listed
    assert all(file == both / name for name, file in saved_files(both).items())
    for place in (table, both):  # All that is not listed can go.
        for file in set(place.rglob("*")) - set(saved_files(place).values()):
            if file.is_file():
                file.unlink()
    assert list(open_saved(table)[""]["text"]) == list("abcdef")
    assert {s: list(t["text"]) for s, t in open_saved(both).items()} == {
        "train": list("train"), "test": list("test"),
    }  # fmt: skip


def test_linked_files_are_read(tmp_path: Path) -> None:
    place = one_table(tmp_path / "one")
    for file in list(place.iterdir()):
        file.rename(tmp_path / file.name)
        file.symlink_to(tmp_path / file.name)
    assert is_saved(place) and len(saved_files(place)) == 4
    assert list(open_saved(place)[""]["text"]) == list("abcdef")


def test_the_format_that_a_set_was_saved_with_does_not_count(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"a": [1, 2], "b": ["x", "y"]})
    table.with_format("numpy", columns=["a"]).save_to_disk(str(tmp_path / "one"))
    row = open_saved(tmp_path / "one")[""][0]
    assert row == {"a": 1, "b": "x"} and type(row["a"]) is int


def test_other_folders_are_not_taken_for_saved_ones(tmp_path: Path) -> None:
    """`download_and_prepare` writes dataset_info.json beside its own files."""
    assert not is_saved(tmp_path) and not is_saved(tmp_path / "none")
    (tmp_path / "dataset_info.json").write_text("{}")
    assert not is_saved(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    assert is_saved(tmp_path)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../x.arrow", "a/../../x.arrow", "..", ".", "hf://a/b", "..\\x", ""]
)
def test_names_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    shutil.copytree(one_table(tmp_path / "other"), tmp_path / "here/copy")
    (tmp_path / "other/data-00000-of-00002.arrow").rename(tmp_path / "x.arrow")
    names_as_data(tmp_path / "one", name)
    rewrite(splits(tmp_path / "two") / "dataset_dict.json", "splits", ["train", name])
    for place in (tmp_path / "one", tmp_path / "two"):
        for function in (saved_files, open_saved):
            with pytest.raises(InputError, match=r"must name what lies beside it: got .*Save the"):
                function(place)


FAULTS: dict[str, Callable[[Path], object]] = {
    "a data file is gone": lambda place: (one_table(place) / "data-00001-of-00002.arrow").unlink(),
    "no data file": lambda place: rewrite(one_table(place) / "state.json", "_data_files", []),
    "no list": lambda place: rewrite(one_table(place) / "state.json", "_data_files", None),
    "other entries": lambda place: rewrite(one_table(place) / "state.json", "_data_files", [1]),
    "no json": lambda place: (one_table(place) / "state.json").write_bytes(b"\xff{"),
    "no object": lambda place: (one_table(place) / "state.json").write_text("[]"),
    "a split is gone": lambda place: shutil.rmtree(splits(place) / "test"),
    "a split's state is gone": lambda place: (splits(place) / "test/state.json").unlink(),
    "a split's info is gone": lambda place: (splits(place) / "test/dataset_info.json").unlink(),
    "no splits": lambda place: rewrite(splits(place) / "dataset_dict.json", "splits", []),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_whole_is_refused(tmp_path: Path, fault: str) -> None:
    FAULTS[fault](tmp_path / "one")
    for function in (saved_files, open_saved):
        with pytest.raises(InputError, match=r"must be a folder that `datasets` has saved: .*Copy"):
            function(tmp_path / "one")


def test_a_data_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    file = one_table(tmp_path / "one") / "data-00001-of-00002.arrow"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match=r"must be a folder that `datasets` has saved: .*Copy"):
        open_saved(tmp_path / "one")
