"""From a table of scores to the leaderboard."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.curves import curve_rows, curves_of, steps_to_baseline
from leaderboards.diagnostics import chosen as chosen_diagnostics
from leaderboards.diagnostics import diagnostic_rows
from leaderboards.naming import TaskSpec, label, shared_settings, short_names, task_specs
from leaderboards.overall import friedman_over_tasks, overall_rows
from leaderboards.pairs import CLOSE, Pair
from leaderboards.panel import BASELINE, CANNOT_TELL, panel_rows
from leaderboards.series import response_rows, series_of
from leaderboards.statistics import FEWEST, ROPE
from leaderboards.tables import (
    CELL_COLUMNS,
    DIAGNOSTICS,
    PUBLISHED_COLUMNS,
    RECORD_COLUMNS,
    REFERENCE,
    ROW_COLUMNS,
    TRAINED,
    Leaderboard,
    Note,
    each_row,
    scored,
)
from leaderboards.tuning import trial_rows, tuned_rows

MOST_NAMED = 6
TUNED = "[tuned]"
"""How the label ends of a loss whose settings were chosen."""
PANEL = ["task", "method"]
MODALITIES = ("image", "sentence", "graph")
JUDGED = (
    "task", "modality", "method", "loss", "spec", "baseline", "stage", "seed", "status",
    "kind", "tuned", "collapsed", "split", "metric", "main", "unit", "direction", "step", "value",
    "steps", "proof",
)  # fmt: skip
"""What figures are made from: the records' other columns are long texts."""


