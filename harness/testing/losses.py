"""Contracts of losses."""

from functools import partial

import torch
from torch import Tensor

from harness import plugins
from harness.contrast import PAIRINGS, Contrast, both_views
from harness.core.digests import digest_of
from harness.core.errors import InputError, require_choice
from harness.evaluation.diagnostics import of_loss
from harness.losses.base import Loss, ScoreLoss
from harness.losses.engine.rows import mean_by_rows
from harness.losses.sums import SumLoss
from harness.methods.base import GIFTS, misfit
from harness.testing.common import (
    assert_learns,
    check_label,
    check_reads_no_file,
    check_spec_round_trips,
    decisive,
    value_of,
)
from harness.testing.toy import Toy

STEPS = 8
"""How many steps a loss with a schedule is told that there are."""


def check_loss_spec_round_trips(spec: str) -> None:
    """A loss keeps each setting as an attribute, and its spec builds it again."""
    check_spec_round_trips("losses", spec)


def check_loss_label_can_be_shown(spec: str) -> None:
    """A loss's label is a short text without control characters, or empty."""
    check_label("losses", spec)


def check_loss_needs_are_known(spec: str) -> None:
    """A loss's ``needs`` and ``pairing`` are names that the harness knows."""
    loss = _loss(spec)
    assert loss.needs <= GIFTS.keys(), (
        f"`needs` must be among {', '.join(map(repr, sorted(GIFTS)))}: got {sorted(loss.needs)}"
    )
    if loss.pairing is not None:
        require_choice("pairing", loss.pairing, PAIRINGS)


@decisive
def check_loss_reads_no_file(spec: str) -> None:
    """A loss reads no file of data."""
    a, b = _projections(4)
    ids = torch.arange(4)
    check_reads_no_file("losses", spec, lambda: value_of(_loss(spec), *both_views(a, b, ids)))


@decisive
def check_loss_is_finite(spec: str) -> None:
    """Value and gradient are finite for every pairing, also with duplicates."""
    for pairing in PAIRINGS.values():
        loss, (a, b) = _loss(spec), _projections(12)
        ids = torch.tensor([*range(10), 0, 1])
        value_of(loss, *pairing(a, b, ids)).backward()  # type: ignore[no-untyped-call]
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
        value = value_of(loss, *both_views(first, second))
        assert value.isfinite(), (
            f"identical, opposite and tiny projections must give a finite value: got "
            f"{value.item()}. Normalise rows by torch.nn.functional.normalize, and sum "
            "exponentials by logsumexp"
        )
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
            for tensor in (first, second):
                assert tensor.grad is None or not tensor.grad.isnan().any(), "a gradient is NaN"


def check_loss_without_negatives_is_not_nan(spec: str) -> None:
    """A batch without any negative gives a finite value and gradient, or an InputError."""
    loss, (a, b) = _loss(spec), _projections(2)
    try:
        value = value_of(loss, *both_views(a, b, torch.zeros(2, dtype=torch.int64)))
        assert value.isfinite(), (
            f"an anchor without a negative must have a finite value: got {value.item()}. Use "
            "masked_logsumexp, and divide by count_kept(keep).clamp(min=1), or raise an InputError"
        )
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
            _assert_finite_gradients(loss, a, b)
    except InputError:
        pass  # A loss may refuse such a batch with a clear message.


@decisive
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
        values.append(value_of(_loss(spec), Contrast(a, b, rows, ids, candidate_ids, exclude)))
    assert torch.equal(*values), (
        "a candidate that `exclude` leaves out must not change the value: it did. Mask scores by "
        "`keep` before exponentiating, as masked_logsumexp(neg / temperature, keep) does"
    )
    if "several positives" in _loss(spec).needs:
        return  # Candidates of the anchor's own id are its positives.
    for replacement in (candidates, other):
        rows = candidates.clone()
        rows[[0, 8]] = replacement[[0, 8]]
        contrast = Contrast(a[:1], b[:1], rows, ids[:1], candidate_ids)
        values.append(value_of(_loss(spec), contrast))
    assert torch.equal(*values[2:]), (
        "a candidate of the anchor's own id must not change the value: it did. Mask scores by "
        "`keep`; without it, by contrast.anchor_ids[:, None] != contrast.candidate_ids"
    )


