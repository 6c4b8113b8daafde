"""Every figure of the board against an independent computation."""

import json
import math
import subprocess
import sys
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import STEPS, loss_columns, proof, record_row, texts

from harness.store.table import COLUMNS
from leaderboards import Leaderboard, leaderboard, pairing_table, published_rows
from leaderboards.analysis.naming import Spec
from leaderboards.analysis.rows import Terms, panel_rows
from leaderboards.analysis.series import series_of
from leaderboards.analysis.tables import PUBLISHED_COLUMNS, RECORD_COLUMNS, Note
from leaderboards.analysis.words import ABOVE, BELOW, word
from leaderboards.render import csv_files
from leaderboards.render.csv_files import records as records_csv
from leaderboards.render.formats import files
from leaderboards.render.latex import escape as latex_text
from leaderboards.render.latex import latex
from leaderboards.render.markdown import escape, markdown
from leaderboards.report.model import TEXT
from leaderboards.report.numbers import DASH, interval
from leaderboards.statistics.paired import seeds_to_decide
from leaderboards.statistics.ranking import Friedman
from leaderboards.statistics.simultaneous import adjusted, family_alpha

SCORES: dict[tuple[str, str, str], dict[str, list[float]]] = {
    ("images", "image", "accuracy"): {
        "infonce": [80.0, 82.0, 81.0, 83.0],
        "adnce": [80.5, 82.7, 81.6, 83.9],
        "hcl": [79.0, 83.0, 80.0, 84.0],
        "untrained": [60.0, 61.0, 60.5, 60.0],
    },
    ("nodes", "graph", "accuracy"): {
        "infonce": [70.0, 72.0, 74.0, 73.0],
        "adnce": [69.0, 71.5, 73.0, 72.6],
        "hcl": [70.1, 72.0, 74.1, 73.0],
        "untrained": [50.0, 51.0, 52.0, 50.0],
    },
    ("nodes", "graph", "macro_f1"): {
        "infonce": [69.0, 71.0, 73.0, 72.0],
        "adnce": [69.5, 71.5, 73.4, 72.1],
        "hcl": [69.0, 71.0, 73.0, 72.0],
        "untrained": [48.0, 49.0, 50.0, 48.0],
    },
}
MAIN = ("accuracy", "spearman")
"""Metrics that are the main one of their task."""


def cell_row(task: str, modality: str, loss: str, seed: int, **more: Any) -> dict[str, Any]:
    main = more.get("metric", "accuracy") in MAIN
    return record_row(task, loss, seed, **{"modality": modality, "main": main, **more})


def table(scores: dict[Any, Any] = SCORES, **changes: Any) -> pd.DataFrame:
    rows = [
        cell_row(
            task, modality, loss, seed, metric=metric, split=split,
            value=value + (1 if split == "validation" else 0),
        )
        for (task, modality, metric), losses in scores.items()
        for loss, values in losses.items()
        for seed, value in enumerate(values)
        for split in ("validation", "test")
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**changes)


def row(board: Leaderboard, task: str, metric: str, loss: str) -> pd.Series:
    rows = board.rows
    match = (rows["task"] == task) & (rows["metric"] == metric) & (rows["loss"] == loss)
    assert match.sum() == 1
    return rows[match].iloc[0]


def overall(board: Leaderboard, loss: str, scope: str = "all") -> pd.Series:
    match = (board.overall["loss"] == loss) & (board.overall["scope"] == scope)
    assert match.sum() == 1
    return board.overall[match].iloc[0]


def renamed(records: pd.DataFrame, old: str, new: str) -> pd.DataFrame:
    """Return ``records`` with another name for a loss."""
    own = records["loss"] == old
    columns = {name: records[name].mask(own, text) for name, text in loss_columns(new).items()}
    return records.assign(**columns)


def changed_files(one: Leaderboard, other: Leaderboard) -> set[str]:
    texts = dict(files(other.report))
    assert texts.keys() == dict(files(one.report)).keys()
    return {name for name, text in files(one.report) if text() != texts[name]()}


def lost(task: str, modality: str, loss: str, seed: int, status: str, reason: str) -> Any:
    """Return a cell without a score, as :func:`harness.load_records` gives it."""
    return cell_row(
        task, modality, loss, seed, status=status, reason=reason, split=None, metric=None,
        value=math.nan, step=None, steps=None, proof=None,
    )  # fmt: skip


def test_the_stores_table_feeds_the_board() -> None:
    assert COLUMNS == RECORD_COLUMNS


def test_means_deviations_and_seeds() -> None:
    board = leaderboard(table())
    for (task, modality, metric), losses in SCORES.items():
        for loss, values in losses.items():
            found = row(board, task, metric, loss)
            assert found["mean"] == pytest.approx(sum(values) / 4)
            assert found["std"] == pytest.approx(np.std(values, ddof=1))
            assert (found["seeds"], found["planned"], found["pairs"]) == (4, 4, 4)
            assert found["modality"] == modality
            assert found["main"] == (metric == "accuracy")


def test_paired_differences_their_interval_and_p() -> None:
    board = leaderboard(table(), "infonce")
    level = family_alpha([3, 3])
    for (task, _, metric), losses in SCORES.items():
        for loss, values in losses.items():
            found = row(board, task, metric, loss)
            if loss == "infonce":
                assert found["verdict"] == "baseline"
                assert found["difference"] == 0
                continue
            if values == losses["infonce"]:
                assert (found["difference"], found["constant"]) == (0, True)
                assert math.isnan(found["p"]), "one observation"
                continue
            test = stats.ttest_rel(values, losses["infonce"])
            low, high = test.confidence_interval(0.95 if loss == "untrained" else 1 - level)
            assert found["difference"] == pytest.approx(
                np.mean(np.subtract(values, losses["infonce"]))
            )
            assert (found["difference_low"], found["difference_high"]) == pytest.approx((low, high))
            assert found["bound"] == pytest.approx(max(abs(low), abs(high)))
            if loss == "untrained":
                assert found["p"] == pytest.approx(test.pvalue)


def test_the_family_is_the_trained_losses_of_a_task() -> None:
    """``untrained`` is not in the family, so it does not change the others' p-values."""
    board = leaderboard(table())
    values = SCORES["images", "image", "accuracy"]
    p = [stats.ttest_rel(values[loss], values["infonce"]).pvalue for loss in ("adnce", "hcl")]
    found = [row(board, "images", "accuracy", loss)["p"] for loss in ("adnce", "hcl")]
    assert found == pytest.approx(adjusted(p, [3, 3]))
    assert row(board, "images", "accuracy", "untrained")["p"] < 1e-3


def test_each_verdict_follows_its_rule() -> None:
    base = [80.0, 82.0, 81.0, 83.0, 79.0]
    losses = {
        "infonce": base,
        "up": [b + 2 + i / 10 for i, b in enumerate(base)],
        "down": [b - 2 - i / 10 for i, b in enumerate(base)],
        "same": [b + (-1) ** i / 20 for i, b in enumerate(base)],
        "noisy": [b + 4 * (-1) ** i for i, b in enumerate(base)],
        "few": base[:2],
    }
    board = leaderboard(table({("t", "image", "accuracy"): losses}))
    verdicts = {loss: row(board, "t", "accuracy", loss)["verdict"] for loss in losses}
    assert verdicts == {
        "infonce": "baseline", "up": "better by more than m", "down": "worse by more than m",
        "same": "equivalent within m", "noisy": "undecided", "few": "undecided",
    }  # fmt: skip
    wider = leaderboard(board.records, margin=4.0)
    assert row(wider, "t", "accuracy", "up")["verdict"] == "better, but less than m"
    assert overall(board, "up")["verdict"] == "better by more than m"
    assert overall(board, "few")["verdict"] == "", "it was not compared on every task"
    said = " ".join(board.report.sentences)
    for words in (
        "t: up against infonce is better by more than 0.5 points, +2.20 [",
        "t: same against infonce is equivalent within 0.5 points, +0.01 [",
        "t: noisy against infonce is undecided, +0.80 [",
        "t: few against infonce is undecided: 2 paired seeds, of at least 3",
    ):
        assert words in said


