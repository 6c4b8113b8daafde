"""Methods: their state, their gradients, and what their contrasts hold."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness import plugins
from harness.contrast import Contrast
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.heads import output_width
from harness.losses.infonce import InfoNCE
from harness.methods import Method
from harness.methods.base import GIFTS, misfit
from harness.methods.supervised_contrastive import class_ids, partners
from harness.methods.swav import sinkhorn
from harness.task import Batch, Task

IDS = torch.arange(8)
LABELS = torch.tensor([0, 0, 1, 1, 1, 2, -1, -1])


def attached(spec: str, head: nn.Module | None = None) -> Any:
    method: Method = plugins.build("methods", spec)
    with Randomness("t", "", 0).seeded("init"):
        head = head or nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))
        method.attach(nn.Linear(5, 6), head, pairing="both_views")
    return method.train()


def views(seed: int = 0) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(seed))
    return first, second


def contrasts(method: Method, seed: int = 0, labels: Tensor | None = LABELS) -> Sequence[Contrast]:
    with Randomness("t", "", seed).seeded("dropout"):
        return method(*views(seed), Batch(None, IDS, labels))


# MoCo


def test_moco_contrasts_with_a_queue_of_earlier_keys() -> None:
    method = attached("moco(queue=20, momentum=0.5)")
    start = method.queue_keys.clone()
    torch.testing.assert_close(start.norm(dim=1), torch.ones(20))
    (contrast,) = contrasts(method.eval())
    method.train()
    assert torch.equal(contrast.candidates, start)
    assert (contrast.candidate_ids == -1).all()
    assert not contrast.positives.requires_grad
    for _ in range(3):  # 24 keys into 20 places
        (contrast,) = contrasts(method)
        method.after_step(0, 1)
        newest = normalize(contrast.positives, dim=1)
    assert int(method.queue_end) == 4
    torch.testing.assert_close(method.queue_keys[16:], newest[:4])
    torch.testing.assert_close(method.queue_keys[:4], newest[4:])


def test_the_queue_receives_the_keys_of_every_batch_of_a_step() -> None:
    method = attached("moco(queue=64)")
    keys = [normalize(contrasts(method)[0].positives, dim=1) for _ in range(2)]
    method.after_step(0, 1)
    torch.testing.assert_close(method.queue_keys[:16], torch.cat(keys))


def test_mocos_queue_may_be_smaller_than_a_batch() -> None:
    method = attached("moco(queue=3)")
    (contrast,) = contrasts(method)
    method.after_step(0, 1)
    torch.testing.assert_close(method.queue_keys, normalize(contrast.positives, dim=1)[-3:])


@pytest.mark.parametrize(
    ("name", "copy"),
    [("moco", "key"), ("moco_v3", "key"), ("byol", "target"), ("dino", "teacher")],
)
def test_copies_follow_and_get_no_gradient(name: str, copy: str) -> None:
    momentum = 0.9
    method = attached(f"{name}(momentum={momentum})")
    copied, weight = getattr(method, f"{copy}_encoder"), method.encoder.weight
    old = copied.weight.clone()
    assert torch.equal(old, weight)
    with torch.no_grad():
        weight.add_(1)
    method.after_step(0, 10)
    torch.testing.assert_close(copied.weight, momentum * old + (1 - momentum) * weight)
    assert not copied.weight.requires_grad
    if name == "moco":
        return
    method.after_step(10, 10)  # At the end the momentum is 1.
    still = copied.weight.clone()
    method.after_step(10, 10)
    assert torch.equal(copied.weight, still)


def test_moco_v3_contrasts_predictions_with_the_other_views_keys() -> None:
    method = attached("moco_v3").eval()  # BatchNorm's own statistics, to compare
    one, two = contrasts(method)
    first, second = views()
    keys = method.key_head(method.key_encoder(second))
    torch.testing.assert_close(one.positives, keys)
    assert one.candidates is one.positives
    torch.testing.assert_close(one.anchors, method.predictor(method.project(first)))
    torch.testing.assert_close(two.anchors, method.predictor(method.project(second)))


# BYOL, SimSiam


@pytest.mark.parametrize("spec", ["byol", "simsiam"])
def test_predicting_methods_give_no_candidates(spec: str) -> None:
    method = attached(spec)
    for contrast in contrasts(method):
        assert len(contrast.candidates) == len(contrast.candidate_ids) == 0
        assert contrast.anchors.requires_grad and not contrast.positives.requires_grad


def test_simsiam_predicts_its_own_projection_of_the_other_view() -> None:
    method = attached("simsiam").eval()
    one, two = contrasts(method)
    first, second = views()
    torch.testing.assert_close(one.positives, method.project(second))
    torch.testing.assert_close(two.positives, method.project(first))


@pytest.mark.parametrize(("width", "hidden"), [(4, 4), (300, 256), (2048, 512)])
def test_simsiams_predictor_is_a_bottleneck_only_for_wide_projections(
    width: int, hidden: int
) -> None:
    predictor = attached("simsiam", nn.Linear(6, width)).predictor
    assert (predictor[0].in_features, predictor[0].out_features) == (width, hidden)


# SwAV, DINO


def test_sinkhorn_matches_the_published_algorithm() -> None:
    scores = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)).double()
    plan = (scores / 0.05).exp().T
    plan /= plan.sum()
    for _ in range(3):
        plan /= plan.sum(dim=1, keepdim=True) * 4
        plan /= plan.sum(dim=0, keepdim=True) * 6
    torch.testing.assert_close(sinkhorn(scores, 0.05, 3), plan.T * 6)
    balanced = sinkhorn(scores, 0.05, 500)
    torch.testing.assert_close(balanced.sum(dim=0), torch.full((4,), 1.5, dtype=torch.float64))


def test_sinkhorn_is_finite_for_small_epsilons() -> None:
    assert sinkhorn(torch.eye(3), 0.005, 3).isfinite().all()


def test_swav_predicts_the_other_views_code() -> None:
    method = attached("swav(prototypes=6)")
    one, two = contrasts(method)
    for contrast, other in ((one, two), (two, one)):
        unit = normalize(other.anchors.detach(), dim=1)
        scores = unit @ normalize(method.directions.detach(), dim=1).T
        torch.testing.assert_close(contrast.targets, sinkhorn(scores, 0.05, 3))
        assert contrast.targets is not None and not contrast.targets.requires_grad
    with torch.no_grad():
        method.directions.mul_(3)
    method.after_step(0, 1)
    torch.testing.assert_close(method.directions.norm(dim=1), torch.ones(6))


def test_dinos_targets_are_centred_and_sharpened() -> None:
    method = attached("dino(prototypes=6)")
    first, second = views()
    one, _ = contrasts(method)
    taught = normalize(method.teacher_head(method.teacher_encoder(second)), dim=1)
    scores = taught @ normalize(method.teacher_directions, dim=1).T
    torch.testing.assert_close(one.targets, (scores / 0.04).softmax(dim=1))
    method.after_step(0, 1)
    other = normalize(method.teacher_head(method.teacher_encoder(first)), dim=1)
    both = torch.cat([scores, other @ normalize(method.teacher_directions, dim=1).T])
    torch.testing.assert_close(method.centre, 0.1 * both.mean(dim=0))
    one, _ = contrasts(method)
    torch.testing.assert_close(one.targets, ((scores - method.centre) / 0.04).softmax(dim=1))


# Supervised


def test_partners_share_the_id_and_each_row_is_one_partner() -> None:
    ids = torch.randint(0, 5, (200,), generator=torch.Generator().manual_seed(0))
    chosen = partners(ids)
    assert torch.equal(ids[chosen], ids)
    assert sorted(chosen.tolist()) == list(range(200))
    assert (chosen != torch.arange(200)).all()


def test_every_other_row_is_equally_likely_a_partner() -> None:
    ids = torch.tensor([7, 7, 7, 7, 1, 1])
    counts = torch.zeros(6, 6)
    torch.manual_seed(0)
    for _ in range(3000):
        counts[torch.arange(6), partners(ids)] += 1
    assert (counts[:4, :4][~torch.eye(4, dtype=torch.bool)] / 1000 - 1).abs().max() < 0.1
    assert counts[4, 5] == counts[5, 4] == 3000


def test_a_class_does_not_repel_itself() -> None:
    method = attached("supervised_contrastive")
    (contrast,) = contrasts(method)
    repels = contrast.anchor_ids[:, None] != contrast.candidate_ids
    labels = torch.cat([LABELS, LABELS])
    known = (labels[:, None] == labels) & (labels >= 0)[:, None]
    examples = torch.cat([IDS, IDS])
    assert torch.equal(~repels, known | (examples[:, None] == examples))


def test_unlabelled_examples_get_ids_of_their_own_for_any_id_type() -> None:
    small = class_ids(torch.tensor([1, -1], dtype=torch.int32), torch.tensor([0, 1]).int())
    assert small.tolist() == [1, 2**40 + 1]


def test_the_mean_supervised_objective_equals_sinceres() -> None:
    """Over many draws of positives, InfoNCE is the mean over all of an anchor's positives."""
    method = attached("supervised_contrastive")
    found = []
    for seed in range(1500):
        with Randomness("t", "", seed).seeded("dropout"), torch.no_grad():
            (contrast,) = method(*views(), Batch(None, IDS, LABELS))
        found.append(InfoNCE(temperature=0.5)(contrast).item())
    rows = normalize(contrast.anchors.double(), dim=1)
    scores, ids = rows @ rows.T / 0.5, contrast.anchor_ids
    total = 0.0
    for i in range(16):
        same = (ids == ids[i]).nonzero()[:, 0]
        pushed = scores[i][ids != ids[i]].exp().sum()
        terms = [(1 + pushed / scores[i, p].exp()).log() for p in same if p != i]
        total += float(torch.stack(terms).mean()) / 16
    assert sum(found) / len(found) == pytest.approx(total, rel=0.01)