def check_loss_ignores_order(spec: str) -> None:
    """Permuting anchors or candidates does not change the value."""
    a, b = _projections(9)
    candidates, _ = _projections(20, seed=1)
    ids, candidate_ids = torch.arange(9), torch.arange(20) % 11
    generator = torch.Generator().manual_seed(2)
    rows = torch.randperm(9, generator=generator)
    columns = torch.randperm(20, generator=generator)
    first = value_of(_loss(spec), Contrast(a, b, candidates, ids, candidate_ids))
    second = value_of(
        _loss(spec),
        Contrast(a[rows], b[rows], candidates[columns], ids[rows], candidate_ids[columns]),
    )
    _assert_close(
        first,
        second,
        "the order of the rows must not change the value: it did. Compare ids, not positions such "
        "as a diagonal",
    )


@decisive
def check_loss_draws_no_randomness(spec: str) -> None:
    """Two fresh losses return the same value, and do not use the global generator."""
    a, b = _projections(8)
    losses = [_loss(spec) for _ in range(2)]  # two, because a loss may keep state
    state = torch.get_rng_state()
    values = [value_of(loss, *both_views(a, b)) for loss in losses]
    assert torch.equal(*values), (
        f"two fresh losses must give one contrast one value: they gave {values[0].item():g} and "
        f"{values[1].item():g}. Draw nothing at random"
    )
    assert torch.equal(state, torch.get_rng_state()), (
        "a loss must draw no random numbers: it drew from torch's global generator. Take its "
        "random part out, or put it into a task's views"
    )


def check_loss_keeps_dtype(spec: str) -> None:
    """The value is a finite scalar, in float32 at least, also for half precision."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        loss, (a, b) = _loss(spec), (t.to(dtype) for t in _projections(8))
        value = value_of(loss, *both_views(a, b))
        assert value.shape == (), f"the value must be a scalar: got shape {tuple(value.shape)}"
        wanted = torch.promote_types(dtype, torch.float32)
        assert value.dtype == wanted, (
            f"the value of {dtype} projections must be in {wanted}: got {value.dtype}. Compute "
            "with contrast.anchors.float(), or derive from ScoreLoss, which does"
        )
        assert value.isfinite(), f"the value is {value.item()} in {dtype}"


def check_loss_is_finite_in_half_precision(spec: str) -> None:
    """Value and gradient are finite for half-precision projections, and under autocast."""
    for dtype in (torch.float16, torch.bfloat16):
        for autocast in (False, True):
            loss: Loss = plugins.build("losses", spec)
            kept = torch.float32 if autocast else dtype
            a, b = (t.detach().to(kept).requires_grad_() for t in _projections(8))
            with torch.autocast("cpu", dtype=dtype, enabled=autocast):
                value = value_of(loss, *both_views(a, b))
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
        value = value_of(loss, *both_views(a, b))
        value.backward()  # type: ignore[no-untyped-call]
        results.append((value.detach(), a.grad, b.grad, *(p.grad for p in loss.parameters())))
    for one, two in zip(*results, strict=True):
        _assert_close(one, two, "`slopes`, `terms` and `combine` disagree with `per_anchor`")


def check_loss_gradient_is_exact(spec: str) -> None:
    """The gradient agrees with finite differences of the value (unless ``detached``).

    A loss with a schedule is checked at its start, on its way and at its last step.
    """
    loss, (a, b) = _loss(spec), _projections(5, width=3)
    if loss.detached:
        return
    scheduled = type(loss).before_step is not Loss.before_step
    for step in (0, 3, STEPS - 1) if scheduled else (0,):
        loss.before_step(step, STEPS)
        inputs = (a, b, *(p for p in loss.parameters() if p.requires_grad))
        agrees = torch.autograd.gradcheck(
            lambda x, y, *_: value_of(loss, *both_views(x, y)), inputs, raise_exception=False
        )
        assert agrees, (
            "the gradient must agree with finite differences of the value: it does not. Look for "
            "detach() and no_grad(), or write `detached = True` if the loss by definition holds a "
            "weight constant"
        )


def check_loss_state_is_restored(spec: str) -> None:
    """A loss loaded from another one's state dict returns the same value as that one."""
    first, second = _loss(spec), _loss(spec)
    a, b = (t.detach() for t in _projections(8))
    for step in range(2):
        first.before_step(step, STEPS)
        value_of(first, *both_views(a, b, torch.arange(8) + 40))
    second.load_state_dict(first.state_dict())
    c, d = _projections(8, seed=1)
    values = [value_of(loss, *both_views(c, d, torch.arange(8) + 38)) for loss in (first, second)]
    assert torch.equal(*values), (
        "the state dict must hold all of the loss's state: a loss restored from it gave another "
        "value. Keep state in buffers: self.register_buffer(...)"
    )


