"""Compare our training's speed with that of the same training as a bare loop, and of peers.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/training.py                            # three tasks, then their peers
    python benchmarks/training.py --only nodes --no-peers --operators 12

For each task the same encoder, head, batches, views and AdamW are trained in three ways, a
step of each in turn, on one thread: by ``harness.training.loop.fit``; by a plain loop with
InfoNCE as a cross-entropy over the whole matrix of scores; and by that loop with our InfoNCE.
The last shows what seeding, digests and bookkeeping cost apart from the loss. It prints the
median seconds of our step, and the median ratios of our step to the step that each loop took
right after it: whatever slows the machine slows both.

The shares are of ``fit`` itself, whose parts are clocked as it calls them. ``loss`` includes
the gradient of the scores, which our losses compute in the forward pass; ``rest`` is the time
that no part accounts for. ``--operators`` adds torch's own profile.

Peers train the whole task at its default settings, step by step in turn with ours, and are
scored by the task's own evaluation: see ``peer_training.py`` for what each of them does.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Any
from unittest import mock

import peer_training
import torch
from peers import plain_ntxent
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from harness import plugins
from harness.contrast import PAIRINGS
from harness.core.digests import Digest
from harness.core.randomness import Randomness
from harness.losses.infonce import InfoNCE
from harness.methods.siamese import Siamese
from harness.task import Task
from harness.testing import fresh_head
from harness.training import loop

TASKS = ("images", "sentences", "nodes")
TAU = 0.1
LOSS = f"infonce(temperature={TAU})"
CLOCKED = ("batch", "views", "digest", "forward", "loss", "backward", "optimizer")
PARTS = (*CLOCKED, "rest")
WARM_UP = 2
"""The first steps of a run, which are not counted."""

Times = dict[str, list[float]]
TakeStep = Callable[[], None]

ValueOf = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes the projections of both views and the ids; returns the objective."""


def bare(name: str, seed: int, value_of: ValueOf) -> Iterator[None]:
    """Train the task in a plain loop, one step at each ``next``."""
    task: Task = plugins.build("tasks", name)
    randomness = Randomness(name, "", seed)
    task.load(randomness)
    encoder = task.encoder().train()
    head = fresh_head(task, encoder).train()
    optimizer = torch.optim.AdamW(
        [*encoder.parameters(), *head.parameters()],
        lr=task.learning_rate,
        weight_decay=task.weight_decay,
        fused=True,
    )
    for step in count():
        batch = task.batch(task.batch_index(randomness, step))
        first, second = task.views(batch.data)
        objective = value_of(head(encoder(first)), head(encoder(second)), batch.ids)
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()
        yield


def in_turn(
    name: str, task: Task, seed: int, loops: Mapping[str, TakeStep], **settings: Any
) -> tuple[Times, loop.Outcome]:
    """Train a cell with ``fit`` and, after each of its steps, let each loop take one.

    Returns:
        {loop: seconds of each step}, ``fit`` the first of them; and what ``fit`` returned.
    """
    times: Times = {way: [] for way in ("fit", *loops)}
    began = time.perf_counter()

    def let_others_step(*_: Any) -> None:
        nonlocal began
        times["fit"].append(time.perf_counter() - began)
        for way, take_step in loops.items():
            began = time.perf_counter()
            take_step()
            times[way].append(time.perf_counter() - began)
        began = time.perf_counter()

    outcome = fit(name, task, seed, report=let_others_step, **settings)
    return {way: seconds[WARM_UP:] for way, seconds in times.items()}, outcome


def fit(name: str, task: Task, seed: int, **settings: Any) -> loop.Outcome:
    """Train a cell as ``triptych run`` does, but evaluate it only if ``splits`` are given."""
    method, loss = plugins.build("methods", "siamese"), plugins.build("losses", LOSS)
    settings = {"splits": ()} | settings  # Without splits nothing is evaluated.
    return loop.fit(task, method, loss, Randomness(name, "", seed), **settings)


def plain_infonce(pairing: str) -> ValueOf:
    """Return InfoNCE over the whole matrix of scores, as a cross-entropy."""
    if pairing == "both_views":
        return lambda a, b, ids: plain_ntxent(a, b, TAU)

    def cross_view(a: Tensor, b: Tensor, ids: Tensor) -> Tensor:
        scores = normalize(a, dim=1) @ normalize(b, dim=1).T / TAU
        return cross_entropy(scores, torch.arange(len(a)))

    return cross_view


def our_infonce(pairing: str) -> ValueOf:
    """Return our InfoNCE over the contrasts of a pairing."""
    loss = plugins.build("losses", LOSS)
    return lambda a, b, ids: torch.stack([loss(c) for c in PAIRINGS[pairing](a, b, ids)]).mean()


class Clock:
    """Seconds spent in some functions, summed by the part of a step that they belong to."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(CLOCKED, 0.0)
        self.inside = False

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function; its time counts for ``part`` unless another part called it."""

        def timed(*arguments: Any, **settings: Any) -> Any:
            if self.inside:
                return function(*arguments, **settings)
            started, self.inside = time.perf_counter(), True
            try:
                return function(*arguments, **settings)
            finally:
                self.spent[part] += time.perf_counter() - started
                self.inside = False

        return timed


