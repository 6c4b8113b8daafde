"""Contracts of tasks."""

from collections.abc import Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import plugins
from harness.contrast import Contrast
from harness.core import reads
from harness.core.content import contents_of
from harness.core.digests import digest_of
from harness.core.randomness import Randomness
from harness.data import cache_folder
from harness.evaluation.diagnostics import Diagnosis
from harness.heads import representation_width, representations_of
from harness.methods.base import Method
from harness.task import Task, to_device
from harness.testing.common import (
    RANDOMNESS,
    assert_gradient_reaches,
    check_label,
    check_spec_round_trips,
    fresh_head,
    value_of,
)
from harness.training import checks
from harness.training.loop import SPLITS, evaluate, fit


def check_task_spec_round_trips(spec: str) -> None:
    """A task keeps each setting as an attribute, and its spec builds it again."""
    check_spec_round_trips("tasks", spec)


def check_task_label_can_be_shown(spec: str) -> None:
    """A task's label is a short text without control characters, or empty."""
    check_label("tasks", spec)


def check_task_fetches_checksums(spec: str) -> None:
    """``fetch`` returns the same checksums each time, and names the settings they belong to."""
    task: Task = plugins.build("tasks", spec)
    first, second = (contents_of(task.fetch(), spec) for _ in range(2))
    assert first == second, "two calls of fetch gave different checksums"
    known = plugins.resolved("tasks", spec)
    if plugins.location_settings("tasks", spec):
        assert any(one.trained_on for one in first), "`fetch` marks no content as trained on"
        unknown = {one.setting for one in first} - known.keys()
        assert not unknown, f"`fetch` must name settings of the task: got {sorted(unknown)}"


def check_task_declares_what_it_reads(spec: str) -> None:
    """``fetch`` returns the checksums of all files that the task reads."""
    with reads.watch() as read:
        task = _fresh_task(spec, RANDOMNESS)
        _first_step(task)
        evaluate(task, _task_method(task), ("validation",), RANDOMNESS)
    require_declared(spec, read)


def require_declared(spec: str, read: Set[Path]) -> None:
    """Raise an error if ``fetch`` of a task does not read one of the files that the task reads.

    Args:
        spec: the task's spec.
        read: the files that the task, and a network of a user's own, have read.

    Raises:
        AssertionError: if one of ``read`` is not declared.
    """
    task: Task = plugins.build("tasks", spec)
    with reads.watch() as declared:
        task.fetch()
    missing = reads.data_among(read - declared, cache_folder())
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    name, _ = plugins.parse("tasks", spec)
    assert not missing or not plugins.is_shipped("tasks", name), (
        "a network in a file must read no file of data, because its cells are run again only if "
        f"its code or its settings change: it reads {str(missing[0])!r}{more}. Start it from fresh "
        "weights"
    )
    assert not missing, (
        "`fetch` must return the checksums of all files that the task reads, because a cell is "
        f"run again only if one of them changes: the task reads {str(missing[0])!r}{more}, and "
        f"`fetch` does not. Return triptych.checksums({str(missing[0])!r}) from it"
    )


def check_task_splits_are_disjoint(spec: str) -> None:
    """Train, validation and test exist, are not empty, and share no example."""
    checks.splits_of(_loaded_task(spec))


def check_task_is_repeatable(spec: str) -> None:
    """The same seed gives the same splits, weights, batches and views; another seed, others."""
    first, second, third = (_trace(spec, seed) for seed in (0, 0, 1))
    for name in first:
        assert first[name] == second[name], (
            f"the same seed must give the same {name}: it gave another. Draw from torch's global "
            "generator, or from the randomness given to `load`"
        )
    assert first["weights and views"] != third["weights and views"], (
        "two seeds gave the same weights and views"
    )


def check_task_batches(spec: str) -> None:
    """A batch has an id of 0 or more for each row that the encoder returns."""
    task = _loaded_task(spec)
    batch, (view, _) = _first_step(task)
    with torch.no_grad(), RANDOMNESS.seeded("init"):
        encoder = checks.encoder_of(task)
        rows = representations_of(encoder, view)
        width = representation_width(encoder)
        projections = checks.head_of(task, width)(rows)
    assert rows.shape[1] == width, (
        f"the encoder declares {width} features, but returns {rows.shape[1]}"
    )
    assert len(rows) == len(batch.ids), f"{len(batch.ids)} ids for {len(rows)} representations"
    assert projections.ndim == 2, "the head must return a matrix"


