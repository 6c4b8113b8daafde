"""The answer in a few sentences, the facts of a study, its warnings and its methods."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.marks import flaw
from leaderboards.analysis.overall import ALL
from leaderboards.analysis.tables import TRAINED, Note, each_row
from leaderboards.analysis.visible import MAX_TEXT, brief
from leaderboards.analysis.words import (
    BASELINE,
    COLLAPSED,
    EQUIVALENT,
    INCOMPLETE,
    OPEN,
    SLIGHTLY_BETTER,
    SLIGHTLY_WORSE,
    amount,
    possible_failures,
    with_margin,
)
from leaderboards.report import numbers
from leaderboards.report.model import BETTER, SAME, UNSETTLED, WORSE, Notice, outcome
from leaderboards.report.scores import difference, thresholds
from leaderboards.statistics.paired import MIN_SEEDS

MIN_STEADY = 5
"""Seeds below which *equivalent* is said with the share of seeds that may differ unseen."""
MANY_SEEDS = 1e5
"""Above this, the number of seeds needed is not said: nobody would run so many."""
MAX_NAMED = 6
"""A sentence names at most this many losses."""
NO_VERDICT = "no verdict"

HEADLINES = {
    "records": "{count} notes on records that were left out, or are of another version.",
    "baseline": "{count} notes on the choice of the baseline.",
    "waiting": "{count} rows have scores at some of their seeds so far.",
    "failed": "{count} rows lack seeds that failed or diverged: they have no verdict.",
    "collapsed": "{count} rows collapsed: they have no verdict.",
    "pairs": "{count} notes on seeds that are not paired, or paired across machines.",
    "resolution": "{count} notes on the resolution of scores.",
    "budget": "{count} notes on tuning budgets that are not equal.",
}
"""{kind of note: the line that stands for several}."""


def answer(board: Leaderboard) -> tuple[str, ...]:
    """Return at most three sentences: better, worse, and neither, each with its losses."""
    labels, base = board.labels, board.baseline_label
    main = board.rows[board.rows["main"].astype(bool)]
    tasks = list(dict.fromkeys(main["task"]))
    rivals = main[main["trained"].astype(bool) & (main["verdict"] != BASELINE)]
    if rivals.empty:
        return (f"No loss was compared with {base}.",)
    by_loss: dict[tuple[str, str], list[Any]] = {}
    for row in each_row(rivals):
        by_loss.setdefault((row.method, row.loss), []).append(row)
    found: dict[str, dict[str, list[Any]]] = {}
    for key in (key for key in board.order if key in by_loss):
        for row in by_loss[key]:
            kind = outcome(row.verdict) or NO_VERDICT
            found.setdefault(kind, {}).setdefault(labels.row(*key), []).append(row)

    def said(kind: str) -> str:
        items = found[kind].items()
        parts = [loss + _where(board, rows, len(tasks)) for loss, rows in list(items)[:MAX_NAMED]]
        more = len(items) - MAX_NAMED
        return "; ".join(parts) + (f"; and {more} more" if more > 0 else "") + "."

    several = len(tasks) > 1
    everywhere = f"on any of {len(tasks)} tasks" if several else f"on {labels.task(tasks[0])}"
    better, worse = "Better than", "Worse"
    if board.screening:  # Nothing is decided: say what to run with more seeds.
        better, worse = "Worth more seeds (screening, no verdict), above", "Below it"
    lines = [
        f"{better} {base}: {said(BETTER)}"
        if BETTER in found
        else f"No loss is shown better than {base} {everywhere}."
    ]
    if WORSE in found:
        lines.append(f"{worse}: {said(WORSE)}")
    neither = [
        f"{heading}: {said(kind)}"
        for kind, heading in (
            (SAME, "Equivalent within the margin"),
            (UNSETTLED, "Undecided"),
            (NO_VERDICT, "No verdict"),
        )
        if kind in found
    ]
    return (*lines, " ".join(neither)) if neither else tuple(lines)


def _where(board: Leaderboard, rows: Sequence[Any], of: int) -> str:
    """Return on which tasks a loss has an outcome, and whether by less than the margin."""
    marks = dict.fromkeys(flaw(row._asdict()) for row in rows)
    lacking = "; ".join(why for why in marks if why)
    by_less = all(row.verdict in (SLIGHTLY_BETTER, SLIGHTLY_WORSE) for row in rows)
    amounts = {amount(row.margin, row.unit) for row in rows if row.margin is not None}
    less = amounts.pop() if len(amounts) == 1 else "the margin"
    notes = [f"by less than {less}" if by_less else "", lacking]
    about = f" ({'; '.join(filter(None, notes))})" if any(notes) else ""
    if of == 1:
        return about
    if len(rows) == of:
        return f" on {'both' if of == 2 else f'all {of}'} tasks{about}"
    if len(rows) <= 2:
        return f" on {' and '.join(board.labels.task(row.task) for row in rows)}{about}"
    return f" on {len(rows)} of {of} tasks{about}"


def pooled(board: Leaderboard, digits: int) -> tuple[str, ...]:
    """Return a sentence a loss on its pooled difference over all tasks."""
    labels = board.labels
    over = board.overall[(board.overall["scope"] == ALL) & (board.overall["kind"] == TRAINED)]
    found = []
    for row in each_row(over):
        if row.verdict == BASELINE or row.sets < 2 or math.isnan(row.low):
            continue
        ahead = ""
        if not math.isnan(row.next_low):
            ends = f"{row.next_low:+.{digits}f} to {row.next_high:+.{digits}f}"
            ahead = f"; on a next task, {ends}"
        shown = numbers.interval(row.pooled, row.low, row.high, thresholds(row.margin), digits)
        found.append(
            f"Over {row.sets} data sets {labels.row(row.method, row.loss)} is "
            f"{with_margin(row.verdict, row.margin, '%')}, {shown} points from "
            f"{board.baseline_label} (between data sets: {row.tau:.2f}){ahead}."
        )
    return tuple(found)


def sentences(board: Leaderboard, digits: int) -> Iterator[str]:
    """Yield a sentence for each loss on each task, by the main metric."""
    labels = board.labels
    main = board.rows[board.rows["main"].astype(bool) & board.rows["trained"].astype(bool)]
    for row in each_row(main[main["verdict"] != BASELINE]):
        name, base = labels.row(row.method, row.loss), board.baseline_label
        yield f"{labels.task(row.task)}: {name} against {base} {judged(row, digits)}."


def judged(row: Any, digits: int) -> str:
    """Return what a row's interval says, with its figures, after "X against Y"."""
    if row.verdict == INCOMPLETE:
        return "has no verdict: one of them failed or diverged at a seed"
    if row.verdict == COLLAPSED:
        return "has no verdict: representations of one of them collapsed"
    if row.pairs < MIN_SEEDS:
        seeds = "1 paired seed" if row.pairs == 1 else f"{row.pairs} paired seeds"
        if not row.pairs and row.seeds:
            return "is undecided: no seed is paired with the baseline's"
        return f"is undecided: {seeds}, of at least {MIN_SEEDS}"
    if math.isnan(row.bound):
        few = "too few losses have every seed of the baseline to borrow variance from"
        return f"is undecided, {row.difference:+.{digits}f}: {few}"
    said = f"is {with_margin(row.verdict, row.margin, row.unit)}, {difference(row, digits)}"
    if row.direction == "lower":
        said += " (lower is better)"
    said += f", |d| < {numbers.bound(row.bound)}"
    if row.constant:
        said += "; the difference does not depend on the seed"
    if row.verdict == EQUIVALENT and row.pairs < MIN_STEADY:
        share = possible_failures(row.pairs)
        said += f"; up to {share:.0%} of seeds may still differ by more"
    needed = row.seeds_to_decide
    if row.verdict in OPEN and row.pairs < needed < MANY_SEEDS:
        margin = amount(row.margin, row.unit)
        said += f"; about {needed:.0f} seeds would decide at a margin of {margin}"
    return said


