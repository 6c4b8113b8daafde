"""The contract of a cell: a task, a method and a loss that fit together."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import plugins
from harness.core.digests import digest_of
from harness.losses.base import Loss
from harness.methods.base import Method, misfit
from harness.store.checkpoints import Checkpoints, Stopped
from harness.task import Task
from harness.testing.common import RANDOMNESS
from harness.training.loop import fit


def check_cell(task: str, method: str, loss: str) -> None:
    """Two steps of a cell are finite and repeat exactly, also if stopped between and continued."""
    with TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder, "state"))
        uninterrupted = _trained(task, method, loss, Checkpoints())
        assert uninterrupted == _trained(task, method, loss, checkpoints, stop=True), (
            "the same cell, stopped after its first step and continued, gave another result: put "
            "all of its state into `state_dict`"
        )


def _trained(
    task: str,
    method: str,
    loss: str,
    checkpoints: Checkpoints,
    *,
    stop: bool = False,
    after: int = 0,
) -> str:
    """Return a digest of the results of two steps, with or without a stop between them.

    Args:
        task: the task's spec.
        method: the method's spec.
        loss: the loss's spec.
        checkpoints: where the state is saved on a stop, and loaded from.
        stop: request a stop after the first step, then continue in a second call.
        after: the step after which the earlier call stopped; 0: there was none.
    """
    built_task: Task = plugins.build("tasks", task)
    built_task.steps, built_task.epochs = 2, 0
    built_method: Method = plugins.build("methods", method)
    built_loss: Loss = plugins.build("losses", loss)

    def report(step: int, steps: int, value: float) -> None:
        checkpoints.stop_requested = stop

    try:
        outcome = fit(
            built_task, built_method, built_loss, RANDOMNESS,
            splits=(), report=report, checkpoints=checkpoints,
        )  # fmt: skip
    except Stopped:
        checkpoints.stop_requested = False
        return _trained(task, method, loss, checkpoints, after=1)
    assert outcome.continued == ([after] if after else []), "it did not continue where it stopped"
    assert outcome.steps == 2, f"the cell must take 2 steps: it took {outcome.steps}"
    states = (dict(built_method.state_dict()), dict(built_loss.state_dict()))
    return digest_of((*states, outcome.curve))


def fitting(tasks: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield every fitting (task, method, loss) of ``tasks`` and the installed plugins."""
    methods, losses = (
        {name: plugins.build(group, name) for name in plugins.names(group)}
        for group in ("methods", "losses")
    )
    for task in tasks:
        built_task = plugins.build("tasks", task)
        for method, built_method in methods.items():
            for loss, built_loss in losses.items():
                if misfit(built_method, built_loss, built_task) is None:
                    yield task, method, loss
