"""Borrowed variance: what it finds, what it claims falsely, and what it costs a twin."""

import numpy as np
import pytest

from leaderboards.statistics.screening import borrowed


def tables(losses: int, seeds: int, spread: float, draws: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    noise = 0.354 * np.exp(spread * generator.normal(size=(draws, losses + 1, 1)))
    shared = generator.normal(size=(draws, 1, seeds))
    found: np.ndarray = shared + noise * generator.normal(size=(draws, losses + 1, seeds))
    return found


@pytest.mark.parametrize(("spread", "most"), [(0.0, 0.06), (0.4, 0.12)])
def test_false_findings(spread: float, most: float) -> None:
    false = []
    for table in tables(36, 3, spread, 150):
        errors, limit = borrowed(table)
        false.append((np.abs((table[1:] - table[0]).mean(axis=1)) > limit * errors).any())
    assert np.mean(false) <= most


def test_two_points_are_found_among_36_losses_at_3_seeds() -> None:
    """Where each row's own variance finds them in a tenth of tables."""
    found = []
    for table in tables(36, 3, 0.0, 100):
        table[1] += 2
        errors, limit = borrowed(table)
        found.append((table[1] - table[0]).mean() > limit * errors[0])
    assert np.mean(found) > 0.95


def test_the_same_table_gives_the_same_figures() -> None:
    table = tables(5, 3, 0.4, 1)[0]
    one, two = borrowed(table), borrowed(table)
    assert one.limit == two.limit and (one.errors == two.errors).all()
    assert (borrowed(table, step=3.0).errors > one.errors).all()
