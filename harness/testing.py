"""Contract tests that every loss, method and task must pass, including third-party ones.

Run them on all installed plugins, or on your own, with pytest::

    import pytest
    from harness.testing import contracts

    @pytest.mark.parametrize("check", [pytest.param(c, id=name) for name, c in contracts()])
    def test_contract(check):
        check()

A check that fails raises ``AssertionError``, which names the broken rule.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from harness import plugins
from harness.checkpoints import Checkpoints, Stopped
from harness.content import contents_of
from harness.contrast import PAIRINGS, Contrast, both_views
from harness.diagnostics import Diagnosis, of_loss
from harness.digests import digest_of
from harness.errors import InputError
from harness.heads import representation_width
from harness.losses.base import Loss, ScoreLoss
from harness.losses.blocks import mean_by_rows
from harness.losses.sums import SumLoss
from harness.methods.base import GIFTS, Method, misfit
from harness.metrics import shown_scores
from harness.randomness import Randomness
from harness.task import Batch, Task, to_device
from harness.toy import Toy
from harness.training import SPLITS, evaluate, fit

Check = Callable[[], None]

LEARNED = 5.0
"""Points above untrained that a short training on the toy task must reach."""


def contracts(
    groups: Sequence[str] = ("losses", "methods", "tasks"),
) -> Iterator[tuple[str, Check]]:
    """Yield (name, check) for every installed plugin of ``groups``."""
    for group in groups:
        for spec in plugins.names(group):
            for check in CHECKS[group]:
                yield f"{spec}-{check.__name__.removeprefix('check_')}", partial(check, spec)


def check_all(group: str, spec: str) -> None:
    """Run every check of ``group`` on one spec, such as ``adnce(form="graph")``."""
    for check in CHECKS[group]:
        check(spec)


# Losses


def check_loss_spec_round_trips(spec: str) -> None:
    """A loss keeps each setting as an attribute, and its spec builds it again."""
    _check_spec_round_trips("losses", spec)


def check_loss_needs_are_known(spec: str) -> None:
    """A loss's ``needs`` and ``pairing`` are names that the harness knows."""
    loss = _loss(spec)
    assert loss.needs <= GIFTS.keys(), f"`needs` must be among {sorted(GIFTS)}: {loss.needs}"
    assert loss.pairing is None or loss.pairing in PAIRINGS, f"unknown pairing {loss.pairing!r}"


def check_loss_is_finite(spec: str) -> None:
    """Value and gradient are finite for every pairing, also with duplicates."""
    for pairing in PAIRINGS.values():
        loss, (a, b) = _loss(spec), _projections(12)
        ids = torch.tensor([*range(10), 0, 1])
        _value(loss, *pairing(a, b, ids)).backward()  # type: ignore[no-untyped-call]
        _assert_finite_gradients(loss, a, b)


def check_loss_is_finite_at_the_extremes(spec: str) -> None:
    """Identical, opposite and tiny projections in float32, and a batch of 2, give no NaN."""
    a = _projections(6)[0].detach()[:2].float()
    for first, second in (
        (a, a),
        (a, -a),
        (a, a.flip(0)),
        (a, 0 * a),
        (a * 1e-9, a * 1e9),
        (a[:1] + 0 * a,) * 2,
    ):
        loss: Loss = plugins.build("losses", spec)
        first, second = (t.clone().requires_grad_() for t in (first, second))
        value = _value(loss, *both_views(first, second))
        assert value.isfinite(), f"the value is {value.item()}"
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
            for tensor in (first, second):
                assert tensor.grad is None or not tensor.grad.isnan().any(), "a gradient is NaN"


def check_loss_without_negatives_is_not_nan(spec: str) -> None:
    """A batch without any negative gives a finite value and gradient, or an InputError."""
    loss, (a, b) = _loss(spec), _projections(2)
    try:
        value = _value(loss, *both_views(a, b, torch.zeros(2, dtype=torch.int64)))
        assert value.isfinite(), f"no negative left: the value is {value.item()}"
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
            _assert_finite_gradients(loss, a, b)
    except InputError:
        pass


