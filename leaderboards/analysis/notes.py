"""Notes: what a reader has to know before believing a row."""

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from leaderboards.analysis.naming import Labels
from leaderboards.analysis.pairs import CLOSE, Pair
from leaderboards.analysis.rows import Row, Terms
from leaderboards.analysis.tables import CONTROL, REFERENCE, Note, each_row
from leaderboards.analysis.words import ABOVE, BASELINE, BELOW, UNDECIDED
from leaderboards.statistics.paired import MIN_SEEDS

MAX_NAMED = 6
"""A note names at most this many losses or tasks."""
TUNED = "[tuned]"
"""The end of the name of a loss whose settings were tuned."""


def resolution_notes(
    measured: pd.DataFrame, rows: Sequence[Row], terms: Terms, task: str
) -> Iterator[Note]:
    """Yield a note if scores of a task have unlike resolutions, or coarser ones than its margin."""
    steps = measured["resolution"].astype(float).dropna()
    if len(steps) and steps.max() > 1.5 * steps.min():
        yield Note(
            "resolution",
            f"{task}: one test item weighs {steps.min():.2g} in some scores and {steps.max():.2g} "
            "in others. The intervals allow for the larger. Were all scored on the same set?",
        )
    resolution = rows[0]["resolution"] if rows else math.nan
    if terms.margin is not None and resolution > terms.margin:
        yield Note(
            "resolution",
            f"{task}: one test item weighs {resolution:.2g}, more than the margin of "
            f"{terms.margin:g}: nothing can be called equivalent there. Use a larger test set.",
        )


def with_task_names(note: Note, labels: Labels) -> Note:
    """Return ``note`` with its tasks' labels in place of ``{tasks}``."""
    named = _some([labels.task(task) for task in note.tasks])
    return note._replace(text=note.text.replace("{tasks}", named))


def border_notes(tuned: pd.DataFrame, labels: Labels) -> Iterator[Note]:
    """Yield a note if chosen settings lie at the border of their space."""
    names = [
        f"{row.setting} of {labels.row(row.method, row.loss)} on {labels.task(row.task)}"
        for row in each_row(tuned[tuned["at_border"].astype(bool)])
    ]
    if names:
        yield Note(
            "border",
            f"Chosen at the border of the search space: {_some(names)}. A better value may lie "
            "outside: widen the space.",
        )


def budget_notes(
    rows: pd.DataFrame, trials: pd.DataFrame, baseline: str, labels: Labels
) -> Iterator[Note]:
    """Yield a note if tuned losses are compared with untuned ones, or unequal numbers of trials."""
    trained = list(dict.fromkeys(rows.loc[rows["trained"].astype(bool), "loss"]))
    if baseline not in trained:
        return
    tuned = baseline.endswith(TUNED)
    base = labels.loss(baseline)
    tried = trials.groupby(["task", "method", "loss"])["trial"].nunique().groupby("loss").max()
    others = [labels.loss(loss) for loss in trained if loss.endswith(TUNED) != tuned]
    if others:
        yield Note(
            "budget",
            f"{base} {'was' if tuned else 'was not'} tuned, unlike {_some(others)}: "
            "the tuning budgets of this comparison are not equal.",
        )
    budgets = {loss: int(tried[loss]) for loss in trained if loss in tried.index}
    unequal = [
        f"{labels.loss(loss)} {n}" for loss, n in budgets.items() if n != budgets.get(baseline, n)
    ]
    if unequal:
        yield Note(
            "budget",
            f"{base} had {budgets[baseline]} tuning trials and {_some(unequal)}: "
            "the tuning budgets of this comparison are not equal.",
        )