def facts(board: Leaderboard) -> Iterator[str]:
    """Yield the study's size, time, machine and tuning budgets."""
    records = board.records
    done = records[records["status"] == "done"].drop_duplicates("key")
    trained = board.rows[board.rows["trained"].astype(bool)]
    main = board.rows[board.rows["main"].astype(bool)]
    if board.is_part:
        yield "a part of the board"
    yield _count(main["task"].nunique(), "task")
    yield _count(len(trained[["method", "loss"]].drop_duplicates()), "loss", "losses")
    yield seeds_of(board)
    yield _count(len(done), "run")
    yield f"{numbers.seconds(float(done['seconds'].astype(float).sum()))} of compute"
    dates = sorted(str(date)[:10] for date in done["finished"].dropna())
    if dates:
        yield dates[-1]
    commits = sorted({str(commit)[:7] for commit in done["commit"].dropna() if commit})
    if commits:
        yield f"commit {commits[0]}" if len(commits) == 1 else f"{len(commits)} commits"
    devices = sorted({str(device) for device in done["device"].dropna()})
    if devices:
        yield devices[0] if len(devices) == 1 else f"{len(devices)} devices"
    tuned = board.trials.groupby("loss")["trial"].nunique()
    if len(tuned):
        budgets = sorted(set(tuned))
        each = str(budgets[0]) if len(budgets) == 1 else f"{budgets[0]} to {budgets[-1]}"
        losses = trained["loss"].nunique()
        word = "trial" if each == "1" else "trials"
        yield f"{len(tuned)} of {losses} losses tuned, {each} {word} each"


def seeds_of(board: Leaderboard) -> str:
    """Return how many seeds the rows were planned with: ``5 seeds``, or ``3 to 5 seeds``."""
    main = board.rows[board.rows["main"].astype(bool) & board.rows["trained"].astype(bool)]
    planned = sorted(set(main["planned"].astype(int))) or [0]
    if len(planned) == 1:
        return _count(planned[0], "seed")
    return f"{planned[0]} to {planned[-1]} seeds"


def margin_of(board: Leaderboard) -> str:
    """Return the margin of the main metrics, if all have the same; else an empty text."""
    main = board.rows[board.rows["main"].astype(bool)]
    known = main[main["margin"].notna()]
    margins = {amount(row.margin, row.unit) for row in each_row(known)}
    return margins.pop() if len(margins) == 1 else ""


def _count(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun.

    >>> _count(1, "task"), _count(2, "loss", "losses"), _count(1200, "run")
    ('1 task', '2 losses', '1,200 runs')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def warnings(notes: Sequence[Note]) -> Iterator[Notice]:
    """Yield one line for each kind of note; the notes follow it where they are several."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        kinds.setdefault(note.kind, []).append(note.text)
    for kind, texts in kinds.items():
        if len(texts) == 1:
            yield Notice(kind, brief(texts[0], MAX_TEXT))
        else:
            headline = HEADLINES.get(kind, f"{{count}} notes on {kind}.")
            details = tuple(brief(text, MAX_TEXT) for text in texts)
            yield Notice(kind, headline.format(count=len(texts)), details)
