"""Score frozen representations on other tasks: SentEval's transfer protocol."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from harness.core.errors import require

PENALTIES = tuple(2.0**power for power in range(-2, 4))
"""SentEval's grid of C, the inverse of the L2 penalty: 1/4, 1/2, ..., 8."""

FOLDS = 10


def draw_folds(
    classes: Int[np.ndarray, " n"], generator: np.random.Generator, folds: int = FOLDS
) -> NDArray[np.int64]:
    """Return the number of each row's fold; folds are stratified by class.

    Raises:
        InputError: if a class has fewer rows than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    fewest = int(np.unique(classes, return_counts=True)[1].min())
    require(
        fewest >= folds,
        f"A set must have at least {folds} rows of each class, one per fold: got {fewest}. Use a "
        "larger set.",
    )
    fold_of = np.empty(len(classes), np.int64)
    seed = int(generator.integers(2**32))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(classes, classes)
    for number, (_, rows) in enumerate(split):
        fold_of[rows] = number
    return fold_of


def cross_validated(
    rows: Float[np.ndarray, "n d"],
    classes: Int[np.ndarray, " n"],
    folds: Int[np.ndarray, " n"],
    splits: Sequence[str],
    *,
    grid: Sequence[float] = PENALTIES,
) -> dict[str, float]:
    """Return {split: accuracy of nested cross-validation}, from 0 to 1.

    For each outer fold, every other fold is predicted by a fit on the rest without both.
    C has the best mean accuracy over these folds; ties take the smallest. ``validation``
    is that accuracy. ``test`` is the accuracy on the outer fold, predicted from all other
    folds. Both are averaged over the outer folds.

    Args:
        rows: representations, not standardised.
        classes: of each row.
        folds: of each row, 0 and up.
        splits: ``validation``, ``test`` or both.
        grid: values of C, in rising order.
    """
    number = int(folds.max()) + 1
    # [outer fold, predicted fold, C]. The diagonal stays NaN, and `nanmean` leaves it out.
    inner = np.full((number, number, len(grid)), np.nan)
    for i, j in combinations(range(number), 2):
        # A model fitted without both folds serves both cases: either may be the outer one.
        fitted = (folds != i) & (folds != j)
        for k, model in enumerate(_path(rows[fitted], classes[fitted], grid)):
            inner[i, j, k] = _accuracy(model, rows[folds == j], classes[folds == j])
            inner[j, i, k] = _accuracy(model, rows[folds == i], classes[folds == i])
    means = np.nanmean(inner, axis=1)
    found = {"validation": float(means.max(axis=1).mean())}
    scores = []
    for i, best in enumerate(means.argmax(axis=1) if "test" in splits else ()):
        (model,) = _path(rows[folds != i], classes[folds != i], [grid[best]])
        scores.append(_accuracy(model, rows[folds == i], classes[folds == i]))
    if scores:
        found["test"] = float(np.mean(scores))
    return {split: found[split] for split in splits}


def given_parts(
    rows: Float[np.ndarray, "n d"],
    classes: Int[np.ndarray, " n"],
    parts: np.ndarray,
    folds: Int[np.ndarray, " n"],
    splits: Sequence[str],
    *,
    grid: Sequence[float] = PENALTIES,
) -> dict[str, float]:
    """Return {split: accuracy on a set's own parts}, from 0 to 1.

    C has the best accuracy on ``dev``, or without a ``dev`` the best mean accuracy over
    the folds of ``train``; that accuracy is the ``validation`` score. ``test`` is predicted
    from ``train``, with that C.

    Args:
        rows: representations, not standardised.
        classes: of each row.
        parts: of each row, ``train``, ``dev`` or ``test``.
        folds: of each row; only those of training rows matter.
        splits: ``validation``, ``test`` or both.
        grid: values of C, in rising order.
    """
    train, dev, test = (parts == name for name in ("train", "dev", "test"))
    if dev.any():
        shares = [
            _accuracy(m, rows[dev], classes[dev]) for m in _path(rows[train], classes[train], grid)
        ]
    else:
        each = []
        for i in np.unique(folds[train]):
            fitted, left = train & (folds != i), train & (folds == i)
            models = _path(rows[fitted], classes[fitted], grid)
            each.append([_accuracy(model, rows[left], classes[left]) for model in models])
        shares = list(np.mean(each, axis=0))
    found = {"validation": float(max(shares))}
    if "test" in splits:
        (model,) = _path(rows[train], classes[train], [grid[int(np.argmax(shares))]])
        found["test"] = _accuracy(model, rows[test], classes[test])
    return {split: found[split] for split in splits}


def pair_features(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n e"]:
    """Return the features of pairs: absolute difference and product, side by side."""
    return np.concatenate([np.abs(first - second), first * second], axis=1)


def _path(rows: np.ndarray, classes: np.ndarray, grid: Sequence[float]) -> list[Any]:
    """Fit a logistic regression for each C, each starting from the last one's solution."""
    from sklearn.linear_model import LogisticRegression

    # Newton's method needs few steps. A step is cheap for two classes, but not for more.
    solver = "newton-cholesky" if len(np.unique(classes)) == 2 else "lbfgs"
    model = LogisticRegression(solver=solver, max_iter=5000, warm_start=True)
    models = []
    for c in grid:
        model.set_params(C=c).fit(rows, classes)
        # The next fit overwrites this model, which it starts from: keep a copy of the solution.
        copied = LogisticRegression()
        copied.classes_, copied.coef_, copied.intercept_ = (
            model.classes_, model.coef_.copy(), model.intercept_.copy(),
        )  # fmt: skip
        models.append(copied)
    return models


def _accuracy(model: Any, rows: np.ndarray, classes: np.ndarray) -> float:
    return float(np.mean(model.predict(rows) == classes))
