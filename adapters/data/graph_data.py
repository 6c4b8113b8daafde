"""Data sets of graphs, each graph with a class, by the names of the TU collection.

The files have the collection's own layout, which PyG's ``TUDataset`` keeps in ``NAME/raw``:
``NAME_A.txt`` (an edge a line), ``NAME_graph_indicator.txt`` (each node's graph),
``NAME_graph_labels.txt``, and, if nodes have them, ``NAME_node_labels.txt`` and
``NAME_node_attributes.txt``. They are read at any depth of a folder, or of a zip as it was
downloaded.
"""

import io
import math
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from adapters.data import wheels
from adapters.data.edges import one_hot_degrees, undirected
from adapters.data.tu_collection import TU_SETS, TUSet
from harness import data
from harness.core import archives, transfers
from harness.core.archives import File, Files, Member, in_zip, is_hidden, opened, read_bytes
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.data import Source, files_of, fingerprint, label_of, need, user_path

FEATURES = ("auto", "labels", "attributes", "constant", "degree")
_FETCH_AGAIN = "Fetch the set again, or name another folder in `root`."
URL = "https://www.chrsmrrs.com/graphkerneldatasets"
_IN_WHEEL = "grakel/tests/data/MUTAG"
_WHEEL_SIZE = 2_122_660

_ABOUT = {
    "MUTAG": "nitroaromatic compounds, mutagenic or not; atoms have labels",
    "PROTEINS": "proteins, enzymes or not",
    "NCI1": "compounds screened against lung cancer",
    "DD": "proteins, enzymes or not, as graphs of amino acids",
    "IMDB-BINARY": "actors' ego networks, action or romance",
    "COLLAB": "researchers' ego networks in 3 fields of physics",
    "REDDIT-BINARY": "threads, discussions or questions and answers",
    "REDDIT-MULTI-5K": "threads of 5 subreddits",
}
ROUNDED = 0.006
"""How far an average of nodes may be from the published one, which has two digits."""
EDGE_SHARE = 0.01
"""The same for edges, as a share: the page counts some double edges, which are read once."""


class GraphSet(NamedTuple):
    """Many graphs side by side, one after the other.

    Attributes:
        x: features, a node a row.
        edges: both directions of each edge, grouped by graph in the graphs' order. Nodes
            are numbered across all graphs.
        sizes: number of nodes of each graph.
        edge_sizes: number of columns of ``edges`` of each graph.
        classes: class of each graph, 0 and up.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]
    sizes: Int[Tensor, " g"]
    edge_sizes: Int[Tensor, " g"]
    classes: Int[Tensor, " g"]


PARTS = ("A", "graph_indicator", "graph_labels")
"""Suffixes of the files that every set has."""
OPTIONAL = ("node_labels", "node_attributes")
"""Suffixes of the files that are read where a set has them."""
LAYOUT = "tu"
MAX_ONE_HOT = 2**28
"""The most numbers that one-hot labels may take: 1 GB. The collection's largest set takes half."""
WITHOUT_NODES = ("fingerprint",)
"""Sets whose sizes are not known, and whose published files have graphs without a node."""
LARGEST = 2**53
"""The largest whole number that is read: float64 does not hold all larger ones."""


KIND = "set of graphs"


def content(name: str, root: str = "") -> Content:
    """Return the :class:`Content` of a set's files, downloading them if possible.

    Raises:
        InputError: if the set is not here and cannot be downloaded.
    """
    located = _locate(name, root)
    checksum = fingerprint(located.files)
    return Content("data", located.label, checksum, LAYOUT, note=located.note)


class _Located(NamedTuple):
    """A set found on disk.

    Attributes:
        label: its name on boards.
        files: the files that are read.
        source: the known set that it is, if it is one.
        note: what is not read of one's own set, in a sentence; empty if nothing is. A known set
            has none: its copies differ in the files that nobody reads.
    """

    label: str
    files: Files
    source: Source | None
    note: str = ""


def _locate(name: str, root: str) -> _Located:
    source = data.known(name, SOURCES)
    if source is not None:
        return _Located(source.name, files_of(source, need(source, root)), source)
    place = user_path(name, root)
    if place is None:
        raise data.unknown_data(KIND, name, SOURCES, root)
    files = _listed(place)
    data.require_complete(files, f"at {place}", "Copy the file there")
    return _Located(label_of(place), files, None, _note(place, files))


