"""One cell, from its claim to its record: what a worker does with a job."""

import logging
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harness import claims, plugins, provenance, ranks
from harness.cells import FIXED, Cell, is_trained
from harness.checkpoints import Checkpoints, Stopped
from harness.digests import Digest
from harness.engines import Job
from harness.errors import InputError
from harness.identity import identify
from harness.methods.base import Method
from harness.randomness import Randomness
from harness.records import Failure, Record, Store
from harness.task import Task
from harness.training import SPLITS, Diverged, Outcome, Report, ReportProbe, fit

PLUGINS = (("task", "tasks"), ("method", "methods"), ("loss", "losses"))
LOGGED_STEPS = 20
"""Lines about steps in a cell's log."""

log = logging.getLogger("harness")


def attempt(
    job: Job,
    *,
    device: str = "cpu",
    report: Report = lambda step, steps, loss: None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, str]:
    """Run a cell, unless another process has it or its outcome is known already.

    Whatever goes wrong is written down in the store, and returned.

    Returns:
        The last event: its kind, and where it is not ``done`` the reason and details.

    Raises:
        harness.checkpoints.Stopped: when asked to stop, with the state on disk.
    """
    cell, key, store = job.cell, job.key, Store(job.folder)
    try:
        claim = claims.take(store.claim_path(cell, key))
    except OSError as error:  # Before hours of training whose record could not be written.
        return {"kind": "failed", "reason": f"Could not write to {store.folder}: {error}"}
    if claim is None:
        return {"kind": "claimed", "reason": "another run on this folder has it"}

    with claim:
        if store.settled(cell, key) is not None:
            return {"kind": "claimed", "reason": "another run on this folder has finished it"}
        with suppress(OSError):
            store.failure_path(cell).unlink(missing_ok=True)  # That was another attempt.
        try:
            with _diary(job, claim, report) as diary:
                record = run_cell(
                    cell, key, store.folder, device=device, report=diary.step,
                    report_probe=diary.probe, checkpoints=checkpoints, save=job.save,
                )  # fmt: skip
            log.info("%s, in %.1f s", record.scores, record.seconds["total"])
            return {"kind": "done"}
        except Stopped:
            log.info("stopped")
            raise
        except (Exception, SystemExit) as error:  # A plugin may call sys.exit.
            details = traceback.format_exc()
            log.info("%s", details)
            diverged = isinstance(error, Diverged)
            reason = str(error) if diverged else f"{type(error).__name__}: {error}"
            failure = Failure(key, "diverged" if diverged else "failed", reason, details)
            with suppress(OSError):  # The main process says so.
                store.write_failure(cell, failure)
                if diverged:
                    store.checkpoint_path(cell, key).unlink(missing_ok=True)
            return {"kind": failure.outcome, "reason": reason, "details": details}


