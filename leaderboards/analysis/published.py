"""Numbers from papers, shown beside ours, but never ranked and never averaged."""

from importlib.resources import files
from io import StringIO

import pandas as pd

from leaderboards.analysis.tables import PUBLISHED_COLUMNS


def published_rows() -> pd.DataFrame:
    """Return the published numbers that Triptych ships, with the columns ``PUBLISHED_COLUMNS``.

    They come from other code, seeds and budgets, and often from selection on test scores.
    ``setting`` says how a number was made, ``source`` and ``url`` where it is published.
    """
    text = files("leaderboards.analysis").joinpath("published.csv").read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text))[list(PUBLISHED_COLUMNS)]
