"""Declared metrics: what a task says of its scores, and what is refused."""

import json
import math
from typing import Any

import numpy as np
import pytest

from harness import plugins
from harness.core.errors import InputError
from harness.metrics import Evaluation, Metric, require_declared, shown_resolution, shown_scores


@pytest.mark.parametrize("task", plugins.names("tasks"))
def test_every_tasks_metrics_can_be_written_into_a_record(task: str) -> None:
    metrics = plugins.build("tasks", task).metrics
    assert require_declared(task, metrics)
    json.dumps([metric.to_dict() for metric in metrics], allow_nan=False)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "`name` of a metric must be a non-empty text"),
        ({"direction": "up"}, "`direction` must be one of 'higher', 'lower': got 'up'"),
        ({"label": None}, "`label` of the metric 'accuracy' must be a text: got None"),
        ({"margin": 0}, "`margin of accuracy` must be a number above 0: got 0"),
        ({"low": 1.0, "high": 0.0}, "`low` of the metric 'accuracy' must be below `high`"),
    ],
)
def test_an_invalid_metric_is_an_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Metric(**({"name": "accuracy"} | fields))


def test_a_label_is_in_no_record() -> None:
    assert Metric("f1", label="F1").to_dict() == Metric("f1").to_dict()
    assert "label" not in Metric("f1", label="F1").to_dict()


@pytest.mark.parametrize("metrics", [(), Metric("accuracy"), ("accuracy",), [None]])
def test_a_list_without_metrics_is_an_error(metrics: Any) -> None:
    with pytest.raises(InputError, match="`metrics` of Mine must list the metrics that its"):
        require_declared("Mine", metrics)


def test_values_in_other_units_are_shown_unchanged() -> None:
    nats = Metric("nats", unit="nat", direction="lower", low=0.0)
    assert nats.shown(3.25) == 3.25
    with pytest.raises(
        InputError, match=r"`nats` must be from 0 to inf: got -1\.0\. Declare other"
    ):
        nats.shown(-1.0)
    assert nats.limits == (0.0, math.inf)


def test_scores_and_resolutions_are_plain_numbers_in_points() -> None:
    found = Evaluation(
        {"test": {"accuracy": np.float64(0.5)}}, {"test": {"accuracy": np.float64(0.01)}}
    )
    metrics = (Metric("accuracy"),)
    assert shown_scores("Mine", metrics, found, ("test",)) == {"test": {"accuracy": 50.0}}
    json.dumps(shown_resolution("Mine", metrics, found, ("test",)))
    for wrong in ({"accuracy": 0.0}, {"accuracy": math.nan}, {"f1": 0.1}):
        with pytest.raises(InputError, match="`resolution` of Mine must have numbers above 0"):
            shown_resolution("Mine", metrics, Evaluation({}, {"test": wrong}), ("test",))
