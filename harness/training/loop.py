"""Train and evaluate one cell, in a loop that reads from top to bottom."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from typing import Any

import torch
from torch import nn

from harness.core import distributed
from harness.core.clock import CLOCK
from harness.core.errors import InputError, is_number, require
from harness.core.randomness import ENCODER, HEAD, METHOD, Randomness
from harness.core.schema import from_values
from harness.evaluation.calibration import calibrate, calibrated
from harness.heads import representation_width
from harness.losses.base import Loss
from harness.methods.base import Method, misfit
from harness.metrics import Evaluation, shown_resolution, shown_scores
from harness.store.checkpoints import Checkpoints
from harness.task import Batch, Task, to_device
from harness.training import checks
from harness.training.gradients import FirstSteps
from harness.training.proof import SeenViews, chained, is_mark, start_of

SPLITS = ("validation", "test")
CURVE_POINTS = 1000

Report = Callable[[int, int, float], None]
"""Called after every step with (steps done, steps in all, objective)."""

ReportProbe = Callable[[int, Mapping[str, float]], None]
"""Called after every probe during training with (steps done, {metric: value})."""

Diagnose = Callable[[], Mapping[str, float]]
"""Measure the networks and the loss in their present state, and change nothing."""

MakeDiagnose = Callable[[Task, Method, Loss | None, Randomness, torch.device], Diagnose]
"""Called once the networks are made; the loss is None if nothing is trained."""


def no_diagnosis(
    task: Task, method: Method, loss: Loss | None, randomness: Randomness, device: torch.device
) -> Diagnose:
    """Measure nothing."""
    del task, method, loss, randomness, device
    return dict


class Diverged(RuntimeError):
    """Raised when the objective, or a weight, is no longer a finite number."""


@dataclass
class Outcome:
    """Hold the results of training and evaluating one cell.

    Attributes:
        scores: {split: {metric: value}}, as boards show them: shares in points.
        resolution: {split: {metric: one item's weight in the score}}, in the same units.
        curve: (step, objective) pairs, at most ``CURVE_POINTS`` of them.
        probed: (step, {metric: value}) pairs: validation scores during training.
        diagnostics: (step, {name: value}) pairs of the ``diagnosis`` given to :func:`fit`: at
            step 0, at every probe, and at the end.
        steps: optimizer steps taken; 0 for ``untrained``.
        examples: training examples seen.
        train_seconds: wall time of the loop, without probes and stops of the process.
        evaluate_seconds: wall time of the evaluation, including probes, without stops.
        start: the splits, and the networks' initial weights: see :mod:`harness.training.proof`.
        chain: a digest of the ids of all batches so far.
        ids: {step: the chain after it}, at marks; empty if no step was taken.
        views: {step: a digest of that step's views}, at marks.
        continued: the steps after which training was stopped and later continued.
        earlier_seconds: the seconds above that were spent before the last continuation.
    """

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    resolution: dict[str, dict[str, float]] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    probed: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    diagnostics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    steps: int = 0
    examples: int = 0
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    start: dict[str, Any] = field(default_factory=dict)
    chain: str = ""
    ids: dict[int, str] = field(default_factory=dict)
    views: dict[int, str] = field(default_factory=dict)
    continued: list[int] = field(default_factory=list)
    earlier_seconds: float = 0.0


def fit(
    task: Task,
    method: Method,
    loss: Loss | None,
    randomness: Randomness,
    *,
    device: torch.device | str = "cpu",
    report: Report = lambda step, steps, value: None,
    report_probe: ReportProbe = lambda step, scores: None,
    splits: Sequence[str] = SPLITS,
    probes: int = 0,
    checkpoints: Checkpoints | None = None,
    reference: str | None = None,
    diagnosis: MakeDiagnose = no_diagnosis,
) -> Outcome:
    """Train ``method`` on ``task`` with ``loss``, then evaluate its encoder on ``splits``.

    A step's objective is the mean of the loss over the contrasts that the method returns, and
    over the batches of the step. Without a loss no step is taken; this gives the ``untrained``
    row, or the row of the task's encoder called ``reference``. ``probes`` times, evenly spread
    over the steps, validation is scored and diagnostics are measured (``diagnosis``, such as
    :class:`harness.evaluation.diagnostics.Diagnosis`); training is unaffected. With
    ``checkpoints``, training continues from the last one and reaches the same result, bit for
    bit on one CPU.

    Raises:
        Diverged: at the first step whose objective is not finite, or before an
            evaluation if a weight is not finite.
        InputError: if task, method and loss do not go together.
        harness.store.checkpoints.Stopped: when asked to stop, with the state on disk.
    """
    device = torch.device(device)
    outcome = Outcome()
    checks.require_declarations(task, method, loss)
    with randomness.seeded("split"):
        task.load(randomness)
    if loss is not None:
        reason = misfit(method, loss, task)
        require(reason is None, f"Task, method and loss do not go together: {reason}.")
    pairing = (loss.pairing if loss is not None else None) or task.pairing
    with randomness.seeded("init", ENCODER):
        encoder = distributed.spread(checks.encoder_of(task))
    with randomness.seeded("init", HEAD):
        head = checks.head_of(task, representation_width(distributed.unwrapped(encoder)))
    with randomness.seeded("init", METHOD):
        method.attach(encoder, head, pairing=pairing)
    networks = {"encoder": distributed.unwrapped(encoder), "head": head}
    outcome.start = start_of(checks.splits_of(task), networks)
    # The start is noted before a reference replaces the encoder, so that all rows share it.
    if reference is not None:
        known = ", ".join(task.references) or "none"
        require(
            reference in task.references,
            f"`fixed:NAME` must name a reference encoder of {type(task).__name__}: got "
            f"{reference!r}. Known: {known}. Use one of these, a loss or `untrained`.",
        )
        with randomness.seeded("init", ENCODER):
            method.encoder, method.head = task.reference(reference), nn.Identity()
    method.to(device)
    loss = None if loss is None else loss.to(device)
    diagnose = diagnosis(task, method, loss, randomness, device)
    if loss is not None:
        checkpoints = Checkpoints() if checkpoints is None else checkpoints
        try:
            train(
                task, method, loss, randomness, outcome, device, report, report_probe, probes,
                checkpoints, diagnose,
            )  # fmt: skip
        finally:
            checkpoints.training = False
    started = CLOCK.seconds()
    calibrate(distributed.unwrapped(method.encoder), _clean_batches(task, device))
    outcome.diagnostics.append((outcome.steps, dict(diagnose())))
    outcome.scores, outcome.resolution = evaluate(
        task, method, splits, randomness, steps=outcome.steps
    )
    outcome.evaluate_seconds += CLOCK.seconds() - started
    return outcome


def train(
    task: Task,
    method: Method,
    loss: Loss,
    randomness: Randomness,
    outcome: Outcome,
    device: torch.device,
    report: Report,
    report_probe: ReportProbe,
    probes: int,
    checkpoints: Checkpoints,
    diagnose: Diagnose,
) -> None:
    """Take the task's number of steps, and note the results in ``outcome``."""
    steps = task.total_steps()
    probed_at = {round(steps * i / (probes + 1)) for i in range(1, probes + 1)} - {0, steps}
    optimizer = task.make_optimizer(_parameter_groups(task, method, loss))
    scheduler = task.make_scheduler(optimizer, steps)
    stateful: dict[str, Any] = {"method": method, "loss": loss, "optimizer": optimizer}
    if scheduler is not None:
        stateful["scheduler"] = scheduler
    start = [outcome.start, device.type, torch.__version__, distributed.size()]
    _restore(checkpoints, start, stateful, outcome, steps)
    distributed.require_same(outcome.steps, outcome.chain)
    if not outcome.diagnostics:
        started = CLOCK.seconds()
        with calibrated(distributed.unwrapped(method.encoder), _clean_batches(task, device)):
            outcome.diagnostics.append((outcome.steps, dict(diagnose())))
        outcome.evaluate_seconds += CLOCK.seconds() - started
    stride = math.ceil(steps / CURVE_POINTS)
    first_steps = FirstSteps(method, loss, steps)
    method.train()
    loss.train()
    checkpoints.training = True
    for step in range(outcome.steps, steps):
        started = CLOCK.seconds()
        optimizer.zero_grad()
        loss.before_step(step, steps)
        value = 0.0
        seen = SeenViews(is_mark(step + 1, steps))
        numbers = range(step * task.accumulate, (step + 1) * task.accumulate)
        for number in numbers:
            batch = checks.batch_of(task, task.batch_index(randomness, number))
            # Digest the ids before they move to the device, so that none is copied back. Digests
            # are chained, so a continued cell needs only the last one.
            dropout = randomness.seed("dropout", number)
            outcome.chain = chained(outcome.chain, batch.ids, dropout)
            batch = to_device(batch, device)
            with randomness.seeded("views", number):
                first, second = checks.views_of(task, batch.data)
            if method.extra_views:
                # A stream of its own keeps the first two views the same for every method.
                with randomness.seeded("further", number):
                    batch = batch._replace(further=_further_views(task, method, batch))
            seen.add(first, second)
            # This stream serves dropout and everything else that the rest of a step draws.
            with randomness.seeded("dropout", number):
                objective = _objective(task, method, loss, first, second, batch)
                value += objective.item() / task.accumulate
                if not math.isfinite(value):
                    if not step:
                        checks.require_numbers_at_start(task, method, first)
                    raise Diverged(_diverged(f"the objective is {value}", step + 1, steps))
                first_steps.require_graph(objective)
                (objective / task.accumulate).backward()  # type: ignore[no-untyped-call]
                if number == numbers[-1]:
                    first_steps.check(step, value)
                    distributed.average_gradients([*method.parameters(), *loss.parameters()])
                    optimizer.step()
                    if scheduler is not None:
                        scheduler.step()
                    method.after_step(step, steps)
            outcome.examples += len(batch.ids)
        if step % stride == 0 or step == steps - 1:
            outcome.curve.append((step + 1, value))
        if is_mark(step + 1, steps):
            outcome.ids[step + 1] = outcome.chain
            outcome.views[step + 1] = seen.hexdigest()
        outcome.steps = step + 1
        report(step + 1, steps, value)
        outcome.train_seconds += CLOCK.seconds() - started
        if outcome.steps in probed_at:
            started = CLOCK.seconds()
            _require_finite(method, loss, outcome.steps, steps)
            with calibrated(distributed.unwrapped(method.encoder), _clean_batches(task, device)):
                scores, _ = evaluate(task, method, ("validation",), randomness, steps=outcome.steps)
                outcome.diagnostics.append((outcome.steps, dict(diagnose())))
            outcome.probed.append((outcome.steps, scores["validation"]))
            report_probe(outcome.steps, scores["validation"])
            outcome.evaluate_seconds += CLOCK.seconds() - started
        if checkpoints.due():
            state = {name: part.state_dict() for name, part in stateful.items()}
            checkpoints.save({"start": start, "outcome": asdict(outcome), **state})
    _require_finite(method, loss, outcome.steps, steps)


def _clean_batches(task: Task, device: torch.device) -> Iterator[Any]:
    """Yield the task's training data without augmentation, moved to the device."""
    return (to_device(batch, device) for batch in task.calibration())


def _further_views(task: Task, method: Method, batch: Batch) -> Sequence[Any]:
    """Return the views beyond the first two that the method takes."""
    count = method.extra_views
    further = task.further_views(batch.data, count)
    require(
        len(further) == count,
        f"`further_views` of {type(task).__name__} must return {count} views, as many as "
        f"{type(method).__name__} takes: got {len(further)}. Return `count` views.",
    )
    return further


def _objective(
    task: Task, method: Method, loss: Loss, first: Any, second: Any, batch: Batch
) -> torch.Tensor:
    """Return the mean of the loss over the method's contrasts of one batch."""
    half = task.precision == "bfloat16"
    with torch.autocast(batch.ids.device.type, dtype=torch.bfloat16, enabled=half):
        return checks.objective_of(method, loss, first, second, batch)


def _restore(
    checkpoints: Checkpoints,
    start: Any,
    stateful: Mapping[str, Any],
    outcome: Outcome,
    steps: int,
) -> None:
    """Restore the last checkpoint, if there is one.

    Raises:
        RuntimeError: if the checkpoint does not fit; it is removed, so that the next attempt works.
    """
    state = checkpoints.load(start)
    if state is None:
        return
    try:
        saved = from_values(Outcome, state["outcome"])
        require(
            0 < saved.steps <= steps,
            f"`steps` must be between 1 and {steps}: got {saved.steps}.",
        )
        for name, part in stateful.items():
            part.load_state_dict(state[name])
    except Exception as error:
        # This attempt cannot start at step 0, because part of the state is loaded already.
        checkpoints.forget()
        raise RuntimeError(
            "The cell's checkpoint does not fit and was removed; the next attempt starts at step 0."
            f" Check whether a plugin creates state while it trains. ({error})"
        ) from error
    for each in fields(saved):
        setattr(outcome, each.name, getattr(saved, each.name))
    outcome.continued.append(outcome.steps)
    outcome.earlier_seconds = outcome.train_seconds + outcome.evaluate_seconds


def _require_finite(method: Method, loss: Loss, step: int, steps: int) -> None:
    """Raise :class:`Diverged` if a weight is not finite, which the last step may have caused."""
    held = chain(method.named_parameters(), method.named_buffers(), loss.named_parameters())
    for name, weights in held:
        if weights.is_floating_point() and not weights.isfinite().all():
            raise Diverged(_diverged(f"`{name}` holds a number that is not finite", step, steps))


def _diverged(what: str, step: int, steps: int) -> str:
    advice = "Lower the learning rate or raise the temperature."
    return f"diverged at step {step} of {steps}: {what}. {advice}"


def evaluate(
    task: Task, method: Method, splits: Sequence[str], randomness: Randomness, *, steps: int = 0
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Score the frozen encoder on ``splits``, after ``steps`` steps.

    The head is not used. The encoder is in eval mode and without gradients, so that
    evaluating changes nothing, including BatchNorm's statistics.

    Returns:
        {split: {metric: value}} as boards show it, shares in points; and, in the same form and
        unit, one item's weight in each score that the task declares it for.

    Raises:
        Diverged: if a score of a trained encoder is not finite.
        InputError: if a score of an untrained encoder is not finite, or is not as declared.
    """
    name, metrics = type(task).__name__, task.metrics
    modes = {module: module.training for module in method.modules()}
    method.eval()
    try:
        with torch.no_grad(), randomness.seeded("probe"):
            evaluation = task.evaluate(distributed.unwrapped(method.encoder), splits)
    finally:
        # Restore the modes module by module, because a method may keep some in eval mode.
        for module, mode in modes.items():
            module.training = mode
    # `shown_scores` refuses any other type, with a message for the author of the task.
    if isinstance(evaluation, Evaluation):
        for split, scores in evaluation.scores.items():
            _require_finite_scores(name, split, scores, steps)
    shown = shown_scores(name, metrics, evaluation, splits)
    resolution = shown_resolution(name, metrics, evaluation, splits)
    return shown, resolution


def _require_finite_scores(name: str, split: str, scores: Mapping[str, float], steps: int) -> None:
    """Raise if a score is not finite: Diverged after training, InputError before."""
    wrong = {m: value for m, value in scores.items() if not is_number(value, finite=True)}
    if wrong and steps:
        raise Diverged(
            f"collapsed after {steps} steps: the scores {wrong} on {split!r} are not finite. "
            "Check whether all representations are equal."
        )
    if wrong:
        raise InputError(
            f"`evaluate` of {name} must return finite scores on {split!r}: got {dict(scores)}. "
            "Return a finite score for an encoder that is not trained, too."
        )


def _parameter_groups(task: Task, method: Method, loss: Loss) -> list[dict[str, Any]]:
    """Return parameter groups: the networks, and the loss's own parameters at their own rate.

    A loss's temperature or multiplier gets no weight decay, which would draw it towards zero.
    """
    groups: list[dict[str, Any]] = [{"params": list(method.parameters())}]
    own = list(loss.parameters())
    if own:
        rate = task.learning_rate * loss.rate
        groups.append({"params": own, "lr": rate, "weight_decay": 0.0})
    return groups