def test_a_row_with_failed_seeds_is_incomplete() -> None:
    """Two seeds of five diverged; the remaining three alone would be called better."""
    base = [80.0, 82.0, 81.0, 83.0, 79.0]
    losses = {"infonce": base, "adnce": [b + 2 + i / 10 for i, b in enumerate(base[:3])]}
    more = [lost("t", "image", "adnce", seed, "diverged", "nan at step 3") for seed in (3, 4)]
    records = pd.concat([table({("t", "image", "accuracy"): losses}), pd.DataFrame(more)])
    board = leaderboard(records)
    found = row(board, "t", "accuracy", "adnce")
    assert found["p"] < 0.05
    assert (found["verdict"], found["failed"]) == ("incomplete", 2)
    assert math.isnan(overall(board, "adnce")["pooled"])
    assert any("adnce on t failed or diverged at 2 of 5 seeds" in note for note in texts(board))
    (text,) = board.report.sentences
    assert text.startswith("t: adnce against infonce has no verdict: one of them failed")


def test_no_row_has_a_rank_if_the_baseline_diverged() -> None:
    """Otherwise the baseline's lost seeds would not count, while those of other rows do."""
    records = table()
    gone = (records["loss"] == "infonce") & (records["seed"] == 3) & (records["task"] == "images")
    more = pd.DataFrame([lost("images", "image", "infonce", 3, "diverged", "nan")])
    board = leaderboard(pd.concat([records[~gone], more]))
    on_images = board.rows[board.rows["task"] == "images"]
    assert on_images["rank"].isna().all()
    assert set(on_images["verdict"]) == {"baseline", "incomplete"}
    assert board.overall.loc[board.overall["scope"] == "all", "pooled"].isna().all()
    waiting = pd.DataFrame([lost("images", "image", "infonce", 3, "missing", "not run yet")])
    so_far = leaderboard(pd.concat([records[~gone], waiting]))
    lacking = so_far.rows["seeds"] < so_far.rows["planned"]
    assert (so_far.rows["rank"].isna() == lacking).all(), "a run that goes on ranks what is whole"
    assert any("infonce on images has 3 of 4 seeds so far" in note for note in texts(so_far))


def test_equal_differences_have_the_interval_of_the_resolution() -> None:
    base = [80.0, 82.0, 81.0]
    losses = {"infonce": base, "adnce": [b + 0.75 for b in base]}
    records = table({("t", "image", "accuracy"): losses}, resolution=1.0)
    board = leaderboard(records)
    found = row(board, "t", "accuracy", "adnce")
    half = stats.t.isf(0.025, 2) / math.sqrt(6 * 3)
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(
        (0.75 - half, 0.75 + half)
    )
    assert found["constant"] and math.isnan(found["p"]) and math.isnan(found["bootstrap_low"])
    assert found["verdict"] == "not worse by m"
    (said,) = board.report.sentences
    assert said.endswith("the difference does not depend on the seed.")
    assert any("one test item weighs 1, more than the margin of 0.5" in n for n in texts(board))


@pytest.mark.parametrize("declared", [None, 5.0])
def test_scores_in_coarse_steps_are_judged_by_their_steps(declared: float | None) -> None:
    """On 20 test items scores differ by 5 points or not at all; the task need not say so."""
    losses = {"infonce": [80.0, 85.0, 75.0], "adnce": [80.0, 85.0, 75.0], "hcl": [85.0, 90.0, 80.0]}
    records = table({("t", "image", "accuracy"): losses}, resolution=declared)
    board = leaderboard(records[records["split"] == "test"])
    for loss in ("adnce", "hcl"):
        assert row(board, "t", "accuracy", loss)["verdict"] == "undecided"
    dust = records.copy()
    dust.loc[dust.index[0], "value"] += 1e-9
    again = leaderboard(dust[dust["split"] == "test"])
    assert row(again, "t", "accuracy", "hcl")["verdict"] == "undecided"


def test_a_difference_by_rounding_alone_is_not_called_better() -> None:
    base = [80.0, 82.0, 81.0]
    losses = {"infonce": base, "adnce": [base[0] + 1e-12, *base[1:]]}
    found = row(leaderboard(table({("t", "image", "accuracy"): losses})), "t", "accuracy", "adnce")
    assert found["verdict"] == "equivalent within m"


def test_the_printed_interval_never_contradicts_its_word() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        low = float(generator.choice([0.0004, 0.4996, 0.5004, -0.0004, -0.5004, 0.2]))
        high = low + float(generator.choice([0.0003, 0.01, 0.5]))
        shown = interval((low + high) / 2, low, high, (-0.5, 0.0, 0.5))
        ends = [float(end) for end in shown.partition("[")[2].strip("]").split(", ")]
        assert word(*ends, 0.5) == word(low, high, 0.5)


def test_a_coarse_score_is_never_called_equivalent() -> None:
    losses = {"infonce": [80.0, 82.0, 81.0] * 20, "adnce": [80.0, 82.0, 81.0] * 20}
    records = table({("t", "image", "accuracy"): losses}, resolution=1.0)
    found = row(leaderboard(records), "t", "accuracy", "adnce")
    assert -0.5 < found["difference_low"] < 0 < found["difference_high"] < 0.5
    assert found["verdict"] == "undecided", "one item weighs more than the margin"


def test_pooled_means_that_agree_by_chance_do_not_hide_their_noise() -> None:
    base = [50.0, 50.4, 49.8]
    losses = {"infonce": base, "a": [base[0] + 3.8, base[1] + 0.8, base[2] - 2.2]}
    board = leaderboard(table({(task, "image", "accuracy"): losses for task in ("x", "y", "z")}))
    found = overall(board, "a")
    assert found["low"] < 0 < found["high"] and found["verdict"] == "undecided"
    assert found["next_low"] < found["low"] and found["high"] < found["next_high"]


def test_pooled_intervals_hold_the_resolution_and_no_rounding() -> None:
    base = [50.0, 50.4, 49.8]
    same = {(task, "image", "accuracy"): {"infonce": base, "a": base} for task in "xyz"}
    coarse = overall(leaderboard(table(same, resolution=0.5)), "a")
    assert coarse["high"] > 0.1
    dust = {"infonce": [0.3] * 3, "a": [0.1 + 0.2] * 3}
    tasks = {(f"s(x={i})", "image", "accuracy"): dust for i in range(3)}
    found = overall(leaderboard(table(tasks)), "a")
    assert found["verdict"] == "equivalent within m" and found["improvement"] == 0.5


def test_a_given_margin_is_for_main_metrics_and_the_whole_spec_counts_most() -> None:
    board = leaderboard(table(), margin={"nodes": 2.0})
    assert row(board, "nodes", "accuracy", "adnce")["margin"] == 2.0
    assert row(board, "nodes", "macro_f1", "adnce")["margin"] == 0.5
    scores = {(name, "image", "accuracy"): SCORES["images", "image", "accuracy"]
              for name in ("images(size=8)", "images")}  # fmt: skip
    for margins in ({"images(size=8)": 3, "images": 2}, {"images": 2, "images(size=8)": 3}):
        found = leaderboard(table(scores), margin=margins)
        assert row(found, "images(size=8)", "accuracy", "adnce")["margin"] == 3
        assert row(found, "images", "accuracy", "adnce")["margin"] == 2


def test_a_collapsed_baseline_gives_no_verdict_and_no_rank() -> None:
    records = table()
    records.loc[records["loss"] == "infonce", "collapsed"] = "cosine .99"
    board = leaderboard(records)
    assert set(board.rows["verdict"]) == {"baseline", "collapsed"}
    assert math.isnan(row(board, "images", "accuracy", "infonce")["rank"])
    assert row(board, "images", "accuracy", "adnce")["rank"] == 1


def test_collapsed_rows_have_no_verdict() -> None:
    records = table()
    records.loc[(records["loss"] == "hcl") & (records["seed"] == 0), "collapsed"] = "cosine .99"
    board = leaderboard(records)
    assert row(board, "images", "accuracy", "hcl")["verdict"] == "collapsed"
    assert math.isnan(overall(board, "hcl")["pooled"])
    alone = row(board, "images", "accuracy", "adnce")
    assert alone["p"] == pytest.approx(
        stats.ttest_rel(
            *(SCORES["images", "image", "accuracy"][x] for x in ("adnce", "infonce"))
        ).pvalue
    ), "a family of one"


def test_scores_of_unequal_resolution_are_noted() -> None:
    records = table()
    records["resolution"] = np.where(records["loss"] == "hcl", 0.4, 0.1)
    board = leaderboard(records)
    assert any("weighs 0.1 in some scores and 0.4 in others" in note for note in texts(board))
    assert set(board.rows["resolution"]) == {0.4}


def test_a_metric_without_a_margin_is_never_equivalent() -> None:
    board = leaderboard(table(margin=None))
    assert not any("within" in verdict or verdict[-1] == "m" for verdict in board.rows["verdict"])
    assert any("No margin is declared on images, nodes" in note for note in texts(board))
    given = leaderboard(table(margin=None), margin={"images": 2.0})
    assert row(given, "images", "accuracy", "adnce")["margin"] == 2.0
    assert math.isnan(row(given, "nodes", "accuracy", "adnce")["margin"])


