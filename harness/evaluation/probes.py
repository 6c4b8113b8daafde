"""Probes of frozen representations: arrays in, predictions or scores out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from harness.core.errors import require, require_number

REGULARISATION = tuple(float(c) for c in np.logspace(-4, 2, 7))
"""The values of C tried, the inverse of the L2 penalty: 1e-4, 1e-3, ..., 1e2."""

LARGE = 4_000_000
"""Training arrays of at least this many numbers are fitted by :class:`LinearProbe`."""

PATIENCE = 2
""":class:`LinearProbe` stops after so many values of C in a row without a better accuracy."""

KNN_TEMPERATURE = 0.07
"""Wu et al.'s temperature. It does not follow the loss's, so that scores are comparable."""

Predict = Callable[[Float[np.ndarray, "m d"]], Int[np.ndarray, " m"]]
"""Predict the class of each row of representations."""


def logistic_probe(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    validation: tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " k"]],
    *,
    grid: Sequence[float] = REGULARISATION,
    device: torch.device | str = "cpu",
) -> Predict:
    """Fit a multinomial logistic regression; return the function that predicts with it.

    Features are standardised by the training rows' mean and deviation. C is the
    smallest value of ``grid`` with the best accuracy on ``validation``; the
    validation rows are never fitted. The result is deterministic. scikit-learn fits
    up to ``LARGE`` numbers; :class:`LinearProbe` fits more, to the same optimum.

    Args:
        train: representations and classes to fit.
        validation: representations and classes that choose C.
        grid: values of C, in rising order.
        device: the device that :class:`LinearProbe` fits on.

    Returns:
        A function from representations to one class a row.

    Raises:
        InputError: if ``train`` has fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rows, classes = train
    if rows.size >= LARGE:
        return LinearProbe(train, validation, grid=grid, device=device).predict
    _require_classes(classes)
    scaler = StandardScaler().fit(rows.astype(np.float64))

    def scale(features: Float[np.ndarray, "a d"]) -> Float[np.ndarray, "a d"]:
        scaled: np.ndarray = scaler.transform(features.astype(np.float64))
        return scaled

    fitted = scale(rows)
    models = [LogisticRegression(C=c, max_iter=5000, tol=1e-6).fit(fitted, classes) for c in grid]
    return best_predictor(models, scale, validation)


def best_predictor(
    models: Sequence[Any],
    prepare: Callable[[Float[np.ndarray, "a d"]], Float[np.ndarray, "a d"]],
    validation: tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " k"]],
) -> Predict:
    """Return the predictor of the first model with the best accuracy on ``validation``.

    Args:
        models: fitted classifiers of scikit-learn.
        prepare: transforms representations as the fitted ones were transformed.
        validation: representations and classes that choose the model.
    """
    checked = prepare(validation[0])
    accuracies = [np.mean(model.predict(checked) == validation[1]) for model in models]
    best = models[int(np.argmax(accuracies))]

    def predict(scored: Float[np.ndarray, "m d"]) -> Int[np.ndarray, " m"]:
        predictions: NDArray[np.int64] = best.predict(prepare(scored))
        return predictions

    return predict