def test_the_supervised_method_refuses_a_batch_without_labels() -> None:
    with pytest.raises(InputError, match=r"`labels` of a batch must hold its classes: got None"):
        contrasts(attached("supervised_contrastive"), labels=None)


# What goes with what


@pytest.mark.parametrize(
    ("method", "loss", "reason"),
    [
        ("byol", "infonce", r"InfoNCE needs negatives \(candidates .*\), which BYOL does not give"),
        ("siamese", "regression", "Regression needs stopped positives"),
        ("moco", "regression", "Regression needs stopped positives"),
        ("siamese", "prototypes", "Prototypes needs targets"),
        ("moco", "vicreg", "VICReg needs trained positives"),
        ("swav", "adnce", "ADNCE needs negatives"),
        (
            "moco",
            "simclr",
            "SimCLR is defined for the pairing 'both_views', but the pairing",
        ),
        (
            "siamese(pairing=cross_view)",
            "simclr",
            "but Siamese has pairing='cross_view'",
        ),
        ("supervised_contrastive", "infonce", "needs labels, but the task gives none"),
        ("simsiam", "regression", "SimSiam with Regression has .* differ by dropout alone"),
        ("swav", "prototypes", "SwAV with Prototypes has no neg.* differ by dropout alone"),
        ("byol", "regression", "BYOL with Regression has no neg.* differ by dropout alone"),
        ("moco_v3", "regression", "MoCoV3 with Regression has no .* differ by dropout alone"),
    ],
)
def test_a_misfit_of_method_loss_and_task_is_explained(method: str, loss: str, reason: str) -> None:
    parts = plugins.build("methods", method), plugins.build("losses", loss)
    found = misfit(*parts, plugins.build("tasks", "sentences"))
    assert found is not None
    assert re.search(reason, found), found


