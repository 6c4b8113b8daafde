"""From a table of scores to the leaderboard."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.budget import budget_rows
from leaderboards.analysis.costs import costs
from leaderboards.analysis.curves import area_differences, curve_rows, curves_of
from leaderboards.analysis.diagnostics import chosen as chosen_diagnostics
from leaderboards.analysis.diagnostics import diagnostic_rows
from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.naming import Labels, Spec, labels_of, task_specs
from leaderboards.analysis.notes import (
    TUNED,
    border_notes,
    budget_notes,
    pair_notes,
    resolution_notes,
    row_notes,
    with_task_names,
)
from leaderboards.analysis.order import by_series, order_of_rows, order_of_tasks, ordered
from leaderboards.analysis.overall import friedman_over_tasks, overall_rows
from leaderboards.analysis.rows import WORKING, Row, Terms, panel_rows
from leaderboards.analysis.series import Series, response_rows, series_of
from leaderboards.analysis.tables import (
    DIAGNOSTICS,
    PUBLISHED_COLUMNS,
    RECORD_COLUMNS,
    TRAINED,
    Note,
    each_row,
    scored,
)
from leaderboards.analysis.tuning import trial_rows, tuned_rows
from leaderboards.statistics.paired import MIN_SEEDS, mean_interval, of_samples

METHOD = "siamese"
"""The method of the baseline row, where several methods train the baseline's loss."""
ORDER = ["task", "method", "loss", "stage", "trial", "seed", "split", "metric", "step"]
CELL_COLUMNS = ["task", "method", "loss", "spec", "stage", "trial", "seed", "status", "reason"]
SCORE_COLUMNS = (
    "task", "modality", "method", "loss", "spec", "baseline", "stage", "seed", "status",
    "kind", "tuned", "collapsed", "split", "metric", "main", "unit", "direction", "margin",
    "resolution", "step", "value", "steps", "proof", "data",
)  # fmt: skip
"""The records' columns that every score needs; most others hold long texts."""