def check_loss_ignores_excluded_candidates(spec: str) -> None:
    """A candidate that has the anchor's id, or is excluded, has no influence."""
    (a, b) = _projections(8)
    if "negatives" not in _loss(spec).needs:
        return
    candidates, other = (t.detach() for t in _projections(16, seed=1))
    ids = torch.arange(8)
    candidate_ids = torch.arange(16) % 8  # two candidates share each anchor's id
    exclude = torch.zeros(8, 16, dtype=torch.bool)
    exclude[:, 3] = True
    values = []
    for replacement in (candidates, other):
        rows = candidates.clone()
        rows[3] = replacement[3]
        values.append(_value(_loss(spec), Contrast(a, b, rows, ids, candidate_ids, exclude)))
    assert torch.equal(*values), "a candidate that `exclude` leaves out changed the value"
    for replacement in (candidates, other):
        rows = candidates.clone()
        rows[[0, 8]] = replacement[[0, 8]]
        contrast = Contrast(a[:1], b[:1], rows, ids[:1], candidate_ids)
        values.append(_value(_loss(spec), contrast))
    assert torch.equal(*values[2:]), "a candidate of the anchor's own id changed the value"


def check_loss_ignores_order(spec: str) -> None:
    """Permuting anchors or candidates does not change the value."""
    a, b = _projections(9)
    candidates, _ = _projections(20, seed=1)
    ids, candidate_ids = torch.arange(9), torch.arange(20) % 11
    generator = torch.Generator().manual_seed(2)
    rows = torch.randperm(9, generator=generator)
    columns = torch.randperm(20, generator=generator)
    first = _value(_loss(spec), Contrast(a, b, candidates, ids, candidate_ids))
    second = _value(
        _loss(spec),
        Contrast(a[rows], b[rows], candidates[columns], ids[rows], candidate_ids[columns]),
    )
    _assert_close(first, second, "the order of the rows changed the value")


def check_loss_draws_no_randomness(spec: str) -> None:
    """Two fresh losses return the same value, and do not use the global generator."""
    a, b = _projections(8)
    losses = [_loss(spec) for _ in range(2)]  # two, because a loss may keep state
    state = torch.get_rng_state()
    values = [_value(loss, *both_views(a, b)) for loss in losses]
    assert torch.equal(*values), "the same contrast gave two values"
    assert torch.equal(state, torch.get_rng_state()), "the loss drew from the global generator"


def check_loss_keeps_dtype(spec: str) -> None:
    """The value is a finite scalar, in float32 at least, also for half precision."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        loss, (a, b) = _loss(spec), (t.to(dtype) for t in _projections(8))
        value = _value(loss, *both_views(a, b))
        assert value.shape == (), f"the value must be a scalar: got shape {tuple(value.shape)}"
        at_least = torch.promote_types(dtype, torch.float32)
        assert value.dtype == at_least, f"{dtype} in, {value.dtype} out and not {at_least}"
        assert value.isfinite(), f"the value is {value.item()} in {dtype}"


def check_loss_bears_half_precision(spec: str) -> None:
    """Value and gradient are finite for half-precision projections, and under autocast."""
    for dtype in (torch.float16, torch.bfloat16):
        for autocast in (False, True):
            loss: Loss = plugins.build("losses", spec)
            kept = torch.float32 if autocast else dtype
            a, b = (t.detach().to(kept).requires_grad_() for t in _projections(8))
            with torch.autocast("cpu", dtype=dtype, enabled=autocast):
                value = _value(loss, *both_views(a, b))
            assert value.isfinite(), f"the value is {value.item()} in {dtype}"
            value.backward()  # type: ignore[no-untyped-call]
            _assert_finite_gradients(loss, a, b)


def check_sum_loss_is_its_per_anchor(spec: str) -> None:
    """The fast paths agree with ``per_anchor`` and autograd (losses of sums)."""
    results = []
    for plain in (False, True):
        loss, (a, b) = _loss(spec), _projections(10)
        if not isinstance(loss, SumLoss):
            return
        loss.block_rows = 4
        if type(loss).mean_over_anchors is not SumLoss.mean_over_anchors:
            return  # Such a loss adds a term of its own to the mean.
        if plain:
            loss.mean_over_anchors = partial(mean_by_rows, loss)  # type: ignore[method-assign]
        value = _value(loss, *both_views(a, b))
        value.backward()  # type: ignore[no-untyped-call]
        results.append((value.detach(), a.grad, b.grad, *(p.grad for p in loss.parameters())))
    for one, two in zip(*results, strict=True):
        _assert_close(one, two, "`slopes`, `terms` and `combine` are not those of `per_anchor`")


def check_loss_gradient_is_exact(spec: str) -> None:
    """The gradient agrees with finite differences of the value (unless ``detached``)."""
    loss, (a, b) = _loss(spec), _projections(5, width=3)
    if not loss.detached:
        inputs = (a, b, *(p for p in loss.parameters() if p.requires_grad))
        torch.autograd.gradcheck(lambda x, y, *_: _value(loss, *both_views(x, y)), inputs)


def check_loss_state_is_restored(spec: str) -> None:
    """A loss loaded from another one's state dict returns the same value as that one."""
    first, second = _loss(spec), _loss(spec)
    a, b = (t.detach() for t in _projections(8))
    for _ in range(2):
        _value(first, *both_views(a, b, torch.arange(8) + 40))
    second.load_state_dict(first.state_dict())
    c, d = _projections(8, seed=1)
    values = [_value(loss, *both_views(c, d, torch.arange(8) + 38)) for loss in (first, second)]
    assert torch.equal(*values), "the state dict does not hold all of the loss's state"


