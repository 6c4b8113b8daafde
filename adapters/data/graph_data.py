"""Data sets of graphs, each graph with a class, by the names of the TU collection.

The files have the collection's own layout, which PyG's ``TUDataset`` keeps in ``NAME/raw``:
``NAME_A.txt`` (an edge a line), ``NAME_graph_indicator.txt`` (each node's graph),
``NAME_graph_labels.txt`` and, if nodes have labels, ``NAME_node_labels.txt``.
"""

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from adapters.data import wheels
from adapters.data.edges import undirected
from harness import data
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.data import (
    Files,
    Source,
    files_of,
    fingerprint,
    in_zip,
    label_of,
    need,
    read_bytes,
    user_path,
)

FEATURES = ("auto", "constant", "degree")
DEGREES = 100
"""Columns of the one-hot degrees; the last stands for this many - 1 edges, and more."""
_FETCH_AGAIN = "Fetch the set again, or name another folder in `root`."
URL = "https://www.chrsmrrs.com/graphkerneldatasets"
_IN_WHEEL = "grakel/tests/data/MUTAG"
_WHEEL_SIZE = 2_122_660

# {name: (the collection's name, contents)}
_SETS = {
    "mutag": ("MUTAG", "188 nitroaromatic compounds, mutagenic or not; atoms have labels"),
    "proteins": ("PROTEINS", "1,113 proteins, enzymes or not; 3 node labels"),
    "nci1": ("NCI1", "4,110 compounds screened against lung cancer; 37 node labels"),
    "dd": ("DD", "1,178 proteins, enzymes or not, of 284 amino acids on average; 89 node labels"),
    "imdb-binary": ("IMDB-BINARY", "1,000 actors' ego networks, action or romance"),
    "collab": ("COLLAB", "5,000 researchers' ego networks in 3 fields of physics"),
    "reddit-binary": ("REDDIT-BINARY", "2,000 threads, discussions or questions and answers"),
    "reddit-multi-5k": ("REDDIT-MULTI-5K", "4,999 threads of 5 subreddits"),
}


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


PARTS = ("A", "graph_indicator", "graph_labels", "node_labels")
"""Suffixes of the files that are read of a set; the last file is optional."""
LAYOUT = "tu"


KIND = "set of graphs"


def content(name: str, root: str = "") -> Content:
    """Return the :class:`Content` of a set's files, downloading them if possible.

    Raises:
        InputError: if the set is not here and cannot be downloaded.
    """
    files, label = _files(name, root)
    return Content("data", label, fingerprint(files), LAYOUT)


def _files(name: str, root: str) -> tuple[Files, str]:
    """Return the files of a known set or of the user's own, and the name that boards show."""
    if name in SOURCES:
        return files_of(SOURCES[name], need(SOURCES[name], root)), name
    place = user_path(name, root)
    if place is None or not place.is_dir():
        raise data.unknown_data(KIND, name, SOURCES, root)
    folder = place / "raw" if (place / "raw").is_dir() else place
    stems = [file.name.removesuffix("_A.txt") for file in sorted(folder.glob("*_A.txt"))]
    require(
        len(stems) == 1,
        f"`data` must be a folder in the TU collection's layout, with one file NAME_A.txt: got "
        f"{folder} with {len(stems)} such files.",
    )
    return _listed(folder, stem=stems[0]), label_of(place)


def _listed(place: Path, *, stem: str) -> Files:
    """Return {part: file} of a set in a folder, or in the wheel that holds it."""
    if place.suffix == ".whl":
        inside = in_zip(place, _IN_WHEEL)
        return {part: inside[f"{stem}_{part}.txt"] for part in PARTS}
    files = {part: place / f"{stem}_{part}.txt" for part in PARTS}
    return {part: file for part, file in files.items() if part != PARTS[-1] or file.is_file()}