@pytest.mark.parametrize(
    ("margin", "message"),
    [
        (0.0, "`margin` must be a number above 0, in the metric's unit: got 0.0 for images"),
        (math.nan, "`margin` must be a number above 0"),
        ("half", "`margin` must be a number above 0"),
        (10**400, "`margin` must be a number above 0"),
        ({"image": 1.0}, "`margin` must be of a task on the board: got 'image'. The tasks are "),
    ],
)
def test_a_wrong_margin_is_refused(margin: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        leaderboard(table(), margin=margin)


def test_one_margin_for_metrics_of_several_units_is_refused() -> None:
    records = table()
    records.loc[records["task"] == "nodes", "unit"] = "nats"
    with pytest.raises(ValueError, match="`margin` must name its task if metrics have several"):
        leaderboard(records, margin=0.5)
    board = leaderboard(records, margin={"nodes": 0.1, "images": 1.0})
    assert overall(board, "adnce")["not_pooled"] == "nodes"
    assert overall(board, "adnce")["sets"] == 1


def test_the_order_of_the_records_does_not_change_the_board() -> None:
    records = pd.concat([table(), curves().assign(task="x", task_name="x")], ignore_index=True)
    first = dict(files(leaderboard(records).report))
    expected = {name: text() for name, text in first.items() if name != "board.html"}
    for seed in range(12):
        mixed = records.sample(frac=1, random_state=seed)
        found = dict(files(leaderboard(mixed).report))
        assert {name: found[name]() for name in expected} == expected


def test_screening_borrows_variance_and_says_so() -> None:
    plain, screened = leaderboard(table()), leaderboard(table(), screening=True)
    assert screened.screening and any("Screening:" in note for note in texts(screened))
    own, borrowed = (row(board, "images", "accuracy", "adnce") for board in (plain, screened))
    assert own["difference"] == borrowed["difference"]
    assert own["difference_low"] != borrowed["difference_low"]
    floor = [row(board, "images", "accuracy", "untrained") for board in (plain, screened)]
    assert floor[0]["difference_low"] == floor[1]["difference_low"], "it lends no variance"


def test_the_control_is_no_rival_and_its_spread_stands_beside_every_row() -> None:
    control = [
        cell_row("images", "image", "control", seed, value=value + 0.1 * (-1) ** seed)
        | {"kind": "control", "spec": "infonce(temperature=0.1000001)"}
        for seed, value in enumerate(SCORES["images", "image", "accuracy"]["infonce"])
    ]
    plain, board = leaderboard(table()), leaderboard(pd.concat([table(), pd.DataFrame(control)]))
    found = row(board, "images", "accuracy", "control")
    assert math.isnan(found["rank"]) and found["pairs"] == 4
    assert found["difference_std"] == pytest.approx(np.std([0.1, -0.1, 0.1, -0.1], ddof=1))
    assert not any("control" in note for note in texts(board))
    on_images = board.rows[(board.rows["task"] == "images")]
    assert on_images["control_std"].tolist() == pytest.approx([found["difference_std"]] * 5)
    kept = board.rows[board.rows["loss"] != "control"].drop(columns="control_std")
    pd.testing.assert_frame_equal(
        kept.reset_index(drop=True), plain.rows.drop(columns="control_std")
    )


def test_a_control_that_is_told_apart_is_a_warning_against_its_own_baseline_only() -> None:
    control = [
        cell_row("images", "image", "control", seed, value=value + 5)
        | {"kind": "control", "spec": "infonce(temperature=0.1000001)"}
        for seed, value in enumerate(SCORES["images", "image", "accuracy"]["infonce"])
    ]
    records = pd.concat([table(), pd.DataFrame(control)])
    said = [note for note in texts(leaderboard(records)) if "control" in note]
    assert any("called better or worse on 1 of 1 tasks" in note for note in said)
    # Against another loss the control differs as its baseline does.
    other = texts(leaderboard(records, "hcl"))
    assert not any("called better or worse on" in note for note in other)


def test_overlapping_tables_count_once_or_are_refused() -> None:
    one = leaderboard(table())
    pd.testing.assert_frame_equal(leaderboard(pd.concat([table(), table()])).rows, one.rows)
    other = table()
    other["value"] += 0.1
    with pytest.raises(ValueError, match="must hold each score once: got 96 with two values"):
        leaderboard(pd.concat([table(), other]))


def test_seeds_to_decide_are_for_the_familys_level() -> None:
    board = leaderboard(table())
    found = row(board, "images", "accuracy", "hcl")
    base = SCORES["images", "image", "accuracy"]
    differences = np.subtract(base["hcl"], base["infonce"]).tolist()
    expected = seeds_to_decide(differences, 0.5, 0.0, family_alpha([3, 3]))
    assert found["seeds_to_decide"] == expected
    said = next(s for s in board.report.sentences if s.startswith("images: hcl"))
    assert f"; about {expected:.0f} seeds would decide at a margin of 0.5 points" in said
    decided = row(leaderboard(table(), margin=0.05), "images", "accuracy", "adnce")
    assert decided["verdict"] == "better by more than m"
    assert math.isnan(decided["seeds_to_decide"])


def test_the_family_does_not_count_the_baseline() -> None:
    """With one loss beside the baseline the interval is the plain one."""
    base = [50.0, 50.4, 49.9, 50.2, 50.3]
    other = [50.5, 50.1, 50.9, 50.3, 50.4]
    board = leaderboard(table({("t", "image", "accuracy"): {"infonce": base, "adnce": other}}))
    found = row(board, "t", "accuracy", "adnce")
    assert found["p"] == pytest.approx(stats.ttest_rel(other, base).pvalue)


def test_a_loss_that_is_not_above_untrained_is_named() -> None:
    base = [50.0, 50.4, 49.9, 50.2]
    losses = {
        "infonce": base, "adnce": [b + 0.1 * (-1) ** i for i, b in enumerate(base)],
        "hcl": [70.0, 71.0, 70.5, 70.2], "untrained": [60.0, 61.0, 60.2, 60.4],
    }  # fmt: skip
    board = leaderboard(table({("t", "image", "accuracy"): losses}))
    (note,) = [note for note in texts(board) if "untrained" in note]
    assert note.startswith("Not shown to be better than untrained: adnce on t, infonce on t.")
    assert row(board, "t", "accuracy", "hcl")["learned"]


def test_a_board_does_not_import_what_it_does_not_need() -> None:
    """scipy.stats and torch take longer to import than most boards take to compute."""
    code = (
        "import sys, leaderboards.render.page, harness.store.table; "
        "print(*{'scipy.stats', 'torch', 'sklearn', 'svglib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_with_fewer_than_three_seeds_nothing_is_decided() -> None:
    records = table()
    board = leaderboard(records[records["seed"] < 2])
    trained = board.rows[~board.rows["loss"].isin(["infonce"])]
    assert set(trained["verdict"]) == {"undecided"}
    assert any("fewer than 3 paired seeds and are undecided" in n for n in texts(board))


def test_one_seed_has_no_deviation_and_no_interval() -> None:
    records = table()
    found = row(leaderboard(records[records["seed"] == 0]), "images", "accuracy", "adnce")
    assert found["difference"] == pytest.approx(0.5)
    for name in ("std", "difference_low", "difference_high", "p", "bound", "seeds_to_decide"):
        assert math.isnan(found[name])


def test_the_order_is_the_studys_and_that_of_pooled_differences() -> None:
    board = leaderboard(table())
    order = list(dict.fromkeys(zip(board.rows["task"], board.rows["metric"], strict=True)))
    assert order == [("images", "accuracy"), ("nodes", "accuracy"), ("nodes", "macro_f1")]
    pooled = board.overall[board.overall["scope"] == "all"]["loss"].tolist()
    for _, rows in board.rows.groupby(["task", "metric"], sort=False):
        assert rows["loss"].tolist() == pooled == [loss for _, loss in board.order]
    assert pooled[-1] == "untrained"
    records = table()
    records.attrs["tasks"] = ["nodes", "images"]
    assert list(dict.fromkeys(leaderboard(records).rows["task"])) == ["nodes", "images"]


def test_ranks_and_ties() -> None:
    board = leaderboard(table())
    ranks = {
        loss: row(board, "images", "accuracy", loss)["rank"] for loss in ("adnce", "hcl", "infonce")
    }
    assert ranks == {"adnce": 1, "hcl": 2.5, "infonce": 2.5}
    same = leaderboard(table(value=50.0))
    assert set(same.rows.loc[same.rows["task"] == "images", "rank"]) == {2.5}


def test_differences_are_pooled_over_data_sets_by_main_metrics() -> None:
    board = leaderboard(table())
    own = [row(board, task, "accuracy", "adnce")["difference"] for task in ("images", "nodes")]
    found = overall(board, "adnce")
    assert found["pooled"] == pytest.approx(np.mean(own))
    assert (found["sets"], found["tasks"], found["of_tasks"]) == (2, 2, 2)
    assert found["low"] < found["pooled"] < found["high"]
    assert math.isnan(found["next_low"]), "two data sets say nothing of a third"
    assert 0 <= found["improvement"] <= 1
    alone = overall(board, "adnce", "image")
    single = row(board, "images", "accuracy", "adnce")
    assert (alone["pooled"], alone["low"]) == pytest.approx(
        (single["difference"], single["difference_low"])
    )
    assert overall(board, "infonce")["verdict"] == "baseline"


def test_variants_of_a_data_set_count_once() -> None:
    scores = dict(SCORES)
    for name in ("images(noise=0.1)", "images(noise=0.2)"):
        scores[name, "image", "accuracy"] = SCORES["images", "image", "accuracy"]
    board = leaderboard(table(scores))
    found, plain = overall(board, "adnce"), overall(leaderboard(table()), "adnce")
    assert (found["tasks"], found["sets"]) == (4, 2)
    for name in ("pooled", "low", "high"):
        assert found[name] == pytest.approx(plain[name])


def test_a_modality_of_one_task_is_not_shown_twice() -> None:
    def scopes(scores: dict[Any, Any]) -> set[str]:
        return {row.scope for row in leaderboard(table(scores)).report.tables["overall"].source}

    assert scopes(SCORES) == {"all"}
    more = {**SCORES, ("more", "image", "accuracy"): SCORES["images", "image", "accuracy"]}
    assert scopes(more) == {"all", "image"}


def test_a_row_that_lacks_a_seed_of_the_baseline_has_no_rank() -> None:
    records = table()
    missing = (records["loss"] == "adnce") & (records["seed"] == 1)
    board = leaderboard(records[~missing])
    assert math.isnan(row(board, "images", "accuracy", "adnce")["rank"])
    assert row(board, "images", "accuracy", "adnce")["seeds"] == 3
    assert row(board, "images", "accuracy", "infonce")["rank"] == 1.5
    assert any("rows have no rank" in n and "adnce on images (3 of 3" in n for n in texts(board))


def test_a_loss_without_a_task_is_not_pooled() -> None:
    records = table()
    records = records[~((records["loss"] == "adnce") & (records["task"] == "images"))]
    board = leaderboard(records)
    found = overall(board, "adnce")
    assert math.isnan(found["pooled"]) and found["verdict"] == ""
    assert (found["tasks"], found["of_tasks"]) == (1, 2), "the task that it lacks is counted"
    assert not math.isnan(overall(board, "hcl")["pooled"])


def test_cells_without_a_score_have_their_own_rows() -> None:
    more = [
        lost("images", "image", "infonce", 4, "missing", "not run yet"),
        lost("images", "image", "adnce", 4, "diverged", "nan at step 12"),
        lost("images", "image", "siglip", 0, "failed", "killed"),
        lost("sentences", "sentence", "infonce", 0, "missing", "not run yet"),
    ]
    board = leaderboard(pd.concat([table(), pd.DataFrame(more)]))
    assert sorted(board.cells["status"]) == ["diverged", "failed", "missing", "missing"]
    assert row(board, "images", "accuracy", "adnce")["planned"] == 5
    nothing = row(board, "images", "accuracy", "siglip")
    assert (nothing["seeds"], nothing["planned"], nothing["verdict"]) == (0, 1, "incomplete")
    assert math.isnan(nothing["mean"])
    assert math.isnan(nothing["rank"])
    assert row(board, "sentences", "", "infonce")["seeds"] == 0
    # No score on sentences, so no pooled difference over all tasks: nothing is left out.
    assert board.overall.loc[board.overall["scope"] == "all", "pooled"].isna().all()
    assert not math.isnan(overall(board, "hcl", "graph")["pooled"])
    text = markdown(board.report)
    for words in ("Cells without a score", "diverged", "nan at step 12", "4 of 5"):
        assert words in text


def test_cells_that_saw_other_batches_are_not_paired() -> None:
    records = table()
    moved = (records["loss"] == "adnce") & (records["seed"] == 2)
    records.loc[moved, "proof"] = proof("start images 2", "other")
    board = leaderboard(records)
    found = row(board, "images", "accuracy", "adnce")
    assert found["difference"] == pytest.approx((0.5 + 0.7 + 0.9) / 3)
    assert (found["seeds"], found["pairs"]) == (4, 3)
    assert any("adnce on images: 3 of 4 seeds are paired" in note for note in texts(board))


def test_cells_with_another_start_are_not_paired_even_with_untrained() -> None:
    records = table()
    records.loc[records["loss"] != "infonce", "proof"] = proof("elsewhere")
    board = leaderboard(records)
    for loss in ("adnce", "untrained"):
        assert math.isnan(row(board, "images", "accuracy", loss)["difference"])


def test_ranks_are_over_the_baselines_seeds() -> None:
    """A further seed of one loss changes its mean, but not its rank."""
    extra = table()
    extra = extra[(extra["loss"] == "adnce") & (extra["seed"] == 0)].assign(seed=9, value=0.0)
    found = row(leaderboard(pd.concat([table(), extra])), "images", "accuracy", "adnce")
    assert (found["seeds"], found["rank"]) == (5, 1)
    assert found["mean"] < 70


def test_the_baseline_can_be_chosen_and_wrong_input_is_refused() -> None:
    assert row(leaderboard(table(), "adnce"), "images", "accuracy", "adnce")["difference"] == 0
    assert row(leaderboard(table(), "untrained"), "images", "accuracy", "adnce")["difference"] > 20
    assert leaderboard(table(baseline=False)).baseline == "infonce"
    with pytest.raises(
        ValueError, match="`baseline` must be one of adnce, hcl, infonce, untrained"
    ):
        leaderboard(table(), "margin")
    with pytest.raises(ValueError, match=r"`records` must have the columns \['proof'\]"):
        leaderboard(table().drop(columns="proof"))


def test_all_methods_are_compared_with_one_baseline_row() -> None:
    other = table(method="moco")
    other["value"] += 10
    board = leaderboard(pd.concat([table(), other]))
    assert (board.baseline_method, board.baseline) == ("siamese", "infonce")
    on_images = board.rows[board.rows["task"] == "images"].set_index(["method", "loss"])
    assert on_images.loc[("moco", "infonce"), "difference"] == pytest.approx(10)
    assert on_images.loc[("moco", "adnce"), "difference"] == pytest.approx(10.675)
    assert on_images.loc[("siamese", "adnce"), "difference"] == pytest.approx(0.675)
    assert (on_images["verdict"] == "baseline").sum() == 1
    assert "Method" in [column.heading for column in board.report.tables["scores"].columns_in(TEXT)]
    named = leaderboard(pd.concat([table(), other]), "moco/infonce")
    assert (named.baseline_method, named.baseline) == ("moco", "infonce")


def test_friedman_needs_enough_tasks() -> None:
    reason = str(leaderboard(table()).friedman)
    assert "Friedman's test needs 5 tasks and three trained rows" in reason
    scores = {
        (f"task {i}", "image", "accuracy"): {
            loss: [v + i * j / 9 for v in values]
            for j, (loss, values) in enumerate(SCORES["images", "image", "accuracy"].items())
        }
        for i in range(6)
    }
    board = leaderboard(table(scores))
    found = board.friedman
    assert isinstance(found, Friedman)
    # untrained is not among them: that training helps is not the question.
    assert (found.tasks, set(found.names)) == (6, {"infonce", "adnce", "hcl"})
    wide = board.rows.pivot(index="task", columns="loss", values="mean")
    expected = stats.friedmanchisquare(*(wide[name] for name in found.names))
    assert found.p == pytest.approx(expected.pvalue)


def test_rows_without_pairs_are_not_advised_to_run_more_seeds() -> None:
    unpaired = table()
    other = unpaired["loss"].isin(["adnce", "hcl"])
    unpaired.loc[other, "proof"] = proof("another start")
    notes = texts(leaderboard(unpaired))
    assert any("adnce on images: 0 of 4 seeds are paired with the baseline" in n for n in notes)
    assert not any("Run more seeds" in note for note in notes)
    alone = table()
    alone = alone[(alone["loss"] != "infonce") | (alone["task"] != "images")]
    board = leaderboard(alone)
    assert any("The baseline was not run on images" in note for note in texts(board))
    assert not any("Run more" in n or "have no rank" in n for n in texts(board))
    assert any(
        "adnce against infonce is undecided: no seed is paired" in s for s in board.report.sentences
    )


def test_unequal_budgets_are_noted() -> None:
    tuned = renamed(table(), "adnce", "adnce[tuned]")
    tuned["tuned"] = tuned["loss"] == "adnce[tuned]"
    trials = tuned[tuned["loss"] == "adnce[tuned]"].assign(
        stage="tuning", trial=0, split="validation", settings='{"mu": 0.5}', space='{"mu": [0, 1]}'
    )
    trials = trials.drop_duplicates(["task", "seed"])
    notes = texts(leaderboard(pd.concat([tuned, trials])))
    assert "infonce was not tuned, unlike adnce (tuned): the tuning budgets" in " ".join(notes)
    notes = texts(leaderboard(pd.concat([tuned, trials]), baseline="adnce"))
    assert "adnce (tuned) was tuned, unlike hcl, infonce" in " ".join(notes)
    both = renamed(tuned, "infonce", "infonce[tuned]")
    both["tuned"] = both["loss"].str.endswith("[tuned]")
    notes = texts(leaderboard(both))  # Of an earlier plan: the trials are gone, the rows tuned.
    assert "infonce (tuned) was tuned, unlike hcl:" in " ".join(notes)
    fewer = [trials.assign(loss="infonce[tuned]", trial=trial) for trial in range(3)]
    notes = texts(leaderboard(pd.concat([both, trials, *fewer])))
    assert "infonce (tuned) had 3 tuning trials and adnce (tuned) 1:" in " ".join(notes)
    assert not any("tuned" in note for note in texts(leaderboard(table())))


def test_a_method_without_the_baselines_loss_is_compared_all_the_same() -> None:
    other = table(method="moco")
    other = other[other["loss"] != "infonce"]
    board = leaderboard(pd.concat([table(), other]))
    said = " ".join(board.report.sentences)
    assert "images: adnce (siamese) against infonce (siamese) is better" in said
    assert "images: adnce (moco) against infonce (siamese) is better" in said


def test_validation_scores_alone_make_no_board() -> None:
    records = table()
    with pytest.raises(ValueError, match="no cell is scored on test yet"):
        leaderboard(records[records["split"] == "validation"])


def test_published_rows_must_have_their_columns() -> None:
    with pytest.raises(ValueError, match=r"`published` must have the columns \['dataset'"):
        leaderboard(table(), published=pd.DataFrame({"loss": ["adnce"]}))


def test_a_score_must_be_a_number() -> None:
    for wrong in (math.nan, math.inf):
        records = table()
        records.loc[records["loss"] == "adnce", "value"] = wrong
        with pytest.raises(
            ValueError, match=r"`records` must hold numbers as scores: got (nan|inf)"
        ):
            leaderboard(records)


def test_the_answer_groups_losses_by_outcome_and_pools_their_differences() -> None:
    def of(number: int) -> Any:
        panel = SCORES["images", "image", "accuracy"]
        return leaderboard(table({(f"t{i}", "image", "accuracy"): panel for i in range(number)}))

    report = of(2).report
    assert report.answer == (
        "Better than infonce: adnce on both tasks.", "Undecided: hcl on both tasks."
    )  # fmt: skip
    assert report.pooled[0].startswith("Over 2 data sets adnce is better")
    report = of(5).report
    assert report.answer[0] == "Better than infonce: adnce on all 5 tasks."
    assert "; on a next task, " in report.pooled[0]
    assert of(1).report.pooled == ()
    panel = SCORES["images", "image", "accuracy"]
    few = table({("t", "image", "accuracy"): panel})
    assert leaderboard(few[few["seed"] < 2]).report.answer == (
        "No loss is shown better than infonce on t.", "Undecided: adnce; hcl."
    )  # fmt: skip


def test_settings_that_all_tasks_share_are_said_once() -> None:
    panel = SCORES["images", "image", "accuracy"]
    names = ("images(size=14, steps=80)", "images(size=14, labels=5, steps=80)", "other(size=14)")
    records = table({(name, "image", "accuracy"): panel for name in names})
    records.attrs["notes"] = [Note("records", "/a/{x}: left out ({tasks}).", names[:2])]
    records.attrs["labels"] = {"images": "Images"}
    board = leaderboard(records)
    assert [board.labels.task(name) for name in names] == ["Images", "Images, labels 5", "other"]
    assert set(board.rows["task"]) == set(names)
    assert "Images: size 14, steps 80." in board.report.facts
    assert texts(board)[0] == "/a/{x}: left out (Images, Images, labels 5)."
    text = markdown(board.report)
    assert "Images, labels 5" in text and text.count("steps 80") == 1
    for name in names:
        assert name in csv_files.leaderboard(board.report), "files of numbers keep specs"
    twice = (names[0], "images(steps=80, size=14)")
    alike = leaderboard(table({(name, "image", "accuracy"): panel for name in twice}))
    assert {alike.labels.task(name) for name in twice} == set(twice), "two tasks stay two"


def test_cells_that_are_missing_are_counted() -> None:
    records = table()
    more = [
        lost("images", "image", "adnce", seed, "missing", "not run yet") for seed in range(4, 9)
    ]
    more.append(lost("images", "image", "hcl", 4, "diverged", "nan at step 3"))
    board = leaderboard(pd.concat([records, pd.DataFrame(more)]))
    found = board.report.tables["failures"].source
    assert [(each.status, each.cells, each.where) for each in found] == [
        ("missing", 5, "adnce (5 cells) on images"),
        ("diverged", 1, "hcl (seed 4) on images"),
    ]
    assert records_csv(board.report).count("not run yet") == 5


def test_a_carriage_return_does_not_begin_a_csv_row() -> None:
    reason = "Downloading 10%\r=1+1 50%\x1b[31m"
    records = pd.concat(
        [table(), pd.DataFrame([lost("images", "image", "adnce", 9, "failed", reason)])]
    )
    board = leaderboard(records)
    read = pd.read_csv(StringIO(records_csv(board.report)), keep_default_na=False)
    assert (read["status"] == "failed").sum() == 1
    assert len(read) == records["key"].nunique()
    assert r"Downloading 10%\r=1+1 50%\x1b[31m" in read["reason"].tolist()


def test_the_best_row_and_those_tied_with_it_are_marked() -> None:
    board = leaderboard(table())
    found = {loss: row(board, "images", "accuracy", loss) for loss in ("adnce", "hcl", "untrained")}
    assert found["adnce"]["best"]
    assert not found["adnce"]["tied"]
    values = SCORES["images", "image", "accuracy"]
    p = stats.ttest_rel(values["hcl"], values["adnce"]).pvalue
    assert found["hcl"]["tied"] == (3 * p >= 0.05)
    assert not found["untrained"]["tied"]
    text = latex(board.report)
    assert r"\textbf{82.17}$\pm$1.46" in text
    assert "underline" not in text, "what is tied is said by the verdict"
    assert "tied" in csv_files.leaderboard(board.report)


def test_rows_without_a_test_count_as_tied_with_the_best() -> None:
    few = leaderboard(table()[table()["seed"] < 2])
    assert row(few, "images", "accuracy", "hcl")["tied"]
    assert not row(few, "images", "accuracy", "untrained")["tied"]
    other = table(method="moco")
    other["value"] -= 5
    board = leaderboard(pd.concat([table(), other]))
    assert not board.rows.loc[board.rows["method"] == "moco", "tied"].any()


def test_tied_corrects_for_choosing_the_best_by_the_same_scores(monkeypatch: Any) -> None:
    """With equal losses, some row differs from the best on at most a nominal share of boards."""
    monkeypatch.setattr(
        "leaderboards.statistics.paired.RESAMPLES", 50
    )  # Not what is looked at here.
    draw = np.random.default_rng(0)
    apart = []
    for _ in range(300):
        scores = 80 + draw.normal(0, 1.3, size=(5, 1)) + draw.normal(0, 0.4, size=(5, 8))
        losses = {f"infonce(temperature={i})": scores[:, i].tolist() for i in range(8)}
        panel = table({("t", "image", "accuracy"): losses})
        terms = Terms(("siamese", "infonce(temperature=0)"), margin=0.5)
        rows = panel_rows(panel[panel["split"] == "test"], terms)
        apart.append(not all(row["best"] or row["tied"] for row in rows))
    assert np.mean(apart) < 0.06, "with Holm over the seven others: about .1"


def curves() -> pd.DataFrame:
    """Return the table with validation scores during training: adnce is twice as fast."""
    rows = []
    for seed in range(3):
        for loss, values in {"infonce": [60, 70, 80], "adnce": [70, 80, 81]}.items():
            for step, value in zip((25, 50, 100), values, strict=True):
                rows.append(
                    cell_row("images", "image", loss, seed, split="validation", step=step,
                             value=value + seed)
                )  # fmt: skip
            rows.append(cell_row("images", "image", loss, seed, value=80.0 + seed))
        for split in ("validation", "test"):
            rows.append(cell_row("images", "image", "untrained", seed, split=split))
    return pd.DataFrame(rows)


def test_curves_and_the_area_under_them() -> None:
    board = leaderboard(curves())
    own = board.curves[board.curves["loss"] == "adnce"]
    assert own["step"].tolist() == [0, 25, 50, 100]
    assert own["mean"].tolist() == [50, 71, 81, 82]
    assert own["seeds"].tolist() == [3] * 4
    low, high = stats.t.interval(0.95, 2, 71, stats.sem([70, 71, 72]))
    assert own.loc[own["step"] == 25, ["low", "high"]].iloc[0].tolist() == pytest.approx(
        [low, high]
    )
    # adnce is 0, 10, 10 and 1 above infonce at the steps 0, 25, 50 and 100.
    found = row(board, "images", "accuracy", "adnce")
    area = (25 * 5 + 25 * 10 + 50 * 5.5) / 100
    assert (found["area"], found["area_low"]) == pytest.approx((area, area))
    assert found["seeds"] == 3, "the curve is not a score"
    assert math.isnan(row(board, "images", "accuracy", "infonce")["area"])
    # A further seed of adnce alone has no untrained score, so the curves share steps 25 to 100.
    more = curves()
    more = pd.concat([more, more[(more["loss"] == "adnce") & (more["seed"] == 0)].assign(seed=9)])
    more.loc[more["seed"] == 9, "value"] -= 60
    found = row(leaderboard(more), "images", "accuracy", "adnce")
    assert found["area"] == pytest.approx((25 * 10 + 50 * 5.5) / 75)


def tuned() -> pd.DataFrame:
    space = {"temperature": {"low": 0.01, "high": 1.0, "log": True}, "form": ["a", "b"]}
    common = {"space": json.dumps(space)}
    rows = []
    for trial, temperature in enumerate((0.1, 0.011, 0.5)):
        spec = {"spec": f"infonce(temperature={temperature})",
                "settings": json.dumps({"temperature": temperature, "form": "a"})}  # fmt: skip
        for seed in (10, 11):
            more = {"trial": trial, "stage": "tuning", "split": "validation", **common, **spec}
            value = 60.0 + seed - 5 * (trial != 1)
            done = cell_row("images", "image", "infonce[tuned]", seed, **{**more, "value": value})
            if (trial, seed) == (2, 11):
                done |= {"status": "diverged", "split": None, "metric": None, "value": math.nan,
                         "step": None}  # fmt: skip
            rows.append(done)
        if trial == 1:
            for seed in range(3):
                rows.append(cell_row("images", "image", "infonce[tuned]", seed, **common, **spec))
                rows.append(cell_row("images", "image", "adnce", seed))
    return pd.DataFrame(rows)


def test_tuned_rows_say_the_chosen_value_and_its_position() -> None:
    board = leaderboard(tuned(), "infonce[tuned]")
    assert board.trials["status"].tolist() == ["done", "done", "diverged"]
    assert board.trials["validation"].tolist()[:2] == [65.5, 70.5]
    assert board.trials["chosen"].tolist() == [False, True, False]
    found = board.tuned.set_index("setting")
    assert found.loc["temperature", ["trial", "trials", "value"]].tolist() == [1, 3, 0.011]
    place = math.log(0.011 / 0.01) / math.log(100)
    assert found.loc["temperature", "position"] == pytest.approx(place)
    assert found["at_border"].tolist() == [True, False]
    assert math.isnan(found.loc["form", "position"])
    assert (
        row(board, "images", "accuracy", "infonce[tuned]")["spec"] == "infonce(temperature=0.011)"
    )
    assert "0.02 (border)" in markdown(board.report)


def test_tuning_scores_do_not_reach_the_board() -> None:
    records = tuned()
    with pytest.raises(ValueError, match="no cell is scored on test yet"):
        leaderboard(records[records["stage"] == "tuning"])


def test_pairing_is_the_ratio_of_variances() -> None:
    few = pairing_table(leaderboard(table()))
    assert few.empty, "below 8 seeds the ratio says little"
    twice = {key: {loss: [*own, *(v + 1.5 for v in reversed(own))] for loss, own in each.items()}
             for key, each in SCORES.items()}  # fmt: skip
    found = pairing_table(leaderboard(table(twice)))
    values = twice["images", "image", "accuracy"]
    own = found[(found["scope"] == "images") & (found["loss"] == "adnce")].iloc[0]
    paired = np.var(np.subtract(values["adnce"], values["infonce"]), ddof=1)
    unpaired = np.var(values["adnce"], ddof=1) + np.var(values["infonce"], ddof=1)
    assert own["ratio"] == pytest.approx(unpaired / paired)
    hcl = found[(found["scope"] == "images") & (found["loss"] == "hcl")].iloc[0]
    total = found[found["scope"] == "all image tasks"].iloc[0]
    assert total["ratio"] == pytest.approx(
        (own["unpaired_variance"] + hcl["unpaired_variance"])
        / (own["paired_variance"] + hcl["paired_variance"])
    )
    assert "untrained" not in set(found["loss"])


def test_csv_round_trips_to_its_digits() -> None:
    board = leaderboard(table())
    back = pd.read_csv(StringIO(csv_files.leaderboard(board.report)), keep_default_na=True)
    assert set(back) - {"label", "step_seconds", "memory"} == set(board.rows)
    expected = board.rows.replace({"marks": {"": math.nan}, "learned": {None: math.nan}})
    pd.testing.assert_frame_equal(
        back[list(board.rows)], expected, check_dtype=False, rtol=1e-6
    )  # fmt: skip
    over = pd.read_csv(StringIO(csv_files.overall(board.report)))
    everywhere = board.overall[board.overall["scope"] == "all"]
    expected = everywhere.replace({"not_pooled": {"": math.nan}})
    pd.testing.assert_frame_equal(over[list(expected)], expected, check_dtype=False, rtol=1e-6)


def test_the_tidy_csv_has_a_row_per_record_and_per_cell_without_one() -> None:
    more = pd.DataFrame([lost("images", "image", "adnce", 9, "failed", "killed")])
    board = leaderboard(pd.concat([table(), curves().query("task == 'x'"), more]))
    found = pd.read_csv(StringIO(records_csv(board.report)))
    assert len(found) == 2 * 4 * 4 + 1
    own = found[(found["loss"] == "adnce") & (found["task"] == "nodes") & (found["seed"] == 1)]
    assert own["test_accuracy"].tolist() == [71.5]
    assert own["validation_macro_f1"].tolist() == [72.5]
    bad = found[found["status"] == "failed"]
    assert bad["reason"].tolist() == ["killed"]
    assert bad["test_accuracy"].isna().all()


def test_published_rows_are_marked_and_never_ranked() -> None:
    papers = published_rows()
    assert list(papers) == list(PUBLISHED_COLUMNS)
    assert papers["url"].str.startswith("https://").all()
    assert papers["value"].between(20, 100).all()
    plain, marked = leaderboard(table()), leaderboard(table(), published=papers)
    pd.testing.assert_frame_equal(plain.rows, marked.rows)
    pd.testing.assert_frame_equal(plain.overall, marked.overall)
    assert csv_files.leaderboard(marked.report) == csv_files.leaderboard(plain.report)
    assert changed_files(plain, marked) >= {"published.csv"}
    assert changed_files(plain, marked) <= {"published.csv", "leaderboard.md", "board.html"}
    assert "(published)" in markdown(marked.report)
    assert "published" not in markdown(plain.report)


def test_a_notebook_shows_the_board() -> None:
    text = leaderboard(renamed(table(), "adnce", "<b>x</b>"))._repr_html_()
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>x</b>" not in text
    assert "<script" not in text


HOSTILE = "x(form='<script>alert(1)</script>|`*_[a](b)&%$#{}~^\\\\')"


def test_markdown_is_escaped() -> None:
    records = renamed(table(), "adnce", HOSTILE)
    text = markdown(leaderboard(records).report)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/s" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\|\\`\\*\\_\\[a\\](b)" in escape(HOSTILE)
    first = text.split("\n\n")[1].splitlines()
    assert len({len(line.replace("\\|", "").split("|")) for line in first}) == 1


def test_csv_cells_are_never_formulas() -> None:
    more = lost("images", "image", "adnce", 9, "failed", "=cmd|' /C calc'!A0")
    text = records_csv((leaderboard(pd.concat([table(), pd.DataFrame([more])]))).report)
    assert "'=cmd" in text
    assert ",=cmd" not in text and ',"=cmd' not in text


def test_control_characters_are_escaped() -> None:
    more = lost("images", "image", "adnce", 9, "failed", "a\x1b[31m\rb | @you #1")
    text = markdown(leaderboard(pd.concat([table(), pd.DataFrame([more])])).report)
    assert r"a\\x1b\[31m\\rb \| \@you \#1" in text
    assert "\x1b" not in text


def test_latex_is_escaped() -> None:
    text = latex_text(HOSTILE)
    expected = r"x(form='\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}"
    expected += r"\textbar{}`*\_[a](b)\&\%\$\#\{\}\textasciitilde{}\textasciicircum{}"
    assert expected in text


def test_without_a_true_difference_the_board_seldom_claims_one() -> None:
    """Panels of four losses that are the baseline with other noise.

    The family-wise rate of "better" or "worse" is at most 5%, here within 3 standard
    errors of 300 panels. Without simultaneous intervals it would be beyond that.
    """
    generator = np.random.default_rng(0)
    panels, claimed, uncorrected = 300, 0, 0
    for _ in range(panels):
        effect = generator.normal(80, 1.3, size=5)
        scores = {
            loss: (effect + generator.normal(0, 0.8, size=5)).tolist()
            for loss in ("infonce", "w", "x", "y", "z")
        }
        panel = table({("a", "image", "accuracy"): scores}).query("split == 'test'")
        rows = panel_rows(panel, Terms(("siamese", "infonce"), margin=0.5))
        claimed += any(row["verdict"] in ABOVE + BELOW for row in rows)
        base = np.array(scores["infonce"])
        plain = [stats.ttest_rel(scores[loss], base).pvalue for loss in ("w", "x", "y", "z")]
        uncorrected += min(plain) < 0.05
    bound = 0.05 + 3 * math.sqrt(0.05 * 0.95 / panels)
    assert claimed / panels <= bound < uncorrected / panels


ORACLE = "fixed:oracle"
ALIGNMENT = {"infonce": [0.40, 0.44, 0.42, 0.46], "adnce": [0.50, 0.55, 0.51, 0.57]}
MINE = "<script>alert(1)</script>|`*_[a](b)&%$"


def measured(name: str = "alignment", task: str = "images", **more: Any) -> pd.DataFrame:
    """Return a diagnostic at steps 0, 50 and 100: its last value plus 1, plus .5, plus 0."""
    rows = [
        cell_row(
            task, "image", loss, seed, split="diagnostics", metric=name, step=step,
            value=value + above, **more,
        )
        for loss, values in ALIGNMENT.items()
        for seed, value in enumerate(values)
        for step, above in ((0, 1.0), (50, 0.5), (STEPS, 0.0))
    ] + [
        cell_row(task, "image", loss, seed, split="diagnostics", metric=name, value=3.0)
        for loss in ("untrained", ORACLE)
        for seed in range(4)
    ]  # fmt: skip
    found = pd.DataFrame(rows)
    found.loc[found["loss"] == ORACLE, ["step", "steps"]] = 0
    return found


def with_oracle() -> pd.DataFrame:
    """Return the table with an oracle on images, above all that were trained."""
    rows = [
        cell_row("images", "image", ORACLE, seed, steps=0, step=0, seen="", split=split,
                 value=95.0 + seed)
        for seed in range(4)
        for split in ("validation", "test")
    ]  # fmt: skip
    return pd.concat([table(), pd.DataFrame(rows)])


def test_diagnostics_are_means_and_intervals_over_seeds() -> None:
    board = leaderboard(pd.concat([table(), measured("mine"), measured()]))
    found = board.diagnostics
    assert list(dict.fromkeys(found["diagnostic"])) == ["alignment", "mine"], "the known first"
    own = found[(found["loss"] == "adnce") & (found["diagnostic"] == "alignment")]
    assert own["step"].tolist() == [0, 50, STEPS]
    assert own["final"].tolist() == [False, False, True]
    values = ALIGNMENT["adnce"]
    assert own["mean"].tolist() == pytest.approx([np.mean(values) + up for up in (1, 0.5, 0)])
    last = own.iloc[-1]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (last["low"], last["high"]) == pytest.approx((low, high))
    assert (last["std"], last["seeds"]) == (pytest.approx(np.std(values, ddof=1)), 4)
    still = found[found["loss"].isin(["untrained", ORACLE])]
    assert still["final"].all()
    assert len(still) == 4


def test_diagnostics_change_no_score() -> None:
    """Even if they come first in the table, have a metric's name, or belong to tuning trials."""
    tuning = tuned().query("loss != 'adnce'")
    plain = leaderboard(pd.concat([table(), tuning, curves().query("step < steps")]))
    trials = measured("accuracy", stage="tuning", trial=1).query("loss == 'infonce'")
    more = pd.concat([measured("accuracy"), measured("loss"), trials])
    extra = pd.concat([more.query(f"loss != '{ORACLE}'"), plain.records])
    board = leaderboard(extra)
    for name in ("rows", "overall", "cells", "tuned", "trials", "curves"):
        pd.testing.assert_frame_equal(getattr(board, name), getattr(plain, name))
    for write in (csv_files.leaderboard, markdown, latex):
        assert write(board.report) == write(plain.report)
    assert changed_files(plain, board) - {"records.csv"} == {"diagnostics.csv", "board.html"}


def test_the_tidy_csv_has_the_final_diagnostics() -> None:
    board = leaderboard(pd.concat([table(), measured()]))
    found = pd.read_csv(StringIO(records_csv(board.report)))
    own = found[(found["loss"] == "adnce") & (found["task"] == "images")]
    assert own["diagnostics_alignment"].tolist() == ALIGNMENT["adnce"]
    assert found.loc[found["task"] == "nodes", "diagnostics_alignment"].isna().all()


def test_chosen_diagnostics_are_columns() -> None:
    records = pd.concat([table(), measured(), measured("sd"), measured(MINE)])
    board = leaderboard(records, diagnostics=["alignment", "sd", MINE])
    wide = pd.read_csv(StringIO(csv_files.leaderboard(board.report)))
    own = wide[(wide["task"] == "images") & (wide["loss"] == "adnce")].iloc[0]
    assert own["diagnostic_alignment_mean"] == pytest.approx(np.mean(ALIGNMENT["adnce"]))
    assert own["diagnostic_sd_std"] == pytest.approx(np.std(ALIGNMENT["adnce"], ddof=1))
    assert wide.loc[wide["task"] == "nodes", "diagnostic_alignment_mean"].isna().all()
    columns = board.report.tables["scores"].columns_in(TEXT)
    headings = [column.heading for column in columns][-3:]
    assert headings == ["alignment", "sd", MINE.replace("_", " ")]
    lines = board.report.tables["scores"].lines(TEXT)
    shown = {line.cells[1].text: line.cells[-3].text for line in lines
             if line.cells[0].text == "images"}  # fmt: skip
    assert shown == {
        "adnce": "0.5325 ± 0.033", "infonce": "0.43 ± 0.026", "hcl": DASH, "untrained": "3 ± 0",
    }  # fmt: skip
    text = markdown(board.report)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\|" in text
    assert "<script>" not in board._repr_html_()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["aligment"], "`diagnostics` must each be one of alignment, mine: got 'aligment'. "
                       "Did you mean 'alignment'?"),
        ("zzz", "must each be one of alignment, mine: got 'zzz'.$"),
    ],
)  # fmt: skip
def test_an_unknown_diagnostic_is_an_error_that_names_the_nearest(names: Any, message: str) -> None:
    records = pd.concat([table(), measured(), measured("mine")])
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        leaderboard(records, diagnostics=names)
    assert leaderboard(records, diagnostics=["mine", "mine"]).asked == ("mine",)
    with pytest.raises(ValueError, match="as no record has any: got 'alignment'"):
        leaderboard(table(), diagnostics=["alignment"])


