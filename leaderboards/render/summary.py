"""A page of plain text: the answer, and a paragraph on the methods for a paper."""

import textwrap

from leaderboards.analysis.visible import visible
from leaderboards.report.model import Report

WIDTH = 80


def summary(report: Report) -> str:
    """Return the answer, what to know before believing it, and how it was found."""
    blocks = [
        report.title,
        " · ".join(report.facts),
        *report.answer,
        *report.pooled,
        *(f"Note: {warning.text}" for warning in report.warnings),
        f"Methods. {report.methods}",
    ]
    return "\n\n".join(textwrap.fill(visible(block), WIDTH) for block in blocks if block) + "\n"
