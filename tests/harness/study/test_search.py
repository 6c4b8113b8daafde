"""Search spaces: one sequence for all losses, mapped to each one's own settings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from harness.core.errors import InputError
from harness.study import search
from harness.study.search import Choices, Range, points, read, settings_at


def test_the_points_are_scipys_scrambled_sobol_sequence() -> None:
    sobol = qmc.Sobol(16, scramble=True, rng=np.random.default_rng(0))
    assert np.array_equal(points(8), sobol.random(8))


def test_more_trials_do_not_change_the_first_points() -> None:
    assert all(np.array_equal(points(n), points(16)[:n]) for n in range(1, 17))


def test_the_points_are_the_same_on_every_machine() -> None:
    """What scipy 1.17.1 gave on 2026-11-22: another would tune with other budgets."""
    expected = [[0.40995, 0.96412], [0.72350, 0.48438], [0.87908, 0.60302]]
    assert points(3)[:, :2] == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("trials", [8, 16, 32])
def test_every_single_setting_is_covered_evenly(trials: int) -> None:
    """One point in each of n equal parts of every coordinate, where n is a power of two."""
    parts = np.sort(np.floor(points(trials) * trials).astype(int), axis=0)
    assert np.array_equal(parts, np.tile(np.arange(trials)[:, None], (1, 16)))


def test_losses_share_coordinates_whatever_else_they_search() -> None:
    """Setting i of every loss is coordinate i: the same temperature in trial k."""
    temperature = Range(0.02, 1.0, log=True)
    alone = {"temperature": temperature}
    more = {"temperature": temperature, "mu": Range(0.0, 1.0)}
    for point in points(8):
        one, other = settings_at(alone, point), settings_at(more, point)
        assert one["temperature"] == other["temperature"]


@given(st.floats(1e-4, 1e3), st.floats(1.01, 1e4), st.floats(0, 1, exclude_max=True), st.booleans())
def test_values_stay_inside_and_rise(low: float, factor: float, u: float, log: bool) -> None:
    part = Range(low, low * factor, log)
    assert part.low <= part.at(u) <= part.high
    assert part.at(u / 2) <= part.at(u)


def test_a_range_by_hand() -> None:
    assert Range(0.0, 2.0).at(0.25) == 0.5
    assert Range(0.01, 100.0, log=True).at(0.25) == 0.1
    assert [Range(1, 3, whole=True).at(u) for u in (0, 0.34, 0.67, 0.999)] == [1, 2, 3, 3]
    assert [Choices((5, "a", None)).at(u) for u in (0.3, 0.34, 0.99)] == [5, "a", None]


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("value", "default", "message"),
    [
        ({"low": 1}, 0.5, r"`x` must have `low` and `high`: got .*Add high"),
        ({"low": 2, "high": 1}, 0.5, "`x` must have low < high"),
        ({"low": 0, "high": 1, "log": True}, 0.5, "`x.low` must be a number above 0 and"),
        ({"low": 0, "high": float("inf")}, 0.5, "`x.high` must be a number at most"),
        ({"low": 0, "high": 1, "step": 2}, 0.5, "`x.step` must be one of 'low', 'high', 'log'"),
        ({"low": 0.5, "high": 2}, 1, "`x.low` must be a whole number"),
        ({"low": 1, "high": 20, "log": True}, 1, "`x` must not have `log`"),
        ({"low": 0, "high": 1}, "image", "`x` must be a list of choices, as its default"),
        ({"low": 0, "high": 1}, True, "`x` must be a list of choices, as its default"),
        ({"low": "a", "high": 1}, 0.5, "`x.low` must be a number"),
        ({"low": 0, "high": 1, "log": 3}, 0.5, "`x.log` must be one of True, False"),
        ([0.5], 0.5, "`x` must list at least two different numbers or texts"),
        ([1, 1.0], 0.5, "`x` must list at least two different numbers or texts"),
        ([[0.1], [0.2]], 0.5, "`x` must list at least two different numbers or texts"),
        ([0.5, 0.5], 0.5, "`x` must list at least two different numbers or texts"),
    ],
)
def test_an_invalid_space_is_an_error(value: object, default: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read("x", value, default)


def test_a_space_with_too_many_settings_is_an_error() -> None:
    with pytest.raises(InputError, match="at most 16 settings"):
        search.require_settings({f"x{i}": Range(0.0, 1.0) for i in range(17)})
