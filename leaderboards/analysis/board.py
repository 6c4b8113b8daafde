"""From a table of scores to the leaderboard."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.curves import area_differences, curve_rows, curves_of
from leaderboards.analysis.diagnostics import chosen as chosen_diagnostics
from leaderboards.analysis.diagnostics import diagnostic_rows
from leaderboards.analysis.naming import TaskSpec, label, shared_settings, short_names, task_specs
from leaderboards.analysis.overall import friedman_over_tasks, overall_rows
from leaderboards.analysis.pairs import CLOSE, Pair
from leaderboards.analysis.rows import Row, Terms, panel_rows
from leaderboards.analysis.series import response_rows, series_of
from leaderboards.analysis.tables import (
    CELL_COLUMNS,
    CONTROL,
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
from leaderboards.analysis.tuning import trial_rows, tuned_rows
from leaderboards.analysis.words import ABOVE, BASELINE, BELOW, UNDECIDED
from leaderboards.statistics.paired import MIN_SEEDS, mean_interval, of_samples

MAX_NAMED = 6
"""A note names at most this many losses or tasks."""
TUNED = "[tuned]"
"""The end of the label of a loss whose settings were tuned."""
METHOD = "siamese"
"""The method of the baseline row, where several methods train the baseline's loss."""
ORDER = ["task", "method", "loss", "stage", "trial", "seed", "split", "metric", "step"]
MODALITIES = ("image", "sentence", "graph")
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
    notes = records.attrs.get("notes", ())
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
    key = _baseline(baseline, final, losses)
    label_of_baseline = key[1]
    curves = curves_of(final)
    specs = task_specs(records)
    names = short_names(specs)
    margins = _margins(margin, specs, scores)
    rows: list[Row] = []
    pair_notes: list[Note] = []
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
                pair_notes += _pair_notes(compared, names[str(task)])
                pair_notes += _resolution_notes(measured, compared, terms, names[str(task)])
            shared = declared._asdict() | {"margin": terms.margin}
            rows += [row | shared for row in compared]
    _add_areas(rows, area_differences(curves, key))
    unordered = pd.DataFrame(rows, columns=list(ROW_COLUMNS)).assign(
        minor=lambda t: ~t["main"].astype(bool)  # False sorts first: the main metric leads.
    )
    table = _ordered(unordered, ["task", "minor", "metric", "rank", "loss"])[list(ROW_COLUMNS)]
    trials = _ordered(trial_rows(measured_rows), ["task", "method", "loss", "trial"])
    diagnosed = diagnostic_rows(records)
    shown = chosen_diagnostics(diagnostics, diagnosed)
    return Leaderboard(
        rows=table,
        overall=overall_rows(rows, dict(zip(final["task"], final["data"], strict=True))),
        friedman=friedman_over_tasks(table),
        cells=records[records["status"] != "done"][list(CELL_COLUMNS)].reset_index(drop=True),
        tuned=tuned_rows(measured_rows, trials),
        trials=trials,
        curves=curve_rows(curves),
        records=records,
        baseline=label_of_baseline,
        baseline_method=key[0],
        screening=screening,
        published=papers,
        notes=(
            *_naming_notes(specs, names),
            *(_with_task_names(Note(*note), names) for note in notes),
            *_budgets(table, trials, label_of_baseline),
            *_notes(table.assign(task=table["task"].map(names)), screening=screening),
            *pair_notes,
        ),
        names=names,
        diagnostics=diagnosed,
        asked=shown,
        responses=_responses(records, scores, table, shown, key, specs),
    )


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
    return sorted(declared, key=lambda one: not one.main) or [
        _Declared("", True, "", "higher", None)
    ]


def _responses(
    records: pd.DataFrame,
    scores: pd.DataFrame,
    rows: pd.DataFrame,
    diagnostics: tuple[str, ...],
    baseline: tuple[str, str],
    specs: Mapping[str, TaskSpec],
) -> pd.DataFrame:
    """Return the scores and these diagnostics against settings in which the tasks differ."""
    last = (records["stage"] == "final") & (records["step"] == records["steps"])
    wanted = last & (records["split"] == DIAGNOSTICS) & records["metric"].isin(diagnostics)
    values = pd.concat([scores, records.loc[wanted, list(SCORE_COLUMNS)]])
    on_main = rows[rows["main"].astype(bool)]
    main = dict(zip(on_main["task"], on_main["metric"], strict=True))
    return response_rows(values, series_of(specs), baseline, main)


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
    specs: Mapping[str, TaskSpec],
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
        samples.append(paired if row["compared"] and len(paired) >= MIN_SEEDS else [])
    areas = of_samples(mean_interval, samples).T.tolist()
    for row, (area, low, high) in zip(rows, areas, strict=True):
        row.update(area=area, area_low=low, area_high=high)


