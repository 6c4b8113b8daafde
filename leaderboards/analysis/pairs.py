"""Which cells are a pair: records prove that both started alike and saw the same data.

A record's ``proof`` is JSON: the digests of its frame (the code that losses and methods
share) and its data, the machine and torch's version, the start (splits; each network's
shapes, weights, and some weights as numbers), and at marks, the steps 1, 2, 4, 8, ... and
the last one, the ids seen so far and that step's views.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd

CLOSE = 1e-5
"""How far initial weights may differ on machines whose generators round differently."""

ENCODER = "encoder"
"""The network that the cells of a pair must share; all others may differ in shape."""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""The errors that reading a text may raise if it is not a proof of ours."""

Proof = Mapping[str, Any]


class Pair(NamedTuple):
    """Whether two cells are a pair, and what they do not share.

    Attributes:
        differs: why they are not a pair, or what their settings change; empty if nothing.
        across: the two machines, if the cells ran on different ones.
        left_out: networks whose shapes differ, so that their weights were not compared.
        paired: whether the cells are a pair.
    """

    differs: tuple[str, ...] = ()
    across: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    paired: bool = True


def pair_of(one: str, other: str, *, settings: bool = False) -> Pair:
    """Return whether two cells of one seed are a pair.

    Two cells of one task are a pair if their data, frame and start agree, and also what
    they saw at the marks that both have. Ids always have to agree; views only if both
    records are from one type of machine and one version of torch. A cell that was not
    trained has no marks: its start decides.

    Args:
        one: a record's proof.
        other: the other record's proof.
        settings: whether the cells are of two settings of one task, such as batch sizes
            or lengths of training. Then only the networks' start has to agree, and
            ``differs`` says what else does not.
    """
    # Sorted, because order does not matter and the cache below should have one entry a pair.
    first, second = sorted((one, other))
    try:
        return _pair(first, second, settings)
    except UNREADABLE:
        return Pair(("a proof that cannot be read",), paired=False)


def with_short_proofs(records: pd.DataFrame) -> pd.DataFrame:
    """Return ``records`` with the columns ``start`` and ``seen``: 16-digit digests of both."""
    digests = [_short(str(proof)) for proof in records["proof"]]
    starts, seen = ([pair[part] for pair in digests] for part in (0, 1))
    return records.assign(start=starts, seen=seen)


def _short(proof: str) -> tuple[str, str]:
    try:
        read = _read(proof)
        if "seen" in read:  # Written by version 0.1.0.
            return str(read["start"])[:16], str(read["seen"])[:16]
        last = max(read["ids"], key=int, default="")
        return read["start"][ENCODER]["weights"][:16], read["ids"].get(last, "")[:16]
    except UNREADABLE:
        return "", ""


@lru_cache(maxsize=50_000)
def _pair(one: str, other: str, settings: bool) -> Pair:
    first, second = _read(one), _read(other)
    if "seen" in first or "seen" in second:  # Version 0.1.0: its two digests cover all below.
        seen = {first.get("seen"), second.get("seen")} - {""}  # Empty: not trained.
        same = first.get("start") == second.get("start") and len(seen) <= 1
        return Pair() if same else Pair(("start or batches",), paired=False)
    same_machine = _machine(first) == _machine(second)
    across = () if same_machine else tuple(sorted((_machine(first), _machine(second))))
    same_start, left_out = _compare_starts(first["start"], second["start"], same_machine)
    differs = [name for name in ("data", "frame", "processes") if first[name] != second[name]]
    if first["start"]["splits"] != second["start"]["splits"]:
        differs.append("splits")
    for name, compared in (("ids", True), ("views", same_machine)):
        step = _first_difference(first[name], second[name])
        if compared and step:
            differs.append(f"{'batches' if name == 'ids' else 'views'} from step {step} on")
    reasons = (*(["initial weights"] if not same_start else []), *differs)
    return Pair(reasons, across, left_out, paired=same_start and (settings or not differs))


@lru_cache(maxsize=50_000)
def _read(proof: str) -> Proof:
    read: Proof = json.loads(proof)
    return read


def _machine(proof: Proof) -> str:
    return f"{proof['machine']}, torch {proof['torch']}"


def _compare_starts(
    first: Proof, second: Proof, same_machine: bool
) -> tuple[bool, tuple[str, ...]]:
    """Return whether the networks start from the same weights, and which were left out."""
    networks = [name for name in first if name != "splits" and name in second]
    left_out = tuple(n for n in networks if first[n]["shapes"] != second[n]["shapes"])
    compared = [name for name in networks if name not in left_out]
    same = all(_same_weights(first[name], second[name], same_machine) for name in compared)
    return same and ENCODER in compared, left_out


def _same_weights(first: Proof, second: Proof, same_machine: bool) -> bool:
    if first["weights"] == second["weights"]:
        return True
    # On two machines the weights may be rounded differently: compare some of them as numbers.
    return not same_machine and all(
        abs(a - b) <= CLOSE for a, b in zip(first["sample"], second["sample"], strict=True)
    )


def _first_difference(first: Mapping[str, str], second: Mapping[str, str]) -> int:
    """Return the first step at which both have a mark and the marks differ, or 0."""
    both = sorted(first.keys() & second.keys(), key=int)
    return next((int(step) for step in both if first[step] != second[step]), 0)
