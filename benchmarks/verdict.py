"""Simulate what the verdict claims: error rates, coverage, power, and the pooled difference.

    python benchmarks/verdict.py              # about five minutes on one core
    python benchmarks/verdict.py --draws 500  # rougher, and faster

Scores are normal over seeds, with a part that all losses share at a seed. Every seed is fixed, so
the figures are the same at each run. ``docs/verdict.md`` quotes them.
"""

import argparse
import math

import numpy as np

from leaderboards.analysis.words import ABOVE, BELOW, EQUIVALENT, MUCH_BETTER, word
from leaderboards.statistics.paired import paired_interval
from leaderboards.statistics.pooled import pool
from leaderboards.statistics.screening import borrowed
from leaderboards.statistics.simultaneous import family_alpha

NOISE = 0.354
"""The deviation of a loss's own noise: a paired difference of two has .5 points."""
SPREADS = (0.0, 0.4, 0.8)
NOISES = (
    ("equal", 0.0, False), ("exp(0.4 z)", 0.4, False), ("exp(0.8 z)", 0.8, False),
    ("quiet baseline", 0.0, True),
)  # fmt: skip
"""Name, spread of the deviations, and whether the baseline is quiet."""
MARGIN = 0.5


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    families(draws)
    skewed(draws)
    screening(draws // 4)
    coarse(draws)
    over_tasks(draws // 2)


def scores(
    generator: np.random.Generator, losses: int, seeds: int, spread: float, quiet: bool = False
) -> np.ndarray:
    """Return scores [losses + 1, seeds] without any true difference; row 0 is the baseline."""
    noise = NOISE * np.exp(spread * generator.standard_normal(losses + 1))
    if quiet:
        noise[0] /= 10
    shared = generator.standard_normal(seeds)
    return shared + noise[:, None] * generator.standard_normal((losses + 1, seeds))


def intervals(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the simultaneous intervals of all losses, as a board computes them."""
    differences = table[1:] - table[0]
    level = family_alpha([table.shape[1] - 1] * len(differences))
    _, low, high = paired_interval(differences, alpha=np.full(len(differences), level))
    return low, high


def families(draws: int) -> None:
    """Print false findings without a difference, false words at the margin, and power.

    At a true difference of the margin for the first loss, *equivalent* and *by more than m* are
    false. A quiet baseline has a tenth of the others' noise.
    """
    print("| losses | seeds | noise | any false finding | wrong about m | 2 points found |")
    print("|---|---|---|---|---|---|")
    for losses in (2, 8, 36):
        for seeds in (3, 5, 10, 50):
            for name, spread, quiet in NOISES:
                generator = np.random.default_rng(0)
                false, wrong, found = [], [], []
                for _ in range(draws):
                    table = scores(generator, losses, seeds, spread, quiet)
                    low, high = intervals(table)
                    false.append(bool(((low > 0) | (high < 0)).any()))
                    said = word(low[0] + MARGIN, high[0] + MARGIN, MARGIN)
                    wrong.append(said in (EQUIVALENT, MUCH_BETTER))
                    found.append(low[0] + 2 > 0)
                print(
                    f"| {losses} | {seeds} | {name} | {np.mean(false):.3f} | "
                    f"{np.mean(wrong):.3f} | {np.mean(found):.2f} |",
                    flush=True,
                )


def skewed(draws: int) -> None:
    """Print the same where differences are exponential: a baseline without noise of its own."""
    print("\n| skewed noise: losses | seeds | any false finding |\n|---|---|---|")
    for losses in (1, 8):
        for seeds in (3, 5, 10, 50):
            generator = np.random.default_rng(0)
            false = []
            for _ in range(draws):
                noise = generator.exponential(size=(losses + 1, seeds)) - 1
                noise[0] = 0
                low, high = intervals(noise)
                false.append(bool(((low > 0) | (high < 0)).any()))
            print(f"| {losses} | {seeds} | {np.mean(false):.3f} |", flush=True)


def screening(draws: int) -> None:
    """Print the same for borrowed variance, and the width of a twin of the baseline."""
    print(
        "\n| screening: losses | seeds | noise spread | any false finding | 2 points found | twin |"
    )
    print("|---|---|---|---|---|---|")
    for losses, seeds in ((8, 3), (36, 3), (36, 5)):
        for spread in SPREADS:
            generator = np.random.default_rng(0)
            false, found, width = [], [], []
            for _ in range(draws):
                table = scores(generator, losses, seeds, spread)
                gaps = (table[1:] - table[0]).mean(axis=1)
                errors, limit = borrowed(table)
                false.append(bool((np.abs(gaps) > limit * errors).any()))
                table[1] += 2
                errors, limit = borrowed(table)
                found.append(gaps[0] + 2 > limit * errors[0])
                table = generator.standard_normal((losses + 1, seeds))
                table[1] = table[0] + 0.1 * generator.standard_normal(seeds)
                errors, limit = borrowed(table)
                low, high = intervals(table)
                width.append(2 * limit * errors[0] / (high[0] - low[0]))
            print(
                f"| {losses} | {seeds} | exp({spread:g} z) | {np.mean(false):.3f} | "
                f"{np.mean(found):.2f} | {np.median(width):.2f} |",
                flush=True,
            )


def coarse(draws: int) -> None:
    """Print how often three seeds of a test of few items say what they cannot know."""
    print("\n| test items | seeds | true difference | equivalent | better or worse |")
    print("|---|---|---|---|---|")
    for items in (20, 200, 1000):
        for seeds in (3, 5):
            for true in (0.0, 0.02):
                generator = np.random.default_rng(0)
                step = 100 / items
                words = []
                for _ in range(draws):
                    # An item is right for both, or for one alone: half of them move.
                    right = generator.random((2, seeds, items))
                    right[1] = np.where(generator.random((seeds, items)) < 0.5, right[0], right[1])
                    base = (right[0] < 0.8).mean(axis=1) * 100
                    loss = (right[1] < 0.8 + true).mean(axis=1) * 100
                    _, low, high = paired_interval(loss - base, step)
                    words.append(word(float(low), float(high), 1.0 if step <= 1 else None))
                equivalent = np.mean([each == EQUIVALENT for each in words])
                told = np.mean([each in ABOVE + BELOW for each in words])
                print(f"| {items} | {seeds} | {100 * true:g} | {equivalent:.3f} | {told:.3f} |")


def over_tasks(draws: int) -> None:
    """Print the size, power and coverage of the pooled difference, and votes beside it."""
    print("\n| data sets | variants | true | tau | claimed | interval holds | next holds | votes |")
    print("|---|---|---|---|---|---|---|---|")
    cases = [(9, 1, 0.0, 0.0), (9, 3, 0.0, 0.0), (9, 1, 0.3, 0.0), (9, 3, 0.3, 0.0),
             (9, 1, 0.0, 0.3), (3, 1, 0.0, 0.3), (3, 1, 0.3, 0.0)]  # fmt: skip
    for sets, variants, true, tau in cases:
        generator = np.random.default_rng(0)
        claimed, holds, ahead, votes = [], [], [], []
        for _ in range(draws):
            means = true + tau * generator.standard_normal(sets + 1)
            # Variants of a data set share half of the variance of their noise.
            own = generator.standard_normal((sets + 1, variants, 5))
            shared = generator.standard_normal((sets + 1, 1, 5))
            if variants > 1:
                own = math.sqrt(0.5) * (own + shared)
            own *= 0.4 * math.sqrt(2)  # A difference of two scores with a noise of .4 each.
            every = means[:, None, None] + own
            values, following = every[:-1], float(every[-1].mean())
            by_set = values.mean(axis=1)
            errors = by_set.std(axis=1, ddof=1) / math.sqrt(5)
            found = pool(by_set.mean(axis=1).tolist(), errors.tolist(), 4 * sets)
            claimed.append(found.low > 0 or found.high < 0)
            holds.append(found.low <= true <= found.high)
            ahead.append(found.next_low <= following <= found.next_high)
            _, low, _ = paired_interval(values.reshape(-1, 5))
            votes.append((low > 0).sum() > len(low) / 2)
        print(
            f"| {sets} | {variants} | {true:g} | {tau:g} | {np.mean(claimed):.3f} | "
            f"{np.mean(holds):.3f} | {np.mean(ahead):.3f} | {np.mean(votes):.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
