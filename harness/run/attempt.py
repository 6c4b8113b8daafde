"""Run one cell as a worker does: claim it, train and evaluate it, write its record."""

import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import plugins
from harness.core import distributed, plugin_files
from harness.core.cells import FIXED, PARTS, Cell, is_trained, specs_of
from harness.core.clock import CLOCK
from harness.core.errors import InputError
from harness.core.telling import MAX_KEPT, message_of, one_line, told
from harness.evaluation.diagnostics import Diagnosis
from harness.methods.base import Method, NoMethod
from harness.run import claims
from harness.run.engines import Job
from harness.store import provenance
from harness.store.checkpoints import Checkpoints, Stopped
from harness.store.identity import Identity, forget_data, identify
from harness.store.records import SCHEMA, Failure, Record, Store
from harness.task import Task
from harness.training.loop import (
    SPLITS,
    Diverged,
    MakeDiagnose,
    Outcome,
    Report,
    ReportProbe,
    fit,
)

LOGGED_STEPS = 20
"""The number of lines in a cell's log that report its steps, about."""

log = logging.getLogger("harness")


def attempt(
    job: Job,
    *,
    device: str = "cpu",
    report: Report = lambda step, steps, loss: None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, str]:
    """Run a cell, unless another process runs it or its outcome is already known.

    An error is written to the store and returned, not raised.

    Returns:
        The last event: its ``kind``, its ``reason`` unless the cell is done, and a traceback in
        ``details`` if there is one.

    Raises:
        harness.store.checkpoints.Stopped: if a stop was requested, after saving the state.
    """
    cell, key, store = job.cell, job.key, Store(job.folder)
    try:
        claim = claims.take(store.claim_path(cell, key))
    except OSError as error:  # Fail now, before hours of training that could not be recorded.
        reason = one_line(f"Could not write to {store.folder}: {error}")
        return {"kind": "failed", "reason": reason}
    if claim is None:
        return {"kind": "claimed", "reason": "another run on this folder is running it"}

    with claim:
        # Another run may have finished the cell after this run had planned it.
        if store.settled(cell, key) is not None:
            return {"kind": "claimed", "reason": "another run on this folder has finished it"}
        with suppress(OSError):
            store.failure_path(cell).unlink(missing_ok=True)  # Left by an earlier attempt.
        try:
            with _progress_log(job, claim, report) as progress:
                record = run_cell(
                    cell, key, store.folder, device=device, report=progress.step,
                    report_probe=progress.probe, checkpoints=checkpoints, save=job.save,
                    copied=job.plugins,
                )  # fmt: skip
            log.info("%s, in %.1f s", record.scores, record.seconds["total"])
            return {"kind": "done"}
        except Stopped:
            log.info("stopped")
            raise
        except (Exception, SystemExit) as error:  # A plugin may call sys.exit.
            details = traceback.format_exc()
            log.info("%s", details)
            failure = Failure(key, *outcome_of(error, job.cell_gib), details)
            with suppress(OSError):  # The returned event reports the failure too.
                store.write_failure(cell, failure)
                if failure.outcome == "diverged":  # Resuming it would only diverge again.
                    store.checkpoint_path(cell, key).unlink(missing_ok=True)
            return {"kind": failure.outcome, "reason": failure.reason, "details": details}


def outcome_of(error: BaseException, gib: float = 0.0) -> tuple[str, str]:
    """Return the outcome of a cell that ended with ``error``, ``failed`` or ``diverged``, and why.

    The reason is one line that cannot act in a terminal; the log has the whole error. ``gib`` is
    the limit of the cell's memory in GiB, or 0.

    >>> outcome_of(KeyError("label"))
    ('failed', "KeyError: 'label'.")
    """
    kind = "diverged" if isinstance(error, Diverged) else "failed"
    is_sentence = isinstance(error, Diverged | InputError)
    said = message_of(error) if is_sentence else f"{told(error)}."
    if gib and _lacks_memory(error):
        said = (
            f"The cell needs more than {gib:g} GiB of memory (`--cell-gib`). Raise the limit, "
            f"or lower `batch_size`. {said}"
        )
    return kind, one_line(said, MAX_KEPT)


def _lacks_memory(error: BaseException) -> bool:
    """Return whether an error was raised because memory ran out.

    On a CPU, torch raises a RuntimeError, and Python does where it cannot start a thread.
    """
    said = message_of(error)
    return isinstance(error, MemoryError) or "allocate memory" in said or "start new thread" in said


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
    copied: str = "",
) -> Record:
    """Train and evaluate one cell in this process, and write its record.

    If ``save`` names a folder, the trained encoder is written there, in the task's own format.
    ``copied`` is the snapshot of plugins' files that the cell is run with.

    Raises:
        InputError: if code or data changed since ``key`` was planned.
        Diverged, Stopped: see :func:`harness.training.loop.fit`.
    """
    started = CLOCK.seconds()
    provenance.reset_peak_memory()
    forget_data()  # Files may have changed since an earlier cell of this process.
    identity = identify(cell)
    if identity.key != key:
        raise InputError(f"{_changed(identity, Store(folder))} Run the same command again.")
    task, method, outcome = fit_cell(
        cell, device=device, report=report, report_probe=report_probe, checkpoints=checkpoints
    )
    specs = {"task": identity.task}  # This spec has names instead of paths.
    if is_trained(cell.loss):
        specs |= {"method": cell.method, "loss": cell.loss}
    record = Record(
        key=key,
        task=identity.task,
        cell=cell.to_dict(),
        identity=identity.values,
        modality=task.modality,
        settings={name: plugins.described(PARTS[name], spec) for name, spec in specs.items()},
        scores=outcome.scores,
        metrics=[metric.to_dict() for metric in task.metrics],
        resolution=outcome.resolution,
        probed=outcome.probed,
        curve=outcome.curve,
        diagnostics=outcome.diagnostics,
        steps=outcome.steps,
        continued=outcome.continued,
        seconds={
            "train": outcome.train_seconds,
            "evaluate": outcome.evaluate_seconds,
            "total": outcome.earlier_seconds + CLOCK.seconds() - started,
        },
        throughput=outcome.examples / outcome.train_seconds if outcome.steps else 0.0,
        peak_memory=provenance.peak_memory(),
        proof=proof_of(outcome, device),
        data={one.name: one.checksum for one in identity.contents},
        notes=[f"{one.name}: {one.note}" for one in identity.contents if one.note],
        frame=identity.frame,
        versions=provenance.versions(),
        commit=provenance.commit(),
        device=provenance.describe_device(device) + distributed.described(),
        finished=datetime.now(UTC).isoformat(timespec="microseconds"),
        plugins=Path(copied).relative_to(folder).as_posix() if copied and uses_files(cell) else "",
    )
    Store(folder).write_record(cell, record)
    if save:  # Save the encoder last: if that fails, the record is kept.
        task.save(distributed.unwrapped(method.encoder).cpu(), Path(save))
    return record


