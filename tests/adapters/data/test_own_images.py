"""Images of one's own, in every layout: the same images, the same classes, and faults by name."""

import contextlib
import functools
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from adapters.data import image_data, image_layouts, own_images
from harness import data
from harness.core.errors import InputError
from tasks.images.images import Images

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("TRIPTYCH_CACHE", str(folder))
    monkeypatch.setenv("TRIPTYCH_DATA", "")
    return folder


def picture(number: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)


@functools.cache
def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(number)).save(file, "png")
    return file.getvalue()


def rows() -> list[tuple[str, str, str, bytes]]:
    """Return (split, class, file name, content) of 5 training and 2 test images a class."""
    found = []
    for c, label in enumerate(CLASSES):
        for i in range(7):
            split = "train" if i < 5 else "test"
            found.append((split, label, f"{i:02}.png", png(100 * c + i)))
    return sorted(found, key=lambda row: (row[0] != "train", row[1], row[2]))


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def folders(place: Path) -> Path:
    for split, label, name, content in rows():
        put(place / split / label / name, content)
    return place


def other_names(place: Path) -> Path:
    for split, label, name, content in rows():
        put(place / {"train": "Training", "test": "VAL"}[split] / label / name, content)
    return place


def a_folder_deeper(place: Path) -> Path:
    return folders(place / "photos" / "all").parent.parent


def nested(place: Path) -> Path:
    for split, label, name, content in rows():
        put(place / split / label / ("a" if name < "03" else "b") / name, content)
    return place


def one_zip(place: Path) -> Path:
    folders(place / "made" / "pets")
    return Path(shutil.make_archive(str(place), "zip", place / "made"))


def zips(place: Path) -> Path:
    folders(place / "made")
    (place / "zips").mkdir()
    for split in ("train", "test"):
        shutil.make_archive(str(place / "zips" / f"my-{split}"), "zip", place / "made", split)
    return place / "zips"


def metadata(place: Path, name: str = "metadata.csv") -> Path:
    listed: list[dict[str, str]] = []
    for number, (split, label, _, content) in enumerate(rows()):
        put(place / "all" / f"{number:03}.png", content)
        listed.append({"file_name": f"all/{number:03}.png", "label": label, "split": split})
    if name.endswith(".csv"):
        pd.DataFrame(listed).to_csv(place / name, index=False)
    else:
        (place / name).write_text("".join(json.dumps(row) + "\n" for row in listed))
    return place


def metadata_lines(place: Path) -> Path:
    return metadata(place, "metadata.jsonl")


def parquet(place: Path) -> Path:
    place.mkdir()
    for split in ("train", "test"):
        table = [
            {"image": {"bytes": content, "path": name}, "label": CLASSES.index(label)}
            for own, label, name, content in rows()
            if own == split
        ]
        pd.DataFrame(table).to_parquet(place / f"{split}-00000-of-00001.parquet")
    return place


def parquet_of_bytes(place: Path) -> Path:
    place.mkdir()
    for split in ("train", "test"):
        own = [row for row in rows() if row[0] == split]
        table = {"img": [row[3] for row in own], "class": [row[1] for row in own]}
        pd.DataFrame(table).to_parquet(place / f"{split}.parquet")
    return place


def saved(place: Path) -> Path:
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    tables = {}
    for split in ("train", "test"):
        own = [row for row in rows() if row[0] == split]
        cells = {
            "image": [{"bytes": r[3], "path": None} for r in own],
            "label": [r[1] for r in own],
        }
        tables[split] = datasets.Dataset.from_dict(cells, features=features)
    datasets.DatasetDict(tables).save_to_disk(str(place))
    return place


def med(place: Path) -> Path:
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        own = [row for row in rows() if row[0] == split]
        images = [np.asarray(Image.open(io.BytesIO(row[3]))) for row in own]
        arrays[f"{split}_images"] = np.stack(images)
        arrays[f"{split}_labels"] = np.array([[CLASSES.index(row[1])] for row in own])
    np.savez(place.with_suffix(".npz"), **arrays)
    return place.with_suffix(".npz")


