"""The metrics that a task declares, and the scores of one evaluation."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.core.errors import InputError, is_number, require, require_choice, require_number

DIRECTIONS = ("higher", "lower")
SHARE = "%"
"""The unit of metrics whose values are shares. Boards show them as points: .953 is 95.3."""


@dataclass(frozen=True)
class Metric:
    """Declare one number that an evaluation returns.

    Attributes:
        name: the metric's name in tables, such as ``accuracy``.
        text: what the metric measures, in a sentence.
        unit: ``%`` for a share, which boards show as points (times 100). Values in any other
            unit are shown unchanged.
        direction: which values are better, ``higher`` or ``lower``.
        margin: the smallest difference that matters, in the unit shown (points for a share);
            None if it is not declared.
        low: the lowest possible value; None: 0 for a share, else no limit.
        high: the highest possible value; None: 1 for a share, else no limit.
        label: what people call it, on boards and in figures: ``STS Spearman``. Empty: its name
            with spaces for underscores.

    Raises:
        InputError: if a field breaks its rule.
    """

    name: str
    text: str = ""
    unit: str = SHARE
    direction: str = "higher"
    margin: float | None = None
    low: float | None = None
    high: float | None = None
    label: str = ""

    def __post_init__(self) -> None:
        require(
            isinstance(self.name, str) and bool(self.name),
            f"`name` of a metric must be a non-empty text: got {self.name!r}.",
        )
        require(
            isinstance(self.label, str),
            f"`label` of the metric {self.name!r} must be a text: got {self.label!r}.",
        )
        require_choice("direction", self.direction, DIRECTIONS)
        for name, above in (("margin", 0), ("low", None), ("high", None)):
            if getattr(self, name) is not None:
                require_number(f"{name} of {self.name}", getattr(self, name), above=above)
        low, high = self.limits
        require(
            low < high,
            f"`low` of the metric {self.name!r} must be below `high`: got {low:g} and {high:g}.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; infinite limits, which JSON lacks, become texts.

        The label is left out: a record holds what was measured, and not what people call it.
        """
        return {
            name: repr(value) if isinstance(value, float) and math.isinf(value) else value
            for name, value in asdict(self).items()
            if name != "label"
        }

    @property
    def scale(self) -> float:
        """Return the factor from a value to the number that boards show."""
        return 100.0 if self.unit == SHARE else 1.0

    @property
    def limits(self) -> tuple[float, float]:
        """Return the lowest and the highest possible value."""
        low, high = (0.0, 1.0) if self.unit == SHARE else (-math.inf, math.inf)
        return (
            low if self.low is None else self.low,
            high if self.high is None else self.high,
        )

    def shown(self, value: float) -> float:
        """Return a value as boards show it: shares in points.

        Raises:
            InputError: if the value is outside the metric's limits.

        >>> Metric("accuracy").shown(0.953)
        95.3
        >>> Metric("accuracy").shown(95.3)
        Traceback (most recent call last):
            ...
        harness.core.errors.InputError: `accuracy` must be from 0 to 1: got 95.3. ...
        """
        low, high = self.limits
        slack = 1e-6  # Rounding may push a mean of float32 shares slightly past a limit.
        if not low - slack <= value <= high + slack:
            why = (
                "Its unit is '%', so its values are shares: divide points by 100."
                if self.unit == SHARE
                else "Declare other limits: Metric(..., low=..., high=...)."
            )
            raise InputError(
                f"`{self.name}` must be from {low:g} to {high:g}: got {value!r}. {why}"
            )
        return self.scale * value