def _resolution_notes(
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


def _ordered(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Order rows by modality and, within each, by the columns ``by``."""
    others = sorted(set(rows["modality"]) - set(MODALITIES))
    order = {name: place for place, name in enumerate([*MODALITIES, *others])}
    places = rows.assign(place=rows["modality"].map(order))
    return places.sort_values(["place", *by], kind="stable")[list(rows)].reset_index(drop=True)


def _naming_notes(specs: Mapping[str, TaskSpec], names: Mapping[str, str]) -> list[Note]:
    """Return the settings that the short names leave out."""
    if all(spec == name for spec, name in names.items()):
        return []
    return [
        Note("settings", f"On this board, {name} stands for {label(name, settings)}.")
        for name, settings in shared_settings(specs).items()
    ]


def _with_task_names(note: Note, names: Mapping[str, str]) -> Note:
    """Return ``note`` with its tasks' names in place of ``{tasks}``."""
    named = _some([names.get(task, task) for task in note.tasks])
    return note._replace(text=note.text.replace("{tasks}", named))


def _budgets(rows: pd.DataFrame, trials: pd.DataFrame, baseline: str) -> Iterator[Note]:
    """Yield a note if tuned losses are compared with untuned ones, or unequal numbers of trials."""
    trained = list(dict.fromkeys(rows.loc[rows["trained"].astype(bool), "loss"]))
    if baseline not in trained:
        return
    tuned = baseline.endswith(TUNED)
    tried = trials.groupby(["task", "method", "loss"])["trial"].nunique().groupby("loss").max()
    others = [loss for loss in trained if loss.endswith(TUNED) != tuned]
    if others:
        yield Note(
            "budget",
            f"{baseline} {'was' if tuned else 'was not'} tuned, unlike {_some(others)}: "
            "the tuning budgets of this comparison are not equal.",
        )
    budgets = {loss: int(tried[loss]) for loss in trained if loss in tried.index}
    unequal = [f"{loss} {n}" for loss, n in budgets.items() if n != budgets.get(baseline, n)]
    if unequal:
        yield Note(
            "budget",
            f"{baseline} had {budgets[baseline]} tuning trials and {_some(unequal)}: "
            "the tuning budgets of this comparison are not equal.",
        )


def _notes(rows: pd.DataFrame, *, screening: bool) -> Iterator[Note]:
    """Yield what a reader has to know about the rows before believing them."""
    baselines = {
        row.task: row.seeds
        for row in each_row(rows.loc[rows["main"] & (rows["verdict"] == BASELINE)])
    }
    controls = rows[rows["main"] & (rows["kind"] == CONTROL)]
    if len(controls):
        called = controls["verdict"].isin([*ABOVE, *BELOW]).sum()
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
    unranked = [
        f"{row['loss']} on {row['task']} ({row['seeds']} of {row['planned']} scores)"
        for row in rows[rows["main"] & rows["rank"].isna() & (rows["seeds"] > 0)].to_dict("records")
        if baselines.get(row["task"], 0) > 0
    ]
    if unranked:
        yield Note(
            "rank",
            f"{len(unranked)} rows have no rank, because they lack a score at a seed of the "
            f"baseline: {_some(unranked)}.",
        )


def _pair_notes(rows: Sequence[Row], task: str) -> Iterator[Note]:
    """Yield why seeds of a task are not paired with the baseline's, and what pairs do not share.

    ``task`` is the task's name in the notes.
    """
    across: dict[tuple[str, ...], list[str]] = {}
    left_out: dict[str, list[str]] = {}
    if not any(row["seeds"] for row in rows if not row["compared"]):
        return
    for row in rows:
        if not row["compared"] or row["kind"] == REFERENCE:
            continue
        by_seed: Mapping[int, Pair] = row["pair_by_seed"]
        if row["pairs"] < row["seeds"]:
            differs = dict.fromkeys(
                reason for pair in by_seed.values() if not pair.paired for reason in pair.differs
            )
            lacking = row["seeds"] - len(by_seed)
            reasons = [f"the others differ in {', '.join(differs)}"] if differs else []
            reasons += [f"the baseline has no score at {lacking} of them"] if lacking else []
            yield Note(
                "pairs",
                f"{row['loss']} on {task}: {row['pairs']} of {row['seeds']} seeds are "
                f"paired with the baseline's; {', and '.join(reasons)}.",
            )
        for pair in by_seed.values():
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
    """Return the first ``MAX_NAMED`` names as text, and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