def test_a_reference_is_a_row_that_does_not_compete() -> None:
    plain, board = leaderboard(table()), leaderboard(with_oracle())
    kept = board.rows[board.rows["loss"] != ORACLE].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, plain.rows)
    pd.testing.assert_frame_equal(board.overall, plain.overall)
    assert board.notes == plain.notes
    assert board.report.sentences == plain.report.sentences
    pd.testing.assert_frame_equal(pairing_table(board), pairing_table(plain))
    found = row(board, "images", "accuracy", ORACLE)
    assert (found["mean"], found["difference"], found["pairs"]) == (96.5, 15.0, 4)
    assert math.isnan(found["rank"])
    assert not any(found[name] for name in ("best", "tied", "trained"))
    # With a long name in the table the deviations are set small.
    assert r"96.50{\tiny$\pm$1.29}" in latex(board.report)


def test_a_reference_takes_no_part_in_friedmans_test_and_may_be_the_baseline() -> None:
    losses = {**SCORES["images", "image", "accuracy"], ORACLE: [99.0] * 4}
    records = table({(f"task {i}", "image", "accuracy"): losses for i in range(5)})
    board = leaderboard(records)
    assert isinstance(board.friedman, Friedman)
    assert set(board.friedman.names) == {"infonce", "adnce", "hcl"}
    assert row(leaderboard(records, ORACLE), "task 0", "accuracy", "adnce")["difference"] < -16
    only = records[records["loss"].isin([ORACLE, "hcl"])].sort_values("loss").assign(baseline=False)
    assert leaderboard(only).baseline == "hcl", "it stands first, and is no loss to compare with"