def check_score_loss_ignores_blocks(spec: str) -> None:
    """Value and gradient do not depend on the block size (score losses)."""
    results = []
    for block_rows in (None, 1, 3, 64):
        loss, (a, b) = _loss(spec), _projections(10)
        if not isinstance(loss, ScoreLoss):
            return
        loss.block_rows = block_rows
        value = value_of(loss, *both_views(a, b))
        value.backward()  # type: ignore[no-untyped-call]
        results.append((value.detach(), a.grad, b.grad, *(p.grad for p in loss.parameters())))
    message = (
        "the block size must not change the value or the gradient: it did. Let `per_anchor` use an "
        "anchor's own row alone, and no mean over anchors"
    )
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            _assert_close(one, two, message)


def check_score_loss_ignores_rotation_and_scale(spec: str) -> None:
    """Rotating all projections, or scaling each row, does not change the value (score losses).

    For a score loss whose own ``embed`` does not normalise, projections are only rotated.
    """
    loss, (a, b) = _loss(spec), _projections(8)
    if not isinstance(loss, ScoreLoss):
        return
    generator = torch.Generator().manual_seed(3)
    square = torch.randn(a.shape[1], a.shape[1], generator=generator, dtype=a.dtype)
    rotation = torch.linalg.qr(square).Q
    scale = torch.rand(8, 1, generator=generator, dtype=a.dtype) + 0.1
    scale = scale if loss.cosines else torch.ones_like(scale)
    first = value_of(loss, *both_views(a, b))
    second = value_of(_loss(spec), *both_views(a @ rotation * scale, b @ rotation))
    _assert_close(
        first,
        second,
        "rotating all projections, or scaling a row, must not change the value: it did. Use the "
        "scores alone, or derive from Loss",
    )


def check_loss_is_diagnosed(spec: str) -> None:
    """A score loss's weights on negatives are in range, and measuring them changes no state."""
    loss = _loss(spec)
    if not isinstance(loss, ScoreLoss):
        return
    first, second = (rows.detach() for rows in _projections(12))
    before = digest_of(dict(loss.state_dict()))
    values = of_loss(loss, first, second, torch.arange(12), torch.arange(12) % 3)
    assert 1 <= values["effective_negatives"] <= 11, f"not in 1 to 11 negatives: {values}"
    assert 0 <= values["false_negative_mass"] <= 1, f"not a share: {values}"
    assert before == digest_of(dict(loss.state_dict())), "the loss's state was changed"


def check_loss_learns(spec: str) -> None:
    """Training on the toy task clearly beats the untrained encoder."""
    loss = plugins.build("losses", spec)
    methods = (plugins.build("methods", name) for name in plugins.names("methods"))
    fitting = [method for method in methods if misfit(method, loss, Toy()) is None]
    assert fitting, "no installed method gives what the loss needs"
    # Siamese if it fits: methods with a momentum encoder learn more slowly.
    assert_learns(max(fitting, key=lambda method: method.pairs), loss)


LOSS_CHECKS = (
    check_loss_spec_round_trips,
    check_loss_label_can_be_shown,
    check_loss_needs_are_known,
    check_loss_draws_no_randomness,  # First, because such a loss breaks most of the others.
    check_loss_state_is_restored,
    check_loss_reads_no_file,
    check_loss_is_finite,
    check_loss_is_finite_at_the_extremes,
    check_loss_without_negatives_is_not_nan,
    check_loss_ignores_excluded_candidates,
    check_loss_ignores_order,
    check_loss_keeps_dtype,
    check_loss_is_finite_in_half_precision,
    check_loss_gradient_is_exact,
    check_sum_loss_is_its_per_anchor,
    check_score_loss_ignores_blocks,
    check_score_loss_ignores_rotation_and_scale,
    check_loss_is_diagnosed,
    check_loss_learns,
)


def _loss(spec: str) -> Loss:
    loss: Loss = plugins.build("losses", spec)
    return loss.double()


def _projections(rows: int, *, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    # Two leaf tensors, so that each gets its own gradient.
    return a.clone().requires_grad_(), b.clone().requires_grad_()


def _assert_close(first: Tensor | None, second: Tensor | None, message: str) -> None:
    assert first is not None and second is not None, "a gradient is missing"
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-11, msg=message)


def _assert_finite_gradients(loss: Loss, *projections: Tensor) -> None:
    for tensor in (*projections, *loss.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all(), (
            "the gradient must be finite: it is not. Mask before exponentiating, sum exponentials "
            "by logsumexp, and add a small number under roots"
        )
    assert any(t.grad is not None for t in projections), (
        "the gradient must reach the projections: none did. Do not detach them, and return no new "
        "tensor"
    )
