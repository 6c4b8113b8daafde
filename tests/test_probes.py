import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from harness.errors import InputError
from harness.probes import REGULARISATION, logistic_probe


def data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    classes = np.arange(rows) % 3
    rows_ = generator.normal(size=(rows, 12)).astype(np.float32)
    rows_[:, :3] += 1.5 * np.eye(3)[classes]
    return rows_ * 50 + 7, classes


def test_it_is_scikit_learns_with_the_best_c_on_validation() -> None:
    train, validation, test = data(60, 0), data(90, 1), data(300, 2)
    scaler = StandardScaler().fit(train[0].astype(np.float64))
    scores = {}
    for c in REGULARISATION:
        model = LogisticRegression(C=c, max_iter=5000, tol=1e-6)
        model.fit(scaler.transform(train[0].astype(np.float64)), train[1])
        accuracy = (model.predict(scaler.transform(validation[0])) == validation[1]).mean()
        scores[c] = (accuracy, model.predict(scaler.transform(test[0].astype(np.float64))))
    best = max(scores, key=lambda c: (scores[c][0], -c))
    assert len({accuracy for accuracy, _ in scores.values()}) > 1
    np.testing.assert_array_equal(logistic_probe(train, validation, test[0]), scores[best][1])


def test_validation_rows_are_never_fitted() -> None:
    """With one C there is nothing to choose, so validation cannot matter."""
    train, test = data(60, 0), data(50, 2)
    predictions = [logistic_probe(train, data(30, seed), test[0], grid=[0.1]) for seed in (3, 4)]
    np.testing.assert_array_equal(*predictions)


def test_one_class_cannot_be_probed() -> None:
    rows, classes = data(6, 0)
    with pytest.raises(InputError, match=r"`train` must hold at least two classes: got \[0\]"):
        logistic_probe((rows, classes * 0), (rows, classes), rows)