def test_fitting_methods_losses_and_tasks_are_accepted() -> None:
    for method, loss in [
        ("siamese", "simclr"),
        ("siamese(pairing=both_views)", "simclr"),
        ("moco_v3", "regression"),
        ("byol", "regression"),
        ("dino", "prototypes"),
        ("siamese", "vicreg"),
        ("supervised_contrastive", "infonce"),
    ]:
        parts = plugins.build("methods", method), plugins.build("losses", loss)
        assert misfit(*parts) is None
        assert misfit(*parts, plugins.build("tasks", "images")) is None


def test_sentence_pairs_count_as_distinct_views(tmp_path: Path) -> None:
    for columns in ("sent0,sent1", "sent0,sent1,hard_neg"):
        (tmp_path / "pairs.csv").write_text(f"{columns}\n{columns}\n")
        task: Task = plugins.build("tasks", f"sentences(corpus='{tmp_path}/pairs.csv')")
        parts = plugins.build("methods", "simsiam"), plugins.build("losses", "regression")
        found = misfit(*parts, task)
        assert (found is None) == (columns == "sent0,sent1"), found


def test_every_gift_is_given_by_a_method_and_needed_by_a_loss() -> None:
    """But for two that none of our losses needs: other people's may."""
    given = {g for m in plugins.names("methods") for g in plugins.load("methods", m).gives}
    needed = {n for loss in plugins.names("losses") for n in plugins.load("losses", loss).needs}
    assert given == needed | {"labels", "representations"} == set(GIFTS)