def check_task_views_depend_on_the_stream_alone(spec: str) -> None:
    """Views depend only on the batch and its stream, not on earlier draws or calls."""
    fresh, used = (_fresh_task(spec, RANDOMNESS) for _ in range(2))
    for step in range(3):
        _step_of(used, step)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        method = _task_method(used)
        evaluate(used, method, ("validation",), RANDOMNESS)
        torch.rand(7)
        again = _step_of(used, 2)
    first = _step_of(fresh, 2)
    for name, one, other in zip(("batch", "views"), first, again, strict=True):
        assert digest_of(one) == digest_of(other), (
            f"the {name} of step 3 depend on earlier calls: draw from torch's global generator, "
            "and keep no state"
        )


def check_task_views_differ(spec: str) -> None:
    """The projections of the two views of a batch differ."""
    method = _task_method(_loaded_task(spec))
    contrast = _task_contrasts(_loaded_task(spec), method)[0]
    assert not torch.allclose(contrast.anchors, contrast.positives), (
        "the two views of a batch must differ: they are the same. Draw each from torch's global "
        "generator; views that differ by dropout alone need an encoder with dropout"
    )


def check_task_further_views(spec: str) -> None:
    """``further_views`` gives as many views as asked for, which differ and fit the encoder."""
    task = _loaded_task(spec)
    if not task.more_views:
        return
    method = _task_method(task)
    batch, (first, _) = _first_step(task)
    with RANDOMNESS.seeded("further"):
        further = task.further_views(batch.data, 3)
    assert len(further) == 3, f"`further_views` must return 3 views: got {len(further)}"
    assert len({digest_of(view) for view in (first, *further)}) == 4, (
        "further views must differ: if views are not drawn at random, set `more_views = False`"
    )
    with RANDOMNESS.seeded("dropout"):
        rows = [method.train().project(view) for view in (first, *further)]
    shapes = {tuple(row.shape) for row in rows}
    assert len(shapes) == 1, f"further views must have a row for each example: got {shapes}"


def check_task_gradient_reaches_parameters(spec: str) -> None:
    """Every trainable parameter of encoder and head gets a gradient."""
    task, loss = _loaded_task(spec), plugins.build("losses", "infonce")
    method = _task_method(task)
    value_of(loss, *_task_contrasts(task, method)).backward()  # type: ignore[no-untyped-call]
    assert_gradient_reaches(method)


def check_task_evaluation_changes_nothing(spec: str) -> None:
    """Evaluating does not change weights, buffers or modes, and repeats exactly."""
    task = _loaded_task(spec)
    method = _task_method(task).train()
    before = digest_of(dict(method.state_dict()))
    scores, _ = evaluate(task, method, SPLITS, RANDOMNESS)
    for split in SPLITS:
        alone, _ = evaluate(task, method, (split,), RANDOMNESS)
        if alone[split] != scores[split]:
            again, _ = evaluate(task, method, SPLITS, RANDOMNESS)
            assert again == scores, (
                "two evaluations of the same weights must agree: they differ. Draw from torch's "
                "global generator alone, and do not change the encoder"
            )
            raise AssertionError(
                f"{split} has other scores alone than together with the other splits"
            )
    validation, test = (list(scores[split]) for split in ("validation", "test"))
    assert validation[0] == test[0], "both splits must have the same first metric, the main one"
    assert set(validation) <= set(test), "validation has a metric that test lacks"
    assert all(module.training for module in method.modules()), "the mode was changed"
    assert before == digest_of(dict(method.state_dict())), (
        "`evaluate` must not change the encoder's weights or buffers: it did. Work on a copy"
    )


def check_task_diagnosis_changes_nothing(spec: str) -> None:
    """Diagnosing does not change weights, buffers, modes or generators, and repeats exactly."""
    task, loss = _loaded_task(spec), plugins.build("losses", "infonce")
    method = _task_method(task).train()
    before = digest_of((dict(method.state_dict()), torch.get_rng_state()))
    cpu = torch.device("cpu")
    values = [Diagnosis(task, method, loss, RANDOMNESS, cpu, strict=True)() for _ in range(2)]
    assert values[0] == values[1], f"two diagnoses of the same weights differ: {values}"
    assert all(module.training for module in method.modules()), "the mode was changed"
    after = digest_of((dict(method.state_dict()), torch.get_rng_state()))
    assert before == after, "weights, buffers or the global generator were changed"
    batch = task.held_out()
    if batch is not None:
        assert {"alignment", "effective_rank"} <= values[0].keys(), (
            f"alignment and effective rank must be finite, or they are left out: got {values[0]}"
        )
        assert int(batch.ids.min()) >= 0, "ids must be 0 or above"
        assert batch.labels is None or batch.labels.shape == batch.ids.shape, (
            "there must be one label per id"
        )


