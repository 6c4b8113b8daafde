"""The command line that repeats a cell."""

import shlex
from pathlib import Path

from harness.core.cells import Cell


def run_again(cell: Cell, device: str = "", plugins: str | Path = "") -> str:
    """Return the command that runs ``cell`` alone, on ``device`` if one is given.

    ``plugins`` is the file of its plugins, or the folder that has a copy of them.

    >>> run_again(Cell("images", "siamese", "adnce(mu=0.5)", 3))
    "triptych cell images --method siamese --loss 'adnce(mu=0.5)' --seed 3"
    """
    words = ["triptych", "cell", cell.task, *(["--method", cell.method] if cell.method else [])]
    words += ["--loss", cell.loss, "--seed", str(cell.seed)]
    words += ["--probes", str(cell.probes)] if cell.probes else []
    words += ["--scored", cell.scored] if cell.scored != "test" else []
    words += ["--plugin", str(plugins)] if plugins else []
    words += ["--device", device] if device else []
    return shlex.join(words)
