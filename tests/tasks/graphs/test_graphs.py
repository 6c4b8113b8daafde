"""Sets of graphs, GraphCL's views, the GIN, and the cross-validation."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from synthetic import write_graphs
from torch import Tensor

from adapters.data import graph_data
from adapters.data.graph_data import GraphSet
from adapters.data.tu_collection import TU_SETS
from adapters.networks import graph_networks
from adapters.networks.graph_networks import AUGMENTATIONS, GIN, GraphBatch, take, view
from harness import data
from harness.core import archives, transfers
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.evaluation.folds import (
    INNER,
    PENALTIES,
    logistic_cv_probe,
    require_inner_folds,
    stratified_folds,
    svc_probe,
)
from tasks.graphs import graphs as graphs_module
from tasks.graphs.graphs import Graphs

DATA = Path(os.environ.get("TRIPTYCH_DATA", "nowhere"), "tudataset")


# Data


def test_mutag() -> None:
    found = graph_data.load("mutag")
    assert (len(found.sizes), tuple(found.x.shape), found.edges.shape[1]) == (188, (3371, 7), 7442)
    assert found.classes.bincount().tolist() == [63, 125]
    assert found.x.sum(dim=0).tolist() == [2395, 345, 593, 12, 1, 23, 2]  # C N O F I Cl Br
    assert (int(found.sizes.sum()), int(found.edge_sizes.sum())) == (3371, 7442)


def test_edges_are_undirected_and_single_without_self_loops(tmp_path: Path) -> None:
    found = graph_data.load("tudataset/OWN", str(write_graphs(tmp_path)))
    assert found.edges.T.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1], [3, 4], [4, 3]]
    assert (found.sizes.tolist(), found.edge_sizes.tolist()) == ([3, 2], [4, 2])
    assert found.classes.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("features", "labels", "expected"),
    [
        ("auto", "2\n4\n2\n2\n5\n", [0, 1, 0, 0, 2]),
        ("auto", "", [0] * 5),
        ("constant", "2\n4\n2\n2\n5\n", [0] * 5),
        ("degree", "", [1, 2, 1, 1, 1]),
    ],
)
def test_features(tmp_path: Path, features: str, labels: str, expected: list[int]) -> None:
    root = str(write_graphs(tmp_path, node_labels=labels))
    x = graph_data.load("tudataset/OWN", root, features).x
    assert x.argmax(dim=1).tolist() == expected
    assert x.sum(dim=1).tolist() == [1] * 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"A": "1, 2\n2, 4\n"}, "A.txt must join nodes 1 to 5, both in the same graph"),
        ({"A": "1, 2\n2, 9\n"}, "A.txt must join nodes 1 to 5"),
        ({"A": "1 2\n"}, "A.txt must hold numbers"),
        ({"A": "1\n2\n"}, r"A.txt must hold 2 numbers per line: got a table of shape \(2, 1\)"),
        (
            {"graph_indicator": "1\n2\n1\n2\n2\n"},
            "must number the graphs from 1 to 2, in ascending",
        ),
        (
            {"graph_indicator": "1\n1\n1\n2\n3\n"},
            "must number the graphs from 1 to 2, in ascending",
        ),
        ({"node_labels": "1\n2\n"}, "must have one line per node: got 2 for 5"),
        ({"node_labels": "1\n1\n1.5\n1\n1\n"}, "node_labels.txt must hold whole .* 1.5 in line 3"),
        (
            {"node_labels": "", "node_attributes": "1\n2\nnan\n1\n1\n"},
            "finite 32-bit numbers: .* line 3",
        ),
        ({"graph_labels": ""}, "must be complete: OWN_graph_labels.txt is missing"),
    ],
)
def test_a_damaged_file_is_explained(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph_data.load("tudataset/OWN", str(write_graphs(tmp_path, **files)))


def test_a_missing_set_names_the_places_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "data"))
    with pytest.raises(InputError, match=r"Looked for .*data/tudataset/NCI1/raw"):
        graph_data.load("nci1")


@pytest.mark.skipif(not (DATA / "IMDB-BINARY").exists(), reason="needs IMDB-BINARY")
def test_imdb_binary_has_each_edge_once_a_direction() -> None:
    found = graph_data.load("imdb-binary")
    assert (len(found.sizes), len(found.x), found.edges.shape[1]) == (1000, 19773, 2 * 96531)
    assert found.classes.bincount().tolist() == [500, 500]


@pytest.mark.skipif(not (DATA / "MUTAG").exists(), reason="needs MUTAG as TU has it")
def test_the_wheel_holds_the_collection_s_mutag(monkeypatch: pytest.MonkeyPatch) -> None:
    here = graph_data.load("mutag")
    monkeypatch.delenv("TRIPTYCH_DATA")
    assert all(torch.equal(a, b) for a, b in zip(here, graph_data.load("mutag"), strict=True))


# Batches and views


def some_graphs(sizes: list[int], seed: int, density: float = 0.4) -> GraphSet:
    """Return random graphs, an edgeless one among them now and then."""
    generator = torch.Generator().manual_seed(seed)
    edges, edge_sizes, start = [torch.empty(2, 0, dtype=torch.int64)], [], 0
    for size in sizes:
        above = torch.rand(size, size, generator=generator).triu(1) > 1 - density
        edges.append((above | above.T).nonzero().T + start)
        edge_sizes.append(edges[-1].shape[1])
        start += size
    x = torch.randn(start, 3, generator=generator)
    classes = torch.arange(len(sizes)) % 2
    lengths = torch.tensor(sizes), torch.tensor(edge_sizes)
    return GraphSet(x, torch.cat(edges, dim=1), *lengths, classes)


def whole(graphs: GraphSet) -> GraphBatch:
    return take(graphs, torch.arange(len(graphs.sizes)))


def apart(graphs: GraphBatch) -> list[tuple[Tensor, set[tuple[int, int]]]]:
    """Return each graph's features and edges, nodes numbered from 0, the slow way."""
    parts, start = [], 0
    for size in graphs.sizes.tolist():
        inside = (graphs.edges[0] >= start) & (graphs.edges[0] < start + size)
        pairs = {(a, b) for a, b in (graphs.edges[:, inside] - start).T.tolist()}
        assert len(pairs) == int(inside.sum()), "an edge is there twice"
        assert all(0 <= b < size and a != b and (b, a) in pairs for a, b in pairs)
        parts.append((graphs.x[start : start + size], pairs))
        start += size
    assert start == len(graphs.x)
    return parts


SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=6)
SEEDS = st.integers(0, 10_000)
SHARES = st.floats(0, 0.9)


@given(SIZES, SEEDS, st.data())
@settings(deadline=None, max_examples=30)
def test_take_is_each_graph_by_itself(sizes: list[int], seed: int, data: st.DataObject) -> None:
    graphs = some_graphs(sizes, seed)
    index = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=8))
    everything = apart(whole(graphs))
    for (x, pairs), number in zip(apart(take(graphs, torch.tensor(index))), index, strict=True):
        assert torch.equal(x, everything[number][0])
        assert pairs == everything[number][1]


def rows_of(x: Tensor, among: Tensor) -> list[int]:
    """Return where each row of ``x`` is in ``among``; every row is another."""
    return [int((among == row).all(dim=1).nonzero()) for row in x]


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
@given(sizes=SIZES, seed=SEEDS, share=SHARES)
@settings(deadline=None, max_examples=30)
def test_an_augmentation_does_what_it_says_to_each_chosen_graph(
    name: str, sizes: list[int], seed: int, share: float
) -> None:
    graphs = whole(some_graphs(sizes, seed))
    torch.manual_seed(seed)
    chosen = torch.rand(len(sizes)) < 0.7
    after = AUGMENTATIONS[name](graphs, share, chosen)
    cells = zip(apart(graphs), apart(after), chosen.tolist(), strict=True)
    for (x, pairs), (new_x, new_pairs), touched in cells:
        part = int(len(x) * share + 1e-6)
        if not touched:
            assert torch.equal(x, new_x)
            assert pairs == new_pairs
        elif name == "attribute-masking":
            assert pairs == new_pairs
            assert int((x != new_x).any(dim=1).sum()) == part
        elif name == "edge-perturbation":
            dropped = int(len(pairs) // 2 * share + 1e-6)
            assert torch.equal(x, new_x)
            assert len(pairs - new_pairs) <= 2 * dropped
            assert len(new_pairs - pairs) <= 2 * dropped
            assert len(new_pairs) >= len(pairs) - 2 * dropped
        else:
            kept = rows_of(new_x, x)
            induced = {(a, b) for a, b in pairs if a in kept and b in kept}
            assert {(kept[a], kept[b]) for a, b in new_pairs} == induced
            if name == "node-dropping":
                assert len(kept) == len(x) - part
            else:
                assert 1 <= len(kept) <= part + 1
                assert reached(len(kept), new_pairs) == set(range(len(kept)))


def reached(size: int, pairs: set[tuple[int, int]]) -> set[int]:
    seen: set[int] = {0}
    for _ in range(size):
        seen |= {b for a, b in pairs if a in seen}
    return seen


def test_a_walk_on_a_ring_visits_the_wanted_number_of_nodes() -> None:
    """Nothing can stop it early there but the limit of as many steps as nodes."""
    ring = torch.arange(100)
    edges = torch.stack([torch.cat([ring, (ring + 1) % 100]), torch.cat([(ring + 1) % 100, ring])])
    torch.manual_seed(0)
    sizes = [
        len(
            graph_networks.walk(
                GraphBatch(torch.ones(100, 1), edges, torch.tensor([100])), s, ALL
            ).x
        )
        for s in (0.0, 0.02, 0.05)
    ]
    assert sizes == [1, 3, 6]


ALL = torch.tensor([True])


def test_edges_are_dropped_and_added_at_random() -> None:
    graphs = whole(some_graphs([30], seed=0))
    torch.manual_seed(0)
    before = apart(graphs)[0][1]
    after = apart(view(graphs, "edge-perturbation", share=0.2, subgraph=0.2))[0][1]
    part = int(len(before) // 2 * 0.2)
    # Some that are added were there: 4 of 10 pairs are edges of this graph.
    assert part <= len(before - after) / 2 + 0.6 * part
    assert 0.3 * part <= len(after - before) / 2 <= part
    assert 0.5 * part <= len(before - after) / 2 <= part


def test_random4_draws_one_of_the_four_for_each_graph() -> None:
    graphs = whole(some_graphs([20] * 400, seed=1))
    torch.manual_seed(0)
    after = view(graphs, "random4", share=0.1, subgraph=0.2)
    counts = dict.fromkeys(AUGMENTATIONS, 0)
    for (x, pairs), (new_x, new_pairs) in zip(apart(graphs), apart(after), strict=True):
        if len(new_x) == 18:
            counts["node-dropping"] += 1
        elif len(new_x) <= 5:
            counts["subgraph"] += 1
        elif torch.equal(x, new_x):
            counts["edge-perturbation"] += 1
        else:
            assert pairs == new_pairs
            counts["attribute-masking"] += 1
    assert all(70 <= count <= 130 for count in counts.values()), counts


@pytest.mark.parametrize("name", graph_networks.VIEWS)
def test_views_draw_from_torch_s_global_generator_alone(name: str) -> None:
    graphs = whole(some_graphs([12, 25, 30], seed=2))
    views = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        np.random.seed(len(views))
        views.append(view(graphs, name, share=0.3, subgraph=0.3))
    assert all(torch.equal(a, b) for a, b in zip(views[0], views[1], strict=True))
    same = len(views[0].x) == len(views[2].x) and views[0].edges.equal(views[2].edges)
    same = same and torch.equal(views[0].x, views[2].x)
    assert same == (name == "identity")


# The encoder


def gin() -> GIN:
    torch.manual_seed(0)
    return GIN(3, width=8, layers=2, epsilon=0.5).eval()


def test_the_gin_is_its_equation() -> None:
    graphs, encoder = whole(some_graphs([5, 9], seed=3)), gin()
    rows: list[Tensor] = []
    for x, pairs in apart(graphs):
        adjacency = torch.zeros(len(x), len(x))
        for a, b in pairs:
            adjacency[a, b] = 1
        sums = []
        for convolution, norm in zip(encoder.convolutions, encoder.norms, strict=True):
            mlp: Any = convolution.nn
            x = norm(mlp(1.5 * x + adjacency @ x).relu())
            sums.append(x.sum(dim=0))
        rows.append(torch.cat(sums))
    torch.testing.assert_close(encoder(graphs), torch.stack(rows))


def test_a_graph_s_representation_depends_on_no_other_and_on_no_order_of_nodes() -> None:
    graphs, encoder = some_graphs([6, 11, 4], seed=4), gin()
    together = encoder(whole(graphs))
    torch.testing.assert_close(encoder(take(graphs, torch.tensor([1])))[0], together[1])
    order = torch.randperm(21)
    batch = take(graphs, torch.tensor([1, 1]))
    order = torch.cat([torch.randperm(11), torch.arange(11, 22)])
    moved = GraphBatch(batch.x[order], order.argsort()[batch.edges], batch.sizes)
    torch.testing.assert_close(encoder(moved), together[[1, 1]])


# The probes


def blobs(classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(0)
    labels = np.arange(120) % classes
    rows = drawn.normal(size=(120, 6)) + 2 * np.eye(6)[labels]
    return (5 * rows).astype(np.float32), labels


def test_the_svc_is_scikit_learn_s_grid_search() -> None:
    """All but gamma's scale in the inner folds, which is that of all fitted rows here."""
    rows, labels = blobs()
    fitted, scored = rows[:90], rows[90:]
    gamma = 1 / (6 * fitted.astype(np.float64).var())
    search = GridSearchCV(SVC(gamma=gamma), {"C": list(PENALTIES)}, cv=StratifiedKFold(5))
    expected = search.fit(fitted, labels[:90]).predict(scored)
    np.testing.assert_array_equal(svc_probe((fitted, labels[:90]), scored), expected)


def test_the_logistic_regression_is_scikit_learn_s_grid_search() -> None:
    rows, labels = blobs()
    rows = StandardScaler().fit(rows[:90]).transform(rows)
    search = GridSearchCV(
        LogisticRegression(max_iter=1000), {"C": list(PENALTIES)}, cv=StratifiedKFold(5)
    )
    expected = search.fit(rows[:90], labels[:90]).predict(rows[90:])
    predicted = logistic_cv_probe((rows[:90], labels[:90]), rows[90:])
    np.testing.assert_array_equal(predicted, expected)


@pytest.mark.parametrize("probe", [svc_probe, logistic_cv_probe])
def test_probes_learn_separable_classes_and_accept_constant_rows(probe: Any) -> None:
    rows, labels = blobs(classes=2)
    accuracy = np.mean(probe((rows[:90], labels[:90]), rows[90:]) == labels[90:])
    shuffled = np.random.default_rng(1).permutation(labels[:90])
    chance = np.mean(probe((rows[:90], shuffled), rows[90:]) == labels[90:])
    assert accuracy > 0.8 > 0.65 > chance
    assert set(probe((0 * rows[:90], labels[:90]), rows[90:])) <= {0, 1}


def test_folds_are_stratified_and_need_enough_of_each_class() -> None:
    classes = np.array([0] * 30 + [1] * 20)
    folds = stratified_folds(classes, 10, np.random.default_rng(0))
    assert sorted(np.concatenate(folds).tolist()) == list(range(50))
    assert all(np.bincount(classes[rows]).tolist() == [3, 2] for rows in folds)
    with pytest.raises(InputError, match=r"`folds` must be at most .* got 21 folds for 20"):
        stratified_folds(classes, 21, np.random.default_rng(0))


# The task


def loaded(seed: int = 0) -> Graphs:
    task = Graphs()
    task.load(Randomness("graphs", "", seed))
    return task


def test_each_graph_is_tested_once_and_validates_once() -> None:
    task = loaded()
    divisions = [{n: set(part) for n, part in d.items()} for d in task.splits()]
    assert len(divisions) == 10
    for split in ("test", "validation"):
        assert sorted(i for d in divisions for i in d[split]) == list(range(188))  # type: ignore[type-var]
    assert all(len(d["train"] | d["validation"] | d["test"]) == 188 for d in divisions)
    assert loaded(seed=1).splits()[0]["test"] != task.splits()[0]["test"]


def test_no_probe_sees_what_it_is_scored_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Representations are the graphs' numbers here, so that a probe's rows tell which."""
    task, seen = loaded(), []

    def spy(fitted: tuple[np.ndarray, np.ndarray], scored: np.ndarray) -> np.ndarray:
        seen.append((set(fitted[0][:, 0]), set(scored[:, 0])))
        return np.zeros(len(scored), dtype=np.int64)

    monkeypatch.setattr(graphs_module, "PROBES", {"accuracy": spy})
    monkeypatch.setattr(Graphs, "_represented", lambda *_: np.arange(188)[:, None])
    for split in ("validation", "test"):
        seen.clear()
        task.evaluate(torch.nn.Identity(), (split,))
        for (fitted, scored), division in zip(seen, task.splits(), strict=True):
            parts = {name: set(part) for name, part in division.items()}
            known = (
                parts["train"] if split == "validation" else parts["train"] | parts["validation"]
            )
            assert (fitted, scored) == (known, parts[split])


def test_the_representation_is_in_the_order_of_the_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    task = loaded()
    encoder = task.encoder().eval()
    with torch.no_grad():
        at_once = task._represented(encoder)
        monkeypatch.setattr(graphs_module, "ENCODED_AT_ONCE", 50)
        np.testing.assert_allclose(task._represented(encoder), at_once, rtol=1e-4, atol=1e-4)
    assert at_once.shape == (188, 96)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"data": "mutga"}, "Did you mean 'mutag'"),
        ({"view_1": "random5"}, "`view_1` must be one of 'identity'"),
        ({"features": "label"}, "`features` must be one of 'auto'"),
        ({"share": 1.0}, "`share` must be a number at least 0 and at most 0.9"),
        ({"folds": 2}, "`folds` must be a whole number at least 3"),
    ],
)
def test_wrong_settings_are_refused(as_a_user: None, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Graphs(**setting)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", graph_networks.VIEWS)
def test_views_on_a_gpu(name: str) -> None:
    graphs = GraphBatch(*(t.cuda() for t in whole(some_graphs([12, 25], seed=2))))
    after = view(graphs, name, share=0.2, subgraph=0.3)
    assert all(tensor.is_cuda for tensor in after)
    apart(GraphBatch(*(tensor.cpu() for tensor in after)))


def test_further_views_are_drawn_as_the_second_view() -> None:
    assert Graphs().more_views
    assert not Graphs(view_2="identity").more_views
    task = Graphs(view_2="node-dropping", share=0.5)
    task.load(Randomness("graphs", "", 0))
    batch = task.batch(torch.arange(20))
    with Randomness("graphs", "", 0).seeded("further"):
        further = task.further_views(batch.data, 3)
    nodes = [int(graphs.sizes.sum()) for graphs in further]
    assert len(nodes) == 3
    assert all(count < int(batch.data.sizes.sum()) for count in nodes)


def test_node_attributes_and_several_labels_are_features(tmp_path: Path) -> None:
    numbers = "0.5, 1\n1.5, 2\n2.5, 3\n3.5, 4\n4.5, 5\n"
    root = str(write_graphs(tmp_path, node_attributes=numbers))
    assert graph_data.load("tudataset/OWN", root, "attributes").x[:, 0].tolist() == [
        0.5, 1.5, 2.5, 3.5, 4.5
    ]  # fmt: skip
    assert graph_data.load("tudataset/OWN", root).x.shape == (5, 3), "labels come first"
    pairs = "0.0, 1.0\n1, 1\n0, 2\n0, 1\n1, 3\n"
    two = str(write_graphs(tmp_path / "two", node_labels=pairs))
    assert graph_data.load("tudataset/OWN", two).x.tolist()[4] == [0, 1, 0, 0, 1]
    with pytest.raises(InputError, match=r"'attributes', but there is no file OWN_node_attrib"):
        graph_data.load("tudataset/OWN", two, "attributes")


@pytest.mark.parametrize("name", ["PTC_MR", "ptc-mr", "ptc_mr", "Ptc_mr"])
@pytest.mark.parametrize("place", ["tudataset/PTC_MR/raw", "TUDataset/PTC_MR/raw", "ptc_mr", "zip"])
def test_a_set_of_the_collection_is_known_by_any_spelling_and_its_sizes_are_checked(
    tmp_path: Path, name: str, place: str
) -> None:
    made = write_graphs(tmp_path / "made", "PTC_MR") / "tudataset/PTC_MR/raw"
    root = tmp_path / "root"
    if place == "zip":
        root.mkdir()
        shutil.make_archive(str(root / "PTC_MR"), "zip", made.parent, "raw")
    else:
        shutil.copytree(made, root / place)
    message = r"'ptc-mr' must have 344 graphs: got 2 in .*Get the whole set from https://www"
    with pytest.raises(InputError, match=message):
        graph_data.load(name, str(root))


def test_half_of_a_sets_edges_do_not_pass_under_its_name(tmp_path: Path) -> None:
    source = graph_data.SOURCES["mutag"]
    files = graph_data._listed(data.need(source), stem="MUTAG")
    place = tmp_path / "MUTAG"
    place.mkdir()
    for part, file in files.items():
        text = archives.read_bytes(file).decode().splitlines(keepends=True)
        (place / f"MUTAG_{part}.txt").write_text(
            "".join(text[: len(text) // 2] if part == "A" else text)
        )
    with pytest.raises(InputError, match=r"'mutag' must have 3,6\d\d to 3,7\d\d edges: got"):
        graph_data.load("mutag", str(tmp_path))


def test_known_sizes_hold_for_the_sets_that_are_here() -> None:
    for source in graph_data.SOURCES.values():
        place = data.find_local(source)
        if place is not None:
            assert source.measure is not None
            data.require_counts(source, source.measure(place), place)


def test_a_set_is_fetched_as_the_zip_with_the_published_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_graphs(tmp_path / "made", "PTC_MR") / "tudataset"
    (made / "PTC_MR/raw").rename(made / "PTC_MR/PTC_MR")
    archive = shutil.make_archive(str(tmp_path / "PTC_MR"), "zip", made / "PTC_MR", "PTC_MR")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    asked = []

    def download(url: str, to: Path, sha256: str) -> None:
        asked.append((url, sha256))
        shutil.copy(archive, to)

    monkeypatch.setattr(transfers, "download", download)
    place = data.fetch(graph_data.SOURCES["ptc-mr"])
    assert asked == [(f"{graph_data.URL}/PTC_MR.zip", TU_SETS["PTC_MR"].sha256)]
    assert graph_data._measure(place, stem="PTC_MR")["graphs"] == 2
    assert sum(source.download is not None for source in graph_data.SOURCES.values()) >= 25


def test_an_empty_graph_stays_empty_in_every_view() -> None:
    batch = GraphBatch(
        torch.eye(4), torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), torch.tensor([0, 2, 0, 2, 0])
    )
    for name in graph_networks.AUGMENTATIONS:
        for seed in range(8):
            torch.manual_seed(seed)
            seen = graph_networks.view(batch, name, share=0.5, subgraph=0.5)
            assert (seen.sizes[[0, 2, 4]] == 0).all() and (seen.sizes[[1, 3]] > 0).all(), name


@pytest.mark.parametrize(("count", "folds", "fits"), [(7, 5, False), (8, 5, False), (9, 5, True)])
def test_classes_must_be_large_enough_for_the_inner_folds(
    count: int, folds: int, fits: bool
) -> None:
    classes = np.repeat([0, 1], [count, 40])
    if not fits:
        with pytest.raises(InputError, match=rf"have 9 examples.*`folds` = 5.*got {count} of clas"):
            require_inner_folds(classes, folds)
        return
    require_inner_folds(classes, folds)
    parts = stratified_folds(classes, folds, np.random.default_rng(0))
    for k in range(folds):
        kept = np.concatenate([p for i, p in enumerate(parts) if i not in (k, (k + 1) % folds)])
        assert np.bincount(classes[kept]).min() >= INNER


# Zips and folders of one's own


def zipped(place: Path, *prefixes: str, **more: bytes) -> Path:
    """Write a zip with the set OWN under each prefix, and more members."""
    made = write_graphs(place.parent / f"made-{place.stem}") / "tudataset/OWN/raw"
    with ZipFile(place, "w", ZIP_DEFLATED) as archive:
        for prefix in prefixes:
            for file in sorted(made.iterdir()):
                archive.writestr(f"{prefix}{file.name}", file.read_bytes())
        for name, content in more.items():
            archive.writestr(name, content)
    return place


MACOS = {
    "__MACOSX/OWN/._OWN_A.txt": b"\0\5\26\7", "__MACOSX/OWN/OWN_A.txt": b"\0", ".DS_Store": b"\0",
    "._OWN_A.txt": b"\0", "OWN/.DS_Store": b"\0", ".hidden/OTHER_A.txt": b"\0",
    "OWN/README.txt": b"about the set",
}  # fmt: skip


@pytest.mark.parametrize("more", [{}, MACOS], ids=["plain", "macos"])
@pytest.mark.parametrize("prefix", ["", "OWN/", "raw/", "data/sets/OWN/"])
def test_a_zip_is_read_at_any_depth_and_without_what_is_hidden(
    tmp_path: Path, prefix: str, more: dict[str, bytes]
) -> None:
    place = str(zipped(tmp_path / "own.zip", prefix, **more))
    (tmp_path / "folder").mkdir()
    here = graph_data.load("tudataset/OWN", str(write_graphs(tmp_path / "folder")))
    assert all(torch.equal(a, b) for a, b in zip(here, graph_data.load(place), strict=True))
    expected = graph_data.content("tudataset/OWN", str(tmp_path / "folder")).checksum
    assert graph_data.content(place).checksum == expected


@pytest.mark.parametrize(
    ("prefixes", "more", "message"),
    [
        (["a/", "b/"], {}, "one file NAME_A.txt: got a/OWN_A.txt and b/OWN_A.txt in .*own.zip"),
        (["OWN/"], {"OTHER/OTHER_A.txt": b"1, 2"}, "got OWN/OWN_A.txt and OTHER/OTHER_A.txt in"),
        (["OWN/"], {"OWN/own_a.txt": b"1, 2"}, "got OWN/OWN_A.txt and OWN/own_a.txt in"),
        (["OWN/"], {"OWN/own_Graph_labels.txt": b"1"},
         "must hold OWN/OWN_graph_labels.txt once: got OWN/OWN_graph_labels.txt and OWN/own_Gra"),
        ([], {}, "got none in .*own.zip"),
        ([], {"__MACOSX/._OWN_A.txt": b"1, 2"}, "got none in .*own.zip"),
        ([], {"OWN/OWN_A.txt": b"1, 2"}, "must be complete: OWN_graph_indicator.txt is missing"),
        (["../"], {}, "own.zip must hold files inside of it: got the name .*OWN_A.txt.*Pack it"),
        (["/tmp/"], {}, "own.zip must hold files inside of it: got the name"),
        (["OWN/"], {"OWN/../../evil.txt": b"1"}, "must hold files inside of it: got .*evil.txt"),
    ],
)  # fmt: skip
def test_a_zip_that_is_not_one_set_is_refused(
    tmp_path: Path, prefixes: list[str], more: dict[str, bytes], message: str
) -> None:
    place = zipped(tmp_path / "own.zip", *prefixes, **more)
    with pytest.raises(InputError, match=message):
        graph_data.content(str(place))


def test_two_spellings_of_one_file_are_not_chosen_by_the_disk(tmp_path: Path) -> None:
    root = write_graphs(tmp_path)
    folder = root / "tudataset/OWN/raw"
    (folder / "own_node_labels.txt").write_text("1\n2\n3\n4\n5\n")
    with pytest.raises(InputError, match=r"once: got OWN_node_labels.txt and own_node_labels.txt"):
        graph_data.content("tudataset/OWN", str(root))
    (folder / "Own_a.txt").write_text("1, 2\n")
    with pytest.raises(InputError, match=r"one file NAME_A.txt: got OWN_A.txt and Own_a.txt in"):
        graph_data.content("tudataset/OWN", str(root))


def test_a_cut_or_damaged_zip_is_refused_in_a_sentence(tmp_path: Path) -> None:
    content = zipped(tmp_path / "whole.zip", "OWN/").read_bytes()
    place = tmp_path / "own.zip"
    for size in range(0, len(content), len(content) // 15):
        place.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"own.zip must be readable: .*Copy it again"):
            graph_data.load(str(place))
    for at in range(0, len(content), 7):
        place.write_bytes(content[:at] + b"\xff" * 5 + content[at + 5 :])
        with contextlib.suppress(InputError):  # Some bytes, such as dates, may be any.
            graph_data.load(str(place))


def test_graphs_of_one_class_are_refused_when_they_are_fetched(tmp_path: Path) -> None:
    root = write_graphs(tmp_path, graph_labels="1\n1\n")
    with pytest.raises(InputError, match=r"two classes or more: got 1 in OWN_graph_labels.txt"):
        Graphs(data="tudataset/OWN", root=str(root)).fetch()
    root = write_graphs(tmp_path / "two")
    with pytest.raises(InputError, match=r"Each class must have \d+ examples or more"):
        Graphs(data="tudataset/OWN", root=str(root)).fetch()


@pytest.mark.parametrize("kept", range(1, 8))
@pytest.mark.parametrize("features", ["auto", "constant", "degree"])
def test_a_graph_without_a_node_is_refused(tmp_path: Path, kept: int, features: str) -> None:
    """Eight graphs of two nodes, whose files are cut after some, or lack one in the middle."""
    labels = "1\n2\n" * 4
    owners = [graph for graph in range(1, 9) for _ in range(2)]
    for number, left in enumerate(
        ([o for o in owners if o <= kept], [o for o in owners if o != kept])
    ):
        pairs = "".join(f"{2 * i + 1}, {2 * i + 2}\n" for i in range(len(left) // 2))
        files = {
            "A": pairs, "graph_indicator": "".join(f"{o}\n" for o in left),
            "graph_labels": labels, "node_labels": "1\n2\n" * (len(left) // 2),
        }  # fmt: skip
        root = str(write_graphs(tmp_path / str(number), **files))
        first = kept + 1 if number == 0 else kept
        message = rf"Each graph must have a node: got none for graph {first} \(.* such of 8\)"
        with pytest.raises(InputError, match=message):
            graph_data.load("tudataset/OWN", root, features)
        with pytest.raises(InputError, match=message):
            Graphs(data="tudataset/OWN", root=root, features=features, folds=3).fetch()


@pytest.mark.parametrize("name", ["DHFR", "Fingerprint"])
def test_a_set_of_unknown_sizes_may_lack_nodes_only_as_published(tmp_path: Path, name: str) -> None:
    root = write_graphs(tmp_path, name, graph_labels="1\n2\n1\n")
    if name == "Fingerprint":
        assert graph_data.load(name, str(root)).sizes.tolist() == [3, 2, 0]
        return
    with pytest.raises(InputError, match="got none for graph 3"):
        graph_data.load(name, str(root))
    with pytest.raises(InputError, match="got none for graph 3"):
        graph_data._measure(root / "tudataset" / name, stem=name)


@pytest.mark.parametrize("part", ["A", "graph_indicator", "graph_labels", "node_labels"])
@pytest.mark.parametrize("value", ["1e300", "-1e300", "9007199254740994", "inf", "nan", "0.5"])
def test_what_no_whole_number_holds_is_refused(tmp_path: Path, part: str, value: str) -> None:
    line = f"{value}, 1\n" if part == "A" else f"{value}\n"
    root = str(write_graphs(tmp_path, **{part: line * (2 if part == "graph_labels" else 5)}))
    with pytest.raises(InputError, match=rf"OWN_{part}.txt must hold whole numbers: .* line 1, "):
        graph_data.load("tudataset/OWN", root)


@pytest.mark.parametrize("value", ["1e300", "-1e300", "3.5e38", "1e999", "inf", "nan"])
def test_an_attribute_that_float32_cannot_hold_is_refused(tmp_path: Path, value: str) -> None:
    numbers = f"1, 2\n1, 2\n1, {value}\n1, 2\n1, 2\n"
    root = str(write_graphs(tmp_path, node_attributes=numbers))
    with pytest.raises(InputError, match=r"finite 32-bit numbers: got .* in line 3, number 2"):
        graph_data.load("tudataset/OWN", root, "attributes")
    largest = f"{np.finfo(np.float32).max!s}\n" * 5
    root = str(write_graphs(tmp_path / "b", node_attributes=largest))
    assert graph_data.load("tudataset/OWN", root, "attributes").x.isfinite().all()


PARTS = ["A", "graph_indicator", "graph_labels", "node_labels", "node_attributes"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("comment", ["# a comment", "#1, 2", "1 # one", "% 1", "// 1"])
def test_no_line_is_dropped_as_a_comment(tmp_path: Path, part: str, comment: str) -> None:
    root = write_graphs(tmp_path, node_attributes="1\n" * 5)
    file = root / f"tudataset/OWN/raw/OWN_{part}.txt"
    file.write_text(f"{comment}\n{file.read_text()}")
    features = "attributes" if part == "node_attributes" else "auto"
    with pytest.raises(InputError, match=rf"OWN_{part}.txt must hold numbers: could not convert"):
        graph_data.load("tudataset/OWN", str(root), features)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({}, ""),
        ({"edge_labels": "1\n" * 7}, "not used: OWN_edge_labels.txt"),
        ({"edge_attributes": "1\n" * 7, "edge_labels": "1\n" * 7, "node_labels": ""},
         "not used: OWN_edge_attributes.txt, OWN_edge_labels.txt"),
        ({"graph_attributes": "1\n2\n"}, "not used: OWN_graph_attributes.txt"),
        ({"node_weights": "1\n" * 5}, "not used: OWN_node_weights.txt"),
        ({"node_attributes": "1\n" * 5},
         "nodes have labels and attributes: only features='attributes' uses the latter"),
        ({"node_attributes": "1\n" * 5, "node_labels": ""}, ""),
        ({"node_attributes": "1\n" * 5, "edge_labels": "1\n" * 7},
         "not used: OWN_edge_labels.txt; nodes have labels and attributes: only "
         "features='attributes' uses the latter"),
    ],
)  # fmt: skip
def test_files_of_a_set_that_are_not_read_are_named(
    tmp_path: Path, packed: bool, more: dict[str, str], note: str
) -> None:
    root = write_graphs(tmp_path, **more)
    place = root / "tudataset/OWN/raw"
    (place / "README.txt").write_text("about the set")
    if packed:
        place = Path(shutil.make_archive(str(tmp_path / "own"), "zip", place))
    assert graph_data.content(str(place)).note == note


@pytest.mark.parametrize("labels", [[0, 2_000_000_000], [-5, 7], [2**53, -(2**53)], [3, 3]])
def test_node_labels_are_a_column_each_whatever_their_numbers(
    tmp_path: Path, labels: list[int]
) -> None:
    text = "".join(f"{labels[n % 2]}\n" for n in range(5))
    x = graph_data.load("tudataset/OWN", str(write_graphs(tmp_path, node_labels=text))).x
    assert x.shape == (5, len(set(labels)))
    assert (x.sum(dim=1) == 1).all() and torch.equal(x[0], x[2])
    assert torch.equal(x[0], x[1]) == (labels[0] == labels[1])


def test_too_many_node_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(write_graphs(tmp_path, node_labels="1\n2\n3\n4\n5\n"))
    monkeypatch.setattr(graph_data, "MAX_ONE_HOT", 24)
    with pytest.raises(InputError, match=r"few enough .*: got 5 of 5 nodes in OWN_node_labels"):
        graph_data.load("tudataset/OWN", root)


@pytest.mark.parametrize("spelled", [str, str.upper, str.lower], ids=["as is", "upper", "lower"])
@pytest.mark.parametrize("inside", ["", "OWN", "OWN/OWN", "raw", "OWN/raw", "a/b/c"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_set_is_read_at_any_depth_and_in_any_capitals(
    tmp_path: Path, spelled: Any, inside: str, packed: bool
) -> None:
    made = write_graphs(tmp_path / "made") / "tudataset/OWN/raw"
    expected = graph_data.content(str(made)).checksum
    place = tmp_path / "mine"
    (place / inside).mkdir(parents=True)
    for file in made.iterdir():
        shutil.copy(file, place / inside / spelled(file.name))
    for name in (".hidden/OTHER_A.txt", "__MACOSX/OWN_A.txt", "._OWN_A.txt", "notes/README.TXT"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("no numbers")
    if packed:
        place = Path(shutil.make_archive(str(tmp_path / "own"), "zip", place))
    assert graph_data.content(str(place)).checksum == expected
    assert graph_data.load(str(place)).sizes.tolist() == [3, 2]


def test_a_folder_of_several_sets_is_refused(tmp_path: Path) -> None:
    for stem in ("OWN", "OTHER"):
        write_graphs(tmp_path, stem)
    with pytest.raises(InputError, match=r"one file NAME_A.txt: got OTHER/raw/OTHER_A.txt and OWN"):
        graph_data.content(str(tmp_path / "tudataset"))
