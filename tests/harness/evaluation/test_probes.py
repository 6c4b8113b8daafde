import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from harness.core.errors import InputError
from harness.evaluation import probes
from harness.evaluation.probes import (
    KNN_TEMPERATURE,
    REGULARISATION,
    LinearProbe,
    knn_probe,
    logistic_probe,
)


def data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    classes = np.arange(rows) % 3
    rows_ = generator.normal(size=(rows, 12)).astype(np.float32)
    rows_[:, :3] += 1.5 * np.eye(3)[classes]
    return rows_ * 50 + 7, classes


def test_the_logistic_probe_is_scikit_learns_with_the_best_c_on_validation() -> None:
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
    np.testing.assert_array_equal(logistic_probe(train, validation)(test[0]), scores[best][1])


def test_validation_rows_are_never_fitted() -> None:
    """With one C there is nothing to choose, so validation cannot matter."""
    train, test = data(60, 0), data(50, 2)
    predictions = [logistic_probe(train, data(30, seed), grid=[0.1])(test[0]) for seed in (3, 4)]
    np.testing.assert_array_equal(*predictions)


def test_a_probe_refuses_a_single_class() -> None:
    rows, classes = data(6, 0)
    with pytest.raises(InputError, match=r"`train` must hold at least two classes: got \[0\]"):
        logistic_probe((rows, classes * 0), (rows, classes))


def collinear(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows as trained encoders give them: few directions hold nearly all, one column none."""
    features, classes = data(rows, seed)
    mixed = features @ np.random.default_rng(9).normal(size=(12, 20)).astype(np.float32)
    mixed += 0.01 * np.random.default_rng(seed).normal(size=mixed.shape).astype(np.float32)
    mixed[:, 7] = 3
    return mixed, classes + 4


@pytest.mark.parametrize("c", [1e-3, 1.0])
def test_the_linear_probe_reaches_scikit_learns_optimum(c: float) -> None:
    train, validation, test = (collinear(n, seed) for seed, n in enumerate((300, 30, 200)))
    probe = LinearProbe(train, validation, grid=[c])
    scaler = StandardScaler().fit(train[0].astype(np.float64))
    theirs = LogisticRegression(C=c, max_iter=100_000, tol=1e-9)
    theirs.fit(scaler.transform(train[0].astype(np.float64)), train[1])
    weights = (probe.axes @ probe.weights[:-1]).T.numpy()
    np.testing.assert_allclose(weights, theirs.coef_, atol=0.02 * np.abs(theirs.coef_).max())
    scaled = scaler.transform(test[0].astype(np.float64))
    np.testing.assert_array_equal(probe.predict(test[0]), theirs.predict(scaled))


def test_the_linear_probe_takes_the_smallest_best_c_and_stops() -> None:
    train, validation, test = (collinear(n, seed) for seed, n in enumerate((90, 60, 200)))
    accuracies = [
        (LinearProbe(train, validation, grid=[c]).predict(validation[0]) == validation[1]).mean()
        for c in REGULARISATION
    ]
    probe = LinearProbe(train, validation)
    best = max(accuracies)
    assert probe.c == REGULARISATION[accuracies.index(best)]
    # What comes after two values that were no better is not looked at.
    grid = [1.0, *[1e-9, 1e-9], 0.1]
    assert LinearProbe(train, validation, grid=grid).c == 1.0
    alone = LinearProbe(train, validation, grid=[probe.c])
    np.testing.assert_array_equal(probe.predict(test[0]), alone.predict(test[0]))


def test_large_probes_are_fitted_by_the_linear_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation, test = (collinear(n, seed) for seed, n in enumerate((90, 60, 200)))
    small = logistic_probe(train, validation)(test[0])
    used = []
    predict = LinearProbe.predict
    monkeypatch.setattr(LinearProbe, "predict", lambda *a: used.append(a) or predict(*a))
    monkeypatch.setattr(probes, "LARGE", train[0].size)
    np.testing.assert_array_equal(logistic_probe(train, validation)(test[0]), small)
    assert len(used) == 1


def test_the_nearest_neighbours_vote_by_cosine() -> None:
    train, test = data(120, 0), data(50, 1)
    norms = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train[0], test[0])]
    cosines = (test[0] / norms[1]) @ (train[0] / norms[0]).T
    expected = []
    for row in cosines:
        near = np.argsort(-row)[:20]
        votes = [np.exp(row[near][train[1][near] == c] / KNN_TEMPERATURE).sum() for c in range(3)]
        expected.append(np.argmax(votes))
    predicted = knn_probe((train[0], train[1] + 5), test[0] * 1000, neighbours=20)
    np.testing.assert_array_equal(predicted, np.array(expected) + 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbours": 7}, "`neighbours` must be a whole number at least 1 and at most 6: got 7"),
        ({"neighbours": 1, "temperature": 0}, "`temperature` must be a number above 0: got 0"),
    ],
)
def test_invalid_settings_of_the_vote_are_refused(
    settings: dict[str, float], message: str, as_a_user: None
) -> None:
    with pytest.raises(InputError, match=message):
        knn_probe(data(6, 0), data(3, 1)[0], **settings)  # type: ignore[arg-type]
