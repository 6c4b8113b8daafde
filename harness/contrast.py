"""Contrasts: which projections a loss pulls together and which it pushes apart.

A method hands a :class:`Contrast` to a loss. The ``PAIRINGS`` build contrasts from the
projections of two views of one batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.core.errors import InputError, require


@dataclass(frozen=True, eq=False)
class Contrast:
    """Hold the projections that one loss compares.

    Row ``i`` of ``positives`` belongs to anchor ``i``. Candidate ``j`` is a
    negative of anchor ``i`` if ``anchor_ids[i] != candidate_ids[j]`` and
    ``exclude[i, j]`` is not set: equal ids never repel each other. Ids of
    examples are 0 or above; a queue's candidates and prototypes have the id -1.

    If the anchors are also the candidates, pass the same tensors for both, rows and ids
    alike: a loss may then score each pair once instead of twice.

    Attributes:
        anchors: projections, one anchor per row.
        positives: projections; row i is the positive of anchor i.
        candidates: projections of potential negatives. They may include the anchors and
            positives: equal ids keep these from being their own negatives.
        anchor_ids: one integer per anchor.
        candidate_ids: one integer per candidate.
        exclude: extra pairs that never repel, such as graph neighbours.
        targets: how far each anchor belongs to each candidate, for methods whose
            candidates are prototypes.
        places: each anchor's own row among the candidates, -1 if it has none. Where they are
            given, the other candidates with an anchor's id are all its positives, and
            ``positives`` holds one of them.
        labels: the anchors' classes, -1 for those without one.
        representations: the encoder's representations in the same rows as the projections.

    Raises:
        InputError: if shapes or types do not fit together.
    """

    anchors: Float[Tensor, "n d"]
    positives: Float[Tensor, "n d"]
    candidates: Float[Tensor, "m d"]
    anchor_ids: Int[Tensor, " n"]
    candidate_ids: Int[Tensor, " m"]
    exclude: Bool[Tensor, "n m"] | None = None
    targets: Float[Tensor, "n m"] | None = None
    places: Int[Tensor, " n"] | None = None
    labels: Int[Tensor, " n"] | None = None
    representations: "Contrast | None" = None

    def __post_init__(self) -> None:
        for name in ("anchors", "positives", "candidates"):
            rows: Tensor = getattr(self, name)
            require(
                rows.ndim == 2 and rows.is_floating_point(),
                f"`{name}` must be a floating-point matrix, one projection per row: "
                f"got shape {tuple(rows.shape)} of {rows.dtype}.",
            )
        n, d = self.anchors.shape
        m = len(self.candidates)
        require(n > 0, "`anchors` must have at least one row: got 0 rows. Skip empty batches.")
        require(
            len(self.positives) == n,
            f"`positives` must have one row per anchor: got {len(self.positives)} rows "
            f"for {n} anchors. Return both views of the same batch.",
        )
        for name in ("positives", "candidates"):
            width = getattr(self, name).shape[1]
            require(
                width == d,
                f"`{name}` must have as many columns as `anchors`, {d}: got {width}. "
                "Send both views through the same head.",
            )
        counts = {"anchor_ids": n, "candidate_ids": m, "places": n, "labels": n}
        for name, count in counts.items():
            ids: Tensor | None = getattr(self, name)
            if ids is None:
                continue
            require(
                tuple(ids.shape) == (count,) and not ids.is_floating_point(),
                f"`{name}` must be {count} integers, one per row: "
                f"got shape {tuple(ids.shape)} of {ids.dtype}.",
            )
        if self.targets is not None:
            require(
                tuple(self.targets.shape) == (n, m) and self.targets.is_floating_point(),
                f"`targets` must be a floating-point matrix of {n} anchors x {m} candidates: "
                f"got shape {tuple(self.targets.shape)} of {self.targets.dtype}.",
            )
        if self.exclude is not None:
            require(
                tuple(self.exclude.shape) == (n, m) and self.exclude.dtype == torch.bool,
                f"`exclude` must be a boolean matrix of {n} anchors x {m} candidates: "
                f"got shape {tuple(self.exclude.shape)} of {self.exclude.dtype}.",
            )
        if self.representations is not None:
            rows_of = self.representations
            require(
                (len(rows_of.anchors), len(rows_of.candidates)) == (n, m),
                f"`representations` must have the rows of the projections, {n} anchors and {m} "
                f"candidates: got {len(rows_of.anchors)} and {len(rows_of.candidates)}. Pair both "
                "alike.",
            )


def both_views(a: Tensor, b: Tensor, ids: Tensor | None = None) -> tuple[Contrast, ...]:
    """Contrast every row with all rows of both views, in both directions.

    With B rows a view, each of the 2B anchors has one positive, its other
    view, and 2B - 2 negatives. SimCLR's NT-Xent (arXiv 2002.05709) pairs like
    this, and so do GRACE's inter- and intra-view negatives (arXiv 2006.04131).

    Args:
        a: projections of the first view, [B, d].
        b: projections of the second view, [B, d].
        ids: one integer per row; rows with equal ids never repel each other.
            Without it every row is its own example.

    Returns:
        One contrast, whose anchors are also its candidates, so that a loss may score each
        pair once instead of twice.

    >>> [tuple(c.candidates.shape) for c in both_views(torch.eye(2), torch.eye(2))]
    [(4, 2)]
    """
    ids = _ids(a, ids)
    rows, row_ids = torch.cat([a, b]), torch.cat([ids, ids])
    # Both views of an example have the same id, so that an anchor is no negative of itself, and
    # its positive is none either.
    return (Contrast(rows, torch.cat([b, a]), rows, row_ids, row_ids),)


def cross_view(a: Tensor, b: Tensor, ids: Tensor | None = None) -> tuple[Contrast, ...]:
    """Contrast the first view's rows with the second view's, one way.

    Each of the B anchors has B - 1 negatives. SimCSE (arXiv 2104.08821) pairs like this.
    Arguments as in :func:`both_views`.

    Returns:
        One contrast.

    >>> [tuple(c.candidates.shape) for c in cross_view(torch.eye(2), torch.eye(2))]
    [(2, 2)]
    """
    ids = _ids(a, ids)
    return (Contrast(a, b, b, ids, ids),)


def cross_view_symmetric(a: Tensor, b: Tensor, ids: Tensor | None = None) -> tuple[Contrast, ...]:
    """Contrast each view's rows with the other view's: CLIP (arXiv 2103.00020).

    Arguments as in :func:`both_views`.

    Returns:
        Two contrasts: first view to second, second view to first.

    >>> [tuple(c.candidates.shape) for c in cross_view_symmetric(torch.eye(2), torch.eye(2))]
    [(2, 2), (2, 2)]
    """
    ids = _ids(a, ids)
    return (Contrast(a, b, b, ids, ids), Contrast(b, a, a, ids, ids))


def same_view(a: Tensor, b: Tensor, ids: Tensor | None = None) -> tuple[Contrast, ...]:
    """Pull each anchor towards its second view, push it away from the rest of the first.

    Each of the B anchors has B - 1 negatives. f-MICL (arXiv 2402.10150) pairs like this.
    Arguments as in :func:`both_views`.

    Returns:
        One contrast.

    >>> a, b = torch.eye(2), torch.ones(2, 2)
    >>> bool((same_view(a, b)[0].candidates == a).all())
    True
    """
    ids = _ids(a, ids)
    return (Contrast(a, b, a, ids, ids),)


def same_view_symmetric(a: Tensor, b: Tensor, ids: Tensor | None = None) -> tuple[Contrast, ...]:
    """Pull each anchor towards its other view, push it away from the rest of its own view.

    DHEL (arXiv 2405.18045) pairs like this, and so do alignment and uniformity (arXiv
    2005.10242). Arguments as in :func:`both_views`.

    Returns:
        Two contrasts: the first view's rows as anchors, and the second's.

    >>> a, b = torch.eye(2), torch.ones(2, 2)
    >>> [bool((c.candidates == c.anchors).all()) for c in same_view_symmetric(a, b)]
    [True, True]
    """
    ids = _ids(a, ids)
    return (Contrast(a, b, a, ids, ids), Contrast(b, a, b, ids, ids))


def with_candidates(contrast: Contrast, rows: Tensor) -> Contrast:
    """Return the contrast with ``rows`` as further negatives of every anchor.

    >>> contrast, = cross_view(torch.eye(2), torch.eye(2))
    >>> with_candidates(contrast, torch.ones(3, 2)).candidate_ids.tolist()
    [0, 1, -1, -1, -1]
    """
    # Ids of examples are 0 or above, so that the id -1 equals no anchor's: every anchor repels
    # these rows.
    extra = contrast.candidate_ids.new_full((len(rows),), -1)
    exclude = contrast.exclude
    if exclude is not None:
        exclude = torch.cat([exclude, exclude.new_zeros(len(exclude), len(rows))], dim=1)
    return replace(
        contrast,
        candidates=torch.cat([contrast.candidates, rows]),
        candidate_ids=torch.cat([contrast.candidate_ids, extra]),
        exclude=exclude,
    )


def labelled(contrast: Contrast, labels: Tensor | None) -> Contrast:
    """Return the contrast with the labels of a batch.

    Args:
        contrast: its anchors are the batch's rows in order, or those of one view after another.
        labels: one integer per example, -1 for those without a label; None changes nothing.

    >>> contrast, = both_views(torch.eye(2), torch.eye(2))
    >>> labelled(contrast, torch.tensor([7, -1])).labels.tolist()
    [7, -1, 7, -1]
    """
    if labels is None:
        return contrast
    views = len(contrast.anchors) // len(labels)
    return replace(contrast, labels=labels.to(contrast.anchor_ids.device).repeat(views))


Pairing = Callable[[Tensor, Tensor, Tensor | None], tuple[Contrast, ...]]

PAIRINGS: Mapping[str, Pairing] = MappingProxyType(
    {
        "both_views": both_views,
        "cross_view": cross_view,
        "cross_view_symmetric": cross_view_symmetric,
        "same_view": same_view,
        "same_view_symmetric": same_view_symmetric,
    }
)


def _ids(a: Tensor, ids: Tensor | None) -> Tensor:
    """Return ``ids`` on the device of ``a``; without ids, every row is an example of its own."""
    if ids is None:
        return torch.arange(len(a), device=a.device)
    if len(ids) != len(a):
        raise InputError(
            f"`ids` must have one integer per row: got {len(ids)} for {len(a)} rows. "
            "Return the ids of the same batch."
        )
    return ids.to(a.device)