def leaderboard(
    records: pd.DataFrame,
    baseline: str | None = None,
    *,
    margin: float | Mapping[str, float] | None = None,
    screening: bool = False,
    published: pd.DataFrame | None = None,
    diagnostics: Sequence[str] = (),
) -> Leaderboard:
    """Return the leaderboard of ``records``: every loss on every task against the baseline.

    Scores are test scores of final cells. ``difference`` is the mean over seeds of a
    row's score minus the baseline's of the same task, metric and seed. Only pairs
    count: cells that started from the same weights, splits, data and code and, if both were
    trained, saw the same batches and views (:func:`leaderboards.analysis.pairs.pair_of`).
    ``rank`` is the rank within the task of the mean over the baseline's seeds: 1 is best, ties
    are averaged, and a row that lacks one of those seeds has no rank. ``untrained`` is ranked,
    but is no rival: the simultaneous intervals are over the losses alone. References, such as
    ``fixed:oracle``, and the control are neither. ``verdict`` is the word that follows from the
    interval and the metric's margin (:mod:`leaderboards.analysis.words`).

    Args:
        records: one row per score, with the columns ``RECORD_COLUMNS``.
        baseline: the label of a loss, or METHOD/LOSS; its ``[tuned]`` may be left out. By
            default the study's baseline, else ``infonce``, else the first loss; trained by
            ``siamese``, else by the first method.
        margin: the smallest difference that matters, in the metrics' unit, or {task or its name:
            margin}; None: what the tasks declare.
        screening: whether rows borrow one another's variance, to choose what to run with more
            seeds.
        published: rows from papers, with the columns ``PUBLISHED_COLUMNS``; shown apart.
        diagnostics: names of the diagnostics that the board shows as columns.

    Raises:
        ValueError: if ``records`` lack a column, the scores, the baseline or a diagnostic,
            if a score is not a number or occurs twice with different values, or if a margin
            is not positive or of a task that is not there.
    """
    papers = pd.DataFrame(columns=list(PUBLISHED_COLUMNS)) if published is None else published
    for name, table, columns in (
        ("records", records, RECORD_COLUMNS),
        ("published", papers, PUBLISHED_COLUMNS),
    ):
        missing = [column for column in columns if column not in table]
        if missing:
            raise ValueError(f"`{name}` must have the columns {missing}: got {list(table)}.")
    done = (records["status"] == "done") & (records["split"] != DIAGNOSTICS)
    wrong = records[done & ~np.isfinite(records["value"].astype(float))]
    if len(wrong):
        first = wrong.iloc[0]
        raise ValueError(
            f"`records` must hold numbers as scores: got {first['value']} as {first['metric']} of "
            f"{first['loss']} on {first['task']}, seed {first['seed']}. Leave the row out, or give "
            "it the status 'diverged'."
        )
    attrs = records.attrs
    # Sums depend on the order of their terms: the same records must give the same board.
    records = _without_repeats(records).sort_values(ORDER, kind="stable", ignore_index=True)
    measured_rows = records.loc[
        records["split"] != DIAGNOSTICS, [*SCORE_COLUMNS, "trial", "settings", "space"]
    ]
    final = measured_rows.loc[measured_rows["stage"] == "final", list(SCORE_COLUMNS)]
    without_score = final[final["status"] != "done"]
    scores = scored(final, SCORE_COLUMNS)
    if scores.empty and without_score.empty:
        raise ValueError("`records` must hold cells of the board: no cell is scored on test yet.")
    losses = list(final["loss"].unique())
    records.attrs = attrs  # Not every operation of pandas keeps them.
    labels = labels_of(records)
    # The baseline may be given by its label.
    by_label = {label: loss for loss, label in labels.losses.items()}
    key = _baseline(by_label.get(str(baseline), baseline), final, losses)
    label_of_baseline = key[1]
    curves = curves_of(final)
    specs = task_specs(records)
    margins = _margins(margin, specs, scores)
    rows: list[Row] = []
    notes: list[Note] = []
    for task in final["task"].unique():
        on_task = scores[scores["task"] == task]
        for declared in _metrics_of(on_task):
            measured = on_task[on_task["metric"] == declared.metric]
            panel = pd.concat([measured, without_score[without_score["task"] == task]])
            terms = Terms(
                baseline=key,
                margin=margins.get(str(task), _number(declared.margin))
                if declared.main
                else _number(declared.margin),
                resolution=float(measured["resolution"].astype(float).max()),
                lower=declared.direction == "lower",
                screening=screening,
            )
            compared = panel_rows(panel, terms)
            if declared.main:
                notes += pair_notes(compared, labels)
                notes += resolution_notes(measured, compared, terms, labels.task(task))
            shared = declared._asdict() | {"margin": terms.margin}
            rows += [row | shared for row in compared]
    _add_areas(rows, area_differences(curves, key))
    paired = {_row_key(row): row["differences"] for row in rows}
    overall = overall_rows(rows, _data_of(final))
    order = order_of_rows(rows, overall)
    tasks = order_of_tasks(rows, attrs.get("tasks", ()))

    def sort(table: pd.DataFrame, *by: str) -> pd.DataFrame:
        return ordered(table, tasks, order, by)

    table = sort(pd.DataFrame(rows).drop(columns=list(WORKING)), "minor", "metric")
    trials = sort(trial_rows(measured_rows))
    tuned = sort(tuned_rows(measured_rows, trials))
    diagnosed = sort(diagnostic_rows(records), "diagnostic")
    # The control repeats the study's baseline, which the user may have replaced.
    is_own_control = bool(final.loc[final["loss"] == label_of_baseline, "baseline"].any())
    lower = frozenset(row["task"] for row in rows if row["main"] and row["direction"] == "lower")
    shown = chosen_diagnostics(diagnostics, diagnosed)
    responses = _responses(
        records, scores, table, shown, key, series_of(specs, attrs.get("labels"))
    )
    return Leaderboard(
        rows=table,
        overall=overall,
        friedman=friedman_over_tasks(table),
        cells=sort(records.loc[records["status"] != "done", CELL_COLUMNS]),
        tuned=tuned,
        trials=trials,
        budget=sort(budget_rows(trials, key, lower)),
        curves=sort(curve_rows(curves, key, paired), "metric"),
        records=records,
        baseline=label_of_baseline,
        baseline_method=key[0],
        screening=screening,
        published=papers,
        notes=(
            *(with_task_names(Note(*note), labels) for note in attrs.get("notes", ())),
            *budget_notes(table, trials, label_of_baseline, labels),
            *border_notes(tuned, labels),
            *row_notes(_labelled(table, labels), screening=screening, control=is_own_control),
            *notes,
        ),
        labels=labels,
        order=order,
        differences=paired,
        costs=costs(records),
        title=attrs.get("title", ""),
        diagnostics=diagnosed,
        asked=shown,
        responses=by_series(responses, order),
    )


