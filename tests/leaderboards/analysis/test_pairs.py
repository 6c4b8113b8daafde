"""What proves a pair: ids and views at the marks that both have, data, frame, and the start."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import network, proof, record_row, task_columns, texts
from torch import nn

from harness import plugins
from harness.core.randomness import Randomness
from harness.methods.siamese import Siamese
from harness.training.loop import Outcome, fit
from harness.training.proof import SAMPLED, is_mark, start_of
from leaderboards import leaderboard
from leaderboards.analysis.pairs import CLOSE, pair_of

ELSEWHERE = {"machine": "cuda (another)", "torch": "2.14.0"}


def start(**parts: Any) -> dict[str, Any]:
    return {"splits": "splits", "encoder": network("start"), "head": network("head")} | parts


def marks(**changes: str) -> dict[str, str]:
    return {str(step): f"seen {step}" for step in (1, 2, 4, 5)} | changes


def test_cells_that_started_and_saw_the_same_are_a_pair() -> None:
    pair = pair_of(proof(), proof())
    assert (pair.paired, pair.differs, pair.across, pair.left_out) == (True, (), (), ())


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"frame": "other"}, "frame"),
        ({"data": "other"}, "data"),
        ({"processes": 2}, "processes"),
        ({"start": start(splits="other")}, "splits"),
        ({"start": start(encoder=network("other"))}, "initial weights"),
        ({"start": start(head=network("other"))}, "initial weights"),
        ({"ids": marks(**{"4": "other", "5": "other"})}, "batches from step 4 on"),
        ({"views": marks(**{"2": "other"})}, "views from step 2 on"),
    ],
)
def test_one_difference_undoes_a_pair_and_is_named(changes: dict[str, Any], differs: str) -> None:
    for one, other in ((proof(), proof(**changes)), (proof(**changes), proof())):
        pair = pair_of(one, other)
        assert not pair.paired
        assert pair.differs == (differs,)


def test_only_marks_that_both_cells_have_are_compared() -> None:
    """A training of twice the length shares the first marks, but not the shorter one's last."""
    longer = {"1": "seen 1", "2": "seen 2", "4": "seen 4", "8": "seen 8", "10": "seen 10"}
    pair = pair_of(proof(), proof(ids=longer, views=longer), settings=True)
    assert pair.paired
    assert not pair.differs


def test_a_cell_that_was_not_trained_pairs_by_its_start() -> None:
    assert pair_of(proof(), proof(seen="")).paired
    assert not pair_of(proof(), proof("other", seen="")).paired


def test_cells_of_two_settings_need_only_the_same_start_and_say_what_differs() -> None:
    other = proof(ids=marks(**{"1": "x"}), views=marks(**{"1": "y"}), start=start(splits="other"))
    assert not pair_of(proof(), other).paired
    pair = pair_of(proof(), other, settings=True)
    assert pair.paired
    assert pair.differs == ("splits", "batches from step 1 on", "views from step 1 on")
    elsewhere = proof(start=start(encoder=network("other")))
    assert not pair_of(proof(), elsewhere, settings=True).paired


def test_networks_of_other_shapes_are_left_out_except_the_encoder() -> None:
    wide = proof(start=start(head=network("x", shapes="wider")))
    pair = pair_of(proof(), wide)
    assert (pair.paired, pair.left_out) == (True, ("head",))
    encoder = proof(start=start(encoder=network("x", shapes="wider")))
    assert not pair_of(proof(), encoder).paired


@pytest.mark.parametrize(("apart", "paired"), [(0.9 * CLOSE, True), (1.1 * CLOSE, False)])
def test_across_machines_weights_must_be_close_and_views_are_not_compared(
    apart: float, paired: bool
) -> None:
    there = proof(
        views=marks(**{"1": "rounded"}), **ELSEWHERE,
        start=start(encoder=network("rounded", sample=(0.5, -0.25 + apart))),
    )  # fmt: skip
    pair = pair_of(proof(), there)
    assert pair.paired is paired
    assert pair.across == ("cpu (model), torch 2.13.0", "cuda (another), torch 2.14.0")
    assert not pair_of(proof(), proof(ids=marks(**{"1": "other"}), **ELSEWHERE)).paired
    # On one machine the digests alone count.
    here = proof(start=start(encoder=network("rounded", sample=(0.5, -0.25))))
    assert not pair_of(proof(), here).paired


def test_records_of_version_0_1_0_pair_only_with_each_other() -> None:
    def old(first: str, seen: str) -> str:
        return json.dumps({"schema": 3, "start": first, "seen": seen, "frame": "f", "data": "d"})

    assert pair_of(old("s", "b"), old("s", "b")).paired
    assert pair_of(old("s", "b"), old("s", "")).paired
    assert not pair_of(old("s", "b"), old("s", "c")).paired
    assert not pair_of(old("s", "b"), old("t", "b")).paired
    for settings in (False, True):
        assert not pair_of(old("s", "b"), proof("s", "b"), settings=settings).paired


@pytest.mark.parametrize(
    "text", ["", "nan", "[]", "{}", '{"start": 1}', '{"start": {}}', "[" * 999]
)
def test_an_unreadable_proof_makes_no_pair(text: str) -> None:
    pair = pair_of(text, proof())
    assert not pair.paired
    assert pair.differs