def _note(place: Path, files: Files) -> str:
    """Return the note on the files of a set that are not read."""
    members = _members(place)
    head = next(name for name, file in members.items() if file == files["A"])[: -len("A.txt")]
    alike = [name for name in members if name.lower().startswith(head.lower())]
    unread = [name.rpartition("/")[2] for name in alike if members[name] not in files.values()]
    notes = [f"not used: {', '.join(sorted(unread))}"] if unread else []
    if all(part in files for part in OPTIONAL):
        notes.append("nodes have labels and attributes: only features='attributes' uses the latter")
    return "; ".join(notes)


def _members(place: Path) -> dict[str, File]:
    """Return {path inside: file} of the text files of a folder, of its ``raw``, or of a zip."""
    if place.suffix == ".whl":
        return in_zip(place, _IN_WHEEL)
    if place.is_file():
        require(
            place.suffix.lower() == ".zip",
            f"`data` must be a folder or a zip of graphs: got the file {place}. Pack the files as "
            "a zip.",
        )
        names = [name for name in opened(place).namelist() if _is_text(name)]
        outside = [name for name in names if name.startswith("/") or ".." in name.split("/")]
        require(
            not outside,
            f"{place} must hold files inside of it: got the name {outside[:1]}. Pack it again, "
            "from the folder with the files.",
        )
        return {name: Member(place, name) for name in names}
    folder = place / "raw" if (place / "raw").is_dir() else place
    found = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*"))}
    return {name: file for name, file in found.items() if _is_text(name) and file.is_file()}


def _listed(place: Path, *, stem: str = "") -> Files:
    """Return {part: file} of a set in a folder, in a zip, or in the wheel that holds it.

    The files of a set lie side by side, at any depth. Capitals do not matter.

    Args:
        place: the folder, zip or wheel.
        stem: the set's name; empty if it is the only set there, of any name.

    Raises:
        InputError: if there are several such sets, or several files for a part.
    """
    found = _members(place)
    last = {name: name.rpartition("/")[2].lower() for name in found}
    ending = f"{stem}_A.txt".lower()
    sets = [n for n, end in last.items() if (end == ending if stem else end.endswith(ending))]
    require(
        len(sets) == 1 or (bool(stem) and not sets),
        f"`data` must be a folder or a zip in the TU collection's layout, with one file "
        f"{stem or 'NAME'}_A.txt: got {' and '.join(sets[:3]) or 'none'} in {place}. Name a "
        "folder or zip with one set.",
    )
    head = sets[0][: -len("A.txt")] if sets else f"{stem}_"
    files: dict[str, File] = {}
    for part in (*PARTS, *OPTIONAL):
        wanted = f"{head}{part}.txt"
        alike = [name for name in found if name.lower() == wanted.lower()]
        require(
            len(alike) < 2,
            f"{place} must hold {wanted} once: got {' and '.join(alike)}. Remove one of them.",
        )
        if alike:
            files[part] = found[alike[0]]
        elif part in PARTS:
            files[part] = place / wanted  # Reading it will say that it is missing.
    return files


def load(name: str, root: str = "", features: str = "auto") -> GraphSet:
    """Read a set of graphs.

    Each edge is kept once in each direction, since some copies of IMDB-BINARY list edges
    twice. Self-loops are dropped.

    Args:
        name: as in ``SOURCES``; or a folder in that layout, by its path or name.
        root: a folder that is looked in first.
        features: ``labels``: the node's labels, one-hot. ``attributes``: its numbers.
            ``constant``: a constant 1. ``degree``: the node's degree, as
            :func:`adapters.data.edges.one_hot_degrees` writes it. ``auto``: the first of labels,
            attributes and a constant that the set has (as GraphCL, whose sets have labels or
            neither).

    Raises:
        InputError: if the set is not here and cannot be downloaded, or a file breaks
            the layout.
    """
    located = _locate(name, root)
    # As a tuple, because a dictionary cannot be part of a cache's key.
    files = tuple(located.files.items())
    found = _read(files, features, fingerprint(located.files))
    _require_nodes(found, located.files, located.source)
    if located.source is not None:
        data.require_counts(located.source, _counts(found), _where(located.files["A"]))
    return found


def _counts(found: GraphSet) -> dict[str, int]:
    return {
        "graphs": len(found.sizes),
        "classes": int(found.classes.max()) + 1,
        "nodes": len(found.x),
        "edges": found.edges.shape[1] // 2,
    }