def test_a_curve_does_not_start_at_a_reference() -> None:
    """A reference has its score at step 0 of 0, like ``untrained``."""
    more = [
        cell_row("images", "image", ORACLE, seed, steps=0, step=0, split="validation", value=99.0)
        for seed in range(3)
    ]
    board = leaderboard(pd.concat([curves(), pd.DataFrame(more)]))
    pd.testing.assert_frame_equal(board.curves, leaderboard(curves()).curves)


def test_series_are_tasks_that_differ_in_one_number() -> None:
    given: dict[str, dict[str, Any]] = {
        "a": {}, "a(x=0.3)": {"x": 0.3}, "a(x=0.1)": {"x": 0.1}, "a(y=2)": {"y": 2},
        "a(y=4)": {"y": 4}, "a(x=0.1, y=2)": {"x": 0.1, "y": 2},
        "a(y=2, x=0.3)": {"y": 2, "x": 0.3},
        "a(z='p')": {"z": "p"}, "a(z='q')": {"z": "q"}, "a(b=True)": {"b": True},
        "b(x=0.1)": {"x": 0.1}, "c(x=1e999)": {"x": math.inf}, "c(x=1)": {"x": 1},
        "c(x=1...)": {"x": 10**400}, "d(x=[1])": {"x": [1]}, "d(x=1)": {"x": 1},
    }  # fmt: skip
    tasks = {spec: Spec(spec[0], own, {}) for spec, own in given.items()}
    found = {(each.name, each.setting): each.points for each in series_of(tasks)}
    assert {key: list(points.values()) for key, points in found.items()} == {
        ("a", "x"): ["a", "a(x=0.1)", "a(x=0.3)"],
        ("a", "y"): ["a", "a(y=2)", "a(y=4)"],
        ("a, y 2", "x"): ["a(y=2)", "a(x=0.1, y=2)", "a(y=2, x=0.3)"],
        ("a, x 0.1", "y"): ["a(x=0.1)", "a(x=0.1, y=2)"],
        ("a, x 0.3", "y"): ["a(x=0.3)", "a(y=2, x=0.3)"],
    }
    assert math.isnan(next(iter(found["a", "x"])))
    known = series_of(tasks | {"a": Spec("a", {}, {"x": 0.2, "y": None})})
    assert list(known[0].points) == [0.1, 0.2, 0.3]


