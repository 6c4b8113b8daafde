"""Leaderboards as CSV, Markdown, LaTeX and tables for the eye."""

import html
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.analysis.diagnostics import Final, finals, written
from leaderboards.analysis.naming import with_short_names
from leaderboards.analysis.overall import ALL
from leaderboards.analysis.pairing import pairing_table
from leaderboards.analysis.pairs import with_short_proofs
from leaderboards.analysis.tables import (
    OVERALL_COLUMNS,
    ROW_COLUMNS,
    TRAINED,
    Leaderboard,
    each_row,
)
from leaderboards.analysis.words import (
    BASELINE,
    COLLAPSED,
    EQUIVALENT,
    INCOMPLETE,
    MEANINGS,
    OPEN,
    amount,
    possible_failures,
    with_margin,
)
from leaderboards.statistics.paired import MIN_SEEDS

MIN_STEADY = 5
"""Seeds below which *equivalent* is said with the share of seeds that may differ unseen."""
MANY_SEEDS = 1e5
"""A number of seeds that it helps nobody to know."""
MAX_TASKS = 4
"""Tasks that a summary names; more are counted."""
FIGURES = frozenset({
    "mean ± std", "seeds", "difference [95%]", "bound", "sd", "rank", "pooled [95%]",
    "seeds better", "tau", "tasks", "chosen", "of", "place", "trial", "value",
})  # fmt: skip
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


class Section(NamedTuple):
    """A table for the eye: all texts; ``diagnostics`` are headings of columns of them."""

    title: str
    table: pd.DataFrame
    diagnostics: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[str]:
        """Return its columns of figures, which are set flush right."""
        return [column for column in self.table if column in {*FIGURES, *self.diagnostics}]


def to_csv(board: Leaderboard) -> str:
    """Return the rows of ``board`` as CSV, numbers in full, missing ones empty.

    A diagnostic that was asked for has two further columns, ``diagnostic_alignment_mean``
    and ``diagnostic_alignment_std``: the same in all metrics of a task.
    """
    rows = board.rows[list(ROW_COLUMNS)]
    measured = finals(board)
    more: dict[str, list[float | None]] = {}
    for key in each_row(rows[["task", "method", "loss"]]):
        own = measured.get(tuple(key), {})
        for name in board.asked:
            for figure in ("mean", "std"):
                value = getattr(own[name], figure) if name in own else None
                more.setdefault(f"diagnostic_{name}_{figure}", []).append(value)
    return _csv(pd.concat([rows, pd.DataFrame(more, index=rows.index)], axis=1))


def overall_csv(board: Leaderboard) -> str:
    """Return the table over tasks as CSV."""
    return _csv(board.overall[list(OVERALL_COLUMNS)])


def records_csv(board: Leaderboard) -> str:
    """Return one row a record, and one a cell that has none, as tidy CSV.

    Scores have a column each, ``validation_accuracy`` or ``test_accuracy``, and so have
    diagnostics, ``diagnostics_alignment``: those of the last step, empty where a task has
    no such metric.
    """
    records = with_short_proofs(board.records)
    cell = ["task", "method", "loss", "spec", "stage", "trial", "seed"]
    rest = ["modality", "status", "reason", "steps", "seconds", "commit", "device", "finished",
            "start", "seen", "data", "versions", "source"]  # fmt: skip
    shown = (records["step"] == records["steps"]) | (records["status"] != "done")
    last = records.loc[shown, ["key", *cell, *rest, "split", "metric", "value"]]
    last = last.astype({"trial": "Int64"})  # As a table put together by hand may not have it.
    scores = last[last["status"] == "done"].assign(
        name=lambda t: t["split"].astype(str) + "_" + t["metric"].astype(str)
    )
    names = list(dict.fromkeys(scores["name"]))
    wide = scores.pivot(index=["key", *cell], columns="name", values="value").reset_index()
    first = last.drop_duplicates(["key", *cell])[["key", *cell, *rest]]
    table = first.merge(wide, on=["key", *cell], how="left")
    order = [*cell, "modality", "status", "reason", *names, *rest[3:], "key"]
    return _csv(table[order].sort_values(["stage", *cell[:3], "trial", "seed"], kind="stable"))


def to_html(board: Leaderboard, *, title: str = "Triptych") -> str:
    """Return the board as one HTML page that opens offline: see :mod:`leaderboards.page`."""
    # Imported here: the page's plotting library takes a while, and other files need none.
    from leaderboards import page

    return page.to_html(board, title=title)


