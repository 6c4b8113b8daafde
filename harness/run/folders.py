"""The folders of runs: where they lie if none is named, and which one is the latest."""

import os
from contextlib import suppress
from pathlib import Path

RUNS = Path("runs")
"""The folder of the runs whose folder is not named."""


def is_run(folder: Path) -> bool:
    """Return whether ``folder`` holds a run: a study's plan, or records."""
    return (folder / "study.json").is_file() or (folder / "records").is_dir()


def newest(folders: Path = RUNS) -> Path | None:
    """Return the run in ``folders`` whose plan or newest record is the newest, if there is one."""
    runs = [each for each in sorted(folders.glob("*")) if is_run(each)]
    return max(runs, key=_changed, default=None)


def _changed(run: Path) -> float:
    """Return when the plan of ``run`` was written, or its newest record if that is later."""
    times = [0.0]
    with suppress(OSError):
        times.append((run / "study.json").stat().st_mtime)
    with suppress(OSError), os.scandir(run / "records") as files:
        for file in files:
            with suppress(OSError):  # Another process may have replaced it.
                times.append(file.stat().st_mtime)
    return max(times)
