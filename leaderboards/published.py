"""Numbers from papers, to look at beside ours: never ranked, never averaged."""

from importlib.resources import files
from io import StringIO

import pandas as pd

from leaderboards.tables import PUBLISHED_COLUMNS


def published_rows() -> pd.DataFrame:
    """Return the published numbers that Triptych ships, with the columns ``PUBLISHED_COLUMNS``.

    They come from other code, seeds, budgets and often other selection on test; what
    they were made with is in ``setting``, where they stand in ``source`` and ``url``.
    """
    text = files("leaderboards").joinpath("published.csv").read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text))[list(PUBLISHED_COLUMNS)]