# Heads


class Own(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows[:, :3]


def test_a_head_must_say_how_wide_it_is() -> None:
    with pytest.raises(InputError, match=r"Own has neither a Linear layer nor `out_features`"):
        attached("moco", Own())
    with pytest.raises(InputError, match=r"Own has neither .* `in_features`.* projector=0"):
        attached("byol", Own())
    head = Own()
    head.out_features = 3  # type: ignore[assignment]
    assert output_width(head) == 3
    assert contrasts(attached("byol(projector=0)", head))[0].anchors.shape == (8, 3)
    head.in_features = 6  # type: ignore[assignment]
    assert contrasts(attached("byol", head))[0].anchors.shape == (8, 3)


OWN_PROJECTORS = ["byol", "moco_v3", "simsiam", "swav", "dino"]


@pytest.mark.parametrize("name", OWN_PROJECTORS)
def test_a_projector_has_the_widths_of_the_tasks_head(name: str) -> None:
    """The encoder gives 6 features and the head 4; hidden layers have 12 and BatchNorm."""
    own, kept = attached(name).head, attached(f"{name}(projector=0)").head
    widths = [(m.in_features, m.out_features) for m in own if isinstance(m, nn.Linear)]
    assert (widths[0][0], widths[-1][1]) == (6, 4)
    assert {width for pair in widths for width in pair} == {4, 6, 12}
    assert any(isinstance(m, nn.BatchNorm1d) for m in own)
    assert [type(m) for m in kept] == [nn.Linear, nn.ReLU, nn.Linear], "the task's own"


@pytest.mark.parametrize("name", ["siamese", "moco", *OWN_PROJECTORS])
def test_a_head_that_does_not_fit_names_both_widths(name: str) -> None:
    method = attached(name, nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 4)))
    with pytest.raises(InputError, match=r"as the encoder gives, 6: it takes 7.*`head`"):
        contrasts(method)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("moco(queue=0)", "`queue` must be a whole number at least 1"),
        ("byol(momentum=1.5)", "`momentum` must be a number at least 0 and at most 1"),
        ("swav(epsilon=0)", "`epsilon` must be a number at least 0.005"),
        ("dino(prototypes=1)", "`prototypes` must be a whole number at least 2"),
        ("simsiam(hidden=-1)", "`hidden` must be a whole number at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plugins.build("methods", spec)


# What a loss may ask for beside the projections


def test_the_supervised_contrast_has_all_rows_of_a_class_as_positives() -> None:
    (contrast,) = contrasts(attached("supervised_contrastive"))
    assert contrast.places is not None and contrast.labels is not None
    assert torch.equal(contrast.candidates[contrast.places], contrast.anchors)
    assert torch.equal(contrast.labels, torch.cat([LABELS, LABELS]))
    # The two examples without a label are classes of their own: the other view alone.
    same = contrast.anchor_ids[:, None] == contrast.candidate_ids
    assert same.sum(dim=1).tolist() == [4, 4, 6, 6, 6, 2, 2, 2] * 2


@pytest.mark.parametrize("spec", ["siamese", "supervised_contrastive"])
def test_the_head_maps_the_representations_to_the_projections(spec: str) -> None:
    method = attached(spec)
    for contrast in contrasts(method):
        encoded = contrast.representations
        assert encoded is not None
        for role in ("anchors", "positives", "candidates"):
            projected = method.head(getattr(encoded, role))
            torch.testing.assert_close(projected, getattr(contrast, role))
        assert torch.equal(encoded.anchor_ids, contrast.anchor_ids)


def test_hard_negatives_have_representations_and_no_label() -> None:
    method = attached("siamese")
    first, second = views()
    (contrast,) = method(first, second, Batch(None, IDS, LABELS, negatives=torch.ones(3, 5)))
    assert contrast.representations is not None and contrast.labels is not None
    negatives = contrast.representations.candidates[-3:]
    torch.testing.assert_close(method.head(negatives), contrast.candidates[-3:])
    assert len(contrast.labels) == len(contrast.anchors) == 16


class OfTheRepresentations(InfoNCE):
    """Pulls representations together, and those of class 0 harder."""

    needs = frozenset({"negatives", "labels", "representations"})

    def forward(self, contrast: Contrast) -> Tensor:
        assert contrast.representations is not None and contrast.labels is not None
        weight = 1 + (contrast.labels == 0).float().mean()
        return weight * super().forward(contrast.representations)


def test_a_loss_of_representations_trains_the_encoder_and_not_the_head() -> None:
    method = attached("siamese")
    (contrast,) = contrasts(method)
    OfTheRepresentations()(contrast).backward()
    assert method.encoder.weight.grad.any()
    assert all(parameter.grad is None for parameter in method.head.parameters())


def test_what_a_method_or_task_lacks_is_a_misfit() -> None:
    labelled, without = plugins.build("tasks", "blobs"), plugins.build("tasks", "blobs")
    without.labelled = False
    loss, siamese = OfTheRepresentations(), plugins.build("methods", "siamese")
    assert misfit(siamese, loss, labelled) is None
    assert misfit(siamese, loss, without) == (
        "OfTheRepresentations needs labels, but the task gives none"
    )
    assert misfit(plugins.build("methods", "moco"), loss) == (
        "OfTheRepresentations needs representations (the encoder's representations beside the "
        "projections), which MoCo does not give"
    )
    reason = misfit(siamese, plugins.build("losses", "supcon"))
    assert reason is not None
    assert reason.startswith("SupCon needs several positives (candidates that are further")


# Further views


def with_crops(method: Method, count: int) -> Sequence[Contrast]:
    crops = torch.randn(count, 8, 5, generator=torch.Generator().manual_seed(1)).unbind()
    with Randomness("t", "", 0).seeded("dropout"):
        return method(*views(), Batch(None, IDS, LABELS, further=crops))


@pytest.mark.parametrize("name", ["swav", "dino"])
def test_crops_predict_both_views_and_leave_the_first_two_contrasts(name: str) -> None:
    plain = contrasts(attached(f"{name}(prototypes=6)"))
    method = attached(f"{name}(prototypes=6, crops=3)")
    found = with_crops(method, 3)
    assert method.extra_views == 3
    assert len(plain) == 2 and len(found) == 2 + 3 * 2
    for one, other in zip(plain, found[:2], strict=True):
        assert torch.equal(one.anchors, other.anchors)
        assert torch.equal(one.targets, other.targets)
    # Each crop predicts the codes of the second view and of the first, and gives none itself.
    for crop in range(3):
        pair = found[2 + 2 * crop : 4 + 2 * crop]
        assert torch.equal(pair[0].anchors, pair[1].anchors)
        assert not torch.equal(pair[0].anchors, plain[0].anchors)
        for contrast, one in zip(pair, plain, strict=True):
            assert torch.equal(contrast.targets, one.targets)
            assert not contrast.positives.requires_grad


def test_dinos_centre_is_that_of_the_first_two_views() -> None:
    plain, cropped = attached("dino(prototypes=6)"), attached("dino(prototypes=6, crops=3)")
    contrasts(plain)
    with_crops(cropped, 3)
    for method in (plain, cropped):
        method.after_step(0, 1)
    assert torch.equal(plain.centre, cropped.centre)


def test_a_task_that_gives_two_views_is_a_misfit_of_crops() -> None:
    task, loss = plugins.build("tasks", "blobs"), plugins.build("losses", "prototypes")
    method = plugins.build("methods", "dino(crops=4)")
    assert misfit(method, loss, task) is None
    task.more_views = False
    assert misfit(method, loss, task) == "DINO takes 4 further views, but the task gives two"
    assert misfit(plugins.build("methods", "dino"), loss, task) is None


@pytest.mark.parametrize("spec", ["sentences", "clusters", "gaussian_mi"])
def test_tasks_whose_views_are_not_drawn_give_no_further_ones(spec: str) -> None:
    assert not plugins.build("tasks", spec).more_views