class LinearProbe:
    """Fit a multinomial logistic regression to many rows, until it converges.

    It minimises over W and b the mean over rows of -log softmax(W x + b)[class], plus
    |W|^2 / (2 C n), which is scikit-learn's objective divided by C n. L-BFGS runs in float64
    until no component of the gradient is above 1e-5. Trained representations are nearly
    collinear, for which L-BFGS takes thousands of steps. It therefore works on the principal
    axes of the rows, each scaled by the root of the objective's curvature along it: the same
    optimum, in a fraction of the steps. Each C starts from the solution of the previous one. C
    rises until ``PATIENCE`` values in a row were no better on validation.

    Args:
        train: representations and classes to fit.
        validation: representations and classes that choose C; never fitted.
        grid: values of C, in rising order.
        device: where to compute.

    Attributes:
        c: the smallest value of C tried with the best accuracy on validation.

    Raises:
        InputError: if ``train`` has fewer than two classes.
    """

    def __init__(
        self,
        train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
        validation: tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " k"]],
        *,
        grid: Sequence[float] = REGULARISATION,
        device: torch.device | str = "cpu",
    ) -> None:
        _require_classes(train[1])
        self.device = device
        rows = self._on_device(train[0])
        self.mean, self.std = rows.mean(dim=0), rows.std(dim=0, correction=0)
        self.std[self.std == 0] = 1  # A constant feature must not become NaN.
        rows = (rows - self.mean) / self.std
        spread, self.axes = torch.linalg.eigh(rows.T @ rows / len(rows))
        rows = rows @ self.axes
        self.names, numbers = np.unique(train[1], return_inverse=True)
        classes = torch.from_numpy(numbers).to(device)
        checked = self._rotated(validation[0])
        weights = rows.new_zeros(rows.shape[1] + 1, len(self.names))
        best, stale = -1.0, 0
        for c in grid:
            # Rounding may leave small negative eigenvalues.
            curvature = spread.clamp(min=0) / len(self.names) + 1 / (c * len(rows))
            weights = _fit(rows, classes, weights, curvature, c)
            accuracy = float(np.mean(self._predicted(checked, weights) == validation[1]))
            if accuracy > best:
                best, stale, self.c, self.weights = accuracy, 0, c, weights
            else:
                stale += 1
            if stale == PATIENCE:
                break

    def predict(self, scored: Float[np.ndarray, "m d"]) -> NDArray[np.int64]:
        """Return one class a row."""
        return self._predicted(self._rotated(scored), self.weights)

    def _on_device(self, features: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(features.astype(np.float64)).to(self.device)

    def _rotated(self, features: NDArray[np.floating]) -> Tensor:
        rotated: Tensor = (self._on_device(features) - self.mean) / self.std @ self.axes
        return rotated

    def _predicted(self, rows: Tensor, weights: Tensor) -> NDArray[np.int64]:
        numbers = _scores(rows, weights).argmax(dim=1).cpu().numpy()
        predicted: NDArray[np.int64] = self.names[numbers]
        return predicted


def _fit(rows: Tensor, classes: Tensor, start: Tensor, curvature: Tensor, c: float) -> Tensor:
    """Return the weights that minimise the probe's objective; the last row is the intercepts."""
    from scipy.optimize import minimize

    penalty = 1 / (c * len(rows))
    # L-BFGS sees weights divided by this scale, in which the objective curves alike everywhere.
    scale = torch.cat([curvature.rsqrt(), curvature.new_ones(1)])[:, None]

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = torch.from_numpy(flat).to(rows.device).view_as(start) * scale
        scores = _scores(rows, weights)
        log_shares = scores.log_softmax(dim=1)
        of_class = log_shares.gather(1, classes[:, None])
        # In place, because `of_class` is a copy and `log_shares` is not needed after this.
        slope = log_shares.exp_().scatter_add_(1, classes[:, None], -torch.ones_like(of_class))
        slope /= len(rows)
        inner = weights[:-1]
        value = -of_class.mean() + penalty * inner.square().sum() / 2
        gradient = torch.cat([rows.T @ slope + penalty * inner, slope.sum(dim=0, keepdim=True)])
        return value.item(), (gradient * scale).flatten().cpu().numpy()

    solution = minimize(
        objective,
        (start / scale).flatten().cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-5, "ftol": 0.0, "maxiter": 5000, "maxls": 50},
    )
    return torch.from_numpy(solution.x).to(rows.device).view_as(start) * scale


def _scores(rows: Tensor, weights: Tensor) -> Tensor:
    return torch.addmm(weights[-1], rows, weights[:-1])


def _require_classes(classes: NDArray[np.integer]) -> None:
    present = np.unique(classes).tolist()
    require(
        len(present) >= 2,
        f"`train` must hold at least two classes: got {present}. Label examples of more classes.",
    )


def knn_probe(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    scored: Float[np.ndarray, "m d"],
    *,
    neighbours: int,
    temperature: float = KNN_TEMPERATURE,
    device: torch.device | str = "cpu",
) -> NDArray[np.int64]:
    """Predict the classes of ``scored`` by a vote of the nearest training rows.

    The ``neighbours`` training rows with the largest cosines s_i vote. Row i gives its class
    exp(s_i / temperature) votes, and the class with the most votes wins. Nothing is
    fitted or chosen. A row of zeros has cosine 0 with every row.

    Args:
        train: representations and classes that vote.
        scored: representations to predict.
        neighbours: how many training rows vote, 1 to n; 200 is usual for CIFAR.
        temperature: the votes' temperature, unrelated to the losses'. Keep the default to get
            comparable scores.
        device: where to compute.

    Raises:
        InputError: if ``neighbours`` or ``temperature`` is out of range.

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

    def unit(features: NDArray[np.floating]) -> torch.Tensor:
        moved = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(device)
        return torch.nn.functional.normalize(moved)

    bank, votes_for = unit(rows), torch.from_numpy(numbers).to(device)
    predictions = []
    for block in np.array_split(scored, -(-len(scored) // 500)):
        near = (unit(block) @ bank.T).topk(neighbours)
        # Weigh relative to the nearest row, which gets 1: with a low temperature the exponentials
        # would overflow otherwise.
        weights = ((near.values - near.values[:, :1]) / temperature).exp()
        votes = torch.zeros(len(block), len(names), device=device)
        votes.scatter_add_(1, votes_for[near.indices], weights)
        predictions.append(votes.argmax(dim=1).cpu().numpy())
    predicted: NDArray[np.int64] = names[np.concatenate(predictions)]
    return predicted