def _measure(place: Path, *, stem: str) -> Mapping[str, int]:
    source = SOURCES[_name_of(stem)]
    files = files_of(source, place)
    found = _parsed(files, "constant")
    _require_nodes(found, files, source)
    return _counts(found)


def _require_nodes(found: GraphSet, files: Files, source: Source | None) -> None:
    """Raise :class:`InputError` if a graph has no node, unless the set is published so.

    Sizes tell a whole known set; of all others the files may have been cut.
    """
    empty = (found.sizes == 0).nonzero()[:, 0].tolist()
    published = source is not None and (bool(source.counts) or source.name in WITHOUT_NODES)
    if empty and not published:
        raise InputError(
            f"Each graph must have a node: got none for graph {empty[0] + 1} ({len(empty)} such of "
            f"{len(found.sizes)}) in {files['graph_indicator'].name}. Copy the set again; if its "
            "files are whole, give these graphs a node, or remove them."
        )


def _where(file: File) -> Path:
    return file.archive if isinstance(file, Member) else file.parent


@lru_cache(maxsize=8)
def _read(listed: tuple[tuple[str, File], ...], features: str, checksum: str) -> GraphSet:
    del checksum  # Part of the cache's key: files that changed are read again.
    return _parsed(dict(listed), features)


def _parsed(files: Files, features: str) -> GraphSet:
    owner = _numbers(files, "graph_indicator")[:, 0] - 1
    labels = _numbers(files, "graph_labels")[:, 0]
    ends = _numbers(files, "A", columns=2).T - 1
    nodes, graphs, known = len(owner), len(labels), np.unique(labels)
    require(
        len(known) > 1,
        f"Graphs must have two classes or more: got {len(known)} in "
        f"{files['graph_labels'].name}. Add graphs of another class.",
    )
    require(
        bool((np.diff(owner) >= 0).all() and owner[0] >= 0 and owner[-1] < graphs),
        f"{files['graph_indicator'].name} must number the graphs from 1 to {graphs}, in ascending "
        f"order: got other numbers. {_FETCH_AGAIN}",
    )
    require(
        bool(ends.min() >= 0 and ends.max() < nodes and (owner[ends[0]] == owner[ends[1]]).all()),
        f"{files['A'].name} must join nodes 1 to {nodes}, both in the same graph: got another "
        f"pair. {_FETCH_AGAIN}",
    )
    first, second = torch.from_numpy(ends)
    edges = undirected(first, second, nodes)
    by_degree = features == "degree"
    x = one_hot_degrees(edges, nodes) if by_degree else _features(files, features, nodes)
    return GraphSet(
        x,
        edges,
        torch.from_numpy(np.bincount(owner, minlength=graphs)),
        torch.from_numpy(np.bincount(owner[edges[0].numpy()], minlength=graphs)),
        torch.from_numpy(np.searchsorted(known, labels)),
    )


def _features(files: Files, features: str, nodes: int) -> Float[Tensor, "n f"]:
    """Return the nodes' labels, attributes or a constant, as ``features`` says."""
    wanted = {"auto": OPTIONAL, "constant": ()}.get(features, (f"node_{features}",))
    part = next((part for part in wanted if part in files), None)
    require(
        part is not None or features in ("auto", "constant"),
        f"`features` must be what the set has: got {features!r}, but there is no file "
        f"{files['A'].name.removesuffix('A.txt')}node_{features}.txt. Use 'auto'.",
    )
    if part is None:
        return torch.ones(nodes, 1)
    labels = part == "node_labels"
    table = _numbers(files, part, columns=None, kind=np.int64 if labels else np.float32)
    require(
        len(table) == nodes,
        f"{files[part].name} must have one line per node: got {len(table)} for {nodes}. "
        f"{_FETCH_AGAIN}",
    )
    return _one_hot(table, files[part].name) if labels else torch.from_numpy(table)


def _one_hot(table: NDArray[np.int64], where: str) -> Float[Tensor, "n f"]:
    """Return the labels in each column one-hot, side by side: a column for each label in use."""
    numbered = [np.unique(column, return_inverse=True) for column in table.T]
    width = sum(len(known) for known, _ in numbered)
    require(
        len(table) * width <= MAX_ONE_HOT,
        f"Node labels must be few enough for a column each: got {width:,} of {len(table):,} nodes "
        f"in {where}. Use features='degree', or write them as node_attributes if they are numbers.",
    )
    kinds = [torch.nn.functional.one_hot(torch.from_numpy(kind)) for _, kind in numbered]
    return torch.cat(kinds, dim=1).float()