LAYOUTS: list[Callable[[Path], Path]] = [
    folders, other_names, a_folder_deeper, nested, one_zip, zips, metadata, metadata_lines, parquet,
    parquet_of_bytes, saved, med,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_images_are_read_in_every_layout(
    tmp_path: Path, layout: Callable[[Path], Path]
) -> None:
    place = layout(tmp_path / "here")
    found = image_data.load(str(place), "", 0)
    wanted = [np.asarray(Image.open(io.BytesIO(row[3]))) for row in rows()]
    np.testing.assert_array_equal(found.images, np.moveaxis(np.stack(wanted), -1, 1))
    assert found.labels.tolist() == [CLASSES.index(row[1]) for row in rows()]
    assert (len(found.train), len(found.test)) == (10, 4)
    assert image_data.prepare(str(place), "", 0)[0].note == ""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_junk_and_hidden_files_are_neither_read_nor_hashed(
    tmp_path: Path, layout: Callable[[Path], Path]
) -> None:
    place = layout(tmp_path / "here")
    before = image_data.prepare(str(place), "", 0)
    if place.is_dir() and layout is not saved:
        put(place / ".ipynb_checkpoints" / "train" / "owl" / "1.png", png(1))
        put(place / "train" / ".ipynb_checkpoints" / "1.png", png(2))
        put(place / "__MACOSX" / "train" / "cat" / "._1.png", b"junk")
        put(place / "README.md", b"about")
    assert image_data.prepare(str(place), "", 0) == before


def test_a_set_without_splits_gets_a_drawn_one_and_says_so(tmp_path: Path) -> None:
    for c, label in enumerate(CLASSES):
        for i in range(10):
            put(tmp_path / "here" / label / f"{i}.png", png(100 * c + i))
    first, second = (image_data.load(str(tmp_path / "here"), "", 0) for _ in range(2))
    assert (len(first.train), len(first.test)) == (16, 4)
    assert np.bincount(first.labels[first.test]).tolist() == [2, 2]
    assert first.test.tolist() == second.test.tolist()
    (content,) = image_data.prepare(str(tmp_path / "here"), "", 0)
    assert content.note == "a test split was drawn: a fifth of each class"


def test_what_is_not_used_is_counted(tmp_path: Path) -> None:
    folders(tmp_path / "here")
    put(tmp_path / "here" / "val" / "cat" / "1.png", png(1))
    put(tmp_path / "here" / "extra" / "cat" / "1.png", png(2))
    (content,) = image_data.prepare(str(tmp_path / "here"), "", 0)
    assert content.note == ("not used: 1 images of validation, 1 images outside of the splits")


def zipped(archive: Path, place: Path) -> Path:
    """Pack all files of a folder into a zip, with names relative to it; remove the folder."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(archive, "w") as packed:
        for file in sorted(place.rglob("*.png")):
            packed.write(file, file.relative_to(place))
    shutil.rmtree(place)
    return archive


def rename(name: str, to: str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        for old, new in ((name.format(s), to.format(s)) for s in ("train", "test")):
            (place / new).parent.mkdir(parents=True, exist_ok=True)
            (place / old).rename(place / new)
        return place

    return make


def zips_by_name(name: str, inside: str = "") -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        folders(place)
        for split in ("train", "test"):
            made = place / "made"
            (made / inside).parent.mkdir(parents=True, exist_ok=True)
            (place / split).rename(made / inside.format(split) if inside else made)
            zipped(place / name.format(split), made)
        return place

    return make


def folders_by_name(name: str) -> Callable[[Path], Path]:
    return lambda place: rename("{}", name)(folders(place))


def parquet_by_name(name: str) -> Callable[[Path], Path]:
    return lambda place: rename("{}-00000-of-00001.parquet", name)(parquet(place))


def parquet_with_splits(place: Path) -> Path:
    place.mkdir()
    table = {
        "image": [row[3] for row in rows()],
        "label": [row[1] for row in rows()],
        "split": [row[0] for row in rows()],
    }
    pd.DataFrame(table).to_parquet(place / "train_and_test.parquet")
    return place


def table_of_folders(where: str, split: str = "{}") -> Callable[[Path], Path]:
    """Write a table without splits, whose images lie in the folders of splits."""

    def make(place: Path) -> Path:
        listed = []
        for own, label, name, content in rows():
            image = put(place / split.format(own) / f"{label}{name}", content)
            listed.append((own, os.path.relpath(image, place / where.format(own)), label))
        for own in ("train", "test"):
            table = [row[1:] for row in listed if row[0] == own or "{}" not in where]
            frame = pd.DataFrame(table, columns=["file_name", "label"])
            frame.to_csv(place / where.format(own) / "metadata.csv", index=False)
        return place

    return make


def column_before_folder(place: Path) -> Path:
    """Write a table whose column `split` says another split than the images' folder."""
    metadata(place)
    (place / "all").rename(place / "train")
    table = (place / "metadata.csv").read_text()
    (place / "metadata.csv").write_text(table.replace("all/", "train/"))
    return place


SAID = {
    "zips, classes at their top": zips_by_name("{}.zip"),
    "zips, one of capitals": zips_by_name("{}.ZIP"),
    "zips, the split among other words": zips_by_name("pets_{}-2024.zip"),
    "zips, their own folder inside": zips_by_name("pets-{}.zip", "pets-{}"),
    "zips, one folder inside all": zips_by_name("pets-{}.zip", "pets"),
    "zips, the split inside": zips_by_name("{}.zip", "{}"),
    "zips, the split further inside": zips_by_name("{}.zip", "pets/{}"),
    "folders, the split among other words": folders_by_name("ILSVRC2012_img_{}"),
    "folders, words in one": folders_by_name("{}Set"),
    "folders, with numbers": folders_by_name("{}2017"),
    "folders below another": folders_by_name("pets/my-{}"),
    "parquet, plain": parquet_by_name("{}.parquet"),
    "parquet, last": parquet_by_name("pets_{}.parquet"),
    "parquet, in between": parquet_by_name("my.pets-{}-0000.parquet"),
    "parquet, numbered": parquet_by_name("{}-00000-of-00002.parquet"),
    "parquet, in folders": parquet_by_name("data/{}/0000.parquet"),
    "parquet, in folders of several words": parquet_by_name("partial-{}/0000.parquet"),
    "parquet, in folders of keys": parquet_by_name("split={}/0000.parquet"),
    "parquet, a column": parquet_with_splits,
    "table above": table_of_folders("."),
    "table above, deeper folders": table_of_folders(".", "images/{}/all"),
    "table above, other words": table_of_folders(".", "pets_{}"),
    "tables in both": table_of_folders("{}"),
    "table, its column first": column_before_folder,
}  # fmt: skip


@pytest.mark.parametrize("layout", SAID)
def test_the_split_that_a_name_says_is_used(tmp_path: Path, layout: str) -> None:
    place = SAID[layout](tmp_path / "here")
    found = image_data.load(str(place), "", 0)
    assert (len(found.train), len(found.test)) == (10, 4)
    for numbers, split in ((found.train, "train"), (found.test, "test")):
        wanted = [row for row in rows() if row[0] == split]
        for number, (_, label, _, content) in zip(numbers, wanted, strict=True):
            image = np.asarray(Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(found.images[number], np.moveaxis(image, -1, 0))
            assert found.labels[number] == CLASSES.index(label)
    assert image_data.prepare(str(place), "", 0)[0].note == ""


def test_zips_of_one_class_each_are_classes_and_others_are_read_as_one(tmp_path: Path) -> None:
    wanted = []
    for c, label in enumerate(CLASSES):
        for i in range(5):
            for form in ("flat", "packed", "parts"):
                folder = {"flat": "", "packed": label, "parts": f"p{i % 2}/{label}"}[form]
                put(tmp_path / form / label / folder / f"{i}.png", png(100 * c + i))
            wanted.append(picture(100 * c + i))
    for form in ("flat", "packed"):
        for label in CLASSES:
            zipped(tmp_path / form / f"{label}.zip", tmp_path / form / label)
    for i in (0, 1):
        for label in CLASSES:
            (tmp_path / f"parts/made/{label}").mkdir(parents=True)
            for file in sorted((tmp_path / f"parts/{label}/p{i}").rglob("*.png")):
                file.rename(tmp_path / f"parts/made/{label}/{file.name}")
        zipped(tmp_path / f"parts/pets-{i}.zip", tmp_path / "parts/made")
    for form in ("flat", "packed", "parts"):
        found = image_data.load(str(tmp_path / form), "", 0)
        assert np.bincount(found.labels).tolist() == [5, 5]
        assert len(found.test) == 2
        assert {image.tobytes() for image in np.moveaxis(found.images, 1, -1)} == {
            image.tobytes() for image in wanted
        }, form


def test_the_name_of_the_place_itself_says_no_split(tmp_path: Path) -> None:
    """The user has named it, so that there is nothing to mix it with."""
    for c, label in enumerate(CLASSES):
        for i in range(5):
            put(tmp_path / "made" / label / f"{i}.png", png(100 * c + i))
    table = {"image": [png(i) for i in range(10)], "label": [i % 2 for i in range(10)]}
    pd.DataFrame(table).to_parquet(tmp_path / "my_test.parquet")
    archive = zipped(tmp_path / "train_val.zip", tmp_path / "made")
    for place in (archive, tmp_path / "my_test.parquet"):
        (content,) = image_data.prepare(str(place), "", 0)
        assert content.note == image_data.DRAWN


def labelled_folders(place: Path, count: int = 5) -> Path:
    for c, label in enumerate(CLASSES):
        for i in range(count):
            put(place / label / f"{i}.png", png(100 * c + i))
    return place


STRAYS = {
    "other columns": "id,breed\n1,cat\n",
    "no names of files": "image,label\n0001,cat\n",
    "names of classes": "class,file\ncat,0\n",
    "a heading": "file_name,label\n",
    "empty": "",
}


@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv", "cat/labels.csv"])
@pytest.mark.parametrize("stray", STRAYS)
def test_a_table_of_something_else_beside_class_folders_is_left_out_and_said(
    tmp_path: Path, stray: str, name: str
) -> None:
    place = folders(tmp_path / "here")
    (before,) = image_data.prepare(str(place), "", 0)
    put(place / name, STRAYS[stray].encode())
    (content,) = image_data.prepare(str(place), "", 0)
    assert content.checksum == before.checksum
    assert content.note == f"not used: {name}, which is no table of images"


def other_classes(place: Path, separator: str = ",") -> str:
    """Write class folders; return a table that has three other classes of the same images."""
    labelled_folders(place, 9)
    rows = [f"{c}/{i}.png{separator}{i % 3}" for c in CLASSES for i in range(9)]
    return "\n".join([f"file_name{separator}label", *rows, ""])


TABLES_OF_OTHERS: dict[str, Callable[[Path], bytes]] = {
    "semicolons": lambda place: other_classes(place, ";").encode(),
    "tabs": lambda place: other_classes(place, "\t").encode(),
    "bars": lambda place: other_classes(place, "|").encode(),
    "UTF-16": lambda place: other_classes(place).encode("utf-16"),
    "UTF-16 with tabs": lambda place: other_classes(place, "\t").encode("utf-16"),
    "Latin 1": lambda place: (other_classes(place) + "cat/\xe4.png,1\n").encode("latin-1"),
    "ragged": lambda place: (other_classes(place) + "cat/9.png\n").encode(),
    "a mark of UTF-8": lambda place: other_classes(place).encode("utf-8-sig"),
    "CRLF": lambda place: other_classes(place).replace("\n", "\r\n").encode(),
    "capitals": lambda place: other_classes(place).replace("file_name", " File_Name").encode(),
}


@pytest.mark.parametrize("name", ["metadata.csv", "labels.csv", "METADATA.CSV", "metadata.tsv",
                                  "labels.tsv", "metadata.jsonl", "metadata.csv.gz",
                                  "metadata.xlsx"])  # fmt: skip
@pytest.mark.parametrize("kind", TABLES_OF_OTHERS)
def test_a_table_of_images_is_read_or_refused_and_folders_never_stand_in_for_it(
    tmp_path: Path, kind: str, name: str
) -> None:
    place = tmp_path / "here"
    content = TABLES_OF_OTHERS[kind](place)
    put(place / name, gzip.compress(content) if name.endswith(".gz") else content)
    labels: Any = None
    with contextlib.suppress(InputError):
        labels = own_images.find(place).read()["train"].labels
    assert labels is None or set(labels) == {0, 1, 2}


@pytest.mark.parametrize("kind", ["semicolons", "tabs", "bars", "Latin 1", "ragged"])
@pytest.mark.parametrize("name", ["metadata.csv", "labels.csv"])
def test_a_table_that_cannot_be_read_is_named_beside_class_folders(
    tmp_path: Path, kind: str, name: str
) -> None:
    put(tmp_path / "here" / name, TABLES_OF_OTHERS[kind](tmp_path / "here"))
    with pytest.raises(InputError, match=name):
        own_images.find(tmp_path / "here")


@pytest.mark.parametrize("table", ["metadata.csv", "labels.csv", "metadata.jsonl", "Metadata.TSV",
                                   "train.parquet", "a.PARQUET"])  # fmt: skip
@pytest.mark.parametrize("folder", ["", "cat/", "pets/", "pets\\"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_table_in_a_zip_is_refused(tmp_path: Path, table: str, folder: str, alone: bool) -> None:
    other_classes(tmp_path / "made")
    place = zipped(tmp_path / "here" / "pets.zip", tmp_path / "made")
    with ZipFile(place, "a") as archive:
        info = ZipInfo("x")
        info.filename = folder + table
        archive.writestr(info, b"file_name,label\n0.png,x\n")
    with pytest.raises(InputError, match=r"must lie in a folder: .* is in .*pets.zip.* Unpack the"):
        own_images.find(place if alone else place.parent)


def test_a_stray_table_beside_a_good_one_is_said(tmp_path: Path) -> None:
    place = metadata(tmp_path / "here")
    put(place / "labels.csv", b"id,breed\n0,cat\n")
    (content,) = image_data.prepare(str(place), "", 0)
    assert content.note == "not used: labels.csv, which is no table of images"


def test_images_that_nothing_reads_are_counted(tmp_path: Path) -> None:
    for layout, said in (
        (metadata, "2 images that no table names"),
        (parquet, "2 images beside the Parquet files"),
        (saved, "2 images beside the saved set"),
        (one_zip, ""),
        (folders, "2 images outside of the splits"),
    ):
        place = layout(tmp_path / layout.__name__)
        if place.is_file():
            with ZipFile(place, "a") as archive:
                for i in (0, 1):
                    archive.writestr(f"pets/extra/cat/{i}.png", png(i))
            said = "2 images outside of the splits"
        else:
            for i in (0, 1):
                put(place / "extra" / "cat" / f"{i}.png", png(i))
        assert image_data.prepare(str(place), "", 0)[0].note == f"not used: {said}"


def test_a_zip_beside_images_is_said(tmp_path: Path) -> None:
    place = folders(tmp_path / "here")
    put(place / "train.zip", b"not opened")
    (content,) = image_data.prepare(str(place), "", 0)
    assert content.note == "not used: train.zip"


def test_names_inside_zips_of_other_systems(tmp_path: Path) -> None:
    for number, change in enumerate(("./{}", "a//{}", "{}")):
        archive = tmp_path / f"{number}.zip"
        with ZipFile(archive, "w") as packed:
            for split, label, name, content in rows():
                info = ZipInfo("x")
                info.filename = change.format(f"{split}/{label}/{name}")
                if change == "{}":
                    info.filename = info.filename.replace("/", "\\")
                packed.writestr(info, content)
        found = image_data.load(str(archive), "", 0)
        assert (len(found.train), len(found.test)) == (10, 4)


LABELS: dict[str, tuple[list[Any], list[int]]] = {
    "whole": ([3, 5, 5, 3], [0, 1, 1, 0]),
    "whole, as floats": ([0.0, 1.0, 1.0, 10.0], [0, 1, 1, 2]),
    "words": (["b", "a", "a", "b"], [1, 0, 0, 1]),
    "truths": ([True, False, False, True], [1, 0, 0, 1]),
    "categories": (pd.Categorical(["b", "a", "a", "b"]), [1, 0, 0, 1]),  # type: ignore[dict-item]
}


def parquet_of_labels(place: Path, labels: Any, split: str = "train") -> Path:
    place.mkdir(exist_ok=True)
    images = [png(i) for i in range(len(labels))]
    pd.DataFrame({"image": images, "label": labels}).to_parquet(place / f"{split}.parquet")
    return place


def saved_labels(place: Path, labels: Any, split: str = "train") -> Path:
    import datasets

    cells = {"image": [{"bytes": png(i), "path": None} for i in range(len(labels))],
             "label": [None if pd.isna(one) else one for one in labels]}  # fmt: skip
    table = datasets.Dataset.from_dict(cells)
    table.save_to_disk(str(place / split))
    splits = [path.name for path in place.iterdir() if path.is_dir()]
    (place / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    return place


BOTH_FORMS = pytest.mark.parametrize("form", [parquet_of_labels, saved_labels])


@pytest.mark.parametrize("kind", LABELS)
@BOTH_FORMS
def test_classes_are_numbered_in_their_order(tmp_path: Path, form: Any, kind: str) -> None:
    labels, wanted = LABELS[kind]
    labels = labels if form is parquet_of_labels else list(labels)
    for split in ("train", "test"):
        form(tmp_path / "here", labels, split)
    found = image_data.load(str(tmp_path / "here"), "", 0)
    assert found.labels.tolist() == wanted * 2
    assert found.classes == len(set(wanted))


NULLS = {
    "None": ["a", None, "b", None],
    "NaN": [0.0, float("nan"), 1.0, float("nan")],
    "Int64": pd.array([0, None, 1, None], dtype="Int64"),
    "string": pd.array(["a", None, "b", None], dtype="string"),
    "empty words": ["a", "", "b", ""],
    "-1": [0, -1, 1, -1],
}


@pytest.mark.parametrize("kind", NULLS)
@BOTH_FORMS
def test_some_images_without_a_class_are_refused(tmp_path: Path, form: Any, kind: str) -> None:
    form(tmp_path / "here", NULLS[kind])
    message = r"All images of train in .* 2 of 4 have none, the first in row 2 of .*train"
    with pytest.raises(InputError, match=message):
        image_data.prepare(str(tmp_path / "here"), "", 0)


@pytest.mark.parametrize("null", [None, -1])
@BOTH_FORMS
def test_a_split_without_classes_is_not_used(tmp_path: Path, form: Any, null: Any) -> None:
    labels = pd.array([0, 1] * 5, dtype="Int64")
    form(tmp_path / "here", labels)
    form(tmp_path / "here", pd.array([null] * 4, dtype="Int64"), "test")
    (content,) = image_data.prepare(str(tmp_path / "here"), "", 0)
    assert content.note == f"not used: 4 images of test; {image_data.DRAWN}"
    found = image_data.load(str(tmp_path / "here"), "", 0)
    assert found.labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize("labels", [[0.5, 1.0], [float("inf"), 1.0], [[0], [1]], [b"a", b"b"]])
@BOTH_FORMS
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, form: Any, labels: Any) -> None:
    place = tmp_path / "here"
    if form is saved_labels and isinstance(labels[0], list):
        pytest.skip("as Parquet")
    form(place, labels)
    with pytest.raises(InputError, match=r"must be a whole number or a word: row 1 of|one column"):
        image_data.prepare(str(place), "", 0)


def test_other_splits_of_a_saved_set_are_counted(tmp_path: Path) -> None:
    for split in ("train", "test", "test_clean", "extra"):
        saved_labels(tmp_path / "here", [0, 1], split)
    (content,) = image_data.prepare(str(tmp_path / "here"), "", 0)
    assert content.note == "not used: 2 images of extra, 2 images of test_clean"


def test_what_of_a_saved_set_is_not_read_is_not_hashed(tmp_path: Path) -> None:
    place = saved(tmp_path / "here")
    before = image_data.prepare(str(place), "", 0)
    put(place / "train" / "cache-0123.arrow", b"of another day")
    put(place / "old" / "state.json", b"{}")
    assert image_data.prepare(str(place), "", 0) == before
    state = place / "train" / "state.json"
    (place / "train/data-00000-of-00001.arrow").rename(tmp_path / "data.arrow")
    state.write_text(state.read_text().replace("data-00000-of-00001", "../../data"))
    with pytest.raises(InputError, match=r"state.json must name what lies beside it: got '../../d"):
        image_data.prepare(str(place), "", 0)


def broken_table(text: str) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        metadata(place)
        (place / "metadata.csv").write_text(text)

    return write


def only_paths(place: Path) -> None:
    place.mkdir()
    table = [{"image": {"bytes": None, "path": "/etc/hostname"}, "label": i} for i in (0, 1)]
    pd.DataFrame(table).to_parquet(place / "train.parquet")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "class in test alone": (
        lambda place: put(folders(place) / "test/owl/1.png", png(1)),
        r"must have images in train: owl is in test alone, in .*here. Add training images",
    ),
    "no class folder": (
        lambda place: put(folders(place) / "train/1.png", png(1)),
        r"must lie in the folder of its class: train/1.png does not. Move it into",
    ),
    "one class": (
        lambda place: shutil.rmtree(folders(place) / "train/dog"), r"Each class must|two classes",
    ),
    "no images": (lambda place: put(place / "notes.txt", b"x"), r"must hold images .*: got none"),
    "few to draw from": (
        lambda place: [put(place / c / f"{i}.png", png(i)) for c in CLASSES for i in range(3)],
        r"must have 5 images or more for a test split to be drawn: cat has 3",
    ),
    "16 bits": (
        lambda place: Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(
            folders(place) / "train/cat/00.png"
        ),
        r"train/cat/00.png is not a readable image: it has more than 8 bits .*'I;16'",
    ),
    "no image": (
        lambda place: put(folders(place) / "train/cat/00.png", b"text"),
        r"train/cat/00.png is not a readable image: cannot identify image file",
    ),
    "cut image": (
        lambda place: put(folders(place) / "train/cat/00.png", png(0)[:-60]),
        r"train/cat/00.png is not a readable image",
    ),
    "outside": (
        broken_table("file_name,label\n../../secret.png,cat\n"),
        r"line 2 of .*metadata.csv must name an image inside of .*: got '../../secret.png'",
    ),
    "absolute": (
        broken_table("file_name,label\n/etc/secret.png,cat\n"),
        r"inside of .*got '/etc/secret.png'",
    ),
    "http": (
        broken_table("file_name,label\nhttp://x.org/a.png,cat\n"), r"got 'http://x.org/a.png'",
    ),
    "missing": (
        broken_table("file_name,label\nall/000.png,cat\nall/999.png,cat\n"),
        r"line 3 of .*got 'all/999.png'. Copy the image there",
    ),
    "no label": (
        broken_table("file_name,label\nall/000.png,\n"), r"to train on: got train without classes",
    ),
    "no label in one row": (
        broken_table("file_name,label\nall/000.png,\nall/001.png,cat\n"),
        r"train in .* must have a class, or none: 1 of 2 have none, the first in line 2 of .*csv",
    ),
    "no column": (broken_table("name,label\na,b\n"), r"columns file_name and label: got"),
    "odd split": (
        broken_table("file_name,label,split\nall/000.png,cat,later\n"), r"line 2 of .*has 'later'",
    ),
    "paths in parquet": (only_paths, r"row 1 only names '/etc/hostname', which is not read"),
    "no parquet": (lambda place: put(place / "train.parquet", b"PAR1"), r"not a valid Parquet"),
    "no npz": (lambda p: np.savez(p.parent / "here.npz", a=[1]), r"must hold train_images"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_file_before_training(tmp_path: Path, fault: str) -> None:
    make, message = FAULTS[fault]
    make(tmp_path / "here")
    place = next(path for path in (tmp_path / "here", tmp_path / "here.npz") if path.exists())
    with pytest.raises(InputError, match=message):
        image_data.prepare(str(place), "", 0)


def two_parquets(*names: str) -> Callable[[Path], object]:
    def make(place: Path) -> None:
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            table = {"image": [png(i) for i in range(10)], "label": [i % 2 for i in range(10)]}
            pd.DataFrame(table).to_parquet(place / name)

    return make


def zips_of(*names: str) -> Callable[[Path], object]:
    """Write zips of classes, each given as `name.zip` or `name.zip:folder inside`."""

    def make(place: Path) -> None:
        for name in names:
            archive, _, inside = name.partition(":")
            labelled_folders(place / "made" / inside)
            zipped(place / archive, place / "made")

    return make


def files_at(*names: str) -> Callable[[Path], object]:
    return lambda place: [put(place / name, png(i)) for i, name in enumerate(names)]


UNCLEAR: dict[str, tuple[Callable[[Path], object], str]] = {
    "parquet, one without": (
        two_parquets("train.parquet", "extra.parquet"),
        r"must have a split, or none: row 1 of .*extra.parquet and 9 more have none, .* have train",
    ),
    "parquet, two words": (
        two_parquets("train.parquet", "train_test.parquet"),
        r"must say one split: .*train_test.parquet says test and train. Rename it",
    ),
    "parquet, folder and name": (
        two_parquets("train/0.parquet", "test/train.parquet"), r"must say one split: .*train.parq",
    ),
    "parquet, cells": (
        lambda place: pd.DataFrame({"image": [png(0)], "label": [0], "split": [1]}).to_parquet(
            put(place / "x", b"").with_name("a.parquet")
        ),
        r"split must be train, test or validation: row 1 of .* has 1. Correct it, or rename the co",
    ),
    "parquet, some cells": (
        lambda place: pd.DataFrame(
            {"image": [png(0), png(1)], "label": [0, 1], "split": ["train", None]}
        ).to_parquet(put(place / "x", b"").with_name("a.parquet")),
        r"must have a split, or none: row 2 of .*a.parquet and 0 more have none",
    ),
    "parquet, two images": (
        lambda place: pd.DataFrame({"a": [png(0)], "b": [png(1)], "label": [0]}).to_parquet(
            put(place / "x", b"").with_name("a.parquet")
        ),
        r"must have one column of images: got a, b. Name the one",
    ),
    "zips, two words": (zips_of("train_val.zip"), r"must say one split: .*train_val.zip says"),
    "zips, name and inside": (
        zips_of("train.zip:test", "test.zip:test"), r"must say one split: train.zip/test/cat/0.png",
    ),
    "zips, test alone": (zips_of("pets_test.zip"), r"images with classes to train on: got test\."),
    "folders, some": (
        files_at("pets_train/cat/1.png", "pets_test/cat/1.png", "cat/1.png"),
        r"named after splits, or none: pets_test is, and cat is not. Name the folders",
    ),
    "folders, two words": (
        files_at("train_test/cat/1.png", "train_val/cat/1.png"), r"must say one split: train_test ",
    ),
    "splits below classes": (
        files_at("cat/train/1.png", "cat/test/1.png", "dog/train/1.png"),
        r"must lie above those of classes: cat/test/1.png lies in test below cat. Move it into tes",
    ),
    "splits below others": (
        files_at("a/train/cat/1.png", "b/test/cat/1.png"), r"must lie above those of classes",
    ),
    "splits below splits": (
        files_at("train/cat/test/1.png", "train/dog/1.png", "test/cat/1.png"),
        r"must lie above those of classes: train/cat/test/1.png",
    ),
    "a zip beside": (
        lambda place: [labelled_folders(place / "train"), put(place / "pets_test.zip", b"x")],
        r"All splits in .* must be read: pets_test.zip is named after test, of which no image is",
    ),
    "a table in train alone": (
        lambda place: shutil.move(table_of_folders("{}")(place) / "test/metadata.csv", place / "x"),
        r"All splits in .* must be read: test/cat05.png is named after test, of which no image is",
    ),
    "a table of train, folders of test": (
        lambda place: [
            shutil.move(table_of_folders("{}")(place) / "test", place.parent / "away"),
            put(place / "test/cat/1.png", png(1)),
        ],
        r"All splits in .* must be read: test/cat/1.png is named after test",
    ),
    "a table of some folders": (
        lambda place: [
            put(table_of_folders(".")(place) / "more/1.png", png(1)),
            put(
                place / "metadata.csv",
                (place / "metadata.csv").read_bytes() + b"more/1.png,cat\n",
            ),
        ],
        r"must have a split, or none: line 16 of .*metadata.csv and 0 more have none",
    ),
    "a table, two folders": (
        lambda place: [
            put(place / "train/test/1.png", png(1)),
            (place / "metadata.csv").write_text("file_name,label\ntrain/test/1.png,cat\n"),
        ],
        r"must say one split: line 2 of .*metadata.csv says test and train. .*a column `split`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNCLEAR)
def test_unclear_splits_are_refused(tmp_path: Path, kind: str) -> None:
    make, message = UNCLEAR[kind]
    make(tmp_path / "here")
    with pytest.raises(InputError, match=message):
        image_data.prepare(str(tmp_path / "here"), "", 0)


TWICE = {
    "the same line": ("metadata.csv", "file_name,label\nall/000.png,cat\n"),
    "two names of tables": ("labels.csv", "file_name,label\nall/000.png,cat\n"),
    "two forms": ("metadata.jsonl", '{"file_name": "all/000.png", "label": "cat"}\n'),
    "a table below": ("all/metadata.csv", "file_name,label,split\n000.png,dog,test\n"),
    "another way to write it": (
        "labels.csv", "file_name,label,split\nall/../all/./000.png,cat,test\n",
    ),
    "a link": ("labels.csv", "file_name,label,split\nlink.png,cat,test\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWICE)
def test_an_image_that_is_listed_twice_is_refused(tmp_path: Path, kind: str) -> None:
    place = metadata(tmp_path / "here")
    (place / "link.png").symlink_to(place / "all" / "000.png")
    name, text = TWICE[kind]
    if (place / name).exists():
        text = (place / name).read_text() + "all/000.png,cat,train\n"
    (place / name).write_text(text)
    message = r"must be in one row: .* is in (line|row) \d+ of .* and in (line|row) \d+ of .*Remove"
    with pytest.raises(InputError, match=message):
        image_data.prepare(str(place), "", 0)


@pytest.mark.parametrize(
    "name", ["/{}", "../{}", "a/../../{}", "C:/{}", "C:\\{}", "\\{}", "..\\{}", "//host/{}"]
)
@pytest.mark.parametrize("all_names", [True, False])
def test_zips_with_names_outside_of_them_are_refused(
    tmp_path: Path, name: str, all_names: bool
) -> None:
    for place in (tmp_path / "one.zip", tmp_path / "some" / "one.zip"):
        place.parent.mkdir(exist_ok=True)
        with ZipFile(place, "w") as packed:
            for number, (split, label, file, content) in enumerate(rows()):
                own = name if all_names or number == 3 else "{}"
                packed.writestr(own.format(f"{split}/{label}/{file}"), content)
        with pytest.raises(InputError, match=r"one.zip must lead to files inside .* Pack it again"):
            image_data.prepare(str(place if place.parent == tmp_path else place.parent), "", 0)


@pytest.mark.parametrize("end", [10, 400, -30])
def test_a_zip_that_was_cut_is_refused(tmp_path: Path, end: int) -> None:
    place = one_zip(tmp_path / "here")
    put(tmp_path / "some" / "train.zip", place.read_bytes()[:end])
    place.write_bytes(place.read_bytes()[:end])
    for data_set in (place, tmp_path / "some"):
        with pytest.raises(InputError, match=r"\.zip must be readable: .* Copy it again"):
            image_data.prepare(str(data_set), "", 0)


def idx_set(place: Path, **changed: np.ndarray) -> Path:
    """Write MNIST's four files of six images for train and two for test."""
    arrays = med_arrays() | changed
    for name, key in zip(
        image_layouts.IDX, ("train_images", "train_labels", "test_images", "test_labels"),
        strict=True,
    ):  # fmt: skip
        array = arrays[key].astype(np.uint8)
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        put(place / name, bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    return place


def npz_set(place: Path, **changed: np.ndarray) -> Path:
    np.savez(place.with_suffix(".npz"), **(med_arrays() | changed))  # type: ignore[arg-type]
    return place.with_suffix(".npz")


def cifar_set(place: Path, **changed: np.ndarray) -> Path:
    arrays = med_arrays() | changed
    for split in ("train", "test"):
        images = np.zeros((len(arrays[f"{split}_images"]), 3072), np.uint8)
        batch = {"data": images, "fine_labels": arrays[f"{split}_labels"].tolist()}
        put(place / split, pickle.dumps(batch, 2))
    return place


def med_arrays() -> dict[str, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (8, 5, 5), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    return {"train_images": images[:6], "train_labels": labels[:6],
            "test_images": images[6:], "test_labels": labels[6:]}  # fmt: skip


def parquet_set(place: Path, **changed: np.ndarray) -> Path:
    for split in ("train", "test"):
        labels = (med_arrays() | changed)[f"{split}_labels"]
        parquet_of_labels(place, labels.tolist(), split)
    return place


def saved_set(place: Path, **changed: np.ndarray) -> Path:
    for split in ("train", "test"):
        saved_labels(place, (med_arrays() | changed)[f"{split}_labels"].tolist(), split)
    return place


def folder_set(place: Path, **changed: np.ndarray) -> Path:
    for split in ("train", "test"):
        for i, label in enumerate((med_arrays() | changed)[f"{split}_labels"]):
            put(place / split / str(label) / f"{i}.png", png(i))
    return place


def table_set(place: Path, **changed: np.ndarray) -> Path:
    listed = []
    for split in ("train", "test"):
        for i, label in enumerate((med_arrays() | changed)[f"{split}_labels"]):
            put(place / split / f"{i}.png", png(i))
            listed.append(f"{split}/{i}.png,{label}\n")
    put(place / "metadata.csv", ("file_name,label\n" + "".join(listed)).encode())
    return place


READERS = pytest.mark.parametrize(
    "make",
    [idx_set, npz_set, cifar_set, parquet_set, saved_set, folder_set, table_set],
)


@READERS
def test_a_set_of_one_class_is_refused_by_the_plan(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    place = make(tmp_path / "here", train_labels=np.full(6, 3), test_labels=np.full(2, 3))
    with pytest.raises(InputError, match=r"must have two classes or more in train: got 1 \(\d\)"):
        Images(data=str(place)).fetch()


@READERS
def test_a_class_in_test_alone_is_refused_by_the_plan(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    place = make(tmp_path / "here", test_labels=np.array([0, 7]))
    with pytest.raises(InputError, match=r"Each class must have images in train: 7 is in test al"):
        Images(data=str(place)).fetch()


@READERS
def test_classes_with_gaps_are_numbered_anew(tmp_path: Path, make: Callable[..., Path]) -> None:
    labels = np.array([2, 5, 9, 2, 5, 9])
    place = make(tmp_path / "here", train_labels=labels, test_labels=np.array([9, 5]))
    found = image_data.load(str(place), "", 0)
    assert found.classes == 3 and sorted(found.labels[found.test].tolist()) == [1, 2]


def test_a_hub_set_of_one_class_is_refused_by_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    faults = {
        "two classes or more in train: got 1": ([1, 1], [1, 1]),
        "2 images and 2 classes, 1 of which are below 0": ([0, None], [1, 1]),
        "2 is in test alone": ([0, 1], [1, 2]),
    }
    for number, (message, labels) in enumerate(faults.items()):
        for split, own in zip(("train", "test"), labels, strict=True):
            cells = {"img": [{"bytes": png(i), "path": None} for i in (0, 1)], "label": own}
            (tmp_path / f"{number}").mkdir(exist_ok=True)
            table = datasets.Dataset.from_dict(cells, features=features)
            table.to_parquet(tmp_path / f"{number}/{split}.parquet")
        folder, kept = str(tmp_path / f"{number}"), str(tmp_path / "hf")
        builder = datasets.load_dataset_builder(folder, cache_dir=kept)
        with monkeypatch.context() as patch:
            patch.setattr(datasets, "load_dataset_builder", lambda *_, b=builder, **__: b)
            with pytest.raises(InputError, match=message):
                Images(data=f"hub:owner/name{number}").fetch()


WRONG_ARRAYS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "fewer labels": ({"train_labels": np.array([0, 1])}, r"labels of train in .*one for each of 6"),
    "more labels": ({"test_labels": np.arange(3)}, r"labels of test in .*one for each of 2"),
    "several labels": ({"train_labels": np.zeros((6, 14), int)}, r"whole .*of shape \(6, 14\)"),
    "one label": ({"train_labels": np.array([0])}, r"one for each of 6 images"),
    "images without height": ({"train_images": np.zeros((6, 5), np.uint8)}, r"images of train"),
    "volumes": ({"train_images": np.zeros((6, 5, 5, 5), np.uint8)}, r"images of train"),
    "no images": ({"test_images": np.zeros((0, 5, 5), np.uint8), "test_labels": np.zeros(0, int)},
                  r"must have images in test"),
}  # fmt: skip
WRONG_TYPES: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "labels of fractions": ({"train_labels": np.linspace(0, 2, 6)}, r"whole numbers.*float64"),
    "labels of words": ({"train_labels": np.array(list("ababab"))}, r"whole numbers.*<U1"),
    "labels below 0": ({"train_labels": np.arange(-1, 5)}, r"1 of which are below 0"),
    "images of fractions": ({"train_images": np.zeros((6, 5, 5))}, r"bytes .uint8.*float64"),
    "images of 16 bits": ({"test_images": np.zeros((2, 5, 5), np.uint16)}, r"bytes.*uint16"),
    "pickled": ({"train_labels": np.array([0, None] * 3)}, r"npz must be an npz of numbers: Value"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG_ARRAYS)
@pytest.mark.parametrize("make", [idx_set, npz_set])
def test_arrays_of_another_shape_are_refused_by_the_plan(
    tmp_path: Path, make: Callable[..., Path], fault: str
) -> None:
    changed, message = WRONG_ARRAYS[fault]
    with pytest.raises(InputError, match=message):
        Images(data=str(make(tmp_path / "here", **changed))).fetch()


@pytest.mark.parametrize("fault", WRONG_TYPES)
def test_arrays_of_another_type_are_refused_by_the_plan(tmp_path: Path, fault: str) -> None:
    changed, message = WRONG_TYPES[fault]
    with pytest.raises(InputError, match=message):
        Images(data=str(npz_set(tmp_path / "here", **changed))).fetch()


def test_other_arrays_of_an_npz_are_said(tmp_path: Path) -> None:
    place = npz_set(tmp_path / "here", val_images=np.zeros(2), val_labels=np.zeros(2))
    (content,) = image_data.prepare(str(place), "", 0)
    assert content.note == "not used: val_images, val_labels"


@pytest.mark.parametrize("content", [b"", b"PK", b"text", "cut", "array"])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes | str) -> None:
    place = npz_set(tmp_path / "here")
    if content == "cut":
        content = place.read_bytes()[:-20]
    if content == "array":
        np.save(tmp_path / "a.npy", np.zeros(3))
        content = (tmp_path / "a.npy").read_bytes()
    assert isinstance(content, bytes)
    place.write_bytes(content)
    with pytest.raises(InputError, match=r"here.npz must be an npz of numbers: .* Save it again"):
        image_data.prepare(str(place), "", 0)


@pytest.mark.parametrize("end", [0, 2, 3, 5, 20, -1])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_that_were_cut_are_refused(tmp_path: Path, end: int, packed: bool) -> None:
    place = idx_set(tmp_path / "here")
    file = place / image_layouts.IDX[0]
    content = file.read_bytes()
    if packed:
        file.unlink()
        file = file.with_name(f"{file.name}.gz")
        content = gzip.compress(content)
    file.write_bytes(content[:end])
    with pytest.raises(InputError, match=rf"{file.name}.*(must|again)"):
        image_data.prepare(str(place), "", 0)


def test_images_are_turned_as_their_notes_say(tmp_path: Path) -> None:
    upright = picture(1)
    exif = Image.Exif()
    exif[274] = 6  # Stored lying: to be turned by 90 degrees to the right.
    for split in ("train", "test"):
        for label in CLASSES:
            folder = tmp_path / "here" / split / label
            folder.mkdir(parents=True)
            Image.fromarray(upright).save(folder / "a.png")
            Image.fromarray(np.rot90(upright)).save(folder / "b.png", exif=exif)
    found = image_data.load(str(tmp_path / "here"), "", 0)
    for image in found.images:
        np.testing.assert_array_equal(image, np.moveaxis(upright, -1, 0))


def test_one_coloured_image_among_many_grey_ones_keeps_its_colours(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in CLASSES:
            for i in range(150):
                grey = Image.fromarray(picture(i)[:, :, 0])
                path = tmp_path / "here" / split / label / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                grey.save(path)
    Image.fromarray(picture(7)).save(tmp_path / "here/test/dog/077.png")
    found = image_data.load(str(tmp_path / "here"), "", 0)
    assert found.images.shape[1] == 3
    np.testing.assert_array_equal(found.images[300 + 150 + 77], np.moveaxis(picture(7), -1, 0))


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_a_png_with_a_large_note_is_read(tmp_path: Path, kind: bytes) -> None:
    packed = zlib.compress(b"x" * (3 << 20))
    bodies = {
        b"zTXt": b"note\0\0" + packed, b"iCCP": b"profile\0\0" + packed,
        b"iTXt": b"note\0\1\0\0\0" + packed,
    }  # fmt: skip
    content = png(3)
    body = kind + bodies[kind]
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    folders(tmp_path / "here")
    put(tmp_path / "here/train/cat/00.png", content[:33] + chunk + content[33:])
    found = image_data.load(str(tmp_path / "here"), "", 0)
    np.testing.assert_array_equal(found.images[0], np.moveaxis(picture(3), -1, 0))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "test.npy", "about.json"])
@pytest.mark.parametrize("fault", ["a bit", "cut", "gone"])
def test_a_decoding_that_was_changed_is_made_anew(tmp_path: Path, name: str, fault: str) -> None:
    place = str(folders(tmp_path / "here"))
    wanted = np.array(image_data.load(place, "", 0).images)
    (folder,) = (p for p in (tmp_path / "cache/images").iterdir() if p.is_dir())
    file = folder / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    if fault == "gone":
        file.unlink()
    else:
        file.write_bytes(bytes(content) if fault == "a bit" else bytes(content[:-20]))
    image_data._opened.cache_clear()
    found = image_data.load(place, "", 0)
    np.testing.assert_array_equal(found.images, wanted)
    assert found.labels.tolist() == [CLASSES.index(row[1]) for row in rows()]


def test_cifars_own_pickles_are_read_and_others_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "require_counts", lambda *_: None)
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3072), dtype=np.uint8)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for i, name in enumerate(names):
        batch = {b"data": pixels[2 * i : 2 * i + 2], b"labels": [0, 1], b"filenames": [b"a", b"b"]}
        (place / name).write_bytes(pickle.dumps(batch, 2))
    (place / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"x"]}))
    for found in (image_data.load("cifar10", str(tmp_path), 0), image_data.load(str(place), "", 0)):
        np.testing.assert_array_equal(found.images.reshape(12, -1), pixels)
        assert (len(found.train), len(found.test)) == (10, 2)

    class Evil:
        def __reduce__(self) -> Any:
            return print, ("run",)

    (place / "test_batch").write_bytes(pickle.dumps({b"data": Evil()}, 2))
    with pytest.raises(
        InputError, match=r"test_batch is not read: it names (__builtin__|builtins).p"
    ):
        image_data.load("cifar10", str(tmp_path), 0)


def test_emnist_and_svhn_are_read_as_they_are_published(tmp_path: Path) -> None:
    import scipy.io

    folder = tmp_path / "emnist"
    for part, count in (("train", 4), ("test", 2)):
        images = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
        labels = np.arange(count, dtype=np.uint8) % 2 + 1
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(
                n.to_bytes(4, "big") for n in array.shape
            )
            put(folder / f"emnist-letters-{part}-{kind}-ubyte", head + array.tobytes())
    parts = image_layouts.idx(folder, "emnist-letters-")
    assert parts["train"].images[0, 0].tolist() == [[0, 3], [1, 4], [2, 5]], "stored by columns"
    assert parts["train"].labels is not None and parts["train"].labels.tolist() == [0, 1, 0, 1]
    for name in image_layouts.SVHN:
        pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
        scipy.io.savemat(tmp_path / name, {"X": pixels, "y": np.array([[1], [10], [9]])})
    found = image_layouts.svhn(tmp_path)
    assert found["test"].images.shape == (3, 3, 32, 32)
    np.testing.assert_array_equal(found["test"].images[1], np.moveaxis(pixels[..., 1], -1, 0))
    assert found["test"].labels is not None and found["test"].labels.tolist() == [1, 0, 9]


def test_the_network_is_never_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    readme = "---\nconfigs:\n- config_name: default\n  data_files: http://x.org/*.parquet\n---\n"
    for layout in (folders, metadata, parquet, saved):
        place = layout(tmp_path / layout.__name__)
        (place / "README.md").write_text(readme)
        image_data.prepare(str(place), "", 0)


def test_a_zip_beside_its_files_is_not_read_twice(tmp_path: Path) -> None:
    place = folders(tmp_path / "here")
    with ZipFile(place / "train.zip", "w") as archive:
        for file in place.glob("train/*/*"):
            archive.write(file, file.relative_to(place))
    assert len(own_images.find(place).files) == 14


def test_links_to_folders_of_classes_are_followed(tmp_path: Path) -> None:
    """As people make a subset of ImageNet."""
    folders(tmp_path / "all")
    for split in ("train", "test"):
        (tmp_path / "some" / split).mkdir(parents=True)
        for label in CLASSES:
            link = tmp_path / "some" / split / label
            link.symlink_to(tmp_path / "all" / split / label)
    (tmp_path / "some" / "loop").symlink_to(tmp_path / "some")
    one, other = (image_data.prepare(str(tmp_path / n), "", 0)[0] for n in ("all", "some"))
    assert one.checksum == other.checksum and other.note == ""


def in_folder(place: Path, names: Sequence[str]) -> Path:
    """Write images by their names: the layouts below are told as lists of names."""
    for number, name in enumerate(names):
        put(place / name, png(number))
    return place


def in_one_zip(place: Path, names: Sequence[str]) -> Path:
    return zipped_all(place.with_suffix(".zip"), in_folder(place, names))


def in_a_zip_of_a_folder(place: Path, names: Sequence[str]) -> Path:
    zipped_all(place / "pets.zip", in_folder(place.parent / "made", names))
    return place


def zipped_all(archive: Path, place: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(archive, "w") as packed:
        for file in sorted(place.rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(place))
    shutil.rmtree(place)
    return archive


def in_all_forms(place: Path, names: Sequence[str]) -> Iterator[Path]:
    """Write images in a folder, in a zip, and in a zip that a folder holds."""
    for number, write in enumerate((in_folder, in_one_zip, in_a_zip_of_a_folder)):
        yield write(place / f"{number}" / "here", names)


def images_in(*folders: str, count: int = 6) -> list[str]:
    return [f"{folder}/{i}.png" for folder in folders for i in range(count)]


FLAT = [
    ("train2017", "val2017"), ("train_images", "test_images"), ("TrainSet", "TestSet"),
    ("images-train", "images-test"), ("train", "val2017"), ("train_1", "train_2"),
    ("train2017", "val2017", "test2017", "unlabeled2017"), ("steam_train", "crash_test"),
    ("train2017", "val2017", "extra"), ("train_images", "test_images", "sample"),
    ("train", "test"), ("train", "test", "extra"), ("train", "car", "boat"), ("valid", "invalid"),
    ("dev", "ops"), ("Valid", "Invalid", "unclear"), ("a/train2017", "b/val2017"),
    ("cat/train", "cat/test", "dog/train"), ("cat/pets_train", "dog/pets_test"),
]  # fmt: skip


@pytest.mark.parametrize("above", ["", "coco/", "a/b/"])
@pytest.mark.parametrize("folders", FLAT, ids=" ".join)
def test_folders_of_splits_are_never_classes(
    tmp_path: Path, folders: tuple[str, ...], above: str
) -> None:
    names = images_in(*(f"{above}{name}" for name in folders))
    message = r"folder of its class:|splits, or none:|above those of classes:"
    for place in in_all_forms(tmp_path, [*names, f"{above}train.csv"]):
        with pytest.raises(InputError, match=message):
            own_images.find(place)


@pytest.mark.parametrize("folders", [names for names in FLAT if "/" not in names[0]], ids=" ".join)
def test_what_the_message_advises_makes_such_folders_classes(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    for place in in_all_forms(tmp_path, images_in(*(f"train/{name}" for name in folders))):
        found = own_images.find(place)
        labels = found.read()["train"].labels
        assert found.drawn and not found.note
        assert labels is not None and np.bincount(labels).tolist() == [6] * len(folders)


@pytest.mark.parametrize(
    "folders", [("steam_train", "car"), ("train_station", "train_interior", "street"),
                ("pregnancy_test", "x_ray"), ("invalid", "wrong"), ("training_shoe", "boot")],
    ids=" ".join,
)  # fmt: skip
def test_classes_with_the_word_of_a_split_are_classes_beside_others(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    for place in in_all_forms(tmp_path, images_in(*folders)):
        labels = own_images.find(place).read()["train"].labels
        assert labels is not None and np.bincount(labels).tolist() == [6] * len(folders)


@pytest.mark.parametrize("stem", ["pets", "cats", "2024", "all images"])
def test_a_zip_with_images_beside_folders_of_images_is_refused(tmp_path: Path, stem: str) -> None:
    for number in (1, 2):
        made = in_folder(tmp_path / "made", ["preview.png", *images_in(*CLASSES)])
        zipped_all(tmp_path / "here" / f"{stem}{number}.zip", made)
    with pytest.raises(InputError, match=r"must lie directly in it, as one class, or all in fold"):
        own_images.find(tmp_path / "here")


SPELLINGS = {
    "as documented": {},
    "a capital": {"split": "Split", "label": "Label", "image": "Image", "file_name": "File_Name"},
    "capitals": {name: name.upper() for name in ("split", "label", "image", "file_name")},
    "spaces": {"split": "Split ", "label": "la bel", "file_name": "File Name"},
    "blanks": {name: f" {name} " for name in ("split", "label", "image", "file_name")},
}


def csv_of(place: Path, table: pd.DataFrame, **names: str) -> None:
    named = [put(place / f"all/{i:03}.png", one) for i, one in enumerate(table.pop("image"))]
    table.insert(0, "file_name", [file.relative_to(place).as_posix() for file in named])
    table.rename(columns=names).to_csv(place / "metadata.csv", index=False)


def jsonl_of(place: Path, table: pd.DataFrame, **names: str) -> None:
    named = [put(place / f"all/{i:03}.png", one) for i, one in enumerate(table.pop("image"))]
    table.insert(0, "file_name", [file.relative_to(place).as_posix() for file in named])
    lines = table.rename(columns=names).to_json(orient="records", lines=True)
    (place / "metadata.jsonl").write_text(lines)


def parquet_of(place: Path, table: pd.DataFrame, **names: str) -> None:
    place.mkdir()
    table.rename(columns=names).to_parquet(place / "all.parquet")


def saved_of(place: Path, table: pd.DataFrame, **names: str) -> None:
    import datasets

    table = table.rename(columns=names)
    datasets.Dataset.from_pandas(table, preserve_index=False).save_to_disk(str(place))


FORMS = pytest.mark.parametrize("form", [csv_of, jsonl_of, parquet_of, saved_of])


def frame(**columns: Any) -> pd.DataFrame:
    """Return a table of six images of two classes for train and two for test."""
    base = {"image": [png(i) for i in range(8)], "label": [0, 1] * 4,
            "split": ["train"] * 6 + ["test"] * 2}  # fmt: skip
    return pd.DataFrame({name: one for name, one in (base | columns).items() if one is not None})


@FORMS
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_columns_are_known_in_any_capitals(tmp_path: Path, spelling: str, form: Any) -> None:
    form(tmp_path / "here", frame(), **SPELLINGS[spelling])
    found = own_images.find(tmp_path / "here")
    parts = found.read()
    assert not found.drawn and {name: len(part.images) for name, part in parts.items()} == {
        "train": 6, "test": 2,
    }  # fmt: skip
    assert parts["test"].labels is not None and parts["test"].labels.tolist() == [0, 1]


@FORMS
@pytest.mark.parametrize("name", ["Label", "LABEL", " label"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str, form: Any) -> None:
    form(tmp_path / "here", frame(**{name: [1, 0] * 4}))
    with pytest.raises(InputError, match=r"must have one column '?label'?: got .* Rename the oth"):
        own_images.find(tmp_path / "here")


@FORMS
@pytest.mark.parametrize("name", ["set", "subset", "data set", "partition", "part", "splits"])
@pytest.mark.parametrize("test", ["test", "VAL", "validation"])
def test_a_column_of_splits_by_another_name_is_refused(
    tmp_path: Path, name: str, test: str, form: Any
) -> None:
    form(tmp_path / "here", frame(split=None, **{name: ["train"] * 6 + [test] * 2}))
    with pytest.raises(InputError, match=rf"must be called split: got '{name}', which holds test|"
                       rf"must be called split: got '{name}', which holds train"):  # fmt: skip
        own_images.find(tmp_path / "here")


MISSING = {"-1": -1, "-1 as float": -1.0, "-1 as text": "-1", "-1.0 as text": "-1.0",
           "None": None, "NaN": float("nan"), "empty": ""}  # fmt: skip


def labels_with(missing: Any, at: Sequence[int]) -> list[Any]:
    labels: list[Any] = [i % 2 for i in range(14)]
    if isinstance(missing, str):
        labels = [str(label) for label in labels]
    return [missing if i in at else label for i, label in enumerate(labels)]


@FORMS
@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_class_is_one_in_every_layout(tmp_path: Path, missing: str, form: Any) -> None:
    images = [png(i) for i in range(14)]
    splits = ["train"] * 10 + ["test"] * 4
    for name, at in (("test", range(10, 14)), ("some", [3]), ("all", range(14))):
        cells = labels_with(MISSING[missing], at)
        table = pd.DataFrame({"image": images, "label": cells, "split": splits})
        if form in (parquet_of, saved_of) and missing in ("-1", "None"):
            table["label"] = table["label"].astype("Int64")
        form(tmp_path / name, table)
    found = own_images.find(tmp_path / "test")
    assert found.drawn and found.note == "not used: 4 images of test"
    labels = found.read()["train"].labels
    assert labels is not None and labels.tolist() == [0, 1] * 5
    with pytest.raises(InputError, match=r"train in .* must have a class, or none: 1 of 10 have n"):
        own_images.find(tmp_path / "some")
    with pytest.raises(InputError, match=r"to train on: got test without classes, train without"):
        own_images.find(tmp_path / "all")


def test_whole_numbers_are_one_class_however_they_are_written(tmp_path: Path) -> None:
    for split, labels in (("train", ["0", "1", "1.0", "0.00", "0"]), ("test", ["1.0", "0"])):
        listed = []
        for i, label in enumerate(labels):
            put(tmp_path / "here" / split / f"{i}.png", png(i))
            listed.append(f"{i}.png,{label}\n")
        text = "file_name,label\n" + "".join(listed)
        put(tmp_path / "here" / split / "metadata.csv", text.encode())
    parts = own_images.find(tmp_path / "here").read()
    assert parts["train"].labels is not None and parts["train"].labels.tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("ending", [".jfif", ".JFIF", ".jpe", ".jpeg", ".JPG"])
def test_every_ending_of_jpeg_is_read(tmp_path: Path, ending: str) -> None:
    names = [f"{label}/{i}{ending}" for label in CLASSES for i in range(5)]
    for place in in_all_forms(tmp_path, names):
        found = own_images.find(place)
        assert len(found.files) == 10 and not found.note


UNREAD = (".heic", ".HEIF", ".avif", ".jp2", ".dcm", ".npy", ".svg", ".tga", ".mp4", ".png_", "")
SIDE = (
    "README", "README.md", "LICENSE", "licence.txt", "notes.txt", "boxes.csv", "about.json",
    "a.xml", "a.yaml", "make.py", "Thumbs.db", ".DS_Store", "words.txt.gz",
)  # fmt: skip


@pytest.mark.parametrize("ending", UNREAD)
@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
def test_files_that_nothing_reads_are_counted(
    tmp_path: Path, splits: tuple[str, ...], ending: str
) -> None:
    names = images_in(*(f"{split}{label}" for split in splits for label in CLASSES))
    strays = [f"{splits[0]}cat/one{ending}", f"{splits[0]}dog/in/two{ending}", f"three{ending}"]
    said = ending.lower() or "without an ending"
    for place in in_all_forms(tmp_path, [*names, *strays]):
        assert own_images.find(place).note == f"not used: 3 other files ({said})"


@pytest.mark.parametrize("name", SIDE)
def test_files_that_stand_beside_images_are_not_counted(tmp_path: Path, name: str) -> None:
    names = [*images_in(*CLASSES), name, f"cat/{name}", f"about/{name}"]
    assert [own_images.find(place).note for place in in_all_forms(tmp_path, names)] == [""] * 3


@pytest.mark.parametrize("ending", UNREAD[:-1])
@pytest.mark.parametrize("above", ["", "pets/"])
@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
def test_a_class_of_which_nothing_is_read_is_refused(
    tmp_path: Path, splits: tuple[str, ...], above: str, ending: str
) -> None:
    names = images_in(*(f"{above}{split}{label}" for split in splits for label in CLASSES))
    lost = [f"{above}{splits[-1]}owl/deeper/{i}{ending}" for i in range(3)]
    message = (
        rf"must hold images .*owl in .* holds none .* 3 other files \({ending.lower()}\). Conv"
    )
    for place in in_all_forms(tmp_path, [*names, *lost]):
        with pytest.raises(InputError, match=message):
            own_images.find(place)


@pytest.mark.parametrize("empty", ["owl", "train/owl", "test/cat", "train/owl/deeper"])
def test_an_empty_folder_of_a_class_is_refused(tmp_path: Path, empty: str) -> None:
    place = tmp_path / "here"
    in_folder(place, images_in(*CLASSES) if empty == "owl" else images_in("train/cat", "train/dog",
                                                                          "test/dog"))  # fmt: skip
    (place / empty).mkdir(parents=True)
    with pytest.raises(InputError, match=r"folder of a class must hold images .* holds none"):
        own_images.find(place)


@pytest.mark.parametrize("empty", ["val", "cat/more", ".git", ".git/objects"])
def test_other_empty_folders_do_not_matter(tmp_path: Path, empty: str) -> None:
    splits = [f"{split}/{label}" for split in ("train", "test") for label in CLASSES]
    place = in_folder(tmp_path / "here", images_in(*(splits if empty == "val" else CLASSES)))
    (place / empty).mkdir(parents=True)
    assert own_images.find(place).note == ""


@pytest.mark.parametrize("ending", UNREAD[:-1])
@pytest.mark.parametrize("split", ["test", "val2017", "pets_test"])
def test_a_split_of_which_nothing_is_read_is_refused(
    tmp_path: Path, split: str, ending: str
) -> None:
    names = [*images_in("train/cat", "train/dog"), f"{split}/cat/1{ending}"]
    for place in in_all_forms(tmp_path, names):
        with pytest.raises(InputError, match=r"All splits in .* must be read: .*, of which no im"):
            own_images.find(place)


@pytest.mark.parametrize("make", [idx_set, cifar_set])
def test_what_lies_beside_arrays_is_counted(tmp_path: Path, make: Any) -> None:
    place = make(tmp_path / "here")
    assert own_images.find(place).note == ""
    in_folder(place, ["more/cat/1.png", "more/cat/2.heic", "README.md"])
    note = own_images.find(place).note
    assert note.startswith("not used: 1 images beside the ")
    assert note.endswith(", 1 other files (.heic)")


@pytest.mark.parametrize("seed", range(30))
def test_sets_of_one_checksum_have_one_order(tmp_path: Path, seed: int) -> None:
    """The test split is drawn by the order: equal keys must mean equal images in test."""
    generator = np.random.default_rng(seed)
    classes = ["cat", "cat big", "cat-1", "Cat", "a"][: generator.integers(2, 6)]
    images = [(label, f"{i}.png", png(10 * c + i)) for c, label in enumerate(classes)
              for i in range(6)]  # fmt: skip
    found = {}
    for number, form in enumerate(("plain", "nested", "above", "zip", "zips", "parts")):
        place = tmp_path / str(number)
        for label, name, content in images:
            inner = generator.choice(["", "x/", "y/z/", "0/"])
            inner = "" if form in ("plain", "zips") else inner
            part = f"p{generator.integers(2)}/" if form == "parts" else ""
            above = "pets/" if form == "above" else ""
            put(place / part / f"{above}{label}/{inner}{name}", content)
        if form == "zip":
            place = zipped(place.with_suffix(".zip"), place)
        elif form in ("zips", "parts"):
            for folder in [*place.iterdir()]:
                zipped(place / f"{folder.name}.zip", folder)
        own = own_images.find(place)
        part = own.read()["train"]
        order = [np.asarray(image).tobytes() for image in part.images], part.labels.tolist()
        checksum = data.fingerprint(own.files)
        assert found.setdefault(checksum, order) == order, form
    assert len(found) == 1


WHOLE = {"whole": [0, 1] * 4, "words": list("abab" * 2), "text": ["x"] * 8}


@pytest.mark.parametrize("form", [parquet_of, saved_of])
@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize(
    "others", [{"breed": "words", "fold": "whole"}, {"fold": "whole", "id": "whole"},
               {"breed": "words"}, {"caption": "text", "width": "whole"}, {}],
    ids=lambda others: " ".join(others) or "none",
)  # fmt: skip
def test_no_column_is_taken_for_classes_by_its_numbers_alone(
    tmp_path: Path, others: dict[str, str], split: bool, form: Any
) -> None:
    columns = {name: WHOLE[kind] for name, kind in others.items()}
    splits = {} if split else {"split": None}
    form(tmp_path / "here", frame(label=None, **columns, **splits))
    with pytest.raises(InputError, match=r"column of images and one of classes \(label, .* Rename"):
        own_images.find(tmp_path / "here")


@pytest.mark.parametrize("form", [parquet_of, saved_of])
@pytest.mark.parametrize("name", ["fold", "target", "y"])
def test_the_only_other_column_holds_the_classes(tmp_path: Path, name: str, form: Any) -> None:
    form(tmp_path / "here", frame(label=None, **{name: [0, 1] * 4}))
    labels = own_images.find(tmp_path / "here").read()["train"].labels
    assert labels is not None and labels.tolist() == [0, 1] * 3


def png_of(bits: int, colour: int, channels: int) -> bytes:
    """Return a PNG of 4 x 4 pixels, whose header says its bits and its type of colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    lines = (b"\0" + b"\x12\x34"[: bits // 8] * channels * 4) * 4
    header = struct.pack(">IIBBBBB", 4, 4, bits, colour, 0, 0, 0)
    return (image_layouts.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines))
            + chunk(b"IEND", b""))  # fmt: skip


def tiff_of(bits: int, channels: int, order: str, planar: bool) -> bytes:
    """Return an uncompressed TIFF of 4 x 4 pixels, its channels in one strip or one strip each."""
    pixels = bytes(16 * channels * bits // 8)
    strips = channels if planar else 1
    size = len(pixels) // strips
    values: dict[int, tuple[str, list[int]]] = {
        256: ("H", [4]), 257: ("H", [4]), 258: ("H", [bits] * channels), 259: ("H", [1]),
        262: ("H", [{1: 1, 3: 2, 4: 5}[channels]]), 273: ("I", [0] * strips),
        277: ("H", [channels]), 278: ("H", [4]), 279: ("I", [size] * strips),
        284: ("H", [2 if planar else 1]),
    }  # fmt: skip
    start = 8 + 2 + 12 * len(values) + 4
    extras = sum(struct.calcsize(f"{len(v)}{k}") for k, v in values.values() if len(v) * 2 > 4)
    first = start + 64 + extras
    values[273] = ("I", [first + i * size for i in range(strips)])
    entries, tail = b"", b""
    for tag, (kind, numbers) in values.items():
        packed = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", start + len(tail))
            tail, packed = tail + packed, place
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(numbers))
        entries += packed.ljust(4, b"\0")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(f"{order}H", len(values)) + entries + struct.pack(f"{order}I", 0)
    return (head + directory + tail).ljust(first, b"\0") + pixels


def ppm_of(kind: str, greatest: int) -> bytes:
    channels = 3 if kind in ("P3", "P6") else 1
    count = 16 * channels
    head = f"{kind}\n4 4\n{greatest}\n".encode()
    if kind in ("P2", "P3"):
        return head + b" ".join([b"1"] * count) + b"\n"
    return head + bytes(count * (2 if greatest > 255 else 1))


def depths(bits: int) -> dict[str, bytes]:
    """Return files of images with so many bits per channel, in all formats that have them."""
    greatest = 2**bits - 1
    found = {
        f"{i}.png": png_of(bits, *one) for i, one in enumerate([(0, 1), (2, 3), (4, 2), (6, 4)])
    }
    for kind in ("P2", "P3", "P5", "P6"):
        found[f"{kind}.ppm"] = ppm_of(kind, greatest)
        found[f"{kind}_.ppm"] = ppm_of(kind, greatest // 2 + 1)
    for channels in (1, 3, 4):
        for order in "<>":
            for planar in (True, False):
                name = f"{channels}{'le' if order == '<' else 'be'}{planar}.tif"
                found[name] = tiff_of(bits, channels, order, planar)
    return found


@pytest.mark.parametrize("name", depths(16))
def test_more_than_8_bits_are_refused_in_every_format(tmp_path: Path, name: str) -> None:
    put(folders(tmp_path / "here") / "test/cat" / name, depths(16)[name])
    with pytest.raises(
        InputError, match=rf"{name} is not a readable image: it has more than 8 bit"
    ):
        image_data.prepare(str(tmp_path / "here"), "", 8)


def test_8_bits_are_read_in_every_format(tmp_path: Path) -> None:
    place = folders(tmp_path / "here")
    for name, content in depths(8).items():
        put(place / "train/cat" / name, content)
    for kind in ("bmp", "gif", "tiff", "webp", "jpeg"):
        Image.fromarray(picture(1)).save(place / f"test/cat/one.{kind}")
    # Five or six bits a colour: Pillow's raw mode for it ends in 16, the bits of all three.
    bitmap = b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 86, 0, 0, 54, 40, 4, 4, 1, 16, 0, 32, 0, 0, 0, 0
    )
    put(place / "test/cat/five.bmp", bitmap + bytes(32))
    assert len(image_data.load(str(place), "", 8).images) == 14 + len(depths(8)) + 6