def row_notes(rows: pd.DataFrame, *, screening: bool, control: bool) -> Iterator[Note]:
    """Yield what a reader has to know about the rows before believing them."""
    baselines = {
        row.task: row.seeds
        for row in each_row(rows.loc[rows["main"] & (rows["verdict"] == BASELINE)])
    }
    controls = rows[rows["main"] & (rows["kind"] == CONTROL)]
    called = controls["verdict"].isin([*ABOVE, *BELOW]).sum()
    if control and called:
        yield Note(
            "control",
            f"The control, which is the baseline but for rounding, is called better or worse on "
            f"{called} of {len(controls)} tasks. Over many studies that should be 1 in 20.",
        )
    rows = rows[~rows["kind"].isin([REFERENCE, CONTROL])]
    compared = rows[rows["main"] & (rows["verdict"] != BASELINE)]
    if screening:
        yield Note(
            "screening",
            "Screening: rows borrow one another's variance. False findings are up to twice as "
            "frequent, and pairing counts for less. Run what looks good with more seeds.",
        )
    against = pd.Series(
        [baselines.get(task, -1) for task in compared["task"]], compared.index, dtype=int
    )
    for selected, words, advice in (
        (against == 0, "has no score on", ""),
        (against < 0, "was not run on", " Run it there, or choose another with `--baseline`."),
    ):
        tasks = dict.fromkeys(compared.loc[selected & (compared["seeds"] > 0), "task"])
        if tasks:
            yield Note(
                "baseline",
                f"The baseline {words} {_some(list(tasks))}: nothing there is compared with it."
                f"{advice}",
            )
    few = compared[
        (compared["verdict"] == UNDECIDED) & (compared["pairs"] < MIN_SEEDS) & (against > 0)
    ]
    if len(few):
        complete = few["seeds"] == few["planned"]
        yield Note(
            "seeds",
            f"{len(few)} of {len(compared)} comparisons have fewer than {MIN_SEEDS} paired seeds "
            "and are undecided."
            + (" Run more seeds." if (complete & (few["pairs"] == few["seeds"])).any() else "")
            + (" Some of their cells have no score yet." if not complete.all() else ""),
        )
    apart = dict.fromkeys(rows.loc[rows["main"] & ~rows["unit"].isin(["", "%"]), "task"])
    if apart:
        yield Note(
            "pooled",
            f"Not pooled over tasks, because its metric is not in points: {_some(list(apart))}.",
        )
    unmargined = dict.fromkeys(rows.loc[rows["main"] & rows["margin"].isna(), "task"])
    if unmargined and not compared.empty:
        yield Note(
            "margin",
            f"No margin is declared on {_some(list(unmargined))}: nothing there can be called "
            "equivalent. Give one with `--margin`.",
        )
    for row in rows[rows["main"] & (rows["failed"] > 0)].to_dict("records"):
        yield Note(
            "failed",
            f"{row['loss']} on {row['task']} failed or diverged at {row['failed']} of "
            f"{row['planned']} seeds: the remaining seeds are a biased sample, so no verdict is "
            "given.",
        )
    waiting = rows[rows["main"] & (rows["failed"] == 0) & (rows["seeds"] < rows["planned"])]
    for row in waiting[waiting["seeds"] > 0].to_dict("records"):
        yield Note(
            "waiting",
            f"{row['loss']} on {row['task']} has {row['seeds']} of {row['planned']} seeds so far: "
            "it has no rank and is not pooled over tasks until the others are run.",
        )
    for row in rows[rows["main"] & (rows["collapsed"] > 0)].to_dict("records"):
        yield Note(
            "collapsed",
            f"{row['loss']} on {row['task']} collapsed at {row['collapsed']} of {row['seeds']} "
            "seeds: its encoder gives nearly the same representation for every example, so "
            "its score says little about the loss. See its diagnostics.",
        )
    # `learned` is None where it was not tested, so compare with False.
    not_learned = rows[rows["main"] & rows["trained"] & (rows["learned"].eq(False))]
    if len(not_learned):
        named = [f"{row['loss']} on {row['task']}" for row in not_learned.to_dict("records")]
        yield Note(
            "untrained",
            f"Not shown to be better than untrained: {_some(named)}. What they learned, if "
            "anything, does not show in this score.",
        )
    # Another note is about rows that failed.
    scored = rows["main"] & rows["rank"].isna() & (rows["seeds"] > 0)
    whole = rows["seeds"] == rows["planned"]
    names = [
        f"{row['loss']} on {row['task']} ({row['seeds']} of {row['planned']} scores)"
        for row in rows[scored & (rows["failed"] == 0) & (rows["collapsed"] == 0) & whole].to_dict(
            "records"
        )
        if baselines.get(row["task"], 0) > 0
    ]
    if names:
        yield Note(
            "rank",
            f"{len(names)} {'row has' if len(names) == 1 else 'rows have'} no rank, because a "
            f"score at a seed of the baseline is lacking: {_some(names)}.",
        )


def pair_notes(rows: Sequence[Row], labels: Labels) -> Iterator[Note]:
    """Yield why seeds of a task are not paired with the baseline's, and what pairs do not share."""
    across: dict[tuple[str, ...], list[str]] = {}
    left_out: dict[str, list[str]] = {}
    if not any(row["seeds"] for row in rows if not row["compared"]):
        return
    for row in rows:
        if not row["compared"] or row["kind"] == REFERENCE:
            continue
        by_seed: Mapping[int, Pair] = row["pair_by_seed"]
        task, loss = labels.task(row["task"]), labels.row(row["method"], row["loss"])
        if row["pairs"] < row["seeds"]:
            differs = dict.fromkeys(
                reason for pair in by_seed.values() if not pair.paired for reason in pair.differs
            )
            lacking = row["seeds"] - len(by_seed)
            reasons = [f"the others differ in {', '.join(differs)}"] if differs else []
            reasons += [f"the baseline has no score at {lacking} of them"] if lacking else []
            yield Note(
                "pairs",
                f"{loss} on {task}: {row['pairs']} of {row['seeds']} seeds are "
                f"paired with the baseline's; {', and '.join(reasons)}.",
            )
        for pair in by_seed.values():
            if pair.paired and pair.across:
                across.setdefault(pair.across, []).append(loss)
            for name in pair.left_out if pair.paired else ():
                left_out.setdefault(name, []).append(loss)
    task = labels.task(rows[0]["task"])
    for machines, losses in across.items():
        yield Note(
            "pairs",
            f"{task}: {len(losses)} seeds of {_some([*dict.fromkeys(losses)])} are paired across "
            f"machines ({' and '.join(machines)}): the same batches and random streams, initial "
            f"weights within {CLOSE:g}. Views are not compared; scores may differ by rounding.",
        )
    for name, losses in left_out.items():
        yield Note(
            "pairs",
            f"{task}: the {name} of {_some([*dict.fromkeys(losses)])} has other shapes than the "
            "baseline's; the pairs share the other networks' initial weights.",
        )


def _some(names: list[str]) -> str:
    """Return the first ``MAX_NAMED`` names as text, and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