def _numbers(
    files: Files, part: str, columns: int | None = 1, kind: type = np.int64
) -> NDArray[Any]:
    """Return the table in a file; ``columns`` None allows any number of them."""
    file = files[part]
    try:
        content = read_bytes(file)
    except OSError as error:
        raise InputError(f"{file} could not be read: {error}. {_FETCH_AGAIN}") from error
    require(
        bool(content.strip()),
        f"{file.name} must hold numbers: got an empty file. {_FETCH_AGAIN}",
    )
    try:
        table: NDArray[Any] = np.loadtxt(
            io.BytesIO(content), np.float64, comments=None, delimiter=",", ndmin=2
        )
    except ValueError as error:
        raise InputError(f"{file.name} must hold numbers: {error}. {_FETCH_AGAIN}") from error
    require(
        columns in (None, table.shape[1]),
        f"{file.name} must hold {'a number' if columns == 1 else f'{columns} numbers'} per line: "
        f"got a table of shape {table.shape}. {_FETCH_AGAIN}",
    )
    # Some sets write whole numbers as 1.0.
    if kind is np.int64:
        good = (np.abs(table) <= LARGEST) & (table == np.round(table))
    else:
        with np.errstate(over="ignore"):  # A number that is too large becomes infinite.
            good = np.isfinite(table.astype(np.float32))
    if not good.all():
        line, column = (int(place) for place in np.argwhere(~good)[0])
        word = "whole" if kind is np.int64 else "finite 32-bit"
        raise InputError(
            f"{file.name} must hold {word} numbers: got {table[line, column]} in line {line + 1}, "
            f"number {column + 1}. {_FETCH_AGAIN}"
        )
    return table.astype(kind)


def _is_text(name: str) -> bool:
    return name.lower().endswith(".txt") and not any(map(is_hidden, name.split("/")))


def _source(stem: str, known: TUSet) -> Source:
    # Where the files may lie: in a folder of several collections, in PyG's root, unpacked, or
    # in the zip as it was downloaded.
    ends = (f"{stem}/raw", stem, f"{stem}.zip")
    places = (*(f"tudataset/{end}" for end in ends), *ends)
    about = _ABOUT.get(stem, "")
    counts: dict[str, data.Count] = {}
    if known.graphs:
        about = f"{known.graphs:,} graphs of {known.classes} classes" + (
            f": {about}" if about else ""
        )
        counts = {
            "graphs": known.graphs,
            "classes": known.classes,
            "nodes": _about(known.nodes * known.graphs, ROUNDED * known.graphs),
            "edges": _about(known.edges * known.graphs, EDGE_SHARE * known.edges * known.graphs),
        }
    shared: dict[str, Any] = {
        "name": _name_of(stem), "modality": "graph", "about": about or "graphs",
        "places": places, "holds": tuple(f"{stem}_{part}.txt" for part in PARTS),
        "listed": partial(_listed, stem=stem), "counts": counts,
        "measure": partial(_measure, stem=stem),
    }  # fmt: skip
    if stem == "MUTAG":
        return Source(
            origin=f"the wheel {wheels.MUTAG.filename}", size=_WHEEL_SIZE,
            licence="not stated; BSD-3-Clause as part of grakel",
            embedded=partial(wheels.fetch, wheels.MUTAG), wheel=wheels.MUTAG.filename, **shared,
        )  # fmt: skip
    fetched = partial(_fetch, stem=stem, sha256=known.sha256) if known.sha256 else None
    origin = f"{URL}/{stem}.zip"
    return Source(origin=origin, licence="research use", download=fetched, **shared)


def _name_of(stem: str) -> str:
    return stem.lower().replace("_", "-")


def _about(value: float, tolerance: float) -> tuple[int, int]:
    return math.floor(value - tolerance), math.ceil(value + tolerance)


def _fetch(folder: Path, *, stem: str, sha256: str) -> None:
    archive = folder / f".{stem}.zip"
    transfers.download(f"{URL}/{stem}.zip", archive, sha256)
    archives.unpack(archive, folder)
    archive.unlink()


_ALL = [_source(stem, known) for stem, known in TU_SETS.items()]
SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in _ALL})
"""The known sets, by the collection's names in lower case, with - in the place of _."""