def files(
    board: Leaderboard, *, title: str = "Triptych"
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield every file of a board: its name, and a function that makes its text."""
    yield "leaderboard.csv", lambda: to_csv(board)
    yield "overall.csv", lambda: overall_csv(board)
    yield "records.csv", lambda: records_csv(board)
    yield "pairing.csv", lambda: _csv(pairing_table(board))
    # Where there is nothing to put there, a heading: an earlier board's would be taken for it.
    yield "curves.csv", lambda: _csv(board.curves)
    yield "trials.csv", lambda: _csv(board.trials)
    yield "diagnostics.csv", lambda: _csv(board.diagnostics)
    yield "settings.csv", lambda: _csv(board.responses)
    yield "published.csv", lambda: _csv(board.published)
    yield "leaderboard.md", lambda: to_markdown(board)
    yield "leaderboard.tex", lambda: to_latex(board)
    yield "board.html", lambda: to_html(board, title=title)


def to_markdown(board: Leaderboard) -> str:
    """Return the board as Markdown tables; nothing in it acts as markup."""
    board = with_short_names(board)
    parts = [f"Baseline: {_escape(board.baseline)}. Test scores in points: mean ± deviation."]
    for section in sections(board, wide=True):
        texts = section.table.map(_escape)
        texts = texts.rename(columns={name: _escape(name) for name in section.diagnostics})
        text = texts.to_markdown(index=False, disable_numparse=True)
        parts.append(f"**{_escape(section.title)}**\n\n{text}")
    said = (*summary(board), *sentences(board), *(note.text for note in board.notes))
    parts.append("\n".join(f"- {_escape(line)}" for line in said))
    return "\n\n".join(parts) + "\n"


def to_latex(board: Leaderboard) -> str:
    r"""Return a booktabs table: losses down, tasks across, mean and deviation in points.

    In each column the best is bold, and underlined what is tied with it: the interval of their
    difference, simultaneous over all pairs of rows, holds 0, or there are fewer than 3 pairs.
    Diagnostics that were asked for follow a task's metrics, unmarked.
    Needs ``\usepackage{booktabs}``.
    """
    board = with_short_names(board)
    rows = board.rows
    several = rows["method"].nunique() > 1
    # {(task, where among its columns, name): {(method, loss): text}}
    cells: dict[tuple[str, int, str], dict[tuple[str, str], str]] = {}
    for row in rows.to_dict("records"):
        column = cells.setdefault((row["task"], 0, row["metric"]), {})
        column[row["method"], row["loss"]] = _latex_cell(row)
    for (task, method, loss), own in finals(board).items():
        for name in board.asked:
            if name in own:
                column = cells.setdefault((task, 1 + board.asked.index(name), name), {})
                column[method, loss] = written(own[name], r" $\pm$ ")
    tasks = list(dict.fromkeys(rows["task"]))
    columns = sorted(cells, key=lambda column: (tasks.index(column[0]), column[1]))
    lines = [
        r"% needs \usepackage{booktabs}; bold: best; underlined: tied with it (the interval of "
        r"their difference, simultaneous over all pairs of rows, holds 0; or fewer than 3 seeds)",
        r"\begin{tabular}{l" + "r" * len(columns) + "}",
        r"\toprule",
        " & ".join(["Loss", *(_latex(task) for task, _, _ in columns)]) + r" \\",
        " & ".join(["", *(_latex(name.replace("_", " ")) for _, _, name in columns)]) + r" \\",
        r"\midrule",
    ]
    for method, loss in dict.fromkeys(zip(rows["method"], rows["loss"], strict=True)):
        name = _named(loss, method, several=several)
        values = [cells[column].get((method, loss), "--") for column in columns]
        lines.append(" & ".join([_latex(name), *values]) + r" \\")
    notes = [f"% {_latex(note.text)}" for note in board.notes]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes, ""])


def sections(board: Leaderboard, *, wide: bool = False) -> Iterator[Section]:
    """Yield the board's tables as texts, rounded: for the terminal and Markdown.

    Diagnostics that were asked for have a table a task, or ``wide``, for what is no
    narrower than a page, are columns beside its main metric.
    """
    several = board.rows["method"].nunique() > 1
    measured = finals(board)
    for (task, metric), panel in board.rows.groupby(["task", "metric"], sort=False):
        title = f"{task}: {metric}" if metric else str(task)
        text = _panel(panel, several=several)
        narrow = text[[name for name in ("method", "loss") if name in text]].copy()
        asked = board.asked if panel["main"].iloc[0] else ()
        headings = _add_diagnostics(text if wide else narrow, panel, asked, measured)
        facts = []  # Said once, they leave the table narrower.
        if text["seeds"].nunique() == 1:
            facts.append(f"seeds: {text.pop('seeds').iloc[0]}")
        margin, unit = panel["margin"].iloc[0], panel["unit"].iloc[0]
        if not pd.isna(margin):
            facts.append(f"m = {amount(margin, unit)}")
        title += f" ({', '.join(facts)})" if facts else ""
        yield Section(title, text, headings if wide else ())
        if headings and not wide:
            yield Section(f"{task}: diagnostics", narrow, headings)
    for scope, part in scopes(board):
        yield Section(f"over {scope} tasks", _overall(part, several=several))
    if len(board.tuned):
        yield Section("chosen on validation", _tuned(board.tuned))
    if len(board.cells):
        yield Section("cells without a score", _cells(board.cells))
    if len(board.published):
        shown = ["dataset", "metric", "loss", "value", "source"]
        yield Section("published, not run here", board.published[shown].astype(str))


def scopes(board: Leaderboard) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the parts of the table over tasks that say something new.

    A modality of one task repeats its task, and one that is alone repeats ``all``.
    """
    alone = board.overall["scope"].nunique() <= 2
    for scope, part in board.overall.groupby("scope", sort=False):
        if scope == ALL or (part["tasks"].max() > 1 and not alone):
            yield str(scope), part


def summary(board: Leaderboard) -> list[str]:
    """Return a sentence a loss: its word on each task, then its pooled difference.

    A board of one task has none. A loss that is undecided everywhere has none either: a note
    says how many those are.
    """
    main = board.rows[board.rows["main"].astype(bool)]
    if main["task"].nunique() < 2:
        return []
    several = main["method"].nunique() > 1
    rivals = main[main["trained"].astype(bool) & (main["verdict"] != BASELINE)]
    tasks: dict[tuple[str, str], dict[tuple[str, str], list[str]]] = {}
    for row in each_row(rivals[["method", "loss", "verdict", "margin", "unit", "task"]]):
        said = with_margin(row.verdict, row.margin, row.unit)
        by_word = tasks.setdefault((row.method, row.loss), {})
        by_word.setdefault((row.verdict, said), []).append(row.task)
    found = []
    for (method, loss), by_word in tasks.items():
        if all(verdict in OPEN for verdict, _ in by_word):
            continue
        order = sorted(by_word, key=lambda each: list(MEANINGS).index(each[0]))
        parts = [f"{said} on {_listed(by_word[verdict, said])}" for verdict, said in order]
        name = _named(loss, method, several=several)
        found.append(f"{name} against {board.baseline}: {'; '.join(parts)}.")
    return found + pooled_sentences(board)


def pooled_sentences(board: Leaderboard) -> list[str]:
    """Return a sentence a loss on its pooled difference over all tasks."""
    several = board.rows["method"].nunique() > 1
    over = board.overall
    found = []
    for row in each_row(over[(over["scope"] == ALL) & (over["kind"] == TRAINED)]):
        if row.verdict == BASELINE or row.sets < 2 or pd.isna(row.low):
            continue
        ahead = ""
        if not pd.isna(row.next_low):
            ahead = f"; on a next task, {row.next_low:+.2f} to {row.next_high:+.2f}"
        found.append(
            f"Over {row.sets} data sets {_named(row.loss, row.method, several=several)} is "
            f"{with_margin(row.verdict, row.margin, '%')}, {pooled_interval(row._asdict())} points "
            f"from {board.baseline} (between data sets: {row.tau:.2f}){ahead}."
        )
    return found


def _named(loss: str, method: str, *, several: bool) -> str:
    """Return a row's name: with its method, where the board has several."""
    return f"{loss} ({method})" if several else loss


def _listed(tasks: list[str]) -> str:
    if len(tasks) > MAX_TASKS:
        return f"{len(tasks)} tasks"
    *others, last = tasks
    return f"{', '.join(others)} and {last}" if others else last


def sentences(board: Leaderboard) -> list[str]:
    """Return the verdict on every task in a sentence a loss, by the main metric."""
    found = []
    several = board.rows["method"].nunique() > 1
    main = board.rows[board.rows["main"] & board.rows["trained"]]
    for row in main[main["verdict"] != BASELINE].to_dict("records"):
        name = _named(row["loss"], row["method"], several=several)
        found.append(f"{row['task']}: {name} against {board.baseline} {judged(row)}.")
    return found


def judged(row: Mapping[Any, Any]) -> str:
    """Return what a row's interval says, with its figures, after "X against Y"."""
    if row["verdict"] == INCOMPLETE:
        return "has no verdict: one of them failed or diverged at a seed"
    if row["verdict"] == COLLAPSED:
        return "has no verdict: representations of one of them collapsed"
    if row["pairs"] < MIN_SEEDS:
        seeds = "1 paired seed" if row["pairs"] == 1 else f"{row['pairs']} paired seeds"
        if not row["pairs"] and row["seeds"]:
            return "is undecided: no seed is paired with the baseline's"
        return f"is undecided: {seeds}, of at least {MIN_SEEDS}"
    if pd.isna(row["bound"]):
        few = "too few losses have every seed of the baseline to borrow variance from"
        return f"is undecided, {row['difference']:+.2f}: {few}"
    said = f"is {with_margin(row['verdict'], row['margin'], row['unit'])}, {difference(row)}"
    if row["direction"] == "lower":
        said += " (lower is better)"
    said += f", |d| < {bound_text(row['bound'])}"
    if row["constant"]:
        said += "; the difference does not depend on the seed"
    if row["verdict"] == EQUIVALENT and row["pairs"] < MIN_STEADY:
        share = possible_failures(row["pairs"])
        said += f"; up to {share:.0%} of seeds may still differ by more"
    needed = row["seeds_to_decide"]
    if row["verdict"] in OPEN and row["pairs"] < needed < MANY_SEEDS:
        said += f"; about {needed:.0f} seeds would decide at a margin of " + amount(
            row["margin"], row["unit"]
        )
    return said


def collapsed(row: Mapping[Any, Any]) -> str:
    """Return what stands behind the score of a row whose representations collapsed.

    >>> collapsed({"collapsed": 2, "seeds": 3}), collapsed({"collapsed": 0, "seeds": 3})
    (' (2 of 3 collapsed)', '')
    """
    count, seeds = row["collapsed"], row["seeds"]
    if not count:
        return ""
    return " (collapsed)" if count == seeds else f" ({count} of {seeds} collapsed)"


def pooled_interval(row: Mapping[Any, Any]) -> str:
    """Return a pooled difference with its interval, as text; above 0 is better."""
    return interval(row["pooled"], row["low"], row["high"], _marks(row["margin"]))


def difference(row: Mapping[Any, Any]) -> str:
    """Return a row's paired difference with its interval, as text."""
    low, high = row["difference_low"], row["difference_high"]
    return interval(row["difference"], low, high, _marks(row["margin"]))


def _marks(margin: float) -> tuple[float, ...]:
    """Return the values that rounding must not move an end of the interval across."""
    return (0.0,) if pd.isna(margin) else (-margin, 0.0, margin)


def _panel(panel: pd.DataFrame, *, several: bool) -> pd.DataFrame:
    rows = panel.to_dict("records")
    table = pd.DataFrame(
        {
            "method": panel["method"].tolist(),
            "loss": panel["loss"].tolist(),
            "mean ± std": [_spread(row["mean"], row["std"]) + collapsed(row) for row in rows],
            "seeds": [_seeds(row) for row in rows],
            "difference [95%]": [
                "" if row["verdict"] == BASELINE else difference(row) for row in rows
            ],
            "bound": [bound_text(row["bound"]) for row in rows],
            "sd": [_number(row["difference_std"], ".2f") for row in rows],
            "verdict": [row["verdict"] for row in rows],
            "rank": [_number(row["rank"], "g") for row in rows],
        }
    )
    return table if several else table.drop(columns="method")


def _add_diagnostics(
    text: pd.DataFrame,
    panel: pd.DataFrame,
    asked: tuple[str, ...],
    measured: Mapping[tuple[str, str, str], Mapping[str, Final]],
) -> tuple[str, ...]:
    """Add a column a diagnostic to the ``text`` of a ``panel``, and return their headings."""
    rows = [tuple(row) for row in each_row(panel[["task", "method", "loss"]])]
    there = [name for name in asked if any(name in measured.get(row, {}) for row in rows)]
    headings = tuple(name if name not in text else f"{name} (diagnostic)" for name in there)
    for name, heading in zip(there, headings, strict=True):
        text[heading] = [written(measured.get(row, {}).get(name)) for row in rows]
    return headings


def _overall(part: pd.DataFrame, *, several: bool) -> pd.DataFrame:
    rows = part.to_dict("records")
    table = pd.DataFrame(
        {
            "method": part["method"].tolist(),
            "loss": part["loss"].tolist(),
            "pooled [95%]": [pooled_interval(row) for row in rows],
            "tau": [_number(row["tau"], ".2f") for row in rows],
            "seeds better": [_number(row["improvement"], ".2f") for row in rows],
            "verdict": [with_margin(row["verdict"], row["margin"], "%") for row in rows],
            "tasks": [f"{row['tasks']} of {row['of_tasks']}" for row in rows],
        }
    )
    return table if several else table.drop(columns="method")


def _tuned(tuned: pd.DataFrame) -> pd.DataFrame:
    rows = tuned.to_dict("records")
    return pd.DataFrame(
        {
            "task": tuned["task"].tolist(),
            "loss": tuned["loss"].tolist(),
            "setting": tuned["setting"].tolist(),
            "chosen": [f"{row['value']}" for row in rows],
            "of": [
                "" if pd.isna(row["low"]) else f"{row['low']:g} to {row['high']:g}" for row in rows
            ],
            "place": [
                _number(row["position"], ".2f") + (" (border)" if row["at_border"] else "")
                for row in rows
            ],
            "trial": [f"{row['trial'] + 1} of {row['trials']}" for row in rows],
        }
    )


def _cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a row a cell; those that are missing are counted, as of a run there may be many."""
    lost = cells[cells["status"] != "missing"]
    rows = [
        (cell.task, cell.spec, str(cell.seed), cell.stage, cell.status, cell.reason)
        for cell in each_row(lost)
    ]
    missing: dict[tuple[str, str, str, str], list[int]] = {}
    for cell in each_row(cells[cells["status"] == "missing"]):
        missing.setdefault((cell.task, cell.loss, cell.stage, cell.reason), []).append(cell.seed)
    for (task, loss, stage, reason), seeds in missing.items():
        which = str(seeds[0]) if len(seeds) == 1 else f"{len(seeds)} cells"
        rows.append((task, loss, which, stage, "missing", reason))
    return pd.DataFrame(rows, columns=["task", "loss", "seed", "stage", "status", "reason"])


def _latex_cell(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["mean"]):
        return "--"
    text = f"{row['mean']:.2f}" + ("" if pd.isna(row["std"]) else rf" $\pm$ {row['std']:.2f}")
    text += collapsed(row)
    if row["best"]:
        return rf"\textbf{{{text}}}"
    return rf"\underline{{{text}}}" if row["tied"] else text


def _latex(text: str) -> str:
    escaped = "".join(LATEX.get(letter, letter) for letter in _visible(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # Else `\\\\` takes it.


def _csv(table: pd.DataFrame) -> str:
    """Return ``table`` as CSV; a text that a spreadsheet would run as a formula is quoted."""
    texts = table.select_dtypes(exclude=["number", "bool"]).astype(object)
    safe = {str(name): column.map(_no_formula) for name, column in texts.items()}
    return table.assign(**safe).to_csv(index=False, lineterminator="\n")


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = _visible(value)  # A carriage return would begin another row.
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _visible(text: str) -> str:
    r"""Return ``text`` with control characters, which move cursors, as escapes.

    >>> _visible("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_|~$:#@\[\]])", r"\\\1", html.escape(_visible(text), quote=False))


def _spread(mean: float, std: float) -> str:
    return _number(mean, ".2f") + ("" if pd.isna(std) else f" ± {std:.2f}")


def _seeds(row: Mapping[Any, Any]) -> str:
    short = row["seeds"] < row["planned"]
    return f"{row['seeds']} of {row['planned']}" if short else str(row["seeds"])


def interval(middle: float, low: float, high: float, marks: tuple[float, ...] = (0.0,)) -> str:
    """Return a number with its interval; no end is rounded across one of ``marks``.

    >>> interval(0.25, 0.0031, 0.4996, (-0.5, 0.0, 0.5))
    '+0.2500 [+0.0031, +0.4996]'
    >>> interval(0.25, -0.1, 0.6), interval(0.25, math.nan, math.nan)
    ('+0.25 [-0.10, +0.60]', '+0.25')
    """
    if pd.isna(middle):
        return ""
    if pd.isna(low):
        return f"{middle:+.2f}"
    digits = next((d for d in range(2, 7) if all(_keeps(end, d, marks) for end in (low, high))), 6)
    # Adding 0 turns -0 into 0.
    texts = [f"{round(value, digits) + 0:+.{digits}f}" for value in (middle, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _keeps(end: float, digits: int, marks: tuple[float, ...]) -> bool:
    """Return whether rounding keeps an end on its side of every mark."""
    shown = round(end, digits)
    return all((end > mark) == (shown > mark) and (end < mark) == (shown < mark) for mark in marks)


def bound_text(bound: float) -> str:
    """Return a bound as text, rounded up.

    >>> bound_text(0.5004)
    '0.51'
    """
    if pd.isna(bound) or bound > 1e12:
        return _number(bound, ".3g")
    return f"{math.ceil(round(bound * 100, 6)) / 100:.2f}"


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) or math.isinf(value) else format(value, form)