def leaderboard(
    records: pd.DataFrame,
    baseline: str | None = None,
    *,
    rope: float = ROPE,
    published: pd.DataFrame | None = None,
    diagnostics: Sequence[str] = (),
) -> Leaderboard:
    """Return the leaderboard of ``records``: every loss on every task against the baseline.

    Scores are test scores of final cells. ``difference`` is the mean over seeds of a
    row's score less the baseline's of the same task, metric, method and seed. Only pairs
    count that started from the same weights, splits, data and code and, where both were
    trained, saw the same batches and views: :func:`leaderboards.pairs.pair_of`. ``rank`` is
    the rank in the task of the mean over the baseline's seeds, 1 the highest, ties averaged;
    a row that lacks one of those seeds has none. ``untrained`` is ranked, and no rival: it
    costs the others no correction. References, such as ``fixed:oracle``, are neither.

    Args:
        records: one row a score, with the columns ``RECORD_COLUMNS``.
        baseline: a label among the losses, ``[tuned]`` may be left out; without it the
            study's, else ``infonce``, else the first one.
        rope: half the width of the region of practical equivalence, in points.
        published: rows from papers, with the columns ``PUBLISHED_COLUMNS``; shown apart.
        diagnostics: names of those that are to be columns of the board.

    Raises:
        ValueError: where a column, the scores, the baseline or a diagnostic are not in
            ``records``, a score is no number or is there twice with different values, or
            ``rope`` is not positive.
    """
    papers = pd.DataFrame(columns=list(PUBLISHED_COLUMNS)) if published is None else published
    for name, given, columns in (
        ("records", records, RECORD_COLUMNS),
        ("published", papers, PUBLISHED_COLUMNS),
    ):
        missing = [column for column in columns if column not in given]
        if missing:
            raise ValueError(f"`{name}` must have the columns {missing}: got {list(given)}.")
    done = (records["status"] == "done") & (records["split"] != DIAGNOSTICS)
    wrong = records[done & ~np.isfinite(records["value"].astype(float))]
    if len(wrong):
        first = wrong.iloc[0]
        raise ValueError(
            f"`records` must hold numbers as scores: got {first['value']} as {first['metric']} of "
            f"{first['loss']} on {first['task']}, seed {first['seed']}. Leave the row out, or give "
            "it the status 'diverged'."
        )
    if not 0 < rope < math.inf:
        raise ValueError(f"`rope` must be a positive number of points, such as .5: got {rope}.")
    records = _without_repeats(records)
    judged = records.loc[records["split"] != DIAGNOSTICS, [*JUDGED, "trial", "settings", "space"]]
    final = judged.loc[judged["stage"] == "final", list(JUDGED)]
    lost = final[final["status"] != "done"]
    scores = scored(final, JUDGED)
    if scores.empty and lost.empty:
        raise ValueError("`records` must hold cells of the board: no cell is scored on test yet.")
    losses = list(final["loss"].unique())
    chosen = _baseline(baseline, final, losses)
    curves = curves_of(final)
    falling = final[final["direction"] == "lower"]
    lower = set(zip(falling["task"], falling["metric"], strict=True))
    reached = steps_to_baseline(curves, chosen, lower)
    specs = task_specs(records)
    names = short_names(specs)
    rows = []
    pair_notes: list[Note] = []
    for task in final["task"].unique():
        on_task = scores[scores["task"] == task]
        for declared in _metrics_of(on_task):
            measured = on_task[on_task["metric"] == declared.metric]
            panel = pd.concat([measured, lost[lost["task"] == task]])
            panel_of = panel_rows(panel, chosen, rope, lower=declared.direction == "lower")
            if declared.main:
                pair_notes += _pair_notes(panel_of, chosen, names[str(task)])
            for row in panel_of:
                key = (task, declared.metric, row["method"], row["loss"])
                row["steps_to_baseline"] = reached.get(key, math.nan)
                rows.append(row | declared._asdict())
    every = pd.DataFrame(rows, columns=list(ROW_COLUMNS)).assign(
        minor=lambda t: ~t["main"].astype(bool)
    )
    table = _ordered(every, ["task", "minor", "metric", "rank", "loss"])[list(ROW_COLUMNS)]
    trials = _ordered(trial_rows(judged), ["task", "method", "loss", "trial"])
    measured = diagnostic_rows(records)
    asked = chosen_diagnostics(diagnostics, measured)
    return Leaderboard(
        rows=table,
        overall=overall_rows(table, scores, chosen),
        friedman=friedman_over_tasks(table),
        cells=records[records["status"] != "done"][list(CELL_COLUMNS)].reset_index(drop=True),
        tuned=tuned_rows(judged, trials),
        trials=trials,
        curves=curve_rows(curves),
        records=records,
        baseline=chosen,
        rope=rope,
        published=papers,
        notes=(
            *_naming_notes(specs, names),
            *(_filled(Note(*note), names) for note in records.attrs.get("notes", ())),
            *_budgets(table, trials, chosen),
            *_notes(table.assign(task=table["task"].map(names))),
            *pair_notes,
        ),
        names=names,
        diagnostics=measured,
        asked=asked,
        responses=_responses(records, scores, table, asked, chosen, specs),
    )


class _Declared(NamedTuple):
    """What a task declares of a metric."""

    metric: str
    main: bool
    unit: str
    direction: str


def _metrics_of(scores: pd.DataFrame) -> list[_Declared]:
    """Return the metrics of one task, the main one first; one without a name for no score."""
    found = [_Declared(*row) for row in each_row(scores[list(_Declared._fields)].drop_duplicates())]
    names = [one.metric for one in found]
    for name in names:
        if names.count(name) > 1:
            ways = [tuple(one[1:]) for one in found if one.metric == name]
            raise ValueError(
                f"`records` must declare each metric of a task once: {name!r} of "
                f"{scores['task'].iloc[0]} has (main, unit, direction) {ways}. Run the study "
                "again, so that all its records are of one version of the task."
            )
    return sorted(found, key=lambda one: not one.main) or [_Declared("", True, "", "higher")]


def _responses(
    records: pd.DataFrame,
    scores: pd.DataFrame,
    rows: pd.DataFrame,
    asked: tuple[str, ...],
    baseline: str,
    specs: Mapping[str, TaskSpec],
) -> pd.DataFrame:
    """Return scores, and the diagnostics asked for, against settings in which tasks differ."""
    last = (records["stage"] == "final") & (records["step"] == records["steps"])
    wanted = last & (records["split"] == DIAGNOSTICS) & records["metric"].isin(asked)
    values = pd.concat([scores, records.loc[wanted, list(JUDGED)]])
    on_main = rows[rows["main"].astype(bool)]
    main = dict(zip(on_main["task"], on_main["metric"], strict=True))
    return response_rows(values, series_of(specs), baseline, main)