def check_score_loss_ignores_blocks(spec: str) -> None:
    """Value and gradient do not depend on the block size (score losses)."""
    results = []
    for block_rows in (None, 1, 3, 64):
        loss, (a, b) = _loss(spec), _projections(10)
        if not isinstance(loss, ScoreLoss):
            return
        loss.block_rows = block_rows
        value = _value(loss, *both_views(a, b))
        value.backward()  # type: ignore[no-untyped-call]
        results.append((value.detach(), a.grad, b.grad, *(p.grad for p in loss.parameters())))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            _assert_close(one, two, "the block size changed the value or the gradient")


def check_score_loss_ignores_rotation_and_scale(spec: str) -> None:
    """Rotating all projections, or scaling each row, does not change the value (score losses).

    For a score loss whose own ``embed`` does not normalise, projections are only rotated.
    """
    loss, (a, b) = _loss(spec), _projections(8)
    if not isinstance(loss, ScoreLoss):
        return
    normalises = loss.cosines
    generator = torch.Generator().manual_seed(3)
    square = torch.randn(a.shape[1], a.shape[1], generator=generator, dtype=a.dtype)
    rotation = torch.linalg.qr(square).Q
    scale = torch.rand(8, 1, generator=generator, dtype=a.dtype) + 0.1
    scale = scale if normalises else torch.ones_like(scale)
    first = _value(loss, *both_views(a, b))
    second = _value(_loss(spec), *both_views(a @ rotation * scale, b @ rotation))
    _assert_close(first, second, "rotation or scale changed the value")


def check_loss_is_diagnosed(spec: str) -> None:
    """A score loss's weights on negatives are in range, and measuring them changes no state."""
    loss = _loss(spec)
    if not isinstance(loss, ScoreLoss):
        return
    first, second = (rows.detach() for rows in _projections(12))
    before = digest_of(dict(loss.state_dict()))
    found = of_loss(loss, first, second, torch.arange(12), torch.arange(12) % 3)
    assert 1 <= found["effective_negatives"] <= 11, found
    assert 0 <= found["false_negative_mass"] <= 1, found
    assert before == digest_of(dict(loss.state_dict())), "the loss's state was changed"


def check_loss_learns(spec: str) -> None:
    """Training on :class:`harness.toy.Toy` beats the untrained encoder by ``LEARNED`` points."""
    loss = plugins.build("losses", spec)
    methods = (plugins.build("methods", name) for name in plugins.names("methods"))
    fitting = [method for method in methods if misfit(method, loss, Toy()) is None]
    assert fitting, "no installed method gives what it needs"
    # Siamese if it fits: methods with a momentum encoder learn more slowly.
    _assert_learns(max(fitting, key=lambda method: method.pairs), loss)


