"""Every figure of the board against an independent computation."""

import math
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.records import COLUMNS
from leaderboards import leaderboard, readable, tidy, to_csv, to_markdown
from leaderboards.board import BOARD_COLUMNS, NEEDED_COLUMNS, TIDY_COLUMNS
from leaderboards.statistics import mean_interval

SCORES = {
    ("images", "image", "accuracy"): {
        "infonce": [80.0, 82.0, 81.0],
        "adnce": [80.5, 82.1, 81.6],
        "untrained": [60.0, 61.0, 60.5],
    },
    ("nodes", "graph", "accuracy"): {
        "infonce": [70.0, 72.0, 74.0],
        "adnce": [69.0, 71.5, 73.0],
        "untrained": [50.0, 51.0, 52.0],
    },
    ("nodes", "graph", "macro_f1"): {
        "infonce": [69.0, 71.0, 73.0],
        "adnce": [69.5, 71.5, 73.4],
        "untrained": [48.0, 49.0, 50.0],
    },
}


def table(**changes: Any) -> pd.DataFrame:
    rows = [
        {
            "task": task,
            "modality": modality,
            "method": "siamese",
            "loss": loss,
            "seed": seed,
            "split": split,
            "metric": metric,
            "value": value + (1 if split == "validation" else 0),
            "steps": 0 if loss == "untrained" else 100,
            "seconds": 3.5,
            "start": f"start {task} {seed}",
            "seen": "" if loss == "untrained" else f"seen {task} {seed}",
            "key": "k",
        }
        for (task, modality, metric), losses in SCORES.items()
        for loss, values in losses.items()
        for seed, value in enumerate(values)
        for split in ("validation", "test")
    ]
    return pd.DataFrame(rows).assign(**changes)


def row(board: pd.DataFrame, task: str, metric: str, loss: str) -> pd.Series:
    match = (board["task"] == task) & (board["metric"] == metric) & (board["loss"] == loss)
    assert match.sum() == 1
    return board[match].iloc[0]


def test_the_columns_are_those_promised() -> None:
    assert list(leaderboard(table()).columns) == list(BOARD_COLUMNS) == [
        "task", "modality", "metric", "method", "loss", "mean", "std", "seeds",
        "difference", "difference_low", "difference_high", "rank",
    ]  # fmt: skip
    assert list(tidy(table()).columns) == list(TIDY_COLUMNS) == [
        "task", "modality", "method", "loss", "seed", "split", "metric", "value", "steps",
        "seconds",
    ]  # fmt: skip
    assert set(NEEDED_COLUMNS) <= set(COLUMNS), "the store's table does not feed the board"


def test_means_deviations_and_seeds() -> None:
    board = leaderboard(table())
    for (task, modality, metric), losses in SCORES.items():
        for loss, values in losses.items():
            found = row(board, task, metric, loss)
            assert found["mean"] == pytest.approx(sum(values) / 3)
            assert found["std"] == pytest.approx(np.std(values, ddof=1))
            assert found["seeds"] == 3
            assert found["modality"] == modality


def test_paired_differences_and_their_interval() -> None:
    board = leaderboard(table(), "infonce")
    for (task, _, metric), losses in SCORES.items():
        for loss, values in losses.items():
            found = row(board, task, metric, loss)
            if loss == "infonce":
                assert (
                    found[["difference", "difference_low", "difference_high"]].tolist() == [0] * 3
                )
                continue
            test = stats.ttest_rel(values, losses["infonce"])
            low, high = test.confidence_interval(0.95)
            assert found["difference"] == pytest.approx(
                np.mean(np.subtract(values, losses["infonce"]))
            )
            assert (found["difference_low"], found["difference_high"]) == pytest.approx((low, high))


def test_the_order_is_modality_task_metric_rank() -> None:
    board = leaderboard(table())
    order = list(dict.fromkeys(zip(board["task"], board["metric"], strict=True)))
    assert order == [
        ("images", "accuracy"),
        ("nodes", "accuracy"),
        ("nodes", "macro_f1"),
        ("overall", "mean_rank"),
    ]
    assert board["loss"].head(3).tolist() == ["adnce", "infonce", "untrained"]


def test_ranks_and_mean_ranks() -> None:
    board = leaderboard(table())
    ranks = {loss: row(board, "nodes", "accuracy", loss)["rank"] for loss in ("infonce", "adnce")}
    assert ranks == {"infonce": 1, "adnce": 2}
    # adnce: 1 on images; 2 and 1 on the two metrics of nodes, 1.5 together.
    overall = row(board, "overall", "mean_rank", "adnce")
    assert overall["mean"] == pytest.approx((1 + 1.5) / 2)
    assert row(board, "overall", "mean_rank", "infonce")["mean"] == pytest.approx((2 + 1.5) / 2)
    assert row(board, "overall", "mean_rank", "untrained")["mean"] == 3
    assert overall["rank"] == 1


def test_ties_share_their_rank() -> None:
    board = leaderboard(table(value=50.0))
    assert set(board.loc[board["task"] == "images", "rank"]) == {2.0}