@dataclass(frozen=True)
class Evaluation:
    """Hold the scores of one frozen encoder.

    Attributes:
        scores: {split: {metric: value}}, in the metrics' own units: a share is from 0 to 1.
        resolution: {split: {metric: one item's weight in the score}}, in the same units, for
            metrics that count items; a mean over draws has 1 / (items * draws).
    """

    scores: Mapping[str, Mapping[str, float]]
    resolution: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("scores", "resolution"):
            values = getattr(self, name)
            nested = isinstance(values, Mapping) and all(
                isinstance(each, Mapping) for each in values.values()
            )
            require(
                nested,
                f"`{name}` of an Evaluation must map each split to {{metric: value}}: got "
                f"{values!r}. Write return Evaluation({{split: {{'accuracy': 0.95}} for split in "
                "splits}).",
            )
            wrong = [v for each in values.values() for v in each.values() if not is_number(v)]
            require(
                not wrong,
                f"`{name}` of an Evaluation must have numbers: got {wrong[:1]}. Convert a tensor "
                "or an array with .item().",
            )


def mean_scores(draws: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Average {split: {metric: value}} over random draws.

    >>> mean_scores([{"test": {"accuracy": 0.5}}, {"test": {"accuracy": 1.0}}])
    {'test': {'accuracy': 0.75}}
    """
    return {
        split: {
            name: math.fsum(draw[split][name] for draw in draws) / len(draws) for name in scores
        }
        for split, scores in draws[0].items()
    }


def require_declared(name: str, metrics: Any) -> Mapping[str, Metric]:
    """Return {name: metric} of the metrics that the task class ``name`` declares.

    Raises:
        InputError: if it declares no metric, anything but metrics, or a name twice.
    """
    # `metrics = (Metric(...))`, without the comma, is no tuple.
    listed = [] if isinstance(metrics, Metric) else list(metrics)
    require(
        bool(listed) and all(isinstance(metric, Metric) for metric in listed),
        f"`metrics` of {name} must list the metrics that its `evaluate` returns, the main one "
        f"first: got {metrics!r}. Write metrics = (harness.metrics.Metric('accuracy'),).",
    )
    by_name = {metric.name: metric for metric in listed}
    require(
        len(by_name) == len(listed),
        f"`metrics` of {name} must have different names: got {[metric.name for metric in listed]}.",
    )
    return by_name


def shown_scores(
    name: str, metrics: Iterable[Metric], evaluation: Any, splits: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Return {split: {metric: value as boards show it}}, in the order of ``metrics``.

    Args:
        name: the name of the task's class, for error messages.
        metrics: the metrics that the task declares.
        evaluation: the result of its ``evaluate``.
        splits: the splits that were requested.

    Raises:
        InputError: if a split or the main metric is missing, a metric was not declared, or
            a value is outside its limits.
    """
    declared = require_declared(name, metrics)
    require(
        isinstance(evaluation, Evaluation),
        f"`evaluate` of {name} must return an Evaluation: got {evaluation!r}. Write return "
        "Evaluation({split: {'accuracy': 0.95} for split in splits}).",
    )
    main = next(iter(declared))
    shown: dict[str, dict[str, float]] = {}
    for split in splits:
        values = evaluation.scores.get(split, {})
        unknown = [metric for metric in values if metric not in declared]
        require(
            not unknown,
            f"`evaluate` of {name} must return metrics that it declares, {', '.join(declared)}: "
            f"got {', '.join(map(repr, unknown))} on {split!r}. Add them to `metrics`.",
        )
        require(
            main in values,
            f"`evaluate` of {name} must return its main metric {main!r} on {split!r}: got "
            f"{dict(values)}.",
        )
        shown[split] = {m: declared[m].shown(float(values[m])) for m in declared if m in values}
    return shown


def shown_resolution(
    name: str, metrics: Iterable[Metric], evaluation: Evaluation, splits: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Return {split: {metric: one item's weight}} as boards show it: shares in points.

    Raises:
        InputError: if a metric was not declared, or a weight is not a number above 0.
    """
    declared = require_declared(name, metrics)
    shown: dict[str, dict[str, float]] = {}
    for split in splits:
        for metric, weight in evaluation.resolution.get(split, {}).items():
            require(
                metric in declared and is_number(weight, finite=True) and bool(weight > 0),
                f"`resolution` of {name} must have numbers above 0 of declared metrics, "
                f"{', '.join(declared)}: got {weight!r} for {metric!r} on {split!r}.",
            )
            shown.setdefault(split, {})[metric] = declared[metric].scale * float(weight)
    return shown
