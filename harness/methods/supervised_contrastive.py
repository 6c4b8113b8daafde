"""Supervised contrastive learning: labels as ids."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.contrast import Contrast, labelled
from harness.core.errors import InputError
from harness.methods.base import Method
from harness.task import Batch


class SupervisedContrastive(Method):
    """Pull an anchor towards examples of its class.

    Both views' rows are anchors. Ids are the labels, so that a class does not repel
    itself, and an example without a label is a class of its own. The loss ``supcon`` takes
    all other rows of an anchor's class as its positives, as published.

    For losses of one positive, every anchor gets one at each step, drawn uniformly from the
    other rows of its class, which include its own second view. With ``infonce`` the expected
    loss is SINCERE's: SupCon without the other positives in the denominator.

    References:
        Khosla et al., NeurIPS 2020, arXiv 2004.11362; Feeney & Hughes 2023,
        arXiv 2309.14277.
    """

    label = "Supervised"
    gives = frozenset(
        {"negatives", "trained positives", "several positives", "labels", "representations"}
    )
    needs_labels = True

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return one contrast: rows of both views, their drawn positives, all rows.

        Raises:
            InputError: if the batch has no labels.
        """
        if batch.labels is None:
            raise InputError(
                "`labels` of a batch must hold its classes: got None. Use a task with labels, or "
                "another method."
            )
        classes = class_ids(batch.labels, batch.ids)
        ids = torch.cat([classes, classes])
        views = [self.represent_and_project(view) for view in (first, second)]
        encoded, rows = (torch.cat(part) for part in zip(*views, strict=True))
        drawn = partners(ids)
        contrast = Contrast(
            rows,
            rows[drawn],
            rows,
            ids,
            ids,
            places=torch.arange(len(rows), device=rows.device),
            representations=Contrast(encoded, encoded[drawn], encoded, ids, ids),
        )
        return [labelled(contrast, batch.labels)]


def class_ids(labels: Tensor, ids: Tensor) -> Tensor:
    """Return labels as ids, and for each example without a label (-1) an id of its own.

    >>> class_ids(torch.tensor([1, -1, 0]), torch.tensor([5, 6, 7])).tolist()
    [1, 1099511627782, 0]
    """
    # Adding 2^40 puts the ids of unlabelled examples above every class's number.
    return torch.where(labels >= 0, labels.long(), ids.long() + 2**40)


def partners(ids: Tensor) -> Tensor:
    """Return for each row another row of its id, drawn from torch's global generator.

    All other rows of the id are equally likely. Every row is the partner of exactly one
    row: partners form a random cycle through each class.

    >>> partners(torch.tensor([3, 9, 3, 9])).tolist()
    [2, 3, 0, 1]
    """
    # Sorted by id after shuffling, each class is a run of rows in random order. A row's partner
    # is the next one of its run, and the last row's is the first.
    shuffled = torch.randperm(len(ids)).to(ids.device)
    order = shuffled[ids[shuffled].argsort(stable=True)]
    ordered = ids[order]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    starts = is_first.nonzero()[:, 0]
    first_of_class = starts[is_first.cumsum(dim=0) - 1]
    following = torch.arange(1, len(ids) + 1, device=ids.device)
    is_last = torch.cat([is_first[1:], is_first.new_ones(1)])
    chosen = torch.empty_like(order)
    chosen[order] = order[torch.where(is_last, first_of_class, following % len(ids))]
    return chosen
