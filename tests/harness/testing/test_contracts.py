"""Every installed plugin, ours and the third party's, keeps its contract."""

from collections.abc import Callable

import pytest

from harness import plugins
from harness.contrast import PAIRINGS
from harness.losses.fmicl import DIVERGENCES, SIMILARITIES
from harness.testing import (
    LOSS_CHECKS,
    check_all,
    check_cell,
    contracts,
    fitting,
)
from harness.testing.losses import (
    check_loss_gradient_is_exact,
    check_loss_label_can_be_shown,
    check_loss_learns,
    check_loss_state_is_restored,
)
from harness.testing.methods import check_method_returns_contrasts
from harness.testing.tasks import check_task_training_beats_untrained

SHORTER = {
    f"{spec.partition('(')[0]}-task_training_beats_untrained": spec
    for spec in ("images(steps=30, draws=1)", "sentences(steps=10)", "nodes(steps=15, draws=1)")
}
"""With all their steps these take 10 to 40 seconds; a third of them or fewer do as well."""


@pytest.mark.parametrize(
    "check", [pytest.param(c, id=name) for name, c in contracts() if name not in SHORTER]
)
def test_contract(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("name", SHORTER)
def test_a_short_training_beats_untrained(name: str) -> None:
    assert name in dict(contracts())
    check_task_training_beats_untrained(SHORTER[name])


@pytest.mark.parametrize(
    "spec",
    [
        "adnce(form='sentence')",
        "adnce(form='graph')",
        "dcl(mean=True)",
        "hcl(detach=True)",
        "hcl(tau_plus=0.99, beta=1000)",
        "drrl(k=50)",
        "cressie_read_dro(k=1.05)",
        "chi2_dro(radius=1e4)",
        *(
            f"fmicl(divergence={divergence!r}, similarity={similarity!r})"
            for divergence in DIVERGENCES
            for similarity in SIMILARITIES
        ),
    ],
)
def test_other_settings_keep_the_contract(spec: str) -> None:
    """All but that they learn: some are extreme, and two divergences are known to collapse."""
    for check in LOSS_CHECKS:
        if check is not check_loss_learns:
            check(spec)


@pytest.mark.parametrize("pairing", sorted(PAIRINGS))
def test_every_pairing_keeps_the_contract(pairing: str) -> None:
    check_all("methods", f"siamese(pairing={pairing!r})")


@pytest.mark.parametrize(
    ("task", "method", "loss"),
    [pytest.param(*cell, id="-".join(cell[1:])) for cell in fitting(["blobs"])],
)
def test_every_fitting_cell_trains(task: str, method: str, loss: str) -> None:
    check_cell(task, method, loss)


WITHOUT = ("byol", "simsiam", "supervised_contrastive", "swav")
"""Methods that cannot train on sentences: they want labels, or views that differ by more."""


@pytest.mark.parametrize("task", ["images(batch_size=32)", "sentences(batch_size=16)", "nodes"])
@pytest.mark.parametrize("method", plugins.names("methods"))
def test_every_method_trains_on_every_modality(task: str, method: str) -> None:
    losses = [loss for _, other, loss in fitting([task]) if other == method]
    plain = [loss for loss in ("infonce", "regression", "prototypes") if loss in losses]
    if "sentences" in task and method in WITHOUT:
        assert not losses, "they have no labels, and views that differ by dropout alone"
    else:
        check_cell(task, method, plain[0])


def test_every_loss_and_method_has_a_fitting_cell() -> None:
    cells = list(fitting(["blobs"]))
    assert {loss for _, _, loss in cells} == set(plugins.names("losses"))
    assert {method for _, method, _ in cells} == set(plugins.names("methods"))


def test_third_party_plugins_are_checked_too() -> None:
    assert "margin" in plugins.names("losses")
    assert "blobs" in plugins.names("tasks")


FORGETS = """
from harness.losses.infonce import InfoNCE

class Forgets(InfoNCE):
    def __init__(self, *, temperature: float = 0.1):
        super().__init__(temperature=temperature)
        self.calls = 0

    def forward(self, contrast):
        self.calls += 1
        return super().forward(contrast) * self.calls
"""


def test_a_loss_whose_state_is_not_saved_breaks_the_contract(plugin: Callable[..., None]) -> None:
    plugin("forgets", "losses:forgets = forgets:Forgets", FORGETS)
    with pytest.raises(AssertionError, match="stopped after its first step and continued"):
        check_cell("blobs", "siamese", "forgets")


ODD = """
from harness.losses.infonce import InfoNCE

class Odd(InfoNCE):
    label = "two\\nlines"
"""


def test_a_label_that_cannot_be_shown_breaks_the_contract(plugin: Callable[..., None]) -> None:
    plugin("odd", "losses:odd = odd:Odd", ODD)
    with pytest.raises(AssertionError, match=r"`label` must be a text .*: got 'two\\nlines'"):
        check_loss_label_can_be_shown("odd")


SCHEDULES = """
import torch
from harness.losses.infonce import InfoNCE

class Attribute(InfoNCE):
    def before_step(self, step, steps):
        self.temperature = 0.1 + step / steps

class WrongLater(InfoNCE):
    def setup(self):
        self.register_buffer("share", torch.zeros(()))

    def before_step(self, step, steps):
        self.share.fill_(step / steps)

    def forward(self, contrast):
        value = super().forward(contrast)
        share = self.share.item()
        return (1 - share) * value + share * value.detach()
"""


def test_a_schedule_in_a_plain_attribute_breaks_the_contract(plugin: Callable[..., None]) -> None:
    plugin("schedules", "losses:attribute = schedules:Attribute", SCHEDULES)
    with pytest.raises(AssertionError, match="must hold all of the loss's state"):
        check_loss_state_is_restored("attribute")


def test_a_gradient_that_is_wrong_later_breaks_the_contract(plugin: Callable[..., None]) -> None:
    plugin("schedules", "losses:wronglater = schedules:WrongLater", SCHEDULES)
    with pytest.raises(AssertionError, match="gradient must agree with finite differences"):
        check_loss_gradient_is_exact("wronglater")


MISLABELLED = """
from dataclasses import replace
from harness.methods.siamese import Siamese

class Mislabelled(Siamese):
    def forward(self, first, second, batch):
        contrasts = super().forward(first, second, batch)
        return [replace(contrast, labels=contrast.labels.flip(0)) for contrast in contrasts]
"""


def test_labels_of_other_rows_break_the_contract(plugin: Callable[..., None]) -> None:
    plugin("mislabelled", "methods:mislabelled = mislabelled:Mislabelled", MISLABELLED)
    with pytest.raises(AssertionError, match="`labels` are not those of the anchors' ids"):
        check_method_returns_contrasts("mislabelled")