def test_cells_that_saw_other_batches_are_not_paired() -> None:
    records = table()
    moved = (records["loss"] == "adnce") & (records["seed"] == 2)
    records.loc[moved, "seen"] = "other"
    found = row(leaderboard(records), "images", "accuracy", "adnce")
    assert found["difference"] == pytest.approx((0.5 + 0.1) / 2)
    assert found["seeds"] == 3


def test_cells_that_started_elsewhere_are_not_paired_untrained_included() -> None:
    records = table()
    records.loc[records["loss"] != "infonce", "start"] = "elsewhere"
    board = leaderboard(records)
    for loss in ("adnce", "untrained"):
        assert math.isnan(row(board, "images", "accuracy", loss)["difference"])


def test_a_row_that_lacks_a_seed_of_the_baseline_has_no_rank() -> None:
    records = table()
    missing = (records["loss"] == "adnce") & (records["seed"] == 1)
    board = leaderboard(records[~missing])
    assert math.isnan(row(board, "images", "accuracy", "adnce")["rank"])
    assert row(board, "images", "accuracy", "adnce")["seeds"] == 2
    assert row(board, "images", "accuracy", "infonce")["rank"] == 1
    assert row(board, "images", "accuracy", "untrained")["rank"] == 2
    assert math.isnan(row(board, "overall", "mean_rank", "adnce")["mean"])


def test_ranks_are_over_the_baselines_seeds() -> None:
    """A seed more of one loss moves its mean, and not its rank."""
    extra = table()
    extra = extra[(extra["loss"] == "adnce") & (extra["seed"] == 0)].assign(seed=9, value=0.0)
    found = row(leaderboard(pd.concat([table(), extra])), "images", "accuracy", "adnce")
    assert (found["seeds"], found["rank"]) == (4, 1)
    assert found["mean"] < 62


def test_a_loss_without_a_task_has_no_mean_rank() -> None:
    records = table()
    records = records[~((records["loss"] == "adnce") & (records["task"] == "images"))]
    board = leaderboard(records)
    assert math.isnan(row(board, "overall", "mean_rank", "adnce")["mean"])
    assert not math.isnan(row(board, "overall", "mean_rank", "infonce")["mean"])


def test_one_seed_has_no_deviation_and_no_interval() -> None:
    records = table()
    found = row(leaderboard(records[records["seed"] == 0]), "images", "accuracy", "adnce")
    assert found["difference"] == pytest.approx(0.5)
    assert all(math.isnan(found[name]) for name in ("std", "difference_low", "difference_high"))


def test_another_baseline_and_a_wrong_one() -> None:
    assert row(leaderboard(table(), "adnce"), "images", "accuracy", "adnce")["difference"] == 0
    assert row(leaderboard(table(), "untrained"), "images", "accuracy", "adnce")["difference"] > 20
    with pytest.raises(ValueError, match="`baseline` must be one of infonce, adnce, untrained"):
        leaderboard(table(), "hcl")
    with pytest.raises(ValueError, match="`split` must be one of"):
        leaderboard(table(), split="train")
    with pytest.raises(ValueError, match=r"`records` must have the columns \['seen'\]"):
        leaderboard(table().drop(columns="seen"))


def test_methods_are_compared_with_their_own_baseline() -> None:
    other = table(method="moco")
    other["value"] += 10
    board = leaderboard(pd.concat([table(), other]))
    found = board[(board["task"] == "images") & (board["loss"] == "adnce")]
    assert found["difference"].tolist() == pytest.approx([0.4, 0.4])
    assert "method" in readable(board)


def test_csv_round_trips_exactly() -> None:
    board = leaderboard(table())
    back = pd.read_csv(StringIO(to_csv(board)))
    pd.testing.assert_frame_equal(back, board, check_dtype=False, check_exact=True)


def test_the_readable_board_names_the_baseline() -> None:
    text = readable(leaderboard(table()))
    assert "method" not in text
    assert text["mean ± std"].iloc[0] == "81.40 ± 0.82"
    differences = text.loc[text["task"] == "images", "difference [95%]"].tolist()
    assert differences[0].startswith("+0.40 [")
    assert differences[1] == "baseline"


def test_markdown_leaves_nothing_that_acts_as_markup() -> None:
    hostile = "x(form='<script>alert(1)</script>|`*_[a](b)')"
    records = table()
    records = records[records["loss"] != "untrained"].replace({"loss": {"adnce": hostile}})
    text = to_markdown(leaderboard(records))
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\|\\`\\*\\_\\[a\\](b)" in text
    lines = text.splitlines()
    assert len({len(line.replace("\\|", "").split("|")) for line in lines}) == 1


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [3.0, 3.0], list(range(30))])
def test_interval_is_scipys(values: list[float]) -> None:
    interval = mean_interval(values)
    error = stats.sem(values)
    expected = (
        stats.t.interval(0.95, len(values) - 1, np.mean(values), error) if error else (3.0, 3.0)
    )
    assert (interval.low, interval.high) == pytest.approx(expected)


def test_the_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    draws = [mean_interval(generator.normal(0.3, 2, size=3).tolist()) for _ in range(4000)]
    covered = np.mean([d.low <= 0.3 <= d.high for d in draws])
    assert covered == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors
