"""Proofs of pairs for tables that tests make up: see ``leaderboards.pairs``."""

import json
from typing import Any


def network(weights: str, shapes: str = "wide", sample: tuple[float, ...] = (0.5, -0.25)) -> Any:
    """Return how a network starts."""
    return {"shapes": shapes, "weights": weights, "sample": list(sample)}


def proof(weights: str = "start", seen: str = "seen", **changes: Any) -> str:
    """Return a record's proof; ``seen`` is empty for a cell that was not trained.

    Args:
        weights: stand for the encoder's initial weights.
        seen: stands for all batches and views.
        changes: parts that are to be otherwise.
    """
    marks = {str(step): f"{seen} {step}" for step in (1, 2, 4, 5)} if seen else {}
    return json.dumps(
        {
            "schema": 4, "machine": "cpu (model)", "torch": "2.13.0", "processes": 1,
            "frame": "frame", "data": "data", "ids": marks, "views": marks,
            "start": {"splits": "splits", "encoder": network(weights), "head": network("head")},
        }
        | changes
    )  # fmt: skip
