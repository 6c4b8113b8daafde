"""Losses: each turns a contrast into a scalar. One family per file, named as in its paper.

Only the base classes are exported, so that a loss plugin's fingerprint does
not change when another family does.
"""

from harness.losses.base import Loss, ScoreLoss, masked_logsumexp
from harness.losses.sums import SumLoss

__all__ = ["Loss", "ScoreLoss", "SumLoss", "masked_logsumexp"]
