"""Probes of frozen representations: arrays in, predictions or scores out."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from harness.errors import require, require_number

REGULARISATION = tuple(float(c) for c in np.logspace(-4, 2, 7))
"""The values of C tried, the inverse of the L2 penalty: 1e-4, 1e-3, ..., 1e2."""

LARGE = 4_000_000
"""From this many numbers to fit on, each C starts from the solution of the one before."""

KNN_TEMPERATURE = 0.07
"""Wu et al.'s, whatever the losses' temperature: else scores could not be compared."""


def logistic_probe(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    validation: tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " k"]],
    scored: Float[np.ndarray, "m d"],
    *,
    grid: Sequence[float] = REGULARISATION,
    device: torch.device | str | None = None,
) -> NDArray[np.int64]:
    """Fit a multinomial logistic regression and predict the classes of ``scored``.

    Features are standardised by the training rows' mean and deviation. C is the
    smallest value of ``grid`` with the best accuracy on ``validation``; the
    validation rows are never fitted. Deterministic.

    L-BFGS runs until no component of the mean gradient is above 1e-6. The objective is
    convex, so where it starts decides how soon it is there and not where: with
    ``LARGE`` numbers or more to fit on, each C starts from the solution of the one before.

    Args:
        train: representations and classes to fit.
        validation: representations and classes that choose C.
        scored: representations to predict.
        grid: values of C, in rising order.
        device: where to fit, by scikit-learn's array API; None, or without
            ``SCIPY_ARRAY_API=1`` in the environment: with numpy.

    Returns:
        One class a row of ``scored``.

    Raises:
        InputError: where ``train`` has fewer than two classes.
    """
    rows, classes = train
    require(
        len(np.unique(classes)) >= 2,
        "`train` must hold at least two classes: got "
        f"{np.unique(classes).tolist()}. Label more examples.",
    )
    scaler = StandardScaler().fit(rows.astype(np.float64))
    if os.environ.get("SCIPY_ARRAY_API") != "1":
        device = None

    def on_device(array: NDArray[Any]) -> Any:
        return array if device is None else torch.from_numpy(array).to(device)

    def scale(features: Float[np.ndarray, "a d"]) -> Any:
        return on_device(scaler.transform(features.astype(np.float64)))

    with _dispatching(device):
        models = _models(scale(rows), on_device(classes), grid, warm=rows.size >= LARGE)
        checked = scale(validation[0])
        accuracies = [np.mean(_numpy(m.predict(checked)) == validation[1]) for m in models]
        best = models[int(np.argmax(accuracies))]
        predictions: NDArray[np.int64] = _numpy(best.predict(scale(scored)))
    return predictions


def _models(rows: Any, classes: Any, grid: Sequence[float], *, warm: bool) -> list[Any]:
    """Return a model a value of C, fitted."""
    models: list[Any] = []
    for c in grid:
        model = LogisticRegression(C=c, max_iter=5000, tol=1e-6, warm_start=warm)
        if warm and models:
            before = models[-1]
            model.coef_, model.intercept_ = before.coef_, before.intercept_
            model.classes_ = before.classes_
        models.append(model.fit(rows, classes))
    return models


def _dispatching(device: torch.device | str | None) -> AbstractContextManager[Any]:
    return nullcontext() if device is None else config_context(array_api_dispatch=True)


def _numpy(array: Any) -> NDArray[Any]:
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else array


def knn_probe(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    scored: Float[np.ndarray, "m d"],
    *,
    neighbours: int,
    temperature: float = KNN_TEMPERATURE,
    device: torch.device | str = "cpu",
) -> NDArray[np.int64]:
    """Predict the classes of ``scored`` by a vote of the nearest training rows.

    votes(c) = sum over the ``neighbours`` training rows i of class c that are nearest by
    cosine s_i of exp(s_i / temperature); the class with the most votes wins. Nothing is
    fitted or chosen. A row of zeros has cosine 0 with every row.

    Args:
        train: representations and classes that vote.
        scored: representations to predict.
        neighbours: how many vote, 1 to n; 200 is usual for CIFAR.
        temperature: of the votes. It is no loss's: leave it, to compare.
        device: where to compute.

    Raises:
        InputError: where a number breaks its rule.

    >>> rows, classes = np.eye(2, dtype=np.float32)[[0, 0, 1]], np.array([4, 4, 7])
    >>> knn_probe((rows, classes), np.array([[1.0, 0.2], [0.0, 2.0]]), neighbours=1)
    array([4, 7])

    References:
        Wu et al., Unsupervised feature learning via non-parametric instance
        discrimination, arXiv 1805.01978.
    """
    rows, classes = train
    require_number("neighbours", neighbours, at_least=1, at_most=len(rows), whole=True)
    require_number("temperature", temperature, above=0)
    names, numbers = np.unique(classes, return_inverse=True)

    def unit(features: NDArray[Any]) -> torch.Tensor:
        moved = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(device)
        return torch.nn.functional.normalize(moved)

    bank, votes_for = unit(rows), torch.from_numpy(numbers).to(device)
    predictions = []
    for block in np.array_split(scored, -(-len(scored) // 500)):
        near = (unit(block) @ bank.T).topk(neighbours)
        # Of the nearest, 1: else a low temperature overflows.
        weights = ((near.values - near.values[:, :1]) / temperature).exp()
        votes = torch.zeros(len(block), len(names), device=device)
        votes.scatter_add_(1, votes_for[near.indices], weights)
        predictions.append(votes.argmax(dim=1).cpu().numpy())
    predicted: NDArray[np.int64] = names[np.concatenate(predictions)]
    return predicted
