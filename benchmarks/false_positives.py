"""Count false claims: how often a board shows a difference although there is none.

Each board has tasks, seeds and k losses beside one baseline. A score is an effect of its
seed, the same for all losses (deviation 1.3), plus its own noise (deviation .4). The noise
is normal or exponential. If all rows have the same skew, it cancels in a difference; hence
also ``losses``, where the losses' noise is skewed and the baseline's is normal.

    python benchmarks/false_positives.py              # half a minute
    python benchmarks/false_positives.py --boards 2000

The first table prints shares: of differences with p < .05; of tasks, and of boards of three
tasks, in which any loss has p < .05, plain and after Holm's correction within each task; of
differences whose posterior probability is above .95 of being better by more than the region
of equivalence, and by more than 0; of tasks in which any loss is called equivalent although
it is truly better by the region's half-width. The second table prints the share of intervals
that hold the true difference, 0. The third prints, over tasks, how often Friedman's test
rejects, and how often Nemenyi's difference separates any two rows.
"""

import argparse
import time
import warnings

import numpy as np
from numpy.typing import NDArray

from leaderboards.statistics.paired import (
    ALPHA,
    LEVEL,
    ROPE,
    Interval,
    bayesian_t,
    bootstrap_interval,
    holm,
    mean_interval,
    paired_p,
)
from leaderboards.statistics.ranking import friedman

TASKS = 3
SEEDS = (5, 10)
FEW_SEEDS = (3, 5, 10)
LOSSES = (1, 4, 10)
SKEWED = {"normal": (False, False), "skewed": (True, True), "losses": (True, False)}
SEED_DEVIATION, OWN_DEVIATION = 1.3, 0.4
MANY_TASKS = (5, 10, 20)
ROWS = 5

Array = NDArray[np.float64]


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=200, help="boards of each kind")
    boards = parser.parse_args().boards
    warnings.simplefilter("error")
    start = time.perf_counter()
    compare_on_tasks(boards)
    count_covered(boards)
    compare_over_tasks(4 * boards)
    print(f"\n{time.perf_counter() - start:.0f} s")


def compare_on_tasks(boards: int) -> None:
    """Print the rates of the comparisons with the baseline, one line for each kind of board."""
    print(f"{boards} boards a line, {TASKS} tasks each, no true difference; nominal {ALPHA}\n")
    print("                       p <   any of a task  any of a board   better > .95  equivalent")
    print("noise  seeds losses    .05   plain   Holm   plain   Holm   rope      0    at border")
    generator = np.random.default_rng(0)
    for noise, skewed in SKEWED.items():
        for seeds in SEEDS:
            for k in LOSSES:
                differences = draw(generator, boards, seeds, k, *skewed)
                rates = " ".join(f"{rate:6.3f}" for rate in summarise(differences))
                print(f"{noise:7}{seeds:5}{k:7} {rates}")


def draw(
    generator: np.random.Generator, boards: int, seeds: int, k: int, losses: bool, baseline: bool
) -> Array:
    """Return differences of [boards, TASKS, k, seeds]; the flags say whose noise is skewed."""
    shared = generator.normal(0, SEED_DEVIATION, size=(boards, TASKS, 1, seeds))
    scores = shared + own_noise(generator, (boards, TASKS, k, seeds), losses)
    return scores - (shared + own_noise(generator, (boards, TASKS, 1, seeds), baseline))


def own_noise(generator: np.random.Generator, size: tuple[int, ...], skewed: bool) -> Array:
    """Return noise of mean 0 and deviation ``OWN_DEVIATION``, normal or exponential."""
    noise = generator.exponential(size=size) - 1 if skewed else generator.normal(size=size)
    return OWN_DEVIATION * noise


def summarise(differences: Array) -> list[float]:
    """Return the rates of one kind of board, in the order of the printed columns."""
    p = paired_p(differences)
    # The differences have no mean; add the half-width, so that the truth is at the border.
    at_border = bayesian_t(differences + ROPE).equivalent >= LEVEL
    corrected = np.array([[holm(family) for family in board] for board in p])
    significant, significant_holm = p < ALPHA, corrected < ALPHA
    return [
        float(np.mean(events))
        for events in (
            significant,
            significant.any(axis=2),
            significant_holm.any(axis=2),
            significant.any(axis=(1, 2)),
            significant_holm.any(axis=(1, 2)),
            bayesian_t(differences).better > LEVEL,
            bayesian_t(differences, rope=0).better > LEVEL,
            at_border.any(axis=2),
        )
    ]


def count_covered(intervals: int) -> None:
    """Print how often the intervals hold the true difference."""
    print(f"\n{TASKS * intervals} intervals a line; nominal {LEVEL}\n")
    print("noise  seeds  Student t  bootstrap")
    generator = np.random.default_rng(1)
    for noise, skewed in SKEWED.items():
        for seeds in FEW_SEEDS:
            rows = draw(generator, intervals, seeds, 1, *skewed).reshape(-1, seeds)
            t = np.mean([holds(mean_interval(row)) for row in rows])
            bootstrap = np.mean([holds(bootstrap_interval(row)) for row in rows])
            print(f"{noise:7}{seeds:5} {t:10.3f} {bootstrap:10.3f}")


def holds(interval: Interval) -> bool:
    """Return whether the interval holds the true difference, 0."""
    return interval.low <= 0 <= interval.high


def compare_over_tasks(boards: int) -> None:
    """Print how often Friedman's tests and Nemenyi's difference claim a difference."""
    print(f"\n{boards} boards a line of {ROWS} rows, one score a task, no true difference\n")
    print("tasks   chi-squared   Iman-Davenport   Nemenyi, any pair")
    generator = np.random.default_rng(2)
    names = [f"row {row}" for row in range(ROWS)]
    for tasks in MANY_TASKS:
        results = [friedman(s, names) for s in generator.normal(size=(boards, tasks, ROWS))]
        chi2 = np.mean([result.p < ALPHA for result in results])
        f = np.mean([result.iman_davenport_p < ALPHA for result in results])
        apart = np.mean(
            [np.ptp(result.mean_ranks) > result.critical_difference for result in results]
        )
        print(f"{tasks:5} {chi2:13.3f} {f:16.3f} {apart:19.3f}")


if __name__ == "__main__":
    main()
