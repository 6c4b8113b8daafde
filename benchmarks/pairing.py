"""Measure what pairing buys: the variance of a difference with and without it.

    python benchmarks/pairing.py nodes images sentences --seeds 10 --jobs 2

For each task, InfoNCE is compared with another loss, another temperature, another method,
and a training twice as long. The ratio is (var a + var b) / var(a - b) over seeds: how many
times more seeds runs that share nothing would need for the same precision.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from harness import plugins
from harness.run.runner import run
from harness.store.table import load_records
from harness.study.study import Study
from leaderboards.analysis.pairs import pair_of

BASE = "infonce"
LOSS, WARMER, METHOD = "adnce", "infonce(temperature=0.2)", "moco"
COMPARISONS = ("loss", "temperature", "method", "length")


def main() -> None:
    """Run the missing cells, and print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", help="specs of tasks")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each row")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument("--folder", type=Path, help="keep the records here, and resume from them")
    parser.add_argument("--comparisons", nargs="+", default=COMPARISONS, choices=COMPARISONS)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    print(f"{'task':<10} {'infonce against':<26} pairs {'sd':>6} {'unpaired':>9} {'ratio':>7}")
    for task in options.tasks:
        longer = f"{task}(steps={2 * plugins.settings('tasks', task)['steps']})"
        others = {
            "loss": (task, "siamese", LOSS),
            "temperature": (task, "siamese", WARMER),
            "method": (task, METHOD, BASE),
            "length": (longer, "siamese", BASE),
        }
        base_row = (task, "siamese", BASE)
        for where, method, loss in (base_row, *(others[name] for name in options.comparisons)):
            study = Study(task, tasks=[where], losses=[loss], methods=[method], seeds=options.seeds)
            run(study, folder / task, engine=f"local(jobs={options.jobs})")
        scores = _scores(folder / task)
        base = scores[base_row]
        for name in options.comparisons:
            key = others[name]
            label = {"length": longer, "method": METHOD}.get(name, key[2])
            line = _line(base, scores[key], settings=key[0] != task)
            print(f"{task:<10} {label:<26} {line}", flush=True)


def _scores(folder: Path) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Return {(task, method, loss): main test score and proof, by seed}."""
    table = load_records(folder)
    final = table[(table["split"] == "test") & (table["step"] == table["steps"])]
    main = final[final["metric"] == final["metric"].iloc[0]]
    groups = main.groupby(["task", "method", "loss"])
    return {key: rows.set_index("seed")[["value", "proof"]] for key, rows in groups}


def _line(base: pd.DataFrame, other: pd.DataFrame, *, settings: bool) -> str:
    """Return the number of pairs, both deviations and the ratio of the variances, as text."""
    both = base.join(other, how="inner", suffixes=("_a", "_b"))
    pairs = sum(
        pair_of(a, b, settings=settings).paired
        for a, b in zip(both["proof_a"], both["proof_b"], strict=True)
    )
    a, b = both["value_a"].to_numpy(float), both["value_b"].to_numpy(float)
    paired = np.var(b - a, ddof=1)
    unpaired = np.var(a, ddof=1) + np.var(b, ddof=1)
    return f"{pairs:>5} {paired**0.5:>6.2f} {unpaired**0.5:>9.2f} {unpaired / paired:>7.1f}"


if __name__ == "__main__":
    main()