def uses_files(cell: Cell) -> bool:
    """Return whether a plugin of ``cell`` is in a file."""
    specs = [spec for _, spec in specs_of(cell)]
    names = [file.name.partition(":")[0] for file in plugin_files.known()]
    return any(f"{name}:" in spec for name in names for spec in specs)


def proof_of(outcome: Outcome, device: str) -> dict[str, Any]:
    """Return the evidence that a cell can be paired with another, as plain values.

    A pair also needs equal data and frames, which a record holds in other fields. ``start``,
    ``ids`` and ``views`` come from :mod:`harness.training.proof`. Views and weights agree to the
    last digit only between cells of equal ``machine`` and ``torch``. The number of ``processes``
    decides the dropout masks.
    """
    return {
        "schema": SCHEMA,
        "machine": provenance.machine_type(device),
        "torch": provenance.versions()["torch"],
        "processes": distributed.size(),
        "start": outcome.start,
        "ids": {str(step): digest for step, digest in outcome.ids.items()},
        "views": {str(step): digest for step, digest in outcome.views.items()},
    }


def _changed(identity: Identity, store: Store) -> str:
    """Return a sentence on what changed since the plan: the cell's data, else its code or data."""
    study = store.study()
    planned = study["data"].get(identity.cell.task, {}) if "data" in study else {}
    for one in identity.contents:
        before = planned.get(one.name)
        if before not in (None, one.checksum):
            return (
                f"`{one.setting}` of {identity.cell.task} must stay as it was when the run was "
                f"planned: {one.name!r} had the checksum {before[:12]} and now has "
                f"{one.checksum[:12]}."
            )
    return f"The code or the data of {identity.cell} changed since the run was planned."


def fit_cell(
    cell: Cell,
    *,
    device: str,
    report: Report = lambda step, steps, loss: None,
    report_probe: ReportProbe = lambda step, scores: None,
    checkpoints: Checkpoints | None = None,
    diagnosis: MakeDiagnose = Diagnosis,
) -> tuple[Task, Method, Outcome]:
    """Build a cell's task, method and loss, then train and evaluate; write no record.

    Raises:
        InputError, Diverged, Stopped: see :func:`harness.training.loop.fit`.
    """
    trained = is_trained(cell.loss)
    task: Task = plugins.build("tasks", cell.task)
    method: Method = plugins.build("methods", cell.method) if trained else NoMethod()
    if checkpoints is not None:
        checkpoints.versions = provenance.versions()
    outcome = fit(
        task,
        method,
        plugins.build("losses", cell.loss) if trained else None,
        identify(cell).randomness,
        device=device,
        report=report,
        report_probe=report_probe,
        splits=("validation",) if cell.scored == "validation" else SPLITS,
        probes=cell.probes,
        checkpoints=checkpoints,
        reference=cell.loss.removeprefix(FIXED) if cell.loss.startswith(FIXED) else None,
        diagnosis=diagnosis,
    )
    return task, method, outcome


class _ProgressLog:
    """Report a running cell's progress to its claim, its log and TensorBoard."""

    def __init__(self, claim: claims.Claim, report: Report, events: Any) -> None:
        self.claim, self.report, self.events = claim, report, events

    def step(self, step: int, steps: int, loss: float) -> None:
        """Report a step and its objective."""
        self.claim.step, self.claim.steps = step, steps
        self.report(step, steps, loss)
        if self.events is not None:
            self.events.add_scalar("loss", loss, step)
        if step % max(1, steps // LOGGED_STEPS) == 0 or step == 1:
            log.info("step %d of %d: objective %.6g", step, steps, loss)

    def probe(self, step: int, scores: Mapping[str, float]) -> None:
        """Report validation scores during training."""
        log.info("validation after step %d: %s", step, dict(scores))
        for metric, value in scores.items() if self.events is not None else ():
            self.events.add_scalar(f"validation/{metric}", value, step)


@contextmanager
def _progress_log(job: Job, claim: claims.Claim, report: Report) -> Iterator[_ProgressLog]:
    log.info("--- %s (record %s, process %d)", job.cell, job.key, os.getpid())
    events = None
    if job.tensorboard:
        # Imported here: it is part of torch, but needs the extra [tensorboard].
        from torch.utils.tensorboard import SummaryWriter

        folder = Store(job.folder).events_path(job.cell, job.key)
        events = SummaryWriter(str(folder))
    try:
        yield _ProgressLog(claim, report, events)
    finally:
        if events is not None:
            events.close()