LOSS_CHECKS = (
    check_loss_spec_round_trips,
    check_loss_needs_are_known,
    check_loss_is_finite,
    check_loss_is_finite_at_the_extremes,
    check_loss_without_negatives_is_not_nan,
    check_loss_ignores_excluded_candidates,
    check_loss_ignores_order,
    check_loss_draws_no_randomness,
    check_loss_keeps_dtype,
    check_loss_bears_half_precision,
    check_loss_gradient_is_exact,
    check_loss_state_is_restored,
    check_sum_loss_is_its_per_anchor,
    check_score_loss_ignores_blocks,
    check_score_loss_ignores_rotation_and_scale,
    check_loss_is_diagnosed,
    check_loss_learns,
)


# Methods


def check_method_spec_round_trips(spec: str) -> None:
    """A method's spec builds it again."""
    plugins.build("methods", spec)
    _check_canonical("methods", spec)


def check_method_returns_contrasts(spec: str) -> None:
    """A step returns contrasts with finite projections, which hold all that ``gives`` names."""
    method = _attached_method(spec)
    contrasts = _contrasts(method)
    assert contrasts, "no contrast was returned"
    assert method.gives <= GIFTS.keys(), f"`gives` must be among {sorted(GIFTS)}: {method.gives}"
    for contrast in contrasts:
        assert isinstance(contrast, Contrast), f"not a Contrast: {type(contrast).__name__}"
        assert contrast.anchors.isfinite().all(), "a projection is not finite"
        assert (contrast.anchor_ids >= 0).all(), "an anchor's id is below 0"
        given = {
            "negatives": len(contrast.candidates) > 0,
            "trained positives": contrast.positives.requires_grad,
            "stopped positives": not contrast.positives.requires_grad,
            "targets": contrast.targets is not None,
            "example ids": torch.isin(contrast.anchor_ids, _TOY_IDS).all(),
        }
        for gift in method.gives:
            assert given[gift], f"its contrasts do not hold {gift!r}"


def check_method_gradient_reaches_parameters(spec: str) -> None:
    """Every trainable parameter gets a gradient that is finite and not zero."""
    method = _attached_method(spec)
    _value(suited_loss(method), *_contrasts(method)).backward()  # type: ignore[no-untyped-call]
    _assert_gradient_reaches(method)


def check_method_is_repeatable(spec: str) -> None:
    """The same seed gives the same networks and contrasts, and so does a loaded state dict."""
    first, second = _attached_method(spec), _attached_method(spec)
    for method in (first, second):  # One step, so that there is a state.
        _contrasts(method)
        method.after_step(0, 2)
    third = _attached_method(spec, seed=1)
    third.load_state_dict(first.state_dict())
    digests = {
        digest_of([(c.anchors, c.positives, c.candidates, c.targets) for c in _contrasts(m)])
        for m in (first, second, third)
    }
    assert len(digests) == 1, "the same seed, or the same state, gave other contrasts"


def check_method_learns(spec: str) -> None:
    """Training on :class:`harness.toy.Toy` beats the untrained encoder by ``LEARNED`` points."""
    method = plugins.build("methods", spec)
    _assert_learns(method, suited_loss(method))


METHOD_CHECKS = (
    check_method_spec_round_trips,
    check_method_returns_contrasts,
    check_method_gradient_reaches_parameters,
    check_method_is_repeatable,
    check_method_learns,
)


# Tasks


def check_task_spec_round_trips(spec: str) -> None:
    """A task keeps each setting as an attribute, and its spec builds it again."""
    _check_spec_round_trips("tasks", spec)


def check_task_fetches_checksums(spec: str) -> None:
    """``fetch`` returns the same checksums each time, and names the settings they belong to."""
    task: Task = plugins.build("tasks", spec)
    first, second = (contents_of(task.fetch(), spec) for _ in range(2))
    assert first == second, "two calls of fetch gave different checksums"
    known = plugins.resolved("tasks", spec)
    if plugins.located("tasks", plugins.parse("tasks", spec)[0]):
        assert any(one.trained_on for one in first), "`fetch` says of nothing that it is trained on"
        assert {one.setting for one in first} <= known.keys(), "`fetch` names what is no setting"