@given(st.lists(st.sampled_from(["frame", "data", "processes", "ids", "views"]), unique=True))
def test_pair_of_is_symmetric(parts: list[str]) -> None:
    other = proof(**{part: {"1": "x"} if part in ("ids", "views") else "x" for part in parts})
    assert pair_of(proof(), other) == pair_of(other, proof())
    assert pair_of(proof(), other).paired is (not parts)


def records(**changes: Any) -> pd.DataFrame:
    rows = [
        record_row(
            "images", loss, seed, step=5, steps=5, value=50.0 + seed + (loss == "adnce"),
            proof=proof(**(changes if loss == "adnce" else {})),
        )
        for loss in ("infonce", "adnce")
        for seed in range(4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("changes", "pairs", "words"),
    [
        (ELSEWHERE, 4, "images: 4 seeds of adnce are paired across machines (cpu (model), torch"),
        ({"start": start(head=network("x", shapes="w"))}, 4, "the head of adnce has other shapes"),
        (
            {"frame": "x"},
            0,
            "0 of 4 seeds are paired with the baseline's; the others differ in f",
        ),
        ({"ids": marks(**{"2": "x"})}, 0, "the others differ in batches from step 2 on"),
    ],
)
def test_notes_say_how_seeds_pair_and_why_others_do_not(
    changes: dict[str, Any], pairs: int, words: str
) -> None:
    board = leaderboard(records(**changes))
    row = board.rows[board.rows["loss"] == "adnce"].iloc[0]
    assert row["pairs"] == pairs
    assert any(words in note for note in texts(board)), texts(board)


def test_changes_between_settings_use_pairs_with_the_same_start() -> None:
    """For lengths of training: a loss's differences to itself at the shorter length."""
    longer = {str(step): f"seen {step}" for step in (1, 2, 4, 8, 10)}
    short = records().assign(**task_columns("images(steps=5)"))
    long = records(ids=longer, views=longer).assign(**task_columns("images(steps=10)"))
    long["proof"] = proof(ids=longer, views={**longer, "4": "other"})
    long["value"] += np.array([0.1, 0.2, 0.3, 0.4] * 2)
    board = leaderboard(pd.concat([short, long]))
    found = board.responses.set_index(["loss", "at"])
    last = found.loc[("adnce", 10.0)]
    assert last["change"] == pytest.approx(0.25)
    assert last["change_pairs"] == 4
    assert last["differs"] == "views from step 4 on"
    assert math.isnan(found.loc[("adnce", 5.0), "change"])


# What training notes


def outcome(
    task: str = "blobs(steps=5)", loss: str = "infonce", method: str = "siamese"
) -> Outcome:
    return fit(
        plugins.build("tasks", task), plugins.build("methods", method),
        plugins.build("losses", loss), Randomness("blobs", "", 0), splits=(),
    )  # fmt: skip


def test_marks_are_at_powers_of_two_and_at_the_last_step() -> None:
    found = outcome()
    assert list(found.ids) == list(found.views) == [1, 2, 4, 5]
    assert [s for s in range(1, 101) if is_mark(s, 100)] == [1, 2, 4, 8, 16, 32, 64, 100]


def test_temperatures_methods_and_lengths_of_training_are_pairs() -> None:
    base = outcome()
    for other in (
        outcome(loss="infonce(temperature=0.5)"),
        outcome(method="moco(queue=100)"),
        outcome(task="blobs(steps=10)"),
        outcome(task="blobs(noise=2.0, steps=5)"),
    ):
        assert other.start == base.start
        shared = base.ids.keys() & other.ids.keys()
        assert len(shared) >= 3
        assert all(base.ids[step] == other.ids[step] for step in shared)
        assert all(base.views[step] == other.views[step] for step in shared)
    noisy = outcome(task="blobs(noise=3.0, steps=5)")
    assert noisy.ids == base.ids
    assert noisy.views != base.views


def test_a_longer_training_begins_like_a_shorter_one() -> None:
    short, long = outcome(task="blobs(steps=5)"), outcome(task="blobs(steps=10)")
    assert long.curve[:5] == short.curve


def test_a_start_has_separate_digests_of_shapes_and_weights() -> None:
    def of(layer: nn.Module) -> dict[str, Any]:
        return start_of([{"train": [1]}], {"encoder": layer})["encoder"]

    torch.manual_seed(0)
    one, other, wide = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 5)
    assert of(one)["shapes"] == of(other)["shapes"] != of(wide)["shapes"]
    assert of(one)["weights"] != of(other)["weights"]
    assert len(of(one)["sample"]) == SAMPLED
    small = nn.Linear(2, 1)
    every = torch.cat([small.weight.flatten(), small.bias]).tolist()
    assert of(small)["sample"] == every, "all of them, where there are few"
    assert of(nn.Identity())["sample"] == []


def test_an_encoder_and_a_head_start_independently_of_each_other() -> None:
    """Each has its own random stream: a wider encoder does not change the head's weights."""
    narrow = fit_start("graphs(layers=2, width=48)")
    wide = fit_start("graphs(layers=3, width=32)")
    assert narrow["encoder"]["shapes"] != wide["encoder"]["shapes"]
    assert narrow["head"] == wide["head"]


def fit_start(spec: str) -> dict[str, Any]:
    task = plugins.build("tasks", spec)
    return fit(task, Siamese(), None, Randomness("graphs", "", 0), splits=()).start
