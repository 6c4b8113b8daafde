"""Measure what diagnostics cost: their share of a cell's processor time, for each task.

    python benchmarks/diagnostics.py images sentences nodes

Each cell is trained and evaluated in this process with its default settings. As in any run,
it is diagnosed at the first step, at every probe and at the end. The whole cell and its
diagnoses are timed together, and their processor times compared, so that other processes
do not affect the ratio.
"""

import argparse
import time

import torch

from harness import plugins
from harness.core.cells import Cell
from harness.evaluation import diagnostics
from harness.run.attempt import fit_cell


def main() -> None:
    """Print each task's seconds, and the share that diagnostics took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", help="specs of tasks")
    parser.add_argument("--loss", default="infonce", help="a loss's spec")
    parser.add_argument("--probes", type=int, default=0, help="probes of each cell")
    options = parser.parse_args()
    torch.set_num_threads(1)
    times = []
    untimed = diagnostics.Diagnosis.__call__

    def timed(self):
        started = time.process_time()
        values = untimed(self)
        times.append(time.process_time() - started)
        return values

    diagnostics.Diagnosis.__call__ = timed
    print(f"{'task':24}  cell s  diagnoses    each s   share")
    for task in options.tasks:
        times.clear()
        spec, loss = plugins.canonical("tasks", task), plugins.canonical("losses", options.loss)
        started = time.process_time()
        fit_cell(Cell(spec, "siamese", loss, 0, probes=options.probes), device="cpu")
        seconds = time.process_time() - started
        print(
            f"{task:24}  {seconds:6.2f}  {len(times):9}  {sum(times) / len(times):8.3f}  "
            f"{100 * sum(times) / seconds:5.2f}%"
        )


if __name__ == "__main__":
    main()