def check_task_splits_are_disjoint(spec: str) -> None:
    """Train, validation and test exist, are not empty, and share no example."""
    divisions = _loaded_task(spec).splits()
    assert divisions, "`splits` must return at least one division"
    for division in divisions:
        parts = {name: list(items) for name, items in division.items()}
        assert {"train", "validation", "test"} <= parts.keys(), f"splits: {sorted(parts)}"
        assert all(parts.values()), "a split is empty"
        together = [item for items in parts.values() for item in set(items)]
        assert len(together) == len(set(together)), "an example is in two splits"


def check_task_is_repeatable(spec: str) -> None:
    """The same seed gives the same splits, weights, batches and views; another seed, others."""
    first, second, third = (_trace(spec, seed) for seed in (0, 0, 1))
    for name in first:
        assert first[name] == second[name], f"the same seed gave another {name}"
    assert first["weights and views"] != third["weights and views"], "two seeds gave the same"


def check_task_batches(spec: str) -> None:
    """A batch has an id of 0 or more for each row that the encoder returns."""
    task = _loaded_task(spec)
    batch, (view, _) = _first_step(task)
    with torch.no_grad(), _RANDOMNESS.seeded("init"):
        encoder = task.encoder()
        rows = encoder(view)
        projections = fresh_head(task, encoder)(rows)
    width = representation_width(encoder)
    assert rows.shape[1:] == (width,), f"the encoder says {width} features, and gives {rows.shape}"
    assert rows.ndim == 2, f"the encoder must return a matrix: got shape {tuple(rows.shape)}"
    assert len(rows) == len(batch.ids), f"{len(batch.ids)} ids for {len(rows)} representations"
    assert projections.ndim == 2, "the head must return a matrix"
    assert not batch.ids.is_floating_point(), "ids must be integers"
    assert int(batch.ids.min()) >= 0, "ids must be 0 or above"
    assert (batch.labels is not None) == task.labelled, "`labelled` says otherwise than `batch`"
    if batch.labels is not None:
        assert batch.labels.shape == batch.ids.shape, "labels must be one an id"
        assert not batch.labels.is_floating_point(), "labels must be integers, -1 for none"


def check_task_views_are_those_of_the_stream(spec: str) -> None:
    """Views depend only on the batch and its stream, not on earlier draws or calls."""
    fresh, used = (_fresh_task(spec, _RANDOMNESS) for _ in range(2))
    for step in range(3):
        _step_of(used, step)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        method = _task_method(used)
        evaluate(used, method, ("validation",), _RANDOMNESS)
        torch.rand(7)
        again = _step_of(used, 2)
    first = _step_of(fresh, 2)
    for name, one, other in zip(("batch", "views"), first, again, strict=True):
        assert digest_of(one) == digest_of(other), (
            f"the {name} of step 3 depend on what came before: draw from torch's global "
            "generator, and keep no state"
        )


def check_task_views_differ(spec: str) -> None:
    """The projections of the two views of a batch differ."""
    method = _task_method(_loaded_task(spec))
    contrast = _task_contrasts(_loaded_task(spec), method)[0]
    assert not torch.allclose(contrast.anchors, contrast.positives), "the two views are the same"


def check_task_gradient_reaches_parameters(spec: str) -> None:
    """Every trainable parameter of encoder and head gets a gradient."""
    task, loss = _loaded_task(spec), plugins.build("losses", "infonce")
    method = _task_method(task)
    _value(loss, *_task_contrasts(task, method)).backward()  # type: ignore[no-untyped-call]
    _assert_gradient_reaches(method)


