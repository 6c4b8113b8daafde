import pytest
import torch

from harness.contrast import (
    Contrast,
    both_views,
    cross_view,
    cross_view_symmetric,
    same_view,
    same_view_symmetric,
)
from harness.core.errors import InputError


def views() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).unbind()


def negatives(contrast: Contrast) -> list[int]:
    return (contrast.anchor_ids[:, None] != contrast.candidate_ids).sum(dim=1).tolist()


def test_pairings_have_the_published_numbers_of_negatives() -> None:
    a, b = views()
    assert [negatives(c) for c in both_views(a, b)] == [[6] * 8]  # 2B - 2
    assert [negatives(c) for c in cross_view(a, b)] == [[3] * 4]  # B - 1
    assert [negatives(c) for c in cross_view_symmetric(a, b)] == [[3] * 4] * 2
    assert [negatives(c) for c in same_view(a, b)] == [[3] * 4]
    assert [negatives(c) for c in same_view_symmetric(a, b)] == [[3] * 4] * 2


def test_pairings_take_negatives_from_the_right_view() -> None:
    a, b = views()
    assert torch.equal(cross_view(a, b)[0].candidates, b)
    assert torch.equal(same_view(a, b)[0].candidates, a)
    (both,) = both_views(a, b)
    assert both.candidates is both.anchors, "so that a loss may score each pair once"
    assert torch.equal(both.anchors, torch.cat([a, b]))
    assert torch.equal(both.positives, torch.cat([b, a]))
    for pair, own in ((cross_view_symmetric, False), (same_view_symmetric, True)):
        one, two = pair(a, b)
        assert torch.equal(one.anchors, a) and torch.equal(two.anchors, b)
        assert torch.equal(one.positives, b) and torch.equal(two.positives, a)
        assert torch.equal(one.candidates, a if own else b)
        assert torch.equal(two.candidates, b if own else a)


def test_equal_ids_never_repel() -> None:
    a, b = views()
    ids = torch.tensor([7, 7, 1, 2])
    assert negatives(cross_view(a, b, ids)[0]) == [2, 2, 3, 3]
    assert negatives(both_views(a, b, ids)[0]) == [4, 4, 6, 6] * 2


@pytest.mark.usefixtures("as_a_user")
def test_positives_must_match_anchors() -> None:
    a, b = views()
    with pytest.raises(InputError, match=r"`positives` must have one row per anchor: got 3 rows"):
        cross_view(a, b[:3], torch.arange(4))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchors": torch.zeros(4)}, "`anchors` must be a floating-point matrix"),
        ({"anchors": torch.zeros(0, 3), "positives": torch.zeros(0, 3)}, "at least one row"),
        ({"candidates": torch.zeros(4, 2)}, "`candidates` must have as many columns as `anchors`"),
        ({"anchor_ids": torch.arange(3)}, "`anchor_ids` must be 4 integers"),
        ({"candidate_ids": torch.zeros(4)}, "`candidate_ids` must be 4 integers"),
        ({"places": torch.arange(5)}, r"`places` must be 4 integers.*got shape \(5,\)"),
        ({"labels": torch.zeros(4)}, "`labels` must be 4 integers.*of torch.float32"),
        (
            {"representations": cross_view(torch.eye(3), torch.eye(3))[0]},
            "`representations` must have the rows of the projections, 4 anchors and 4 candidates: "
            "got 3 and 3",
        ),
        ({"targets": torch.zeros(4, 3)}, "`targets` must be a floating-point matrix of 4 anchors"),
        ({"exclude": torch.zeros(4, 3, dtype=torch.bool)}, "`exclude` must be a boolean matrix"),
    ],
)
def test_tensors_that_do_not_fit_are_an_error(
    changes: dict[str, torch.Tensor], message: str
) -> None:
    a, b = views()
    fields = {
        "anchors": a,
        "positives": b,
        "candidates": b,
        "anchor_ids": torch.arange(4),
        "candidate_ids": torch.arange(4),
    }
    with pytest.raises(InputError, match=message):
        Contrast(**(fields | changes))


def test_there_must_be_one_id_per_row() -> None:
    a, b = views()
    with pytest.raises(InputError, match="`ids` must have one integer per row: got 3 for 4 rows"):
        both_views(a, b, torch.arange(3))
