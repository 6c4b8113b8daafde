"""Parts that the contract tests share."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from harness import plugins
from harness.contrast import Contrast
from harness.core import reads
from harness.core.randomness import Randomness
from harness.data import cache_folder
from harness.heads import representation_width
from harness.losses.base import Loss
from harness.methods.base import Method
from harness.metrics import shown_scores
from harness.settings import plain
from harness.study.labels import MAX_LENGTH, is_label
from harness.task import Task
from harness.testing.toy import Toy
from harness.training import checks
from harness.training.loop import fit

Check = TypeVar("Check", bound=Callable[[str], None])

LEARNED = 5.0
"""Points above untrained that a short training on the toy task must reach."""
RANDOMNESS = Randomness("contract", "", 0)


def decisive(check: Check) -> Check:
    """Mark a contract without which a plugin's cells cannot be compared with others."""
    check.decisive = True  # type: ignore[attr-defined]
    return check


def is_decisive(check: Callable[[str], None]) -> bool:
    """Return whether a contract was marked by :func:`decisive`."""
    return getattr(check, "decisive", False)


def scores_of(task: Task, encoder: nn.Module, split: str = "test") -> dict[str, float]:
    """Return {metric: score} of an encoder on a loaded task, as on boards: shares in points."""
    with torch.no_grad():
        evaluation = task.evaluate(encoder, (split,))
    return shown_scores(type(task).__name__, task.metrics, evaluation, (split,))[split]


def fresh_head(task: Task, encoder: nn.Module | None = None) -> nn.Module:
    """Return a fresh head of a loaded task, for ``encoder`` or for a fresh one."""
    return task.head(representation_width(task.encoder() if encoder is None else encoder))


def suited_loss(method: Method) -> Loss:
    """Return the simplest loss that goes with ``method``."""
    for spec in ("infonce", "regression", "prototypes"):
        loss: Loss = plugins.build("losses", spec)
        if loss.needs <= method.gives:
            return loss
    raise AssertionError(f"no simple loss fits what the method gives: {sorted(method.gives)}")


def assert_learns(method: Method, loss: Loss) -> None:
    """Fail unless training on the toy task beats untrained by ``LEARNED`` points."""
    scores = []
    for trained_with in (None, loss):
        chosen = plugins.build("methods", "siamese") if trained_with is None else method
        outcome = fit(Toy(), chosen, trained_with, RANDOMNESS, splits=("test",))
        scores.append(outcome.scores["test"]["accuracy"])
    untrained, trained = scores
    assert trained > untrained + LEARNED, (
        f"training must raise the accuracy by more than {LEARNED:g} points: trained {trained:.1f}, "
        f"untrained {untrained:.1f}. Check the sign of the loss, which is minimised, its default "
        "temperature, and whether its gradient reaches both views"
    )


def check_spec_round_trips(group: str, spec: str) -> None:
    """Fail unless the plugin keeps each setting as an attribute and its spec builds it again."""
    built = plugins.build(group, spec)
    for name, value in plugins.resolved(group, spec).items():
        assert hasattr(built, name), (
            f"the setting `{name}` must be kept as an attribute of that name: there is none. Write "
            f"self.{name} = {name}, or declare it as a field and write no `__init__`"
        )
        # None leaves the choice to the plugin, which may replace it by its choice.
        kept = plain(getattr(built, name))
        assert value is None or kept == value, (
            f"the attribute `{name}` must be the setting's value, {value!r}: got {kept!r}"
        )
    check_canonical(group, spec)


def check_canonical(group: str, spec: str) -> None:
    """Fail unless the canonical form of ``spec`` is canonical and has the same settings."""
    written = plugins.canonical(group, spec)
    assert plugins.canonical(group, written) == written, (
        f"the canonical form of {spec} is not its own canonical form: {written}"
    )
    assert plugins.resolved(group, written) == plugins.resolved(group, spec), (
        f"the canonical form of {spec} has other settings: {written}"
    )


def check_label(group: str, spec: str) -> None:
    """Fail unless the plugin's own label, if it has one, can be shown on boards."""
    name, _ = plugins.parse(group, spec)
    own = vars(plugins.load(group, name)).get("label", "")
    is_setting = "label" in plugins.settings(group, name)
    assert own == "" or is_setting or is_label(own), (
        f"`label` must be a text of at most {MAX_LENGTH} characters, none of them a control "
        f"character: got {own!r}"
    )


def check_reads_no_file(group: str, spec: str, use: Callable[[], object]) -> None:
    """Fail if a loss or method reads a file of data when it is imported, built or used.

    Args:
        group: ``losses`` or ``methods``.
        spec: the plugin's spec.
        use: a function that builds and uses the plugin.
    """
    with reads.watch() as read:
        use()
    at_import = chain.from_iterable(
        reads.at_import.get(m, ()) for m in plugins.modules(group, spec)
    )
    found = reads.data_among({*read, *at_import}, cache_folder())
    kind = plugins.kind_of(group)
    assert not found, (
        f"a {kind} must read no file of data, because its cells are run again only if its code or "
        f"its settings change: it reads {str(found[0])!r}. Write the values into a Python file "
        "that it imports, or make them a setting"
    )


def value_of(loss: Loss, *contrasts: Contrast) -> Tensor:
    """Return the mean of ``loss`` over ``contrasts``, with made-up gifts that the loss needs."""
    contrasts = tuple(with_gifts(loss, contrast) for contrast in contrasts)
    return torch.stack([checks.value_of(loss, contrast) for contrast in contrasts]).mean()


def with_gifts(loss: Loss, contrast: Contrast) -> Contrast:
    """Return the contrast with those of its optional parts that the loss needs.

    They are made of ids, so that neither permuting rows nor gradcheck's small changes move them.
    """
    n = len(contrast.anchors)
    if "targets" in loss.needs and contrast.targets is None:
        affinity = (7 * contrast.anchor_ids[:, None] + 3 * contrast.candidate_ids) % 5
        targets = affinity.to(contrast.anchors.dtype).softmax(dim=1)
        contrast = replace(contrast, targets=targets)
    if "several positives" in loss.needs and contrast.places is None:
        own = contrast.candidates is contrast.anchors
        places = torch.arange(n) if own else torch.full((n,), -1)
        contrast = replace(contrast, places=places.to(contrast.anchor_ids))
    if "labels" in loss.needs and contrast.labels is None:
        contrast = replace(contrast, labels=contrast.anchor_ids % 3 - 1)
    if "representations" in loss.needs and contrast.representations is None:
        contrast = replace(contrast, representations=contrast)
    return contrast


def assert_gradient_reaches(module: nn.Module) -> None:
    """Fail unless every trained parameter has a finite gradient that is not zero."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reached `{name}`"
            assert parameter.grad.isfinite().all(), f"the gradient of `{name}` is not finite"
            assert parameter.grad.any(), f"the gradient of `{name}` is zero"