def dosed() -> pd.DataFrame:
    """Return scores and a diagnostic of three tasks that differ in one setting."""
    parts = []
    for task, less in (("images", 0), ("images(noise=0.1)", 3), ("images(noise=0.4)", 9)):
        own = table({(task, "image", "accuracy"): SCORES["images", "image", "accuracy"]})
        own.loc[own["loss"] != "adnce", "value"] -= less
        parts += [own, measured(task=task)]
    return pd.concat(parts)


def test_response_rows_have_scores_against_a_setting() -> None:
    board = leaderboard(dosed())
    found = board.responses
    assert set(found["kind"]) == {"score"}, "diagnostics only where they are asked for"
    own = found[found["loss"] == "adnce"]
    assert own[["series", "setting"]].drop_duplicates().to_numpy().tolist() == [["images", "noise"]]
    assert own["at"].tolist()[1:] == [0.1, 0.4] and math.isnan(own["at"].iloc[0])
    rows = board.rows[board.rows["loss"] == "adnce"].set_index("task").loc[own["task"].tolist()]
    for name in ("mean", "difference", "seeds", "pairs"):
        assert own[name].tolist() == pytest.approx(rows[name].tolist()), name
    values = SCORES["images", "image", "accuracy"]["adnce"]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (own["low"].iloc[1], own["high"].iloc[1]) == pytest.approx((low, high))
    text = dict(files(board.report))["settings.csv"]()
    assert len(pd.read_csv(StringIO(text))) == len(found) == 3 * 4
    assert not len(leaderboard(table()).responses)


