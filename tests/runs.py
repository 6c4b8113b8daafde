"""Studies, an engine and a task that tests of runs share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.run import attempt
from harness.run.engines import Engine, Event, Job, Resources
from harness.store.table import load_records
from harness.study.study import Study

STUDY = Study("s", tasks=["blobs(steps=4)"], losses=["infonce", "adnce"], seeds=2)
SCORES = ["task", "method", "loss", "spec", "seed", "split", "metric", "value", "proof"]


def scores(folder: Path) -> list[list[Any]]:
    return rows_of(load_records(folder))


def rows_of(table: pd.DataFrame) -> list[list[Any]]:
    table = table.loc[table["step"] == table["steps"], SCORES]
    rows: list[list[Any]] = table.sort_values(SCORES[:7]).to_numpy().tolist()
    return rows


class Inside(Engine):
    """An engine that does what a worker does in this process."""

    def open(self, folder: Path) -> "Inside":
        self.jobs: list[Job] = []
        super().open(folder)
        return self

    def submit(self, job: Job, resources: Resources) -> None:
        self.jobs.append(job)

    def events(self) -> Iterator[Event]:
        for job in self.jobs:
            yield Event("started", job.cell, 1)
            values: dict[str, Any] = self.attempt(job)
            yield Event(cell=job.cell, worker=1, **values)

    def attempt(self, job: Job) -> dict[str, str]:
        return attempt.attempt(job)

    def close(self) -> None:
        pass


TUNED = Study(
    "tuned",
    tasks=["blobs"],
    losses={
        "infonce": {"temperature": {"low": 0.05, "high": 1.0, "log": True}},
        "margin": {"margin": {"low": 0.0, "high": 0.5}},
        "adnce": {},
    },
    seeds=2,
    steps=4,
    probes=1,
    tuning={"trials": 3, "seeds": 2},
)


SPY = """
import json, os
from triptych_example import Blobs

class Spy(Blobs):
    def evaluate(self, encoder, splits):
        with open(os.environ["SPY_LOG"], "a") as log:
            log.writelines(split + "\\n" for split in splits)
        return super().evaluate(encoder, splits)
"""
