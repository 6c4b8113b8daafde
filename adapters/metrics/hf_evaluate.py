"""The ``evaluate`` library's metrics, defined here so that they need no hub."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score

from harness.core.errors import InputError


class _Metric(evaluate.Metric):  # type: ignore[misc]
    """A metric of predictions against references that holds its data in memory."""

    dtype = "int64"

    def __init__(self, **settings: Any) -> None:
        super().__init__(keep_in_memory=True, **settings)

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value(self.dtype)
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="predictions and references, one a row",
            features=datasets.Features({"predictions": value, "references": value}),
        )


class Accuracy(_Metric):
    """The share of predictions that are right."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(_Metric):
    """The unweighted mean of the classes' F1."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"macro_f1": float(f1_score(references, predictions, average="macro"))}


class Spearman(_Metric):
    """Spearman's rank correlation."""

    dtype = "float64"

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"spearman": float(spearmanr(predictions, references).statistic)}


METRICS: Mapping[str, type[_Metric]] = {
    "accuracy": Accuracy,
    "macro_f1": MacroF1,
    "spearman": Spearman,
}
"""The metrics that need no script from the library's hub."""


def computed(
    names: Sequence[str], predictions: NDArray[Any], references: NDArray[Any]
) -> dict[str, float]:
    """Return {metric: value} of ``predictions`` against ``references``.

    Args:
        names: names from :data:`METRICS`, or of any metric of the library whose script is
            on this machine or can be fetched.
        predictions: one an item.
        references: the right answers, one an item.

    Raises:
        InputError: if a metric cannot be loaded.

    >>> import numpy as np
    >>> computed(["accuracy"], np.array([1, 2, 3, 3]), np.array([1, 2, 3, 4]))
    {'accuracy': 0.75}
    """
    # A temporary cache: the library's default is in the home folder, which may be read-only.
    with tempfile.TemporaryDirectory() as cache:
        combined = evaluate.combine([_metric(name, cache) for name in names])
        scores: dict[str, float] | None = combined.compute(
            predictions=predictions, references=references
        )
    assert scores is not None
    return scores


def require_working(*names: str) -> None:
    """Raise an error before the training if the metrics cannot be computed after it."""
    computed(names, np.array([0, 1]), np.array([0, 1]))


def _metric(name: str, cache: str) -> evaluate.EvaluationModule:
    if name in METRICS:
        return METRICS[name](cache_dir=cache)
    try:
        return evaluate.load(name, cache_dir=cache, keep_in_memory=True)
    except Exception as error:  # The library raises many types if it cannot reach the hub.
        raise InputError(
            f"The metric {name!r} could not be loaded: {type(error).__name__}: {error}. Use one of "
            f"{', '.join(METRICS)}, which need no hub, or the path of a metric's script."
        ) from error
