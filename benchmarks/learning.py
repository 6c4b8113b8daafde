"""Check that every loss learns with every method, on every task, at the default settings.

    python benchmarks/learning.py images nodes --seeds 3 --jobs 2 --folder runs/learning
    python benchmarks/learning.py images --methods siamese --losses infonce,nwj --markdown

For each method and loss that fit together (:func:`harness.methods.base.misfit`) the task's
main test score is compared with the untrained encoder's of the same seed. A pair of them has
learned if the 95% t interval of the paired difference lies above 0, and if its
representations collapsed at no seed. Records are kept in ``--folder``, and the same command
resumes from them. The exit status is 1 if a method and loss have not learned.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness import plugins
from harness.core.cells import UNTRAINED
from harness.methods.base import misfit
from harness.run.runner import run
from harness.store.table import load_records
from harness.study.study import Study
from leaderboards import leaderboard

TASKS = ("images", "sentences", "nodes", "graphs")


class Learned(NamedTuple):
    """One method and loss on one task."""

    task: str
    method: str
    loss: str
    untrained: float
    mean: float
    std: float
    difference: float
    low: float
    high: float
    seeds: int
    planned: int
    collapsed: int

    @property
    def learned(self) -> bool:
        """Whether it is shown to be above untrained, with no seed missing or collapsed."""
        return self.low > 0 and not self.collapsed and self.seeds == self.planned


def main() -> int:
    """Run the cells that have no record, print one table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--methods", default="", help="only these, separated by commas")
    parser.add_argument("--losses", default="", help="only these, separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, default=None, help="keep the records here, and resume from them"
    )
    parser.add_argument("--read", action="store_true", help="run nothing; only read the folder")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    methods = plugins.split_specs(options.methods) or plugins.names("methods")
    losses = plugins.split_specs(options.losses) or plugins.names("losses")
    learned: list[Learned] = []
    for task in options.tasks:
        pairs = fitting(task, methods, losses)
        if pairs and not options.read:
            table = {loss: {"methods": fit} for loss, fit in pairs.items()}
            study = Study(task, tasks=[task], losses=table, seeds=options.seeds)
            run(study, folder / task, engine=f"local(jobs={options.jobs})")
        learned += rows(folder / task)
    (print_markdown if options.markdown else print_rows)(learned)
    return 0 if all(row.learned for row in learned) else 1


def fitting(task: str, methods: list[str], losses: list[str]) -> dict[str, list[str]]:
    """Return {loss: the methods that it fits on ``task``}."""
    built_task: Any = plugins.build("tasks", task)
    built = {spec: plugins.build("methods", spec) for spec in methods}
    pairs = {
        loss: [
            method
            for method, instance in built.items()
            if misfit(instance, plugins.build("losses", loss), built_task) is None
        ]
        for loss in losses
    }
    return {loss: fit for loss, fit in pairs.items() if fit}


def rows(folder: Path) -> Iterator[Learned]:
    """Yield a row for each method and loss in ``folder``, the highest score first."""
    board = leaderboard(load_records(folder), baseline=UNTRAINED)
    table = board.rows[board.rows["main"].astype(bool)].sort_values("mean", ascending=False)
    floors = table[~table["trained"].astype(bool)].set_index(["task", "method"])["mean"]
    for row in table[table["trained"].astype(bool)].to_dict("records"):
        yield Learned(
            row["task"], row["method"], row["loss"], floors[row["task"], row["method"]],
            row["mean"], row["std"], row["difference"], row["difference_low"],
            row["difference_high"], row["seeds"], row["planned"], row["collapsed"],
        )  # fmt: skip


def print_rows(table: list[Learned]) -> None:
    """Print one line per task, method and loss."""
    columns = f"{'untrained':>9} {'score':>6} {'sd':>5}  difference"
    print(f"{'task':<10} {'method':<24} {'loss':<22} {columns}")
    for row in table:
        print(
            f"{row.task:<10} {row.method:<24} {row.loss:<22} {row.untrained:>9.2f} "
            f"{row.mean:>6.2f} {row.std:>5.2f}  {_difference(row)}{_note(row)}"
        )


def print_markdown(table: list[Learned]) -> None:
    """Print a Markdown table with a column for each task: score, deviation, difference.

    The difference is to the untrained encoder. An asterisk marks one that is not shown to be
    above 0, a dagger a collapse.
    """
    tasks = list(dict.fromkeys(row.task for row in table))
    cells: dict[tuple[str, str], dict[str, Learned]] = {}
    for row in table:
        cells.setdefault((row.method, row.loss), {})[row.task] = row
    print("| method | loss | " + " | ".join(tasks) + " |")
    print("|---|---|" + "---|" * len(tasks))
    floor = {row.task: row.untrained for row in table}
    print("| | `untrained` | " + " | ".join(f"{floor[task]:.1f}" for task in tasks) + " |")
    for (method, loss), by_task in cells.items():
        texts = [_cell(by_task[task]) if task in by_task else "" for task in tasks]
        print(f"| `{method}` | `{loss}` | " + " | ".join(texts) + " |")


def _cell(row: Learned) -> str:
    mark = "†" if row.collapsed else "" if row.learned else "*"
    return f"{row.mean:.1f} ± {row.std:.1f} ({row.difference:+.1f}){mark}"


def _difference(row: Learned) -> str:
    return f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"


def _note(row: Learned) -> str:
    if row.collapsed:
        return f" collapsed at {row.collapsed} of {row.seeds}"
    if row.seeds < row.planned:
        return f" {row.planned - row.seeds} of {row.planned} without a score"
    return "" if row.learned else " not shown to learn"


if __name__ == "__main__":
    sys.exit(main())
