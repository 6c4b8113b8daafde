"""How a board was made: a paragraph for a paper, versions, checksums, and how to cite."""

import json
import math
import re
from collections.abc import Iterator, Mapping

import pandas as pd

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.tables import each_row
from leaderboards.analysis.visible import MAX_TEXT, brief
from leaderboards.analysis.words import amount, intervals_named
from leaderboards.report.answer import seeds_of


def methods(board: Leaderboard) -> str:
    """Return a paragraph for a paper on how the losses were compared, with references."""
    labels = board.labels
    main = board.rows[board.rows["main"].astype(bool)]
    base = board.baseline_label
    margins = [
        f"{amount(row.margin, row.unit)} on {labels.task(row.task)}"
        for row in each_row(main.drop_duplicates("task"))
        if row.margin is not None and not math.isnan(row.margin)
    ]
    tasks = ", ".join(map(labels.task, dict.fromkeys(main["task"])))
    parts = [
        f"Every loss was trained with {seeds_of(board)} on {tasks}.",
        "For one task and seed all losses start from the same weights and see the same examples "
        f"and views, so each is compared with {base} by paired differences.",
        f"Intervals are {intervals_named(screening=board.screening)}"
        + ("." if board.screening else ", by the largest |t| of differences that share the "
           "baseline (Dunnett 1955), and allow for the resolution of the score."),
        "" if board.screening else
        "Every verdict follows from the interval and the smallest difference that matters "
        f"({', '.join(margins)})." if margins else "No smallest difference that matters is set.",
    ]  # fmt: skip
    if len(board.overall) and board.overall["sets"].max() > 1:
        parts.append(
            "Over tasks, differences are pooled with random effects by Paule and Mandel (1982) "
            "and the interval of Hartung and Knapp (2001), each data set once."
        )
    if not isinstance(board.friedman, str):
        parts.append("Ranks over tasks: Friedman's test and Nemenyi's difference (Demsar 2006).")
    if len(board.trials):
        budgets = sorted(set(board.trials.groupby("loss")["trial"].nunique()))
        each = " or ".join(map(str, budgets))
        parts.append(
            f"Tuned losses had {each} trials on validation, the points of one scrambled Sobol "
            "sequence; the best was run again with fresh seeds, and test scores were read once."
        )
    used = versions(board.records, ("triptych", "torch"))
    if used:
        parts.append(f"Software: {', '.join(f'{name} {text}' for name, text in used)}.")
    return " ".join(part for part in parts if part)


def provenance(board: Leaderboard) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of what a reader needs to make the board again."""
    yield from ((name, brief(text, MAX_TEXT)) for name, text in _provenance(board))


def _provenance(board: Leaderboard) -> Iterator[tuple[str, str]]:
    records = board.records
    commands = records.attrs.get("commands", ())
    yield "Command", "; ".join(commands) or "not known: the run's study.json does not say it"
    yield "Versions", ", ".join(f"{name} {text}" for name, text in versions(records))
    commits = sorted({str(commit) for commit in records["commit"].dropna() if commit})
    yield "Commit", ", ".join(commits) or "unknown"
    sums: dict[str, str] = {}
    for text in records["data"].dropna().unique():
        sums |= {name: str(checksum) for name, checksum in checksums(text)}
    yield "Data, by checksum", ", ".join(f"{name} {sum_[:16]}" for name, sum_ in sums.items())
    yield (
        "Beside this file",
        ("leaderboard.csv (every row), table.csv, overall.csv, records.csv (a row a record)"),
    )


def checksums(data: str) -> Iterator[tuple[str, object]]:
    """Yield (name, checksum) of the data that a record names, as its column ``data`` holds them."""
    read = json.loads(data) if data else {}
    yield from read.items() if isinstance(read, dict) else ()


def versions(records: pd.DataFrame, names: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return (library, its versions) that the records name: all of them, or those in ``names``."""
    found: dict[str, set[str]] = {}
    for text in records["versions"].dropna().unique():
        read: Mapping[str, str] = json.loads(text) if text else {}
        for name in names or read:
            if name in read:
                found.setdefault(name, set()).add(str(read[name]))
    return [(brief(name), brief(" and ".join(sorted(own)))) for name, own in found.items()]


def bibtex(board: Leaderboard) -> str:
    """Return how to cite Triptych, with the version that made the records."""
    used = dict(versions(board.records, ("triptych",))).get("triptych", "unknown")
    used = re.sub(r"[^\w.+ -]", "", used)  # A record may say anything, braces and commands too.
    return f"""\
@software{{triptych,
  title  = {{Triptych: a benchmarking harness for contrastive learning across three modalities}},
  author = {{{{The Triptych developers}}}},
  year   = {{2026}},
  note   = {{Version {used}}},
}}"""
