"""From a leaderboard to its report: everything that is shown of it, in order."""

from collections.abc import Sequence

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.visible import MAX_TEXT, brief
from leaderboards.report import answer, details, matrix, scores
from leaderboards.report.drawers import drawers
from leaderboards.report.methods import methods
from leaderboards.report.model import Report, Section, Table
from leaderboards.statistics.ranking import MIN_TASKS


def report(
    board: Leaderboard, title: str = "", digits: int = 2, *, figures: bool = False
) -> Report:
    """Return the report of a board.

    Args:
        board: the leaderboard.
        title: its title; empty: the studies' names.
        digits: digits after the point of scores and differences.
        figures: whether figures are written beside the page, which then links them.
    """
    tables = {
        table.key: table
        for table in (
            scores.scores(board, digits),
            scores.overall(board, digits),
            details.curves(board),
            details.settings(board),
            details.tuned(board),
            details.trials(board),
            details.budget(board),
            details.diagnostics(board),
            details.diagnostic_steps(board),
            details.pairing(board),
            details.failures(board),
            details.published(board),
        )
    }
    behind = drawers(board, digits)
    return Report(
        board=board,
        title=brief(title or board.title or "Triptych"),
        facts=tuple(brief(fact, MAX_TEXT) for fact in (*answer.facts(board), *board.labels.shared)),
        answer=answer.answer(board),
        pooled=answer.pooled(board, digits),
        warnings=tuple(answer.warnings(board.notes)),
        matrix=matrix.matrix(board, digits, behind),
        legend=matrix.legend(board),
        sections=tuple(_sections(board, tables)),
        sentences=tuple(answer.sentences(board, digits)),
        methods=methods(board),
        figures=figures,
        drawers=behind,
        tables=tables,
    )


def _sections(board: Leaderboard, tables: dict[str, Table]) -> list[Section]:
    """Return the sections below the matrix, in order; empty tables are left out."""

    def named(*names: str) -> Sequence[Table]:
        return [tables[name] for name in names if tables[name].source]

    tested = board.friedman
    tasks = board.rows["task"].nunique()
    return [
        Section(
            "differences",
            "Paired differences",
            f"Each loss less {board.baseline_label}, seed by seed.",
            ["differences"],
        ),
        Section(
            "overall",
            "Over tasks",
            tested if isinstance(tested, str) and tasks >= MIN_TASKS else "",
            ["pooled", "critical_difference"],
            named("overall") if tasks > 1 else [],
        ),
        Section("training", "During training", "", ["training"], named("curves")),
        Section(
            "tuning", "Tuning", "", ["budget", "landscape"], named("budget", "tuned", "trials")
        ),
        Section("settings", "Against a setting", "", ["settings"], named("settings")),
        Section("scores", "All scores", "", [], named("scores")),
        Section("diagnostics", "Diagnostics", "", [], named("diagnostics")),
        Section("failures", "Cells without a score", "", [], named("failures")),
        Section("published", "Published results", "", [], named("published")),
    ]
