"""Contracts of methods."""

from collections.abc import Sequence

import torch
from torch import nn

from harness import plugins
from harness.contrast import Contrast
from harness.core.digests import digest_of
from harness.core.randomness import Randomness
from harness.methods.base import GIFTS, Method
from harness.task import Batch
from harness.testing.common import (
    RANDOMNESS,
    assert_gradient_reaches,
    assert_learns,
    check_canonical,
    check_label,
    check_reads_no_file,
    decisive,
    suited_loss,
    value_of,
)
from harness.training import checks

TOY_IDS = torch.arange(3, 11)
TOY_WIDTH = 16
"""The width of the representations, which is not that of the projections."""
TOY_LABELS = torch.tensor([0, 0, 1, 1, 1, 2, -1, -1])


def check_method_spec_round_trips(spec: str) -> None:
    """A method's spec builds it again."""
    plugins.build("methods", spec)
    check_canonical("methods", spec)


def check_method_label_can_be_shown(spec: str) -> None:
    """A method's label is a short text without control characters, or empty."""
    check_label("methods", spec)


@decisive
def check_method_reads_no_file(spec: str) -> None:
    """A method reads no file of data."""
    check_reads_no_file("methods", spec, lambda: _contrasts(_attached_method(spec)))


def check_method_returns_contrasts(spec: str) -> None:
    """A step returns contrasts with finite projections, which hold all that ``gives`` names."""
    method = _attached_method(spec)
    contrasts = _contrasts(method)
    assert method.gives <= GIFTS.keys(), f"`gives` must be among {sorted(GIFTS)}: {method.gives}"
    for contrast in contrasts:
        assert contrast.anchors.isfinite().all(), "a projection is not finite"
        assert (contrast.anchor_ids >= 0).all(), "an anchor's id is below 0"
        given = {
            "negatives": len(contrast.candidates) > 0,
            "trained positives": contrast.positives.requires_grad,
            "stopped positives": not contrast.positives.requires_grad,
            "targets": contrast.targets is not None,
            "example ids": torch.isin(contrast.anchor_ids, TOY_IDS).all(),
            "several positives": contrast.places is not None,
            "labels": contrast.labels is not None,
            "representations": contrast.representations is not None,
        }
        for gift in method.gives:
            assert given[gift], f"the contrasts do not hold {gift!r}, which `gives` names"
        _check_parts(contrast, method.gives)


def _check_parts(contrast: Contrast, gives: frozenset[str]) -> None:
    """Fail unless the optional parts of a contrast of the toy batch belong to its rows."""
    if contrast.places is not None:
        has_place = contrast.places >= 0
        own = contrast.candidates[contrast.places[has_place]]
        assert torch.equal(own, contrast.anchors[has_place]), "`places` are not the anchors' rows"
    if contrast.labels is not None and "example ids" in gives:
        right = TOY_LABELS[contrast.anchor_ids - TOY_IDS[0]]
        assert torch.equal(contrast.labels, right), "`labels` are not those of the anchors' ids"
    if contrast.representations is not None:
        encoded = contrast.representations
        for role in ("anchors", "positives", "candidates"):
            count = len(getattr(contrast, role))
            rows = getattr(encoded, role)
            assert tuple(rows.shape) == (count, TOY_WIDTH), f"`representations` lack {role}"


def check_method_gradient_reaches_parameters(spec: str) -> None:
    """Every trainable parameter gets a gradient that is finite and not zero."""
    method = _attached_method(spec)
    value_of(suited_loss(method), *_contrasts(method)).backward()  # type: ignore[no-untyped-call]
    assert_gradient_reaches(method)


def check_method_is_repeatable(spec: str) -> None:
    """The same seed gives the same networks and contrasts, and so does a loaded state dict."""
    first, second = _attached_method(spec), _attached_method(spec)
    for method in (first, second):  # Take one step, so that queues and copies have changed.
        _contrasts(method)
        method.after_step(0, 2)
    third = _attached_method(spec, seed=1)
    third.load_state_dict(first.state_dict())
    digests = {
        digest_of([(c.anchors, c.positives, c.candidates, c.targets) for c in _contrasts(m)])
        for m in (first, second, third)
    }
    assert len(digests) == 1, "the same seed and the same state must give the same contrasts"


def check_method_learns(spec: str) -> None:
    """Training on the toy task clearly beats the untrained encoder."""
    method = plugins.build("methods", spec)
    assert_learns(method, suited_loss(method))


METHOD_CHECKS = (
    check_method_spec_round_trips,
    check_method_label_can_be_shown,
    check_method_reads_no_file,
    check_method_returns_contrasts,
    check_method_gradient_reaches_parameters,
    check_method_is_repeatable,
    check_method_learns,
)


def _attached_method(spec: str, seed: int = 0) -> Method:
    method: Method = plugins.build("methods", spec)
    with Randomness("contract", "", seed).seeded("init"):
        encoder = nn.Sequential(nn.Linear(5, TOY_WIDTH), nn.Tanh())
        head = nn.Sequential(nn.Linear(TOY_WIDTH, 16), nn.Tanh(), nn.Linear(16, 4))
        method.attach(encoder, head, pairing="both_views")
    return method.train()


def _contrasts(method: Method) -> Sequence[Contrast]:
    generator = torch.Generator().manual_seed(0)
    first, second, *further = torch.randn(
        2 + method.extra_views, len(TOY_IDS), 5, generator=generator
    )
    batch = Batch(None, TOY_IDS, TOY_LABELS, further=further)
    with RANDOMNESS.seeded("dropout"):
        return checks.contrasts_of(method, first, second, batch)