def load(name: str, root: str = "", features: str = "auto") -> GraphSet:
    """Read a set of graphs.

    Each edge is kept once in each direction, since some copies of IMDB-BINARY list edges
    twice. Self-loops are dropped.

    Args:
        name: as in ``SOURCES``; or a folder in that layout, by its path or name.
        root: a folder that is looked in first.
        features: ``auto``: the node's label, one-hot, or a constant 1 if the set has no
            labels (as GraphCL). ``constant``: a constant 1 in any case. ``degree``: the
            node's degree, one-hot; the last column stands for ``DEGREES`` - 1 and above.

    Raises:
        InputError: if the set is not here and cannot be downloaded, or a file breaks
            the layout.
    """
    return _read(_files(name, root)[0], features)


def _read(files: Files, features: str) -> GraphSet:
    owner = _numbers(files, "graph_indicator")[:, 0] - 1
    labels = _numbers(files, "graph_labels")[:, 0]
    ends = _numbers(files, "A", columns=2).T - 1
    nodes, graphs = len(owner), len(labels)
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
    if features == "degree":
        degrees = torch.bincount(edges[0], minlength=nodes)
        x = _one_hot(degrees.clamp(max=DEGREES - 1), DEGREES)
    elif features == "auto" and "node_labels" in files:
        kinds = _numbers(files, "node_labels")[:, 0]
        require(
            len(kinds) == nodes,
            f"{files['node_labels'].name} must have one line per node: got {len(kinds)} for "
            f"{nodes}. {_FETCH_AGAIN}",
        )
        x = _one_hot(torch.from_numpy(kinds - kinds.min()))
    else:
        x = torch.ones(nodes, 1)
    return GraphSet(
        x,
        edges,
        torch.from_numpy(np.bincount(owner, minlength=graphs)),
        torch.from_numpy(np.bincount(owner[edges[0].numpy()], minlength=graphs)),
        torch.from_numpy(np.unique(labels, return_inverse=True)[1]),
    )


def _numbers(files: Files, part: str, columns: int = 1) -> NDArray[np.int64]:
    file = files[part]
    try:
        lines = io.BytesIO(read_bytes(file))
        table = np.loadtxt(lines, np.int64, delimiter=",", ndmin=2)
    except OSError as error:
        raise InputError(f"{file} could not be read: {error}. {_FETCH_AGAIN}") from error
    except ValueError as error:
        raise InputError(f"{file.name} must hold whole numbers: {error}. {_FETCH_AGAIN}") from error
    require(
        table.shape[1] == columns and len(table) > 0,
        f"{file.name} must hold {'a number' if columns == 1 else f'{columns} numbers'} per line: "
        f"got a table of shape {table.shape}. {_FETCH_AGAIN}",
    )
    return table


def _one_hot(kinds: Int[Tensor, " n"], columns: int = -1) -> Float[Tensor, "n f"]:
    return torch.nn.functional.one_hot(kinds, columns).float()


def _source(name: str) -> Source:
    stem, about = _SETS[name]
    # Where the files may lie: in a folder of several collections, in PyG's root, or unpacked.
    places = (f"tudataset/{stem}/raw", f"{stem}/raw", stem)
    about = f"{about} ({stem})"
    listed = partial(_listed, stem=stem)
    if name == "mutag":
        return Source(
            name, "graph", about, f"the wheel {wheels.MUTAG.filename}",
            "not stated; BSD-3-Clause as part of grakel", _WHEEL_SIZE, places, listed=listed,
            embedded=partial(wheels.fetch, wheels.MUTAG), wheel=wheels.MUTAG.filename,
        )  # fmt: skip
    # No download: the collection publishes no checksums to pin.
    origin = f"{URL}/{stem}.zip"
    return Source(name, "graph", about, origin, "research use", 0, places, listed=listed)


SOURCES: Mapping[str, Source] = MappingProxyType({name: _source(name) for name in _SETS})
"""The known sets, by the collection's names in lower case."""
