"""Measure what the proof of a pair costs a step: hashing every view, or only at the marks.

    python benchmarks/digests.py images sentences nodes graphs

For each task, on one thread, this times a training step without digests, a digest of ids
and both views, and the chained digest of ids alone. `every view` is the share of a step that
digests took in version 0.1.0, which hashed ids and views at every step. `marks` is their
share today: ids at every step, views at steps 1, 2, 4, 8, ... and the last. The bytes are
those that are read on the host; a GPU would have to copy them.
"""

import argparse
import itertools
import time
from typing import Any

import torch

from harness import plugins
from harness.core.cells import Cell
from harness.core.digests import digest_of
from harness.store.identity import identify
from harness.training.loop import fit
from harness.training.proof import chained, is_mark

REPEATS = 8


def main() -> None:
    """Print one line per task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", help="specs of tasks")
    torch.set_num_threads(1)
    print(f"{'task':<28}     step  every view   marks  MB before   MB now")
    for spec in parser.parse_args().tasks:
        print(f"{spec:<28} {_line(spec)}", flush=True)


def _line(spec: str) -> str:
    randomness = identify(Cell(spec, "siamese", "infonce", 0)).randomness
    task = plugins.build("tasks", spec)
    task.load(randomness)
    steps = task.total_steps()
    marks = sum(is_mark(step, steps) for step in range(1, steps + 1))
    ids, views = [], []
    for number in range(REPEATS):
        batch = task.batch(task.batch_index(randomness, number))
        with randomness.seeded("views", number):
            views.append(task.views(batch.data))
        ids.append(batch.ids)
    whole = _timed(lambda i: digest_of((ids[i], views[i])))
    chain = _timed(lambda i: chained("", ids[i], 0))
    step = _step(spec, randomness)
    size_of_ids, size_of_views = _size(ids[0]), _size(views[0])
    before = steps * (size_of_ids + size_of_views)
    now = steps * size_of_ids + marks * size_of_views
    share = (steps * chain + marks * whole) / steps / step
    return (
        f"{1e3 * step:>6.1f}ms {whole / step:>11.2%} {share:>7.2%} {before / 1e6:>10.1f} "
        f"{now / 1e6:>8.1f}"
    )


def _step(spec: str, randomness: Any) -> float:
    """Return the seconds of a step: the median of a few, without the first."""
    task = plugins.build("tasks", spec)
    task.steps, task.epochs = REPEATS + 1, 0
    stamps: list[float] = []
    fit(
        task, plugins.build("methods", "siamese"), plugins.build("losses", "infonce"), randomness,
        splits=(), report=lambda *_: stamps.append(time.perf_counter()),
    )  # fmt: skip
    gaps = sorted(b - a for a, b in itertools.pairwise(stamps))
    return gaps[len(gaps) // 2]


def _timed(call: Any) -> float:
    """Return the median seconds of ``REPEATS`` calls, each given its number."""
    taken = []
    for number in range(REPEATS):
        started = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[REPEATS // 2]


def _size(value: Any) -> int:
    """Return the bytes of all tensors in ``value``."""
    if isinstance(value, torch.Tensor):
        if value.is_sparse:
            value = value.coalesce()
            return _size((value.indices(), value.values()))
        return value.numel() * value.element_size()
    if isinstance(value, tuple | list):
        return sum(_size(item) for item in value)
    return sum(_size(item) for item in value.values()) if isinstance(value, dict) else 0


if __name__ == "__main__":
    main()