def check_task_evaluation_changes_nothing(spec: str) -> None:
    """Evaluating does not change weights, buffers or modes, and repeats exactly."""
    task = _loaded_task(spec)
    method = _task_method(task).train()
    before = digest_of(dict(method.state_dict()))
    scores = [evaluate(task, method, SPLITS, _RANDOMNESS)[0] for _ in range(2)]
    assert scores[0] == scores[1], "two evaluations of the same weights differ"
    for split in SPLITS:
        alone, _ = evaluate(task, method, (split,), _RANDOMNESS)
        assert alone[split] == scores[0][split], f"{split} alone has other scores than with others"
    validation, test = (list(scores[0][split]) for split in ("validation", "test"))
    assert validation[0] == test[0], "the main metric, which is the first, differs by split"
    assert set(validation) <= set(test), "validation has a metric that test has not"
    assert all(module.training for module in method.modules()), "the mode was changed"
    assert before == digest_of(dict(method.state_dict())), "weights or buffers were changed"


def check_task_diagnosis_changes_nothing(spec: str) -> None:
    """Diagnosing does not change weights, buffers, modes or generators, and repeats exactly."""
    task, loss = _loaded_task(spec), plugins.build("losses", "infonce")
    method = _task_method(task).train()
    before = digest_of((dict(method.state_dict()), torch.get_rng_state()))
    cpu = torch.device("cpu")
    found = [Diagnosis(task, method, loss, _RANDOMNESS, cpu, strict=True)() for _ in range(2)]
    assert found[0] == found[1], f"two diagnoses of the same weights differ: {found}"
    assert all(module.training for module in method.modules()), "the mode was changed"
    after = digest_of((dict(method.state_dict()), torch.get_rng_state()))
    assert before == after, "weights, buffers or the global generator were changed"
    batch = task.held_out()
    if batch is not None:
        assert {"alignment", "effective_rank"} <= found[0].keys(), f"not finite: {found[0]}"
        assert int(batch.ids.min()) >= 0, "ids must be 0 or above"
        assert batch.labels is None or batch.labels.shape == batch.ids.shape, "a label an id"


def check_task_references_are_scored(spec: str) -> None:
    """Each reference is an encoder with the same metrics as a trained one."""
    task = _loaded_task(spec)
    assert isinstance(task.references, tuple), "`references` must be a tuple of names"
    method = _task_method(task)
    if task.references:
        metrics = {
            s: list(own) for s, own in evaluate(task, method, SPLITS, _RANDOMNESS)[0].items()
        }
        for name in task.references:
            twice = []
            for _ in range(2):
                with _RANDOMNESS.seeded("init"):
                    method.encoder = task.reference(name)
                twice.append(evaluate(task, method, SPLITS, _RANDOMNESS)[0])
            found = {split: list(own) for split, own in twice[0].items()}
            assert found == metrics, f"{name!r} has the metrics {found}"
            assert twice[0] == twice[1], f"{name!r} made anew has other scores"


def check_task_training_beats_untrained(spec: str) -> None:
    """Training with InfoNCE raises the main validation score above that of step 0."""
    main = []
    for loss in (None, plugins.build("losses", "infonce")):
        task: Task = plugins.build("tasks", spec)
        method = plugins.build("methods", "siamese")
        outcome = fit(task, method, loss, _RANDOMNESS, splits=("validation",))
        main.append(next(iter(outcome.scores["validation"].values())))
    assert main[1] > main[0], f"trained {main[1]:.2f}, untrained {main[0]:.2f}"


TASK_CHECKS = (
    check_task_spec_round_trips,
    check_task_fetches_checksums,
    check_task_splits_are_disjoint,
    check_task_is_repeatable,
    check_task_batches,
    check_task_views_are_those_of_the_stream,
    check_task_views_differ,
    check_task_gradient_reaches_parameters,
    check_task_evaluation_changes_nothing,
    check_task_diagnosis_changes_nothing,
    check_task_references_are_scored,
    check_task_training_beats_untrained,
)

# Cells


def check_cell(task: str, method: str, loss: str) -> None:
    """Two steps of a cell are finite and repeat exactly, also if stopped between and continued."""
    with TemporaryDirectory() as folder:
        keep = Checkpoints(Path(folder, "state"))
        whole = _trained(task, method, loss, Checkpoints())
        assert whole == _trained(task, method, loss, keep, stop=True), (
            "the same cell, stopped after its first step and continued, gave another result: is "
            "all of its state in `state_dict`?"
        )