def check_task_references_are_scored(spec: str) -> None:
    """Each reference is an encoder with the same metrics as a trained one."""
    task = _loaded_task(spec)
    assert isinstance(task.references, tuple), "`references` must be a tuple of names"
    method = _task_method(task)
    if task.references:
        scored, _ = evaluate(task, method, SPLITS, RANDOMNESS)
        metrics = {split: list(scores) for split, scores in scored.items()}
        for name in task.references:
            twice = []
            for _ in range(2):
                with RANDOMNESS.seeded("init"):
                    method.encoder = task.reference(name)
                twice.append(evaluate(task, method, SPLITS, RANDOMNESS)[0])
            names = {split: list(scores) for split, scores in twice[0].items()}
            assert names == metrics, f"{name!r} must have the metrics {metrics}: got {names}"
            assert twice[0] == twice[1], f"{name!r} has other scores when it is made again"


def check_task_training_beats_untrained(spec: str) -> None:
    """Training with InfoNCE raises the main validation score above that of step 0."""
    main = []
    for loss in (None, plugins.build("losses", "infonce")):
        task: Task = plugins.build("tasks", spec)
        method = plugins.build("methods", "siamese")
        outcome = fit(task, method, loss, RANDOMNESS, splits=("validation",))
        main.append(next(iter(outcome.scores["validation"].values())))
    assert main[1] > main[0], (
        f"training must raise the main validation score: trained {main[1]:.2f}, "
        f"untrained {main[0]:.2f}. Check the views, the learning rate, `steps`, and whether the "
        "encoder's parameters are trained"
    )


TASK_CHECKS = (
    check_task_spec_round_trips,
    check_task_label_can_be_shown,
    check_task_fetches_checksums,
    check_task_declares_what_it_reads,
    check_task_splits_are_disjoint,
    check_task_is_repeatable,
    check_task_batches,
    check_task_views_depend_on_the_stream_alone,
    check_task_views_differ,
    check_task_further_views,
    check_task_gradient_reaches_parameters,
    check_task_evaluation_changes_nothing,
    check_task_diagnosis_changes_nothing,
    check_task_references_are_scored,
    check_task_training_beats_untrained,
)


@cache
def _loaded_task(spec: str) -> Task:
    return _fresh_task(spec, RANDOMNESS)


def _fresh_task(spec: str, randomness: Randomness) -> Task:
    task: Task = plugins.build("tasks", spec)
    with randomness.seeded("split"):
        task.load(randomness)
    return task


def _task_method(task: Task, randomness: Randomness = RANDOMNESS) -> Method:
    method: Method = plugins.build("methods", "siamese")
    with randomness.seeded("init"):
        encoder = task.encoder()
        method.attach(encoder, fresh_head(task, encoder), pairing=task.pairing)
    return method


def _first_step(task: Task, randomness: Randomness = RANDOMNESS) -> tuple[Any, tuple[Any, Any]]:
    batch = checks.batch_of(task, task.batch_index(randomness, 0))
    batch = to_device(batch, torch.device("cpu"))
    with randomness.seeded("views"):
        return batch, checks.views_of(task, batch.data)


def _step_of(task: Task, step: int) -> tuple[Tensor, tuple[Any, Any]]:
    """Return the ids and the views of one step."""
    batch = task.batch(task.batch_index(RANDOMNESS, step))
    with RANDOMNESS.seeded("views", step):
        return batch.ids, task.views(batch.data)


def _task_contrasts(task: Task, method: Method) -> Sequence[Contrast]:
    batch, (first, second) = _first_step(task)
    with RANDOMNESS.seeded("dropout"):
        contrasts: Sequence[Contrast] = method.train()(first, second, batch)
    return contrasts


def _trace(spec: str, seed: int) -> dict[str, str]:
    """Return digests of everything that a seed decides, from a freshly loaded task."""
    randomness = Randomness("contract", "", seed)
    task = _fresh_task(spec, randomness)
    batch, views = _first_step(task, randomness)
    weights = dict(_task_method(task, randomness).state_dict())
    splits = [{name: sorted(map(str, p)) for name, p in d.items()} for d in task.splits()]
    parts = {"split": splits, "weights": weights, "batch": batch.ids, "views": views}
    return {name: digest_of(part) for name, part in parts.items()} | {
        "weights and views": digest_of((weights, batch.ids, views))
    }
