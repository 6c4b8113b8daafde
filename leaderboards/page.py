"""A leaderboard as one HTML file that opens offline, and as a fragment for a notebook.

The page reads without JavaScript: all tables are in the HTML. Names come from users and
plugins, so nothing of theirs is ever markup: jinja2 escapes the HTML, the data for the
script is JSON with ``<``, ``>`` and ``&`` written as escapes, and a Content Security
Policy lets run only the scripts that are named in it by their digest.
"""

import json
import math
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from leaderboards.analysis.diagnostics import KNOWN, Final, finals, in_order, written
from leaderboards.analysis.naming import with_short_names
from leaderboards.analysis.overall import ALL
from leaderboards.analysis.pairs import with_short_proofs
from leaderboards.analysis.series import SCORE
from leaderboards.analysis.tables import ROW, Leaderboard, each_row, scored
from leaderboards.analysis.words import ABOVE, BASELINE, BELOW, explained, with_margin
from leaderboards.drawing import GLYPHS, MAX_LOSSES, Panel, of_the_best, plain, styles
from leaderboards.export import bound_text, collapsed, difference, pooled_interval, scopes, summary
from leaderboards.figures import critical_difference, forest_plots, heat_map, tuning_landscapes
from leaderboards.lines import convergence_curves, diagnostic_curves, response_curves
from leaderboards.statistics.ranking import Friedman

PROVENANCE = (
    "seed", "value", "key", "seconds", "memory", "finished", "start", "seen", "spec", "settings",
    "task_settings", "steps", "device", "commit", "versions", "data", "source",
)  # fmt: skip
DASHES = {"solid": "", "dash": "7 4", "dashdot": "8 3 2 3", "longdash": "12 4",
          "longdashdot": "12 3 2 3", "dot": "2 4"}  # fmt: skip
NONE = "\N{EN DASH}"


class Column(NamedTuple):
    """A column: its key, heading, and what it says in a line."""

    key: str
    title: str
    help: str


