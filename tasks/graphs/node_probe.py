"""GRACE's probe of frozen representations, an alternative to the harness's multinomial one."""

import numpy as np
from jaxtyping import Float, Int

from harness.evaluation.probes import Predict, best_predictor

GRID = tuple(2.0**power for power in range(-10, 10))
"""The values of C that are tried, as in GRACE."""


def one_vs_rest_probe(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    validation: tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " k"]],
) -> Predict:
    """Fit a logistic regression for each class against all others; return the predictor.

    As in GRACE's code, rows are divided by their length, the solver is scikit-learn's
    ``liblinear``, which shrinks the intercept as well, and C is one of 2^-10, ..., 2^9.
    C is the smallest value with the best accuracy on ``validation``; GRACE's code
    cross-validates instead. The fit is deterministic.

    Args:
        train: representations and classes to fit.
        validation: representations and classes that choose C.

    Returns:
        A function of representations that returns one class per row.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import normalize

    rows, classes = normalize(train[0]), train[1]
    models = [
        OneVsRestClassifier(LogisticRegression(C=c, solver="liblinear", random_state=0)).fit(
            rows, classes
        )
        for c in GRID
    ]
    return best_predictor(models, normalize, validation)
