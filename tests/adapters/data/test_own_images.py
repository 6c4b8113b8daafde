"""Images of one's own, in every layout: the same images, the same classes, and faults by name."""

import io
import json
import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from adapters.data import image_data, image_layouts, own_images
from harness import data
from harness.core.errors import InputError

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
        broken_table("file_name,label\n/etc/hostname,cat\n"), r"inside of .*got '/etc/hostname'",
    ),
    "http": (
        broken_table("file_name,label\nhttp://x.org/a.png,cat\n"), r"got 'http://x.org/a.png'",
    ),
    "missing": (
        broken_table("file_name,label\nall/000.png,cat\nall/999.png,cat\n"),
        r"line 3 of .*got 'all/999.png' and 'cat'. Copy the image there",
    ),
    "no label": (broken_table("file_name,label\nall/000.png,\n"), r"got 'all/000.png' and ''"),
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
