"""Try each combination of a study once, so that what would fail in all its cells fails in one.

The dry run of a task, method and loss takes the first steps of a real cell, with the cell's own
number of steps, and stops. The dry run of an untrained encoder is its evaluation, which would
otherwise come only after hours of training. No result is kept.
"""

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree

from harness import plugins
from harness.core import reads
from harness.core.cells import NO_METHOD, UNTRAINED, Cell, Planned, specs_of
from harness.core.errors import InputError
from harness.run.attempt import fit_cell, outcome_of
from harness.run.engines import Engine, Event, Job, Resources
from harness.run.reasons import Lost, by_reason
from harness.store.records import Store
from harness.testing import DECISIVE
from harness.testing.tasks import require_declared
from harness.training.gradients import FIRST
from harness.training.loop import no_diagnosis

FOLDER = "dry_run"
"""The folder, in the run's own, that holds the logs of failed dry runs."""
_KEY = "dry"
"""Stands in place of a record's key in the names of these logs: dry runs leave no record."""


log = logging.getLogger("harness")


class _Enough(Exception):
    """Raised to end a training after its first steps."""


def try_cell(cell: Cell, *, device: str = "cpu", gib: float = 0.0) -> dict[str, str]:
    """Take the first steps of a cell, or evaluate it if it is not trained; keep nothing.

    Plugins from outside Triptych must also keep the contracts that decide whether their cells can
    be compared. ``gib`` is the limit of this process's memory in GiB, or 0.

    Returns:
        The last event, as :func:`harness.run.attempt.attempt` does.
    """
    try:
        with reads.watch() as read, suppress(_Enough):
            fit_cell(cell, device=device, report=_stop_after_first, diagnosis=no_diagnosis)
        for group, spec in specs_of(cell):
            if not plugins.is_shipped(group, spec):
                for check in DECISIVE[group]:
                    with _contract(group, spec):
                        check(spec)
        if not plugins.is_shipped("tasks", cell.task):
            with _contract("tasks", cell.task):
                require_declared(cell.task, read)
    except (Exception, SystemExit) as error:
        kind, reason = outcome_of(error, gib)
        details = traceback.format_exc()
        log.info("%s", details)
        return {"kind": kind, "reason": reason, "details": details}
    return {"kind": "done"}


def _stop_after_first(step: int, steps: int, value: float) -> None:
    del value
    if step == min(FIRST, steps):
        raise _Enough


@contextmanager
def _contract(group: str, spec: str) -> Iterator[None]:
    """Turn the ``AssertionError`` of a contract check into an ``InputError`` with the plugin."""
    try:
        yield
    except AssertionError as error:
        raise InputError(
            f"The {plugins.kind_of(group)} {spec!r} must keep its contract: {error}."
        ) from error


def combinations(cells: Iterable[Planned], *, outside: bool) -> dict[Cell, list[Cell]]:
    """Return {cell to try: the cells that would fail with it}.

    Each task, method and row of the board has one, and so has the evaluation of each task.

    Args:
        cells: the planned cells.
        outside: whether to try only combinations with a plugin from outside Triptych.
    """
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for planned in cells:
        cell = planned.cell
        found.setdefault((cell.task, NO_METHOD, UNTRAINED), []).append(cell)
        if cell.loss != UNTRAINED:
            found.setdefault((cell.task, cell.method, planned.label), []).append(cell)
    tried: dict[Cell, list[Cell]] = {}
    for (_, method, label), members in found.items():
        first = replace(members[0], probes=0)
        if (method, label) == (NO_METHOD, UNTRAINED):
            first = replace(first, method=NO_METHOD, loss=UNTRAINED)
        if not (outside and all(plugins.is_shipped(*each) for each in specs_of(first))):
            tried[first] = members
    return tried


@dataclass
class DryRuns:
    """Hold what became of the dry runs of a study.

    Attributes:
        tried: how many combinations were tried.
        lost: {cell that was tried and failed or diverged: its last event}.
        members: {cell that was tried: the cells that would fail with it}.
        logs: the folder of the logs.
    """

    logs: Path
    tried: int = 0
    lost: dict[Cell, Event] = field(default_factory=dict)
    members: Mapping[Cell, list[Cell]] = field(default_factory=dict)

    def groups(self) -> list[Lost]:
        """Return the combinations that failed or diverged, by reason."""
        return by_reason((e.kind, e.reason, cell, "") for cell, e in self.lost.items())

    def failed(self) -> dict[Cell, Event]:
        """Return {cell that need not be run: why its dry run failed}."""
        return {
            cell: event
            for tried, event in self.lost.items()
            if event.kind == "failed"
            for cell in self.members[tried]
        }


def try_combinations(
    cells: Mapping[Cell, list[Cell]],
    folder: Path,
    engine: Engine,
    resources: Resources,
    listen: Callable[[Event], None] = lambda event: None,
    copied: Path | None = None,
) -> DryRuns:
    """Try each of ``cells``, which :func:`combinations` returns, on an engine.

    Args:
        cells: {cell to try: the cells that would fail with it}.
        folder: the run's folder. Logs of failed dry runs stay in its folder ``dry_run``.
        engine: the engine.
        resources: what a cell may use.
        listen: a function that is called with each event.
        copied: the copies of the plugins' files, if there are any.
    """
    # Runs that share the folder each have a place of their own.
    logs = folder / FOLDER / f"{os.getpid()}-{time.time_ns()}"
    store = Store(logs)
    dry_runs = DryRuns(logs, len(cells), members=cells)
    # The engine gets `folder`, not `logs`: `logs` is removed below, and an engine may need its
    # files until this process ends.
    with engine.open(folder) as opened:
        for cell in cells:
            job = Job(
                cell, _KEY, str(logs), dry=True, plugins=str(copied or ""),
                cell_minutes=resources.cell_minutes, cell_gib=resources.cell_gib,
            )  # fmt: skip
            opened.submit(job, resources)
        for event in opened.events():
            listen(event)
            if event.kind in ("failed", "diverged"):
                path = store.log_path(event.cell, _KEY).relative_to(folder.absolute())
                dry_runs.lost[event.cell] = replace(event, log=str(path))
    if not dry_runs.lost:
        rmtree(logs, ignore_errors=True)
        with suppress(OSError):  # They are not empty, or another run has removed them.
            logs.parent.rmdir()
            folder.rmdir()  # A dry run leaves no folder either.
    return dry_runs