def test_diagnostics_against_a_setting_are_paired_like_scores() -> None:
    records = dosed()
    odd = (records["loss"] == "adnce") & (records["seed"] == 1)
    moved = odd & (records["task"] == "images(noise=0.4)")
    records.loc[moved, "proof"] = proof("start images(noise=0.4) 1", "other batches")
    known = {"images": json.dumps({"noise": 0.0, "name": "x"})}
    records["task_settings"] = records["task"].map(known).fillna("{}")
    found = leaderboard(records, diagnostics=["alignment"]).responses
    own = found[(found["loss"] == "adnce") & (found["metric"] == "alignment")]
    assert own["at"].tolist() == [0.0, 0.1, 0.4], "the default is known"
    assert own["pairs"].tolist() == [4, 4, 3]
    gaps = np.subtract(ALIGNMENT["adnce"], ALIGNMENT["infonce"])
    low, high = stats.t.interval(0.95, 3, gaps.mean(), stats.sem(gaps))
    first = own.iloc[0]
    assert first[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        [gaps.mean(), low, high]
    )
    assert own["difference"].iloc[2] == pytest.approx(np.delete(gaps, 1).mean())


def test_if_lower_is_better_the_board_is_mirrored() -> None:
    """Scores and differences keep their sign; ranks, verdicts and probabilities are swapped."""
    up = leaderboard(table())
    scores = {
        key: {loss: [-value for value in values] for loss, values in losses.items()}
        for key, losses in SCORES.items()
    }
    mirrored = table(scores, direction="lower")
    mirrored["value"] -= 2 * (mirrored["split"] == "validation")  # Which `table` adds 1 to.
    down = leaderboard(mirrored)
    same = ["task", "metric", "loss", "rank", "verdict", "p", "bound", "best", "tied", "learned",
            "seeds_to_decide", "std"]  # fmt: skip
    pd.testing.assert_frame_equal(up.rows[same], down.rows[same])
    for name in ("mean", "difference", "block_mean"):
        np.testing.assert_allclose(up.rows[name], -down.rows[name])
    np.testing.assert_allclose(up.rows["difference_low"], -down.rows["difference_high"])
    pd.testing.assert_frame_equal(up.overall, down.overall)


def test_a_metric_declared_in_two_ways_is_an_error() -> None:
    records = table()
    records.loc[records["loss"] == "hcl", "direction"] = "lower"
    with pytest.raises(ValueError, match="must declare each metric of a task once: 'accuracy' of"):
        leaderboard(records)


def test_trials_are_compared_by_the_main_metric_whatever_its_name() -> None:
    """A metric whose name comes first in the alphabet is not the main one for that."""
    records = tuned()
    main = records.assign(metric="worst_task", main=True)
    other = records.assign(metric="a_mean", main=False, value=records["value"] + 20)
    lost = records["status"] != "done"
    board = leaderboard(pd.concat([other[~lost], main]), "infonce[tuned]")
    assert set(board.trials.loc[board.trials["status"] == "done", "metric"]) == {"worst_task"}
    assert board.trials["validation"].tolist()[:2] == [65.5, 70.5]