def _without_repeats(records: pd.DataFrame) -> pd.DataFrame:
    """Return ``records`` with each score once: tables that were put together may overlap."""
    score = ["task", "method", "loss", "stage", "trial", "seed", "split", "metric", "step"]
    if not records.duplicated([*score, "status"]).any():
        return records.reset_index(drop=True)
    kept = records[~records.duplicated([*score, "status", "value"])].reset_index(drop=True)
    twice = kept[kept.duplicated([*score, "status"]) & (kept["status"] == "done")]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(
            f"`records` must hold each score once: got {len(twice)} with two values, such as "
            f"{first['metric']} of {first['loss']} on {first['task']}, seed {first['seed']}. "
            "Read all folders at once: load_records(folder, another)."
        )
    return kept


def _baseline(given: str | None, final: pd.DataFrame, losses: list[str]) -> str:
    studys = final.loc[final["baseline"].astype(bool), "loss"]
    trained = set(final.loc[final["kind"] == TRAINED, "loss"])
    wanted = [*studys.head(1), "infonce", *sorted(losses, key=lambda loss: loss not in trained)]
    if given is not None:
        wanted = [given, given + TUNED]
    found = next((loss for loss in wanted if loss in losses), None)
    if found is None:
        known = ", ".join(losses)
        raise ValueError(f"`baseline` must be one of {known}: got {given!r}.")
    return str(found)


