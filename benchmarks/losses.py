"""Compare the time and memory of losses, forward and backward, with other libraries' losses.

Each contender is a fresh process with the same inputs, threads and environment. They take
turns, round by round, so that changes in the machine's speed affect all alike. This prints
the median time of the rounds, its ratio to the first contender's, and the peak of resident
memory above its level before the first call.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/losses.py --rows 2048 --threads 2            # NT-Xent and ADNCE
    python benchmarks/losses.py --rows 2048 --threads 2 --every    # all our score losses
    python benchmarks/losses.py --rows 32768 --only infonce,adnce,products

``--rows`` is the number of examples N; with both views, 2N anchors face 2N candidates.
``products`` are the three bare matrix products that scores and their gradient need if no
pair is computed once for both of its anchors: the cost of a blocked loss if all else were free.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers
import torch
from torch import Tensor

TAU, MU, SIGMA = 0.1, 0.7, 1.0
WIDTH = 128
MAX_ROWS = {  # With more, a contender's whole matrices do not fit into 24 GiB.
    "plain": 16384,
    "lightly": 8192,
    "grace-in-batches": 16384,
    "stable-pretraining": 8192,
    "sentence-transformers": 8192,
    "sentence-transformers-cached": 8192,
    "metric-learning-supcon": 4096,
    "adnce-reference-way": 8192,
}


def ours(spec: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return one of our losses on both views, whichever pairing its paper uses."""
    from harness import plugins
    from harness.contrast import both_views

    loss = plugins.build("losses", spec)
    return lambda a, b: torch.stack([loss(c) for c in both_views(a, b)]).mean()


def three_products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply as a blocked loss must: scores, and two gradients, 128 rows at a time."""
    rows = torch.cat([a, b]).detach()
    grad, block = torch.zeros_like(rows), torch.empty(128, len(rows))
    one = torch.empty(128, WIDTH)
    for start in range(0, len(rows), 128):
        part = rows[start : start + 128]
        torch.mm(part, rows.T, out=block[: len(part)])
        torch.mm(block[: len(part)], rows, out=one[: len(part)])
        grad.addmm_(block[: len(part)].T, part)
    return (a.sum() + b.sum()) * 0


def contender(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a contender's function of two views."""
    if name == "products":
        return three_products
    if name in peers.NTXENT:
        return lambda a, b: peers.NTXENT[name](a, b, TAU)
    if name == "adnce-reference-way":
        return lambda a, b: peers.adnce_reference_way(a, b, TAU, MU, SIGMA)
    return ours(name)


def memory(field: str) -> float:
    """Return a field of this process's memory, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(field))


def work(name: str, rows: int, threads: int) -> None:
    """Answer each line of the standard input with one timed call, and the first one's memory."""
    torch.set_num_threads(threads)
    function = contender(name)
    # Once a large block was freed, glibc keeps freed blocks for the next call. Our losses cause
    # this by themselves; causing it here gives all contenders the same advantage.
    torch.empty(31 * 2**20, dtype=torch.uint8)
    warm_a, warm_b = (t.requires_grad_() for t in torch.randn(2, 8, WIDTH))
    function(warm_a, warm_b).backward()  # Imports and lazy set-up are not measured.
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, rows, WIDTH, generator=generator)
    a, b = a.clone().requires_grad_(), (a + b).detach().requires_grad_()
    # Allocate the gradients now, so that they do not count as memory of the loss.
    a.grad, b.grad = torch.zeros_like(a), torch.zeros_like(b)
    Path("/proc/self/clear_refs").write_text("5")  # Resets VmHWM: the peak starts here.
    before = memory("VmRSS")
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            started = time.perf_counter()
            value = function(a, b)
            value.backward()
            times.append(time.perf_counter() - started)
        answer = {"seconds": statistics.median(times), "value": value.item()}
        answer["megabytes"] = memory("VmHWM") - before
        print(json.dumps(answer), flush=True)


class Worker:
    """A contender's process."""

    def __init__(self, name: str, rows: int, threads: int) -> None:
        self.name = name
        self.answers: list[dict[str, float]] = []
        self.error = ""
        command = [sys.executable, __file__, "--work", name, "--rows", str(rows)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, calls: int) -> None:
        """Have the contender run ``calls`` times; keep its answer, or its error."""
        if self.error:
            return
        assert self.process.stdin and self.process.stdout and self.process.stderr
        try:
            self.process.stdin.write(f"{calls}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            self.answers.append(json.loads(line))
        else:
            errors = self.process.stderr.read().strip().splitlines()
            self.error = errors[-1][:90] if errors else f"ended with {self.process.wait()}"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def measure(names: list[str], rows: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Return one row per contender; the first call gives its memory, and is not timed."""
    workers = []
    for name in names:
        if rows > MAX_ROWS.get(name, rows):
            continue
        workers.append(Worker(name, rows, threads))
        workers[-1].ask(1)
    calls = max(1, 2048 // rows)  # Short calls are repeated within a round.
    for _ in range(rounds):
        for worker in workers:
            worker.ask(calls)
    table = []
    for worker in workers:
        worker.close()
        row: dict[str, Any] = {"contender": worker.name, "rows": rows, "threads": threads}
        if worker.error:
            row["error"] = worker.error
        else:
            row["seconds"] = statistics.median(a["seconds"] for a in worker.answers[1:])
            row["megabytes"] = worker.answers[0]["megabytes"]
            row["value"] = worker.answers[0]["value"]
        table.append(row)
    return table


def show(table: list[dict[str, Any]], reference: str) -> None:
    """Print the table as Markdown, with the ratios of times to the reference contender's."""
    base = next((row for row in table if row["contender"] == reference), {})
    unit = base.get("seconds")
    print(f"| contender | s | / {reference} | MB above | value |\n|---|---|---|---|---|")
    for row in table:
        if "error" in row:
            print(f"| {row['contender']} | - | - | - | {row['error']} |")
            continue
        ratio = f"{row['seconds'] / unit:.2f}" if unit else "-"
        print(
            f"| {row['contender']} | {row['seconds']:.4f} | {ratio} | {row['megabytes']:.0f} "
            f"| {row['value']:.6f} |"
        )


def every_loss() -> list[str]:
    """Return the specs of all our score losses, without presets."""
    from harness import plugins
    from harness.losses import ScoreLoss

    specs = [s for s in plugins.names("losses") if plugins.load("losses", s).__module__ != PRESETS]
    score_losses = [s for s in specs if isinstance(plugins.build("losses", s), ScoreLoss)]
    return ["infonce", *(spec for spec in score_losses if spec != "infonce")]


PRESETS = "harness.losses.presets"
DEFAULT = ["infonce", "products", *peers.NTXENT, "adnce", "adnce-reference-way"]


def main() -> None:
    """Read the options, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2048, help="examples")
    parser.add_argument("--threads", type=int, default=1, help="threads of each contender")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    parser.add_argument("--only", help="only these contenders or specs, separated by commas")
    parser.add_argument("--every", action="store_true", help="measure all our score losses")
    parser.add_argument("--json", type=Path, help="append the rows to this file")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.rows, options.threads)
        return
    names = DEFAULT
    if options.every:
        names = every_loss()
    if options.only:
        from harness.plugins import split_specs

        names = split_specs(options.only)
    table = measure(names, options.rows, options.threads, options.rounds)
    print(f"\nN = {options.rows}, d = {WIDTH}, threads = {options.threads}, both views, float32\n")
    show(table, names[0])
    if options.json:
        with options.json.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in table)


if __name__ == "__main__":
    main()
