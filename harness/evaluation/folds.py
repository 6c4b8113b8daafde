"""Cross-validation of frozen representations: arrays in, predictions out."""

from collections.abc import Callable
from itertools import count as count_up

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from harness.core.errors import require

PENALTIES = tuple(float(c) for c in np.logspace(-3, 3, 7))
"""The values of C tried: 1e-3, 1e-2, ..., 1e3."""

Rows = NDArray[np.int64]

INNER = 5
"""The number of folds of the fitted rows on which C is chosen."""


def stratified_folds(
    classes: Int[np.ndarray, " n"], folds: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Split the rows at random into ``folds`` parts, each with the same shares of classes.

    Raises:
        InputError: if a class has fewer rows than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    fewest = int(np.unique(classes, return_counts=True)[1].min())
    require(
        fewest >= folds,
        f"`folds` must be at most the number of examples in the smallest class: got {folds} folds "
        f"for {fewest} examples. Lower `folds`.",
    )
    seed = int(generator.integers(2**32))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(classes, classes)
    return [rows for _, rows in parts]


def require_inner_folds(classes: Int[np.ndarray, " n"], folds: int) -> None:
    """Raise :class:`InputError` if a class has too few rows for the folds on which C is chosen.

    A probe is fitted without two of ``folds`` parts, and divides its rows into ``INNER`` parts,
    each of which needs a row of every class.
    """
    numbers, counts = np.unique(classes, return_counts=True)
    # A class with one more row can leave a probe fewer rows, because the two held-out parts are
    # then larger. So find the first size of a class from which on all sizes leave enough.
    least = next(
        n for n in count_up(INNER) if all(_left(n + i, folds) >= INNER for i in range(folds))
    )
    number, fewest = numbers[counts.argmin()], int(counts.min())
    require(
        fewest >= least,
        f"Each class must have {least} examples or more for `folds` = {folds} and the {INNER} "
        f"inner folds that choose the probe's C: got {fewest} of class {number}. Lower `folds`, or "
        "leave out that class.",
    )


def _left(count: int, folds: int) -> int:
    """Return how many of a class's rows are left at least without two of the folds."""
    return count - 2 * -(-count // folds)


def svc_probe(
    fitted: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    scored: Float[np.ndarray, "m d"],
) -> NDArray[np.int64]:
    r"""Fit a support vector machine with a Gaussian kernel, and predict ``scored``.

    .. math:: k(a, b) = e^{-\gamma \|a - b\|^2}, \qquad \gamma = 1 / (d \operatorname{Var})

    with the variance over all entries of the fitted representations, which are not
    standardised. C is the smallest value of ``PENALTIES`` with the best accuracy over 5 folds
    of the fitted rows. Deterministic.

    Args:
        fitted: representations and classes.
        scored: representations to predict; they have no part in any choice.

    Returns:
        One class a row of ``scored``.

    References:
        The evaluation of Sun et al., ICLR 2020, arXiv 1908.01000, and You et al.,
        NeurIPS 2020, arXiv 2010.13902.
    """
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.svm import SVC

    rows, classes = fitted[0].astype(np.float64), fitted[1]
    gamma = 1 / (rows.shape[1] * (rows.var() or 1.0))
    kernel = rbf_kernel(rows, gamma=gamma)  # Computed once rather than in each fit.

    def predict(c: float, kept: Rows, similar: Float[np.ndarray, "k n"]) -> NDArray[np.int64]:
        model = SVC(C=c, kernel="precomputed").fit(kernel[np.ix_(kept, kept)], classes[kept])
        predictions: NDArray[np.int64] = model.predict(similar[:, kept])
        return predictions

    best = _best_penalty(classes, lambda c, kept, left: predict(c, kept, kernel[left]))
    similar = rbf_kernel(scored.astype(np.float64), rows, gamma=gamma)
    return predict(best, np.arange(len(rows)), similar)


def logistic_cv_probe(
    fitted: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    scored: Float[np.ndarray, "m d"],
) -> NDArray[np.int64]:
    """Fit a multinomial logistic regression, and predict ``scored``.

    Features are standardised by the fitted rows' mean and deviation; C is chosen as in
    :func:`svc_probe`. Deterministic.

    Args:
        fitted: representations and classes.
        scored: representations to predict; they have no part in any choice.

    Returns:
        One class a row of ``scored``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(fitted[0].astype(np.float64))
    rows, classes = scaler.transform(fitted[0].astype(np.float64)), fitted[1]

    def predict(c: float, kept: Rows, features: Float[np.ndarray, "k d"]) -> NDArray[np.int64]:
        model = LogisticRegression(C=c, solver="newton-cholesky").fit(rows[kept], classes[kept])
        predictions: NDArray[np.int64] = model.predict(features)
        return predictions

    best = _best_penalty(classes, lambda c, kept, left: predict(c, kept, rows[left]))
    return predict(best, np.arange(len(rows)), scaler.transform(scored.astype(np.float64)))


def _best_penalty(
    classes: Int[np.ndarray, " n"],
    predict: Callable[[float, Rows, Rows], NDArray[np.int64]],
) -> float:
    """Return the value of C with the best mean accuracy over folds; on a tie, the first."""
    from sklearn.model_selection import StratifiedKFold

    folds = list(StratifiedKFold(INNER).split(classes, classes))
    accuracies = [
        np.mean([np.mean(predict(c, kept, left) == classes[left]) for kept, left in folds])
        for c in PENALTIES
    ]
    return PENALTIES[int(np.argmax(accuracies))]