def _data_of(final: pd.DataFrame) -> dict[str, str]:
    """Return {task: what identifies its data set}.

    A task that reads no data makes them from its settings: it is a data set of its own.
    """
    found = {task: str(task) for task in final["task"].unique()}
    told = final.loc[final["data"].notna() & ~final["data"].isin(["", "{}"]), ["task", "data"]]
    return found | dict(told.drop_duplicates("task").itertuples(index=False, name=None))


def _row_key(row: Row) -> tuple[str, str, str, str]:
    return row["task"], row["metric"], row["method"], row["loss"]


def _labelled(rows: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return ``rows`` with labels for tasks and losses, as notes name them."""
    losses = [labels.row(*row) for row in zip(rows["method"], rows["loss"], strict=True)]
    return rows.assign(task=rows["task"].map(labels.task), loss=losses)


class _Declared(NamedTuple):
    """What a task declares of a metric."""

    metric: str
    main: bool
    unit: str
    direction: str
    margin: float | None


def _metrics_of(scores: pd.DataFrame) -> list[_Declared]:
    """Return the metrics of one task, the main one first.

    A task without a score has one metric without a name, so that its cells get rows.
    """
    declared = [
        _Declared(*row) for row in each_row(scores[list(_Declared._fields)].drop_duplicates())
    ]
    names = [one.metric for one in declared]
    for name in names:
        if names.count(name) > 1:
            ways = [tuple(one[1:]) for one in declared if one.metric == name]
            raise ValueError(
                f"`records` must declare each metric of a task once: {name!r} of "
                f"{scores['task'].iloc[0]} has (main, unit, direction, margin) {ways}. Run the "
                "study again, so that all its records are of one version of the task."
            )
    if declared and not any(one.main for one in declared):
        raise ValueError(
            f"`records` must mark one metric of each task as `main`: {scores['task'].iloc[0]} has "
            f"{', '.join(names)}, and none of them is."
        )
    return sorted(declared, key=lambda one: not one.main) or [
        _Declared("", True, "", "higher", None)
    ]


def _responses(
    records: pd.DataFrame,
    scores: pd.DataFrame,
    rows: pd.DataFrame,
    diagnostics: tuple[str, ...],
    baseline: tuple[str, str],
    series: Sequence[Series],
) -> pd.DataFrame:
    """Return the scores and these diagnostics against settings in which the tasks differ."""
    last = (records["stage"] == "final") & (records["step"] == records["steps"])
    wanted = last & (records["split"] == DIAGNOSTICS) & records["metric"].isin(diagnostics)
    values = pd.concat([scores, records.loc[wanted, list(SCORE_COLUMNS)]])
    on_main = rows[rows["main"].astype(bool)]
    main = dict(zip(on_main["task"], on_main["metric"], strict=True))
    return response_rows(values, series, baseline, main)


def _without_repeats(records: pd.DataFrame) -> pd.DataFrame:
    """Return ``records`` with each score once; concatenated tables may overlap."""
    if not records.duplicated([*ORDER, "status"]).any():
        return records.reset_index(drop=True)
    kept = records[~records.duplicated([*ORDER, "status", "value"])].reset_index(drop=True)
    twice = kept[kept.duplicated([*ORDER, "status"]) & (kept["status"] == "done")]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(
            f"`records` must hold each score once: got {len(twice)} with two values, such as "
            f"{first['metric']} of {first['loss']} on {first['task']}, seed {first['seed']}. "
            "Read all folders at once: load_records(folder, another)."
        )
    return kept


def _margins(
    given: float | Mapping[str, float] | None,
    specs: Mapping[str, Spec],
    scores: pd.DataFrame,
) -> dict[str, float]:
    """Return {task: the margin that replaces what it declares}.

    Raises:
        ValueError: if a margin is not a positive number, if one number is given for metrics of
            several units, or if a task is not on the board.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        units = dict.fromkeys(scores.loc[scores["main"].astype(bool), "unit"])
        if len(units) > 1:
            raise ValueError(
                f"`margin` must name its task if metrics have several units: got {given} for the "
                f"units {', '.join(map(repr, units))}. Write TASK=MARGIN for each task."
            )
        given = dict.fromkeys(specs, given)
    for name, margin in given.items():
        if not _is_positive(margin):
            raise ValueError(
                f"`margin` must be a number above 0, in the metric's unit: got {margin} for "
                f"{name}. Half a point is 0.5."
            )
        if not any(name in (task, spec.name) for task, spec in specs.items()):
            raise ValueError(
                f"`margin` must be of a task on the board: got {name!r}. The tasks are "
                f"{', '.join(specs)}."
            )
    # A task's whole spec counts more than the name that it shares with others.
    chosen = {task: given.get(task, given.get(spec.name)) for task, spec in specs.items()}
    return {task: float(margin) for task, margin in chosen.items() if margin is not None}


def _is_positive(value: object) -> bool:
    """Return whether a margin is a finite number above 0."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        return False
    try:
        return 0 < float(value) < math.inf
    except OverflowError:
        return False


def _number(value: float | None) -> float | None:
    """Return a declared margin; None where the table holds none."""
    return None if value is None or math.isnan(value) else float(value)


def _baseline(given: str | None, final: pd.DataFrame, losses: list[str]) -> tuple[str, str]:
    """Return the method and label of the baseline row: the given one, or else the default."""
    of_study = final.loc[final["baseline"].astype(bool), "loss"]
    trained = set(final.loc[final["kind"] == TRAINED, "loss"])
    rows = dict.fromkeys(zip(final["method"], final["loss"], strict=True))
    # `sorted` is stable: the trained losses come first, each kind in the order of `losses`.
    choices = [*of_study.head(1), "infonce", *sorted(losses, key=lambda loss: loss not in trained)]
    if given is not None:
        choices = [given, given + TUNED]
        named = next((row for row in rows if "/".join(row) in choices), None)
        if named is not None:
            return named
    label = next((loss for loss in choices if loss in losses), None)
    if label is None:
        known = ", ".join(losses)
        raise ValueError(f"`baseline` must be one of {known}: got {given!r}.")
    methods = [method for method, loss in rows if loss == label]
    return METHOD if METHOD in methods else min(methods), str(label)


def _add_areas(
    rows: Sequence[Row], differences: Mapping[tuple[str, str, str, str], Mapping[int, float]]
) -> None:
    """Add the paired difference of the area under each row's validation curve."""
    samples = []
    for row in rows:
        by_seed = differences.get((row["task"], row["metric"], row["method"], row["loss"]), {})
        paired = [by_seed[seed] for seed in row["differences"] if seed in by_seed]
        whole = row["compared"] and row["comparable"] and not row["collapsed"]
        samples.append(paired if whole and len(paired) >= MIN_SEEDS else [])
    areas = of_samples(mean_interval, samples).T.tolist()
    for row, (area, low, high) in zip(rows, areas, strict=True):
        row.update(area=area, area_low=low, area_high=high)
