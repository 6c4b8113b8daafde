"""Probes of frozen representations: arrays in, predictions or scores out."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from harness.errors import require

REGULARISATION = tuple(float(c) for c in np.logspace(-4, 2, 7))
"""The values of C tried, the inverse of the L2 penalty: 1e-4, 1e-3, ..., 1e2."""


def logistic_probe(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    validation: tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " k"]],
    scored: Float[np.ndarray, "m d"],
    *,
    grid: Sequence[float] = REGULARISATION,
) -> NDArray[np.int64]:
    """Fit a multinomial logistic regression and predict the classes of ``scored``.

    Features are standardised by the training rows' mean and deviation. C is the
    smallest value of ``grid`` with the best accuracy on ``validation``; the
    validation rows are never fitted. Deterministic.

    Args:
        train: representations and classes to fit.
        validation: representations and classes that choose C.
        scored: representations to predict.
        grid: values of C, in rising order.

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

    def scale(features: Float[np.ndarray, "a d"]) -> Float[np.ndarray, "a d"]:
        scaled: np.ndarray = scaler.transform(features.astype(np.float64))
        return scaled

    fitted, checked = scale(rows), scale(validation[0])
    models = [LogisticRegression(C=c, max_iter=5000, tol=1e-6).fit(fitted, classes) for c in grid]
    accuracies = [np.mean(model.predict(checked) == validation[1]) for model in models]
    best = models[int(np.argmax(accuracies))]
    predictions: NDArray[np.int64] = best.predict(scale(scored))
    return predictions
