"""Measure what Triptych itself costs a cell, with thousands of cells that do almost nothing.

    python benchmarks/overhead.py --cells 10000

It installs a further task, whose data, network, training (one step) and evaluation are
instant. The time that remains is ours: planning, claims, logs, digests, records, the summary,
the status and the board. It prints milliseconds per cell, and the peak memory of the main
process and its workers in the second and the last tenth of the run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TASK = """
import torch
from torch import nn
from harness.metrics import Evaluation, Metric
from harness.task import Batch, Task

class Instant(Task):
    modality = "nothing"

    metrics = (Metric("score", unit=""),)
    number: int = 0
    steps: int = 1
    batch_size: int = 0
    learning_rate: float = 0.1

    def load(self, randomness):
        self.level = torch.rand(2, generator=randomness.torch("split")).tolist()

    def splits(self):
        return [{"train": range(4), "validation": range(4, 6), "test": range(6, 8)}]

    def train_size(self):
        return 4

    def batch(self, index):
        return Batch(index[:, None].float(), index)

    def views(self, data):
        return data, data + 1

    def encoder(self):
        return nn.Linear(1, 2)

    def head(self, width):
        return nn.Linear(width, 2)

    def evaluate(self, encoder, splits):
        level = 50 + float(encoder.weight.sum())
        return Evaluation({s: {"score": level + self.level[s == "test"]} for s in splits})
"""
TASKS, LOSSES = 5, 20


def main() -> None:
    """Plan and run the cells, show their status and board, and print how long each part took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000, help="about this many cells")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        install(Path(top, "site"))
        study, folder = Path(top, "study.toml"), Path(top, "run")
        seeds = max(1, options.cells // (TASKS * LOSSES))
        study.write_text(text(seeds))
        cells = TASKS * LOSSES * seeds
        print(f"{cells} cells: {TASKS} tasks, {LOSSES - 1} losses and untrained, {seeds} seeds")
        timed("plan --no-time", cells, top, "plan", str(study), "--no-time")
        command = ("run", str(study), "--out", str(folder), "--jobs", str(options.jobs))
        timed("run, log in JSON", cells, top, *command, "--log", "json")
        timed("run again: all done", cells, top, *command, "--log", "json")
        timed("status", cells, top, "status", str(folder))
        timed("status --verify", cells, top, "status", str(folder), "--verify")
        timed("board", cells, top, "board", str(folder))


def text(seeds: int) -> str:
    """Return a study of instant cells."""
    tasks = [f"instant(number={i})" for i in range(TASKS)]
    losses = [f"infonce(temperature={0.1 + i / 100:.2f})" for i in range(LOSSES - 1)]
    return f'name = "instant"\ntasks = {tasks}\nlosses = {losses}\nseeds = {seeds}\nprobes = 0\n'


def install(site: Path) -> None:
    """Put the task where Python finds it, as an installed distribution."""
    info = site / "instant-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "instant.py").write_text(TASK)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: instant\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.tasks]\ninstant = instant:Instant\n")


def timed(name: str, cells: int, top: str, *words: str) -> None:
    """Run a command, and print its seconds and the memory of all its processes."""
    executable = str(Path(sys.executable).with_name("triptych"))
    environment = os.environ | {"PYTHONPATH": str(Path(top, "site"))}
    started = time.perf_counter()
    process = subprocess.Popen(
        [executable, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    sizes: list[tuple[int, int]] = []
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, sizes, ended))
    watcher.start()
    status = process.wait()
    ended.set()
    watcher.join()
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{name}: exit status {status}")
    line = f"{name:>20} {seconds:8.2f} s {1000 * seconds / cells:8.2f} ms a cell"
    for who, column in (("main", 0), ("largest worker", 1)):
        taken = [size[column] / 2**20 for size in sizes if size[column]]
        if len(taken) > 20:
            tenth = len(taken) // 10
            line += f"; {who} {max(taken[tenth : 2 * tenth]):.0f} to {max(taken[-tenth:]):.0f} MiB"
    print(line, flush=True)


def watch(pid: int, sizes: list[tuple[int, int]], ended: threading.Event) -> None:
    """Record the resident memory of a process, and of its largest child, twice a second."""
    while not ended.wait(0.5):
        try:
            children = [
                int(child)
                for thread in Path(f"/proc/{pid}/task").iterdir()
                for child in (thread / "children").read_text().split()
            ]
            sizes.append((resident(pid), max(map(resident, children), default=0)))
        except OSError:
            return


def resident(pid: int) -> int:
    """Return a process's resident memory, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
