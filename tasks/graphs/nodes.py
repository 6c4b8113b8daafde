"""Nodes: GRACE and similar methods on one graph, scored by node classification."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from adapters.data import node_data
from adapters.networks.neighbours import Links, Sample, by_target, draw
from adapters.networks.node_networks import ACTIVATIONS, GAT, NETWORKS, Graph, Part
from adapters.views import graph_views
from adapters.views.graph_views import CENTRALITIES, DIFFUSIONS, Corruption
from harness import networks
from harness.core.content import Content
from harness.core.errors import require
from harness.core.randomness import Randomness
from harness.data import require_known
from harness.evaluation.probes import logistic_probe
from harness.evaluation.represent import represent
from harness.metrics import Evaluation, Metric, mean_scores
from harness.settings import Above, Between, NetworkOf, OneOf, evaluation, is_in_file, location
from harness.task import Batch, Task, device_of, to_device
from tasks.graphs.node_divisions import SPLITS, divide
from tasks.graphs.node_probe import one_vs_rest_probe

VIEWS = ("grace", "gca", "diffusion")
HELD_OUT = 256
"""Largest number of nodes for diagnostics."""
PROBES = {"multinomial": logistic_probe, "one_vs_rest": one_vs_rest_probe}

View = Graph | Part | Sample


class Nodes(Task):
    """Train without labels on two views of a graph; classify its nodes.

    In training the encoder sees all nodes and edges and no label. (Supervised methods see
    the labels of nodes that are in no draw's validation or test set.) The score is that of
    a logistic regression on frozen representations of the unchanged graph, with C chosen
    on the validation nodes, averaged over several draws.

    Splits: ``random``: 20 labelled nodes per class, 500 for validation and 1000 for test;
    the test nodes are the same for every draw and seed. ``grace``: a tenth to fit, a tenth
    for validation and the rest for test; each draw is a new division. GRACE's code fits on a
    tenth, chooses C by 5-fold cross-validation within it, and tests on the other nine;
    GCA's code holds out a tenth for C. One draw's validation nodes are another's test nodes,
    which favours whatever is tuned on them. ``public``: those of the set's authors; if they
    have no validation nodes, a fifth of each class's training nodes, the same for every seed.

    Large graphs: with ``batch_size`` above 0, a step contrasts that many anchors instead of
    all nodes. They are encoded exactly, from the whole graph's view, with no more work
    than their rows need. With ``neighbours`` above 0, they are encoded from that many
    neighbours drawn per node and layer, so that a step's memory does not grow with the
    graph. Evaluation is on the whole graph
    (:class:`adapters.networks.node_networks.Encoder` says how much memory that takes).

    Args:
        data: ``cora`` (LINQS' text), ``planetoid-cora``, ``citeseer``, ``pubmed``,
            ``amazon-computers``, ``amazon-photo``, ``coauthor-cs``, ``coauthor-physics``,
            ``cora-full``, ``cora-ml``, ``dblp``, ``citeseer-full``, ``cornell``, ``texas``,
            ``wisconsin``, ``actor``, ``polblogs``, ``wikics`` or ``ogbn-arxiv``. Or one's own,
            by its path or its name in ``TRIPTYCH_DATA``: an npz in the layout of "Pitfalls of
            Graph Neural Network Evaluation" or with PyG's ``edge_index``, ``x`` and ``y``; a
            folder with ``nodes.csv`` and ``edges.csv``; or Wiki-CS's ``data.json``.
        root: a folder to look in first.
        features: ``auto``, the set's own; ``degree``, one-hot; or ``constant``.
        split: ``random``, ``public`` or ``grace``.
        normalise_features: subtract the lowest feature of all, then divide each node's
            features by their sum if it is above 1: PyG's NormalizeFeatures, as in GRACE's
            code.
        network: ``gcn``, ``gat`` or ``sage``; or ``my_nets.py:Net``, which may take ``inputs``,
            ``width``, ``layers`` and ``activation``, and maps a graph with ``x`` and ``edges``
            to one representation a node. Batches of anchors need a network that takes a
            :class:`~adapters.networks.node_networks.Part`.
        layers: of the network.
        width: of the representation and the projection; hidden layers are twice as wide.
        heads: of a layer of ``gat``; must divide ``width``.
        activation: after each layer: ``prelu``, ``relu``, ``elu`` or ``rrelu`` (GCA's on most
            sets).
        head_hidden: width of the head's hidden layer, ``num_proj_hidden`` in GRACE's and GCA's
            code; 0: as wide as the representation.
        view: ``grace``: all edges and feature columns are equally likely to be dropped;
            ``gca``: the less central, the likelier; ``diffusion``: as ``grace``, but the
            second view's edges are the graph's diffusion, as in MVGRL (which drops nothing:
            set the next four to 0).
        drop_edges_1: share of edges that the first view drops.
        drop_edges_2: the same for the second view.
        mask_features_1: share of feature columns that the first view zeroes.
        mask_features_2: the same for the second view.
        centrality: for ``gca``: ``degree``, ``pagerank`` or ``eigenvector``.
        cut_off: for ``gca``: the highest chance to be dropped, p_tau.
        diffusion: ``ppr`` (personalised PageRank) or ``heat``.
        teleport: for ``ppr``: the chance to return to the start.
        heat: for ``heat``: the diffusion time.
        diffusion_degree: entries kept of each column of the diffusion.
        neighbours: how many to draw per node and layer; 0: all.
        probe: ``multinomial``, or ``one_vs_rest``: GRACE's, on rows of length 1.
        draws: of the split; at most this many of public ones.

    References:
        Zhu et al. 2020 (GRACE), arXiv 2006.04131; Zhu et al. 2021 (GCA), arXiv 2010.14945;
        Hassani and Khasahmadi 2020 (MVGRL), arXiv 2006.05582.
    """

    label = "Nodes"
    modality = "graph"
    pairing = "both_views"
    labelled = True
    metrics = (
        Metric("accuracy", "The share of nodes whose class is predicted right.", margin=1.0),
        Metric("macro_f1", "The mean over classes of the F1 score.", margin=1.0, label="macro-F1"),
    )

    data: Annotated[str, location] = "cora"
    root: Annotated[str, location] = ""
    features: Annotated[str, OneOf(node_data.FEATURES)] = "auto"
    split: Annotated[str, OneOf(SPLITS)] = "random"
    normalise_features: bool = False
    network: Annotated[str, NetworkOf(NETWORKS)] = "gcn"
    layers: Annotated[int, Between(1)] = 2
    width: Annotated[int, Between(1)] = 128
    heads: Annotated[int, Between(1)] = 4
    activation: Annotated[str, OneOf(ACTIVATIONS)] = "prelu"
    head_hidden: Annotated[int, Between(0)] = 0
    view: Annotated[str, OneOf(VIEWS)] = "grace"
    drop_edges_1: Annotated[float, Between(0, 0.95)] = 0.2
    drop_edges_2: Annotated[float, Between(0, 0.95)] = 0.4
    mask_features_1: Annotated[float, Between(0, 0.95)] = 0.3
    mask_features_2: Annotated[float, Between(0, 0.95)] = 0.4
    centrality: Annotated[str, OneOf(CENTRALITIES)] = "degree"
    cut_off: Annotated[float, Above(0, 0.95)] = 0.7
    diffusion: Annotated[str, OneOf(DIFFUSIONS)] = "ppr"
    teleport: Annotated[float, Between(0.01, 1)] = 0.2
    heat: Annotated[float, Above(0, 50)] = 5.0
    diffusion_degree: Annotated[int, Between(1)] = 64
    neighbours: Annotated[int, Between(0)] = 0
    probe: Annotated[str, OneOf(PROBES), evaluation] = "multinomial"
    draws: Annotated[int, Between(1), evaluation] = 5
    steps: int = 50
    batch_size: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-5

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        require_known(node_data.KIND, self.data, node_data.SOURCES, self.root)
        require(
            self.network != "gat" or self.width % self.heads == 0,
            f"`heads` must divide `width`: got {self.heads} for {self.width}. Change either.",
        )
        require(
            self.neighbours == 0 or self.view != "diffusion",
            "`neighbours` must be 0 for the view 'diffusion', which limits the edges per node by "
            f"`diffusion_degree` instead: got {self.neighbours}. Set neighbours=0.",
        )
        # With several 'grace' draws nearly every node is in some validation or test set, so no
        # node may show its label.
        self.labelled = self.split != "grace" or self.draws == 1

    def fetch(self) -> list[Content]:
        """Download what is missing and check it; return the graph's checksum."""
        found = node_data.content(self.data, self.root)
        data = node_data.load(self.data, self.root, self.features)
        divide(self.split, data.classes, data.public, self.draws, np.random.default_rng(0))
        return [found]

    def load(self, randomness: Randomness) -> None:
        """Read the graph; draw the divisions; prepare the views."""
        from adapters.metrics.hf_evaluate import require_working

        require_working("accuracy", "macro_f1")
        data = node_data.load(self.data, self.root, self.features)
        x = graph_views.normalised(data.x) if self.normalise_features else data.x
        self._graph, self._classes = Graph(x, data.edges), data.classes
        self._divisions = divide(
            self.split, data.classes, data.public, self.draws, randomness.numpy("split")
        )
        self._training_labels = torch.from_numpy(self._classes.copy())
        for division in self._divisions:
            for split in ("validation", "test"):
                self._training_labels[division[split]] = -1
        links = by_target(data.edges, len(data.x)) if self.neighbours else None
        edges = data.edges if links is None else links.edges
        first, second = (
            self._corruption(edges, drop_edges, mask_features, diffused=diffused)
            for drop_edges, mask_features, diffused in (
                (self.drop_edges_1, self.mask_features_1, False),
                (self.drop_edges_2, self.mask_features_2, self.view == "diffusion"),
            )
        )
        self._prepared = (self._graph, links, first, second)
        self._device = torch.device("cpu")

    def _corruption(
        self, edges: Tensor, drop_edges: float, mask_features: float, *, diffused: bool
    ) -> Corruption:
        """Return how a view is made of the graph, or of its diffusion."""
        x = self._graph.x
        if self.view == "gca":
            central = graph_views.centrality(edges, len(x), self.centrality)
            # GCA weights features by how common they are. Use them unnormalised, because dividing
            # by a node's sum would blur that.
            unnormalised = node_data.load(self.data, self.root, self.features).x
            return graph_views.corruption(
                edges,
                len(x),
                graph_views.edge_chances(edges, central, drop_edges, self.cut_off),
                graph_views.feature_chances(unnormalised, central, mask_features, self.cut_off),
            )
        if diffused:
            checksum = node_data.content(self.data, self.root).checksum
            settings = (self.diffusion, self.teleport, self.heat, self.diffusion_degree)
            edges, weights = _diffused(self.data, self.root, checksum, *settings)
            return graph_views.corruption(edges, len(x), drop_edges, mask_features, weights)
        return graph_views.corruption(edges, len(x), drop_edges, mask_features)

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the labelled, validation and test nodes of each draw."""
        return [{name: part.tolist() for name, part in d.items()} for d in self._divisions]

    def train_size(self) -> int:
        """Return the number of nodes."""
        return len(self._classes)

    def batch(self, index: Tensor) -> Batch:
        """Return the anchors' numbers, as data and as ids; all batches share the graph."""
        return Batch(index, index, self._training_labels[index] if self.labelled else None)

    def views(self, data: Tensor) -> tuple[View, View]:
        """Return two views of the graph, or of the part of it that the anchors need."""
        (x, _), links, first, second = self._prepared_on(data.device)
        if links is not None:
            layers = draw(links, data, fan_out=self.neighbours, layers=self.layers)
            return (
                graph_views.sampled_view(x, first, layers),
                graph_views.sampled_view(x, second, layers),
            )
        if len(data) < len(x):
            return (
                graph_views.anchored_view(x, first, data),
                graph_views.anchored_view(x, second, data),
            )
        return graph_views.whole_view(x, first), graph_views.whole_view(x, second)

    def _prepared_on(
        self, device: torch.device
    ) -> tuple[Graph, Links | None, Corruption, Corruption]:
        """Return the graph and the parts of views, moved to a device once, not at every step."""
        if device != self._device:
            self._prepared, self._device = to_device(self._prepared, device), device
        return self._prepared

    def held_out(self) -> Batch:
        """Return at most 256 of the first division's validation nodes, with their classes."""
        nodes = torch.from_numpy(np.sort(self._divisions[0]["validation"]))
        nodes = nodes[:: -(-len(nodes) // HELD_OUT)].contiguous()
        return Batch(nodes, nodes, torch.from_numpy(self._classes[nodes.numpy()]))

    def encoder(self) -> nn.Module:
        """Return a fresh network of the kind that ``network`` names."""
        inputs, hidden = self._graph.x.shape[1], 2 * self.width
        if is_in_file(self.network):
            return networks.build(
                self.network, inputs=inputs, width=self.width, layers=self.layers,
                activation=self.activation,
            )  # fmt: skip
        sizes = (inputs, hidden, self.width, self.layers, self.activation)
        return GAT(*sizes, self.heads) if self.network == "gat" else NETWORKS[self.network](*sizes)

    def head(self, width: int) -> nn.Module:
        """Return GRACE's head, Linear - ELU - Linear."""
        hidden = self.head_hidden or width
        return nn.Sequential(nn.Linear(width, hidden), nn.ELU(), nn.Linear(hidden, width))

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return accuracy and macro-F1, averaged over the draws."""
        # Imported here because the import takes seconds, which planning a run can do without.
        from adapters.metrics.hf_evaluate import computed

        graph, *_ = self._prepared_on(device_of(encoder))
        features = represent(encoder, [graph])

        def scores(division: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
            parts = {name: (features[rows], self._classes[rows]) for name, rows in division.items()}
            predict = PROBES[self.probe](parts["train"], parts["validation"])
            return {
                split: computed(["accuracy", "macro_f1"], predict(parts[split][0]), parts[split][1])
                for split in splits
            }

        items = {split: sum(len(d[split]) for d in self._divisions) for split in splits}
        return Evaluation(
            mean_scores([scores(division) for division in self._divisions]),
            {split: {"accuracy": 1 / count} for split, count in items.items()},
        )


@cache
def _diffused(
    data: str, root: str, checksum: str, kind: str, teleport: float, time: float, degree: int
) -> tuple[Tensor, Tensor]:
    """Compute a graph's diffusion once per process: it takes minutes for a large graph."""
    # The checksum is part of the cache's key: the root may come from the environment, and
    # files may change.
    del checksum
    loaded = node_data.load(data, root)
    return graph_views.diffused(
        loaded.edges, len(loaded.x), kind, teleport=teleport, time=time, degree=degree
    )