def shares(name: str, steps: int) -> dict[str, float]:
    """Return each part's share of the time of ``fit``'s steps, without the first ones."""
    task: Task = plugins.build("tasks", name)
    task.steps = steps
    clock, began = Clock(), 0.0
    parts = [
        (type(task), "batch", "batch"),
        (type(task), "views", "views"),
        (Digest, "update", "digest"),
        (Siamese, "forward", "forward"),
        (InfoNCE, "forward", "loss"),
        (Tensor, "backward", "backward"),
        (torch.optim.AdamW, "step", "optimizer"),
    ]

    def start_after_warm_up(step: int, *_: Any) -> None:
        nonlocal began
        if step == WARM_UP:
            clock.spent, began = dict.fromkeys(CLOCKED, 0.0), time.perf_counter()

    with ExitStack() as stack:
        for owner, function, part in parts:
            watched = clock.around(part, getattr(owner, function))
            stack.enter_context(mock.patch.object(owner, function, watched))
        fit(name, task, seed=0, report=start_after_warm_up)
    whole = time.perf_counter() - began
    timed = {part: spent / whole for part, spent in clock.spent.items()}
    return timed | {"rest": 1 - sum(timed.values())}


def beside_bare(name: str, steps: int, repeats: int) -> str:
    """Return a row: the time of our step, its ratio to the bare loops' steps, and its parts."""
    trainings: list[Times] = []
    for seed in range(repeats):
        task: Task = plugins.build("tasks", name)
        task.steps = steps
        loops = {
            "bare": partial(next, bare(name, seed, plain_infonce(task.pairing))),
            "bare, our loss": partial(next, bare(name, seed, our_infonce(task.pairing))),
        }
        trainings.append(in_turn(name, task, seed, loops)[0])
    ours, *others = joined(trainings)
    cells = [f"{statistics.median(ours):.3f}"]
    cells.extend(f"{ratio(ours, other):.3f}" for other in others)
    cells.extend(f"{100 * share:.1f}" for share in shares(name, steps * repeats).values())
    return f"| {name} | {' | '.join(cells)} |"


def beside_peer(name: str, seeds: int) -> str:
    """Return a row that compares whole trainings, ours and the peer's, and their test scores."""
    peer, train = peer_training.PEERS[name]
    trainings: list[Times] = []
    scores: tuple[list[float], list[float]] = ([], [])
    for seed in range(seeds):
        task: Task = plugins.build("tasks", name)
        theirs = peer_training.InTurn(train, name, seed, TAU)
        times, outcome = in_turn(name, task, seed, {peer: theirs.take_step}, splits=("test",))
        if theirs.error:
            return f"| {name} | {peer} | not available: {theirs.error} | | | | |"
        trainings.append(times)
        for side, values in zip(scores, (outcome.scores["test"], theirs.score()), strict=True):
            side.append(next(iter(values.values())))
    ours, its = joined(trainings)
    cells = [f"{statistics.median(seconds):.3f}" for seconds in (ours, its)]
    cells.append(f"{ratio(its, ours):.2f}")
    for side in scores:
        each = " ".join(f"{score:.1f}" for score in side)
        cells.append(f"{statistics.mean(side):.1f} ({each})")
    return f"| {name} | {peer} | {' | '.join(cells)} |"


def joined(trainings: list[Times]) -> list[list[float]]:
    """Return each loop's seconds over all trainings."""
    return [[second for times in trainings for second in times[loop]] for loop in trainings[0]]


def ratio(first: list[float], second: list[float]) -> float:
    """Return the median ratio of steps that were taken one after the other."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def operators(name: str, steps: int, rows: int) -> str:
    """Return torch's profile of a training: where the time goes, operator by operator."""
    task: Task = plugins.build("tasks", name)
    task.steps = steps
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        fit(name, task, seed=0)
    table = profile.key_averages()
    return str(table.table("self_cpu_time_total", row_limit=rows, max_name_column_width=40))


def main() -> None:
    """Read the options, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="trainings compared with the bare loops"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps of each training")
    parser.add_argument(
        "--seeds", type=int, default=3, help="whole trainings compared with each peer"
    )
    parser.add_argument("--only", choices=TASKS, help="measure only this task")
    parser.add_argument("--no-peers", action="store_true", help="leave out the peers")
    parser.add_argument(
        "--operators", type=int, default=0, help="print this many rows of torch's profile"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [options.only] if options.only else TASKS
    heads = ["task", "s a step", "/ bare", "/ bare, our loss", *(f"{part} %" for part in PARTS)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for name in names:
        print(beside_bare(name, options.steps, options.repeats), flush=True)
    for name in names if options.operators else []:
        print(f"\n{name}\n\n{operators(name, options.steps, options.operators)}", flush=True)
    if options.no_peers:
        return
    heads = ["task", "peer", "our step, s", "its step, s", "its / ours", "our score", "its score"]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for name in names:
        print(beside_peer(name, options.seeds), flush=True)


if __name__ == "__main__":
    main()
