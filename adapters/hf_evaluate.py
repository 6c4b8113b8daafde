"""The ``evaluate`` library's metrics, defined here so that they need no hub."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score


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


def computed(
    metrics: Sequence[evaluate.Metric],
    predictions: NDArray[Any],
    references: NDArray[Any],
) -> dict[str, float]:
    """Return {metric: value} of ``predictions`` against ``references``.

    >>> import numpy as np
    >>> computed([Accuracy()], np.array([1, 2, 3, 3]), np.array([1, 2, 3, 4]))
    {'accuracy': 0.75}
    """
    combined = evaluate.combine(list(metrics))
    scores: dict[str, float] | None = combined.compute(
        predictions=predictions, references=references
    )
    assert scores is not None
    return scores