class Item(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what it shows.
        kind: how: name, text, short, number, open, verdict, space or link.
        value: the number to sort by, as text; empty where there is none.
        extra: what the kind needs besides.
    """

    text: str
    kind: str = "text"
    value: str = ""
    extra: Any = None


class Row(NamedTuple):
    """A table's row; ``first`` where another task or metric begins."""

    cells: list[Item]
    first: bool = False


class Table(NamedTuple):
    """A table of the page."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: list[Row]


class Group(NamedTuple):
    """Figures, by their places among all, that a reader folds and unfolds."""

    title: str
    places: Sequence[int]
    open: bool = False
    small: bool = False


class Section(NamedTuple):
    """A heading with tables and figures (their places among all); ``numbers`` is folded."""

    id: str
    title: str
    text: str
    table: Table | None = None
    numbers: Table | None = None
    places: Sequence[int] = ()
    groups: Sequence[Group] = ()


class Line(NamedTuple):
    """What the board says of one loss on one task."""

    loss: str
    verdict: str
    look: str
    numbers: str


class Card(NamedTuple):
    """What the board says of one task."""

    title: str
    lines: list[Line]


COLUMNS = (
    Column("loss", "Loss", "The loss as the study names it."),
    Column("task", "Task", "What was learned from, and where the score was measured."),
    Column("metric", "Metric", "What was measured on the test split, in points: higher is better."),
    Column("mean", "Mean ± std", "Mean of the test scores over seeds, and their standard "
           "deviation (n - 1). Bold is the best of its task and metric; ≈ is tied with it: their "
           "difference, simultaneous over all pairs, may be 0. Collapsed: the encoder gives nearly "
           "the same representation for every example, at all of the seeds or at some."),
    Column("difference", "Difference [95%]", "Mean over seeds of this loss's score less the "
           "baseline's for the same seed, which had the same start, batches and views; with an "
           "interval that holds for all losses of the table together in 95% of cases."),
    Column("verdict", "Verdict", "What the interval says, with the margin m of the metric; above 0 "
           "stands for better, where lower scores are better too. "
           + " ".join(f"{name}: {meaning}." for name, meaning in explained())),
    Column("bound", "Bound", "The difference is smaller than this, either way."),
    Column("p", "p", "The p-value at which the simultaneous interval begins to hold 0 (the "
           "largest |t| of the table's losses). None if all differences are equal."),
    Column("difference_std", "SD", "The standard deviation of the paired differences."),
    Column("control_std", "SD of control", "The same of the control row: the baseline with its "
           "temperature moved by a millionth. It is the noise of rounding alone."),
    Column("bootstrap", "Bootstrap [95%]", "The same difference's bootstrap interval, which "
           "assumes no normal distribution; with few seeds it is too narrow."),
    Column("seeds", "Seeds", "Seeds with a score, of those planned."),
    Column("pairs", "Pairs", "Seeds that this loss and the baseline truly share."),
    Column("seeds_to_decide", "Seeds to decide", "How many pairs make the interval narrower than "
           "the margin, so that it decides whatever the difference is."),
    Column("rank", "Rank", "Rank of the mean over the baseline's seeds: 1 is best, ties share."),
    Column("area", "Area [95%]", "Paired difference of the mean validation score during training "
           "(the area under the curve over the steps), with its own 95% t interval."),
    Column("method", "Method", "How an encoder and two views become what the loss compares."),
    Column("modality", "Modality", "Image, sentence, graph, or what a plugin says."),
)  # fmt: skip
OVERALL = (
    Column("loss", "Loss", ""),
    Column("scope", "Over", "All tasks, or those of one modality."),
    Column("method", "Method", ""),
    Column("pooled", "Pooled difference [95%]", "The mean over data sets of the difference to the "
           "baseline, in points; a data set counts once, whatever its variants. The interval is "
           "Hartung and Knapp's, simultaneous over the losses."),
    Column("rank", "Rank", "Order of the pooled differences; the baseline is at 0."),
    Column("verdict", "Verdict", "What the pooled interval says."),
    Column("tau", "Between data sets", "The standard deviation of the true differences between "
           "data sets."),
    Column("i2", "I2", "The share of the variance between data sets that is not noise."),
    Column("next", "Next task [95%]", "Where the difference on a further data set would lie."),
    Column("improvement", "Seeds better", "The share of paired seeds that are better, mean over "
           "data sets."),
    Column("tasks", "Tasks", ""),
)  # fmt: skip
TUNED = (
    Column("loss", "Loss", ""),
    Column("task", "Task", ""),
    Column("method", "Method", ""),
    Column("setting", "Setting", ""),
    Column("value", "Chosen", "The setting's value in the trial with the best validation score."),
    Column("position", "Where in its space", "Left is the lowest value tried for, right the "
           "highest. At the border, a better value may lie outside: widen the space."),
    Column("validation", "Validation", "The chosen trial's validation score."),
    Column("trial", "Trial", "Which trial was chosen, of how many."),
    Column("spec", "Spec", "The loss with the chosen settings."),
)  # fmt: skip
RESPONSES = (
    Column("loss", "Loss", ""),
    Column("series", "Tasks", "What the tasks have in common."),
    Column("setting", "Setting", "What they differ in."),
    Column("at", "Value", "The setting's value; as is where the task's name does not say it."),
    Column("metric", "Measured", "A metric, in points, or a diagnostic that was asked for."),
    Column("mean", "Mean [95%]", "Mean over seeds and its Student t interval."),
    Column("response", "Difference [95%]", ""),
    Column("seeds", "Seeds", ""),
    Column("method", "Method", ""),
)
CURVES = (
    Column("loss", "Loss", ""),
    Column("task", "Task", ""),
    Column("metric", "Metric", ""),
    Column("step", "Step", "Optimizer steps; at 0 the encoder is untrained."),
    Column("mean", "Mean [95%]", "Mean over seeds and its Student t interval."),
    Column("seeds", "Seeds", ""),
    Column("method", "Method", ""),
)
TRIALS = (
    Column("loss", "Loss", ""),
    Column("task", "Task", ""),
    Column("spec", "Spec", "The loss with the settings of the trial."),
    Column("validation", "Validation", "Mean over the tuning seeds, and their deviation."),
    Column("status", "Status", "What was chosen is run again with fresh seeds."),
    Column("trial", "Trial", "The trial's number: the same for losses that were tried alike."),
    Column("seeds", "Seeds", ""),
    Column("method", "Method", ""),
)
CELLS = (
    Column("loss", "Loss", ""),
    Column("task", "Task", ""),
    Column("method", "Method", ""),
    Column("stage", "Stage", ""),
    Column("trial", "Trial", ""),
    Column("seed", "Seed", ""),
    Column("status", "Status", "Missing: not run yet. Failed: it ended with an error. Diverged: "
           "the objective was no longer a number."),
    Column("reason", "Reason", ""),
    Column("spec", "Spec", ""),
)  # fmt: skip
PUBLISHED = (
    Column("loss", "Loss", ""),
    Column("dataset", "Dataset", ""),
    Column("modality", "Modality", ""),
    Column("metric", "Metric", ""),
    Column("value", "Value", ""),
    Column("setting", "Setting", ""),
    Column("source", "Source", ""),
)


def to_html(board: Leaderboard, *, title: str = "Triptych") -> str:
    """Return ``board`` as one HTML file: no request, and the same bytes for the same board.

    Args:
        board: the leaderboard.
        title: the page's title and heading.
    """
    board = with_short_names(board)
    best = of_the_best(board)
    panels: list[Panel] = []
    records = with_short_proofs(scored(board.records))
    sections = _sections(board, best, panels)
    scripts = [_script(code) for code in ([get_plotlyjs()] if panels else []) + [_read("page.js")]]
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    data = {
        "figures": [panel.plot for panel in panels],
        "rows": _records_of_rows(board, records),
        "baselines": _baselines_of_rows(board),
        "records": _records_as_columns(records),
    }
    return _render(
        _read("page.html.jinja"),
        title=title,
        policy=f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'",
        css=_read("page.css"),
        lead=_lead(board),
        summary=summary(board),
        notes=[note.text for note in board.notes],
        verdicts=_verdicts(board),
        filters=_filters(board),
        board=_board_table(board),
        looks=_looks(best, panels),
        left_out=_left_out(board, best),
        panels=panels,
        sections=sections,
        help=_help(sections),
        data=_json(data),
        scripts=scripts,
    )


def to_notebook(board: Leaderboard) -> str:
    """Return the leaderboard and its notes as an escaped HTML fragment without a script."""
    board = with_short_names(board)
    return _render(
        NOTEBOOK,
        lead=_lead(board),
        notes=[note.text for note in board.notes],
        board=_board_table(board),
    )


NOTEBOOK = """\
<div style="overflow-x: auto">
<p>{{ lead }}</p>
{% for note in notes %}
<p><strong>Note:</strong> {{ note }}</p>
{% endfor %}
<table style="border-collapse: collapse; font-variant-numeric: tabular-nums">
<thead><tr>
{% for column in board.columns %}
<th style="text-align: left; padding: 2px 8px" title="{{ column.help }}">{{ column.title }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in board.rows %}
<tr>{% for item in row.cells %}<td style="text-align: left; padding: 2px 8px; \
white-space: nowrap{{ '; font-weight: bold' if item.kind == 'open' and item.extra }}">\
{{ item.text }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
"""


def _lead(board: Leaderboard) -> str:
    records = board.records.loc[board.records["status"] == "done", "key"].nunique()
    return (
        f"Compared with {board.baseline}, seed by seed, from {records:,} "
        f"{'record' if records == 1 else 'records'}; differences in points, with 95% intervals. "
        "A difference matters from the margin of its metric on."
    )


def _verdicts(board: Leaderboard) -> list[Card]:
    """Return what each task's main metric says of every loss, best first."""
    main = board.rows[board.rows["main"].astype(bool)]
    cards = []
    for (task, metric, method), rows in main.groupby(["task", "metric", "method"], sort=False):
        others = rows[rows["verdict"] != BASELINE]
        order = sorted(each_row(others), key=lambda row: not board.is_trained(row.loss))
        lines = [
            Line(str(row.loss), _said(row), _slug(row.verdict), _difference(row)) for row in order
        ]
        several = [method] if board.rows["method"].nunique() > 1 else []
        if lines:
            parts = [str(part) for part in (task, metric, *several) if part]
            cards.append(Card(" · ".join(parts), lines))
    return cards


def _board_table(board: Leaderboard) -> Table:
    rows = []
    measured = finals(board)
    before = None
    for row in each_row(board.rows):
        panel = (row.task, row.metric)
        compared = row.verdict != BASELINE
        near = " ≈" if _true(row.tied) and not _true(row.best) else ""
        near += collapsed(row._asdict())
        cells = [
            Item(str(row.loss), "name", extra=f"{row.task} · {row.metric}"),
            Item(str(row.task)),
            Item(str(row.metric), "short"),
            _number(row.mean, ".2f", "open", after=_spread(row.std) + near, extra=_true(row.best)),
            Item(difference(row._asdict()) or NONE, "number", _sortable(row.difference))
            if compared
            else Item("baseline", "number", "0"),
            Item(_said(row), "verdict", extra=_slug(row.verdict)),
            *_diagnostic_items(measured.get((row.task, row.method, row.loss), {}), board.asked),
            Item(bound_text(row.bound) or NONE, "number", _sortable(row.bound)),
            _p_value(row.p),
            _number(row.difference_std, ".2f"),
            _number(row.control_std, ".2f"),
            Item(_span(row.bootstrap_low, row.bootstrap_high).strip() or NONE, "number",
                 _sortable(row.bootstrap_low)) if compared else Item(NONE, "number"),
            _number(row.seeds, ".0f", after="" if pd.isna(row.planned) else f"/{row.planned:.0f}"),
            _number(row.pairs, ".0f"),
            _number(row.seeds_to_decide, ",.0f"),
            _number(row.rank, "g"),
            _number(row.area, "+.2f", after=_span(row.area_low, row.area_high)),
            Item(str(row.method), "short"),
            Item(str(row.modality), "short"),
        ]  # fmt: skip
        rows.append(Row(cells, first=before is not None and panel != before))
        before = panel
    caption = f"Test scores in points, and paired differences to {board.baseline}"
    at = next(i for i, column in enumerate(COLUMNS) if column.key == "bound")
    columns = (*COLUMNS[:at], *_diagnostic_columns(board.asked), *COLUMNS[at:])
    return Table("leaderboard", caption, columns, rows)


def _filters(board: Leaderboard) -> dict[str, list[str]]:
    """Return {column: what there is to choose}."""
    return {
        name: [choice for choice in dict.fromkeys(map(str, board.rows[name])) if choice]
        for name in ("modality", "task", "metric", "method", "loss")
    }


def _sections(board: Leaderboard, best: Leaderboard, panels: list[Panel]) -> list[Section]:
    """Return the sections that have something to show; figures, of ``best``, go to ``panels``."""

    def drawn(figures: Iterable[Panel | None]) -> range:
        start = len(panels)
        panels.extend(panel for panel in figures if panel)
        return range(start, len(panels))

    def groups(figures: dict[str, list[Panel]]) -> list[Group]:
        return [
            Group(title, drawn(panels), open=number == 0, small=True)
            for number, (title, panels) in enumerate(figures.items())
        ]

    sections = [
        Section(
            "differences",
            "Paired differences",
            f"Each loss less {board.baseline}, seed by seed.",
            places=drawn([*forest_plots(best), heat_map(best)]),
        ),
        Section(
            "overall",
            "Over tasks",
            _tested(board.friedman),
            _overall_table(board),
            places=drawn([critical_difference(best)]),
        ),
        Section(
            "convergence",
            "Convergence",
            "Scores on the validation split while training.",
            numbers=_curves_table(best),
            places=drawn(convergence_curves(best)),
        ),
        Section(
            "settings",
            "Against a setting",
            "Tasks of this board that differ in one setting alone.",
            _responses_table(board),
            places=drawn(response_curves(best, main=True)),
            groups=[Group("Other metrics", drawn(response_curves(best, main=False)))],
        ),
        Section(
            "diagnostics",
            "Diagnostics",
            "What was measured beside the scores, on held-out examples: mean over seeds and 95% t "
            "band against the step, in the table the final values. None has a better "
            "direction, and none is ranked; a dotted line was not trained.",
            _diagnostics_table(board),
            groups=groups(diagnostic_curves(best)),
        ),
        Section(
            "tuning",
            "Tuning",
            "Trials are compared on the validation split; the best is run again with fresh seeds.",
            _tuned_table(board),
            _trials_table(board),
            drawn(tuning_landscapes(best)),
        ),
        Section("without", "Cells without a score", "", _cells_table(board)),
        Section("published", "Published results", "", _published_table(board)),
    ]
    sections = [
        section._replace(groups=[group for group in section.groups if group.places])
        for section in sections
    ]
    return [each for each in sections if each.table or each.places or each.groups]


def _overall_table(board: Leaderboard) -> Table | None:
    rows = []
    before = None
    new = dict(scopes(board))
    for row in each_row(board.overall[board.overall["scope"].isin(new)]):
        cells = [
            Item(str(row.loss), "name"),
            Item("all tasks" if row.scope == ALL else str(row.scope), "short"),
            Item(str(row.method), "short"),
            Item(pooled_interval(row._asdict()) or NONE, "number", _sortable(row.pooled)),
            _number(row.rank, "g"),
            Item(
                with_margin(str(row.verdict), row.margin, "%"), "verdict", extra=_slug(row.verdict)
            ),
            _number(row.tau, ".2f"),
            _number(row.i2, ".0%"),
            Item(
                _span(row.next_low, row.next_high).strip() or NONE,
                "number",
                _sortable(row.next_low),
            ),
            _number(row.improvement, ".2f"),
            _number(row.tasks, ".0f"),
        ]
        rows.append(Row(cells, first=before is not None and before != row.scope))
        before = row.scope
    caption = "Pooled differences over data sets"
    return Table("overall-table", caption, OVERALL, rows) if rows else None


def _responses_table(board: Leaderboard) -> Table | None:
    rows = []
    before = None
    for row in each_row(board.responses):
        panel = (row.series, row.setting, row.metric)
        form = ".2f" if row.kind == SCORE else ".4g"
        baseline = row.loss == board.baseline
        cells = [
            Item(str(row.loss), "name"),
            Item(str(row.series)),
            Item(str(row.setting), "short"),
            Item("as is", "number") if pd.isna(row.at) else _number(row.at, "g"),
            Item(str(row.metric)),
            _number(row.mean, form, after=_ends(row.low, row.high, form)),
            Item("baseline", "number", "0")
            if baseline
            else _number(
                row.difference,
                f"+{form}",
                after=_ends(row.difference_low, row.difference_high, f"+{form}"),
            ),
            _number(row.seeds, ".0f"),
            Item(str(row.method), "short"),
        ]
        rows.append(Row(cells, first=before is not None and panel != before))
        before = panel
    caption = f"Scores by setting, and paired differences to {board.baseline}"
    return Table("responses-table", caption, RESPONSES, rows) if rows else None


def _diagnostics_table(board: Leaderboard) -> Table | None:
    measured = finals(board)
    of_board = each_row(board.rows[["task", "method", "loss"]])
    order = dict.fromkeys([*map(tuple, of_board), *measured])
    names = in_order(name for own in measured.values() for name in own)
    rows = []
    before = None
    for task, method, loss in order:
        own = measured.get((task, method, loss))
        if own is None:
            continue
        cells = [
            Item(str(loss), "name"),
            Item(str(task)),
            *_diagnostic_items(own, names),
            Item(str(method), "short"),
        ]
        rows.append(Row(cells, first=before is not None and before != task))
        before = task
    columns = (
        Column("loss", "Loss", ""),
        Column("task", "Task", ""),
        *_diagnostic_columns(names),
        Column("method", "Method", ""),
    )
    caption = "At the end of training: mean ± deviation over seeds"
    return Table("diagnostics-table", caption, columns, rows) if rows else None


def _diagnostic_columns(names: Iterable[str]) -> list[Column]:
    return [Column(f"diagnostic {name}", name, KNOWN.get(name, "")) for name in names]


def _diagnostic_items(own: Mapping[str, Final], names: Iterable[str]) -> list[Item]:
    return [
        Item(written(own[name]), "number", _sortable(own[name].mean))
        if name in own
        else Item(NONE, "number")
        for name in names
    ]


def _tuned_table(board: Leaderboard) -> Table | None:
    rows = []
    for row in each_row(board.tuned):
        scale = ", log" if _true(row.log) else ""
        percent = "" if pd.isna(row.position) else f"{100 * min(max(row.position, 0), 1):.0f}"
        space = (_short(row.low), _short(row.high) + scale, _true(row.at_border))
        cells = [
            Item(str(row.loss), "name"),
            Item(str(row.task)),
            Item(str(row.method), "short"),
            Item(str(row.setting), "short"),
            Item(_short(row.value), "number", _sortable(row.value)),
            Item(f"{percent}% of the way from {space[0]} to {space[1]}", "space", percent, space)
            if percent
            else Item(NONE, "short"),
            _number(row.validation, ".2f"),
            _number(row.trial + 1, ".0f", after=f" of {row.trials:.0f}"),
            Item(str(row.spec)),
        ]
        rows.append(Row(cells))
    return Table("tuned", "Chosen settings", TUNED, rows) if rows else None


def _curves_table(board: Leaderboard) -> Table | None:
    rows = [
        Row(
            [
                Item(str(row.loss), "name"),
                Item(str(row.task)),
                Item(str(row.metric), "short"),
                _number(row.step, ",.0f"),
                _number(row.mean, ".2f", after=_span(row.low, row.high, "")),
                _number(row.seeds, ".0f"),
                Item(str(row.method), "short"),
            ]
        )
        for row in each_row(board.curves)
    ]
    return Table("curves", "Validation scores during training", CURVES, rows) if rows else None


def _trials_table(board: Leaderboard) -> Table | None:
    rows = [
        Row(
            [
                Item(str(row.loss), "name"),
                Item(str(row.task)),
                Item(str(row.spec)),
                _number(row.validation, ".2f", after=_spread(row.std)),
                Item("chosen" if _true(row.chosen) else str(row.status), "short"),
                _number(math.nan if pd.isna(row.trial) else row.trial + 1, ".0f"),
                _number(row.seeds, ".0f"),
                Item(str(row.method), "short"),
            ]
        )
        for row in each_row(board.trials)
    ]
    return Table("trials", "Every trial, on validation", TRIALS, rows) if rows else None


def _cells_table(board: Leaderboard) -> Table | None:
    rows = [
        Row(
            [
                Item(str(row.loss), "name"),
                Item(str(row.task)),
                Item(str(row.method), "short"),
                Item(str(row.stage), "short"),
                _number(math.nan if pd.isna(row.trial) else row.trial + 1, ".0f"),
                _number(row.seed, ".0f"),
                Item(str(row.status), "verdict", extra="worse" if row.status != "missing" else ""),
                Item(_text(row.reason)),
                Item(_text(row.spec)),
            ]
        )
        for row in each_row(board.cells)
    ]
    return Table("cells", "No number stands in for these", CELLS, rows) if rows else None


def _published_table(board: Leaderboard) -> Table | None:
    rows = []
    for row in each_row(board.published):
        # Another scheme, javascript: say, would act when it is followed.
        link = row.url if str(row.url).startswith("https://") else None
        cells = [
            Item(str(row.loss), "name"),
            Item(str(row.dataset)),
            Item(str(row.modality), "short"),
            Item(str(row.metric), "short"),
            Item(_short(row.value), "number", _sortable(row.value)),
            Item(_text(row.setting)),
            Item(_text(row.source), "link", extra=link),
        ]
        rows.append(Row(cells))
    caption = "Published, not run here, never ranked"
    return Table("published-table", caption, PUBLISHED, rows) if rows else None


def _help(sections: Iterable[Section]) -> list[Column]:
    tables = [section.table for section in sections if section.table]
    seen = {column.title: column for column in COLUMNS}
    for table in tables:
        for column in table.columns:
            if column.help and column.title not in seen:
                seen[column.title] = column
    return list(seen.values())


def _looks(board: Leaderboard, panels: Iterable[Panel]) -> list[dict[str, str]]:
    """Return the look of each loss that was trained, or that is drawn."""
    drawn = {trace.get("meta") for panel in panels for trace in panel.plot["data"]}
    return [
        {
            "loss": loss,
            "meta": plain(loss),
            "colour": look.colour,
            "glyph": GLYPHS[look.symbol],
            "dashes": DASHES[look.dash],
        }
        for loss, look in styles(board).items()
        if board.is_trained(loss) or plain(loss) in drawn
    ]


def _tested(friedman: Friedman | str) -> str:
    """Return why there is no test over tasks, or its result where it has too many rows to draw."""
    if isinstance(friedman, str):
        return f"No test over tasks: {friedman}"
    if len(friedman.names) <= MAX_LOSSES:
        return ""
    return (
        f"Friedman test of {len(friedman.names)} rows over {friedman.tasks} tasks: p = "
        f"{friedman.p:.3g}; critical difference {friedman.critical_difference:.2f} (Nemenyi). The "
        "diagram is left out: it would have too many rows."
    )


def _left_out(board: Leaderboard, best: Leaderboard) -> str:
    """Return how many losses the figures leave out; empty where they show all."""
    losses, shown = (each.rows["loss"].nunique() for each in (board, best))
    return (
        f"The figures show {shown} of {losses} losses: the {MAX_LOSSES} with the best pooled "
        "difference, the baseline and what was not trained. The leaderboard and the CSV files "
        "have all."
        if shown < losses
        else ""
    )


def _records_of_rows(board: Leaderboard, records: pd.DataFrame) -> list[list[int]]:
    """Return the places in ``records`` of those behind each row of the board."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(each_row(records[list(ROW)])):
        found[row].append(place)
    return [found[row] for row in each_row(board.rows[list(ROW)])]


def _baselines_of_rows(board: Leaderboard) -> list[int | None]:
    """Return the number of the row that each row's difference is to, where it has one."""
    rows = list(each_row(board.rows[list(ROW)]))
    places = {row: number for number, row in enumerate(rows)}
    own = board.baseline
    return [None if row.loss == own else places.get(row._replace(loss=own)) for row in rows]


def _records_as_columns(records: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return {column: {at, values}}: a text said a thousand times is kept once.

    A record's value is ``values[at[record]]``; where all differ there is no ``at``.
    """
    columns: dict[str, dict[str, Any]] = {}
    for name in PROVENANCE:
        found = records[name].tolist()
        jsonable = {value: _jsonable(value) for value in dict.fromkeys(found)}
        values = [jsonable[value] for value in found]
        distinct = dict.fromkeys(values)
        if len(distinct) > 0.8 * len(values):
            columns[name] = {"at": None, "values": values}
        else:
            places = {value: place for place, value in enumerate(distinct)}
            columns[name] = {"at": [places[value] for value in values], "values": list(distinct)}
    return columns


def _jsonable(value: object) -> str | int | float | None:
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def _json(data: object) -> str:
    """Return JSON that a script element can hold: no character in it ends one."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _script(code: str) -> str:
    """Return ``code`` as the browser will read it between script tags, to take its digest."""
    return code.replace("\r\n", "\n").replace("</script", "<\\/script")


def _digest(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()


def _read(name: str) -> str:
    return (files("leaderboards") / name).read_text("utf-8")


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(**values).strip() + "\n"


def _number(
    value: float, form: str, kind: str = "number", *, after: str = "", extra: Any = None
) -> Item:
    if pd.isna(value):
        return Item(NONE, "number")
    text = "∞" if math.isinf(value) else format(value, form)
    return Item(text + after, kind, _sortable(value), extra)


def _p_value(value: float) -> Item:
    if 0 <= value < 0.0005:
        return Item("<0.001", "number", _sortable(value))
    return _number(value, ".3f")


def _sortable(value: object) -> str:
    """Return ``value`` as a number that the page's script can read; empty for none."""
    if isinstance(value, bool | str) or pd.isna(value):  # type: ignore[call-overload]
        return ""
    return repr(float(value)).replace("inf", "Infinity")  # type: ignore[arg-type]


def _said(row: Any) -> str:
    """Return a row's word, with its margin as a number."""
    return with_margin(str(row.verdict), row.margin, row.unit)


def _difference(row: Any) -> str:
    if pd.isna(row.difference):
        return ", not compared"
    seeds = "1 seed" if row.pairs == 1 else f"{row.pairs:.0f} seeds"
    return f", {difference(row._asdict())}, {seeds}"


def _spread(std: float) -> str:
    return "" if pd.isna(std) else f" ± {std:.2f}"


def _span(low: float, high: float, sign: str = "+") -> str:
    return "" if pd.isna(low) else f" [{low:{sign}.2f}, {high:{sign}.2f}]"


def _ends(low: float, high: float, form: str) -> str:
    return "" if pd.isna(low) else f" [{low:{form}}, {high:{form}}]"


def _short(value: object) -> str:
    if isinstance(value, str | bool):
        return str(value)
    return NONE if pd.isna(value) else f"{value:.4g}"  # type: ignore[call-overload]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _true(value: object) -> bool:
    """Return a table's truth value: none is false."""
    return bool(value) and not pd.isna(value)  # type: ignore[call-overload]


def _slug(verdict: object) -> str:
    """Return the colour class of a word: all that is above 0 is better, all below is worse."""
    if verdict in ABOVE:
        return "better"
    return "worse" if verdict in BELOW else str(verdict).replace(" ", "-")