def _ordered(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Put modalities in their order, and the rows of each ``by`` these columns."""
    others = sorted(set(rows["modality"]) - set(MODALITIES))
    order = {name: place for place, name in enumerate([*MODALITIES, *others])}
    places = rows.assign(place=rows["modality"].map(order))
    return places.sort_values(["place", *by], kind="stable")[list(rows)].reset_index(drop=True)


def _naming_notes(specs: Mapping[str, TaskSpec], names: Mapping[str, str]) -> list[Note]:
    """Return what the short names leave out."""
    if all(spec == name for spec, name in names.items()):
        return []
    return [
        Note("settings", f"{name} is {label(name, own)} here.")
        for name, own in shared_settings(specs).items()
    ]


def _filled(note: Note, names: Mapping[str, str]) -> Note:
    """Return ``note`` with the names of its tasks in its text."""
    named = _some([names.get(task, task) for task in note.tasks])
    return note._replace(text=note.text.replace("{tasks}", named))


def _budgets(rows: pd.DataFrame, trials: pd.DataFrame, baseline: str) -> Iterator[Note]:
    """Yield which comparisons are not of equal budgets: tuned with not, few trials with many."""
    trained = list(dict.fromkeys(rows.loc[rows["trained"].astype(bool), "loss"]))
    if baseline not in trained:
        return
    tuned = baseline.endswith(TUNED)
    tried = trials.groupby(["task", "method", "loss"])["trial"].nunique().groupby("loss").max()
    unlike = [loss for loss in trained if loss.endswith(TUNED) != tuned]
    if unlike:
        yield Note(
            "budget",
            f"{baseline} {'was' if tuned else 'was not'} tuned, unlike {_some(unlike)}: "
            "that comparison is not one of equal budgets.",
        )
    budgets = {loss: int(tried[loss]) for loss in trained if loss in tried.index}
    other = [f"{loss} {n}" for loss, n in budgets.items() if n != budgets.get(baseline, n)]
    if other:
        yield Note(
            "budget",
            f"{baseline} had {budgets[baseline]} tuning trials and {_some(other)}: "
            "that comparison is not one of equal budgets.",
        )


def _notes(rows: pd.DataFrame) -> Iterator[Note]:
    """Yield what a reader has to know of the rows before believing them."""
    rows = rows[rows["kind"] != REFERENCE]
    compared = rows[rows["main"] & (rows["verdict"] != BASELINE)]
    baselines = {
        (row.task, row.method): row.seeds
        for row in each_row(rows.loc[rows["main"] & (rows["verdict"] == BASELINE)])
    }
    several = rows["method"].nunique() > 1
    against = pd.Series(
        [baselines.get(panel, -1) for panel in each_row(compared[PANEL])],
        compared.index,
        dtype=int,
    )
    for which, words, advice in (
        (against == 0, "has no score on", ""),
        (against < 0, "was not run on", " Run it there, or choose another with `--baseline`."),
    ):
        panels = dict.fromkeys(each_row(compared.loc[which & (compared["seeds"] > 0), PANEL]))
        if panels:
            where = [f"{task} ({method})" if several else str(task) for task, method in panels]
            yield Note(
                "baseline",
                f"The baseline {words} {_some(where)}: nothing there is compared with it.{advice}",
            )
    few = compared[(compared["verdict"] == CANNOT_TELL) & (against > 0)]
    if len(few):
        whole = few["seeds"] == few["planned"]
        yield Note(
            "seeds",
            f"{len(few)} of {len(compared)} comparisons have fewer than {FEWEST} paired seeds: "
            "the board cannot tell."
            + (" Run more seeds." if (whole & (few["pairs"] == few["seeds"])).any() else "")
            + (" Some of their cells have no score yet." if not whole.all() else ""),
        )
    for row in rows[rows["main"] & (rows["failed"] > 0)].to_dict("records"):
        yield Note(
            "failed",
            f"{row['loss']} on {row['task']} failed or diverged at {row['failed']} of "
            f"{row['planned']} seeds: those that are left are no fair sample, and give no verdict.",
        )
    for row in rows[rows["main"] & (rows["collapsed"] > 0)].to_dict("records"):
        yield Note(
            "collapsed",
            f"{row['loss']} on {row['task']} collapsed at {row['collapsed']} of {row['seeds']} "
            "seeds: its encoder gives nearly the same representation for every example, and its "
            "score is no result of the loss. See its diagnostics.",
        )
    idle = rows[rows["main"] & rows["trained"] & (rows["learned"].eq(False))]
    if len(idle):
        named = [f"{row['loss']} on {row['task']}" for row in idle.to_dict("records")]
        yield Note(
            "untrained",
            f"Not shown to be better than untrained: {_some(named)}. What they learned, if "
            "anything, does not show in this score.",
        )
    unranked = [
        f"{row['loss']} on {row['task']} ({row['seeds']} of {row['planned']} scores)"
        for row in rows[rows["main"] & rows["rank"].isna() & (rows["seeds"] > 0)].to_dict("records")
        if baselines.get((row["task"], row["method"]), 0) > 0
    ]
    if unranked:
        yield Note(
            "rank",
            f"{len(unranked)} rows have no rank, which needs every seed of the baseline: "
            f"{_some(unranked)}.",
        )


def _pair_notes(rows: Sequence[Mapping[str, Any]], baseline: str, task: str) -> Iterator[Note]:
    """Yield what there is to say about the pairs of one task with the baseline's cells.

    ``task`` is its name in the notes.
    """
    across: dict[tuple[str, ...], list[str]] = {}
    left_out: dict[str, list[str]] = {}
    compared = {row["method"] for row in rows if row["loss"] == baseline and row["seeds"]}
    for row in rows:
        if row["loss"] == baseline or row["kind"] == REFERENCE or row["method"] not in compared:
            continue
        found: Mapping[int, Pair] = row["found"]
        if row["pairs"] < row["seeds"]:
            why = dict.fromkeys(
                w for pair in found.values() if not pair.paired for w in pair.differs
            )
            lacking = row["seeds"] - len(found)
            reasons = [f"the others differ in {', '.join(why)}"] if why else []
            reasons += [f"the baseline lacks {lacking} of them"] if lacking else []
            yield Note(
                "pairs",
                f"{row['loss']} on {task}: {row['pairs']} of {row['seeds']} seeds are "
                f"paired with the baseline's; {', and '.join(reasons)}.",
            )
        for pair in found.values():
            if pair.paired and pair.across:
                across.setdefault(pair.across, []).append(str(row["loss"]))
            for name in pair.left_out if pair.paired else ():
                left_out.setdefault(name, []).append(str(row["loss"]))
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
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