def _trained(
    task: str, method: str, loss: str, keep: Checkpoints, *, stop: bool = False, after: int = 0
) -> str:
    """Return a digest of the results of two steps, with or without a stop between them."""
    made: Task = plugins.build("tasks", task)
    made.steps, made.epochs = 2, 0
    how: Method = plugins.build("methods", method)
    what: Loss = plugins.build("losses", loss)

    def report(step: int, steps: int, value: float) -> None:
        keep.asked_to_stop = stop

    try:
        outcome = fit(
            made, how, what, _RANDOMNESS, splits=(), report=report, checkpoints=keep
        )  # fmt: skip
    except Stopped:
        keep.asked_to_stop = False
        return _trained(task, method, loss, keep, after=1)
    assert outcome.continued == ([after] if after else []), "it did not go on where it stopped"
    assert outcome.steps == 2, f"{outcome.steps} steps were taken, and not 2"
    return digest_of((dict(how.state_dict()), dict(what.state_dict()), outcome.curve))


def fitting(tasks: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield every fitting (task, method, loss) of ``tasks`` and the installed plugins."""
    methods, losses = (
        {name: plugins.build(group, name) for name in plugins.names(group)}
        for group in ("methods", "losses")
    )
    for task in tasks:
        made = plugins.build("tasks", task)
        for method, how in methods.items():
            for loss, what in losses.items():
                if misfit(how, what, made) is None:
                    yield task, method, loss


def scores_of(task: Task, encoder: nn.Module, split: str = "test") -> dict[str, float]:
    """Return {metric: score} of an encoder on a loaded task, as on boards: shares in points."""
    with torch.no_grad():
        found = task.evaluate(encoder, (split,))
    return shown_scores(type(task).__name__, task.metrics, found, (split,))[split]


def fresh_head(task: Task, encoder: nn.Module | None = None) -> nn.Module:
    """Return a fresh head of a loaded task, for ``encoder`` or for a fresh one."""
    return task.head(representation_width(task.encoder() if encoder is None else encoder))


def suited_loss(method: Method) -> Loss:
    """Return the simplest loss that goes with ``method``."""
    for spec in ("infonce", "regression", "prototypes"):
        loss: Loss = plugins.build("losses", spec)
        if loss.needs <= method.gives:
            return loss
    raise AssertionError(f"no plain loss goes with what the method gives: {sorted(method.gives)}")


CHECKS = {"losses": LOSS_CHECKS, "methods": METHOD_CHECKS, "tasks": TASK_CHECKS}

_RANDOMNESS = Randomness("contract", "", 0)
_TOY_IDS = torch.arange(3, 11)
_TOY_LABELS = torch.tensor([0, 0, 1, 1, 1, 2, -1, -1])


def _assert_learns(method: Method, loss: Loss) -> None:
    scores = []
    for what in (None, loss):
        how = plugins.build("methods", "siamese") if what is None else method
        outcome = fit(Toy(), how, what, _RANDOMNESS, splits=("test",))
        scores.append(outcome.scores["test"]["accuracy"])
    untrained, trained = scores
    assert trained > untrained + LEARNED, f"trained {trained:.1f}, untrained {untrained:.1f}"


def _check_spec_round_trips(group: str, spec: str) -> None:
    built = plugins.build(group, spec)
    for name, value in plugins.resolved(group, spec).items():
        assert hasattr(built, name), f"the setting `{name}` is not kept as an attribute"
        # None lets the plugin choose, and it may keep its choice.
        kept = getattr(built, name)
        assert value is None or kept == value, f"`{name}` is kept as {kept!r}"
    _check_canonical(group, spec)


def _check_canonical(group: str, spec: str) -> None:
    written = plugins.canonical(group, spec)
    assert plugins.canonical(group, written) == written, f"{written} is not canonical"
    assert plugins.resolved(group, written) == plugins.resolved(group, spec), written


def _loss(spec: str) -> Loss:
    loss: Loss = plugins.build("losses", spec)
    return loss.double()


def _projections(rows: int, *, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    # Two leaf tensors, so that each gets its own gradient.
    return a.clone().requires_grad_(), b.clone().requires_grad_()


def _value(loss: Loss, *contrasts: Contrast) -> Tensor:
    if "targets" in loss.needs:
        contrasts = tuple(_with_targets(contrast) for contrast in contrasts)
    return torch.stack([loss(contrast) for contrast in contrasts]).mean()


def _with_targets(contrast: Contrast) -> Contrast:
    if contrast.targets is not None:
        return contrast
    # Derived from ids only, so that permuting rows or gradcheck's perturbation leaves them
    # unchanged.
    affinity = (7 * contrast.anchor_ids[:, None] + 3 * contrast.candidate_ids) % 5
    return replace(contrast, targets=affinity.to(contrast.anchors.dtype).softmax(dim=1))


def _assert_close(first: Tensor | None, second: Tensor | None, message: str) -> None:
    assert first is not None and second is not None, "a gradient is missing"
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-11, msg=message)


def _assert_finite_gradients(loss: Loss, *projections: Tensor) -> None:
    for tensor in (*projections, *loss.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all(), "a gradient is not finite"
    assert any(t.grad is not None for t in projections), "no gradient reached the projections"


def _assert_gradient_reaches(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reached `{name}`"
            assert parameter.grad.isfinite().all(), f"the gradient of `{name}` is not finite"
            assert parameter.grad.any(), f"the gradient of `{name}` is zero"


def _attached_method(spec: str, seed: int = 0) -> Method:
    method: Method = plugins.build("methods", spec)
    with Randomness("contract", "", seed).seeded("init"):
        encoder = nn.Sequential(nn.Linear(5, 16), nn.Tanh())
        head = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
        method.attach(encoder, head, pairing="both_views")
    return method.train()


def _contrasts(method: Method) -> Sequence[Contrast]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, len(_TOY_IDS), 5, generator=generator)
    with _RANDOMNESS.seeded("dropout"):
        contrasts: Sequence[Contrast] = method(first, second, Batch(None, _TOY_IDS, _TOY_LABELS))
    return contrasts


@cache
def _loaded_task(spec: str) -> Task:
    return _fresh_task(spec, _RANDOMNESS)


def _fresh_task(spec: str, randomness: Randomness) -> Task:
    task: Task = plugins.build("tasks", spec)
    with randomness.seeded("split"):
        task.load(randomness)
    return task


def _task_method(task: Task, randomness: Randomness = _RANDOMNESS) -> Method:
    method: Method = plugins.build("methods", "siamese")
    with randomness.seeded("init"):
        encoder = task.encoder()
        method.attach(encoder, fresh_head(task, encoder), pairing=task.pairing)
    return method


def _first_step(task: Task, randomness: Randomness = _RANDOMNESS) -> tuple[Any, tuple[Any, Any]]:
    batch = task.batch(task.batch_index(randomness, 0))
    batch = to_device(batch, torch.device("cpu"))
    with randomness.seeded("views"):
        return batch, task.views(batch.data)


def _step_of(task: Task, step: int) -> tuple[Tensor, tuple[Any, Any]]:
    """Return the ids and the views of one step."""
    batch = task.batch(task.batch_index(_RANDOMNESS, step))
    with _RANDOMNESS.seeded("views", step):
        return batch.ids, task.views(batch.data)


def _task_contrasts(task: Task, method: Method) -> Sequence[Contrast]:
    batch, (first, second) = _first_step(task)
    with _RANDOMNESS.seeded("dropout"):
        contrasts: Sequence[Contrast] = method.train()(first, second, batch)
    return contrasts


def _trace(spec: str, seed: int) -> dict[str, str]:
    """Return digests of all that a seed decides, from a task made and loaded anew."""
    randomness = Randomness("contract", "", seed)
    task = _fresh_task(spec, randomness)
    batch, views = _first_step(task, randomness)
    weights = dict(_task_method(task, randomness).state_dict())
    splits = [{name: sorted(map(str, p)) for name, p in d.items()} for d in task.splits()]
    parts = {"split": splits, "weights": weights, "batch": batch.ids, "views": views}
    return {name: digest_of(part) for name, part in parts.items()} | {
        "weights and views": digest_of((weights, batch.ids, views))
    }