def run_cell(
    cell: Cell,
    key: str,
    folder: Path,
    *,
    device: str = "cpu",
    report: Report = lambda step, steps, loss: None,
    report_probe: ReportProbe = lambda step, scores: None,
    checkpoints: Checkpoints | None = None,
    save: str = "",
) -> Record:
    """Train and evaluate one cell in this process, and write its record.

    With ``save``, its encoder is written to that folder, in the task's own form.

    Raises:
        InputError: where code or data changed since ``key`` was planned.
        Diverged, Stopped: see :func:`harness.training.fit`.
    """
    started = time.perf_counter()
    provenance.reset_peak_memory()
    identity = identify(cell)
    if identity.key != key:
        raise InputError(
            f"The code or the data of {cell} changed since the run was planned. "
            "Run the same command again."
        )
    task, method, outcome = fit_cell(
        cell, device=device, report=report, report_probe=report_probe, checkpoints=checkpoints
    )
    start = Digest()
    # What a seed's masks and weights are is decided by these too.
    machine = (torch.device(device).type, provenance.versions()["torch"], ranks.size())
    start.update((machine, identity.frame, dict(identity.data), outcome.start_digest))
    record = Record(
        key=key,
        cell=cell.to_dict(),
        modality=task.modality,
        settings={
            name: plugins.described(group, getattr(cell, name))
            for name, group in PLUGINS
            if is_trained(getattr(cell, name))
        },
        scores=outcome.scores,
        probed=[list(point) for point in outcome.probed],
        curve=[list(point) for point in outcome.curve],
        diagnostics=[list(point) for point in outcome.diagnostics],
        steps=outcome.steps,
        continued=outcome.continued,
        seconds={
            "train": outcome.train_seconds,
            "evaluate": outcome.evaluate_seconds,
            "total": outcome.earlier_seconds + time.perf_counter() - started,
        },
        throughput=outcome.examples / outcome.train_seconds if outcome.steps else 0.0,
        peak_memory=provenance.peak_memory(),
        digests={"start": start.hexdigest(), "seen": outcome.seen_digest},
        data=dict(identity.data),
        source=identity.source,
        frame=identity.frame,
        versions=provenance.versions(),
        commit=provenance.commit(),
        device=provenance.describe_device(device) + ranks.described(),
        finished=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    Store(folder).write_record(cell, record)
    if save:  # Last: a folder that cannot be written costs no record.
        task.save(ranks.alone(method.encoder).cpu(), Path(save))
    return record


def fit_cell(
    cell: Cell,
    *,
    device: str,
    report: Report = lambda step, steps, loss: None,
    report_probe: ReportProbe = lambda step, scores: None,
    checkpoints: Checkpoints | None = None,
) -> tuple[Task, Method, Outcome]:
    """Make what a cell names, train and evaluate it; write nothing.

    Raises:
        InputError, Diverged, Stopped: see :func:`harness.training.fit`.
    """
    task: Task = plugins.build("tasks", cell.task)
    method: Method = plugins.build("methods", cell.method)
    if checkpoints is not None:
        checkpoints.versions = provenance.versions()
    outcome = fit(
        task,
        method,
        plugins.build("losses", cell.loss) if is_trained(cell.loss) else None,
        Randomness(cell.task, cell.method, cell.seed),
        device=device,
        report=report,
        report_probe=report_probe,
        splits=("validation",) if cell.scored == "validation" else SPLITS,
        probes=cell.probes,
        checkpoints=checkpoints,
        reference=cell.loss.removeprefix(FIXED) if cell.loss.startswith(FIXED) else None,
    )
    return task, method, outcome


class _Diary:
    """What is told about a cell while it runs: to its claim, its log, TensorBoard."""

    def __init__(self, claim: claims.Claim, report: Report, events: Any) -> None:
        self.claim, self.report, self.events = claim, report, events

    def step(self, step: int, steps: int, loss: float) -> None:
        """Tell of a step."""
        self.claim.step, self.claim.steps = step, steps
        self.report(step, steps, loss)
        if self.events is not None:
            self.events.add_scalar("loss", loss, step)
        if step % max(1, steps // LOGGED_STEPS) == 0 or step == 1:
            log.info("step %d of %d: objective %.6g", step, steps, loss)

    def probe(self, step: int, scores: Mapping[str, float]) -> None:
        """Tell of validation scores during training."""
        log.info("validation after step %d: %s", step, dict(scores))
        for metric, value in scores.items() if self.events is not None else ():
            self.events.add_scalar(f"validation/{metric}", value, step)


@contextmanager
def _diary(job: Job, claim: claims.Claim, report: Report) -> Iterator[_Diary]:
    log.info("--- %s (record %s, process %d)", job.cell, job.key, os.getpid())
    events = None
    if job.tensorboard:
        # Imported here: torch brings it, but needs the extra [tensorboard].
        from torch.utils.tensorboard import SummaryWriter

        folder = Store(job.folder).events_path(job.cell, job.key)
        events = SummaryWriter(str(folder))
    try:
        yield _Diary(claim, report, events)
    finally:
        if events is not None:
            events.close()
