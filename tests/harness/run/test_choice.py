"""The choice among trials, from records and failures on disk."""

from pathlib import Path

import pytest
from synthetic import record

from harness.core.cells import Cell, Planned
from harness.run.choice import choose
from harness.store.records import Failure, Store

SCORES = {0: [60.0, 61.0], 1: [64.0, 60.0], 2: [63.0, 61.0], 3: [50.0, 99.0]}


def trials() -> list[Planned]:
    return [
        Planned(
            Cell("blobs", "siamese", f"adnce(mu={trial / 10})", seed, scored="validation"),
            "adnce[tuned]",
            trial,
        )
        for trial in SCORES
        for seed in (0, 1)
    ]


def keys() -> dict[Cell, str]:
    return {planned.cell: f"{planned.trial}-{planned.cell.seed}" for planned in trials()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with every trial but the last, whose second seed diverged."""
    made = Store(tmp_path)
    for planned in trials():
        value = SCORES[planned.trial or 0][planned.cell.seed]
        scores = {"validation": {"accuracy": value, "macro_f1": 100 - value}}
        key = keys()[planned.cell]
        if key != "3-1":
            made.write_record(planned.cell, record(key, cell=planned.cell.to_dict(), scores=scores))
        else:
            made.write_failure(planned.cell, Failure(key, "diverged", "Diverged: nan"))
    return made


ROW = ("blobs", "siamese", "adnce[tuned]")


def test_ties_go_to_the_earlier_trial_and_diverged_trials_are_never_chosen(store: Store) -> None:
    """Trials 1 and 2 both have a mean of 62; trial 3 would have 74.5."""
    assert choose(trials(), keys(), store).specs == {ROW: "adnce(mu=0.1)"}


def test_the_main_metric_decides(store: Store) -> None:
    cell = trials()[0].cell
    scores = {"validation": {"macro_f1": 90.0, "accuracy": 1.0}}
    store.write_record(cell, record("0-0", cell=cell.to_dict(), scores=scores))
    assert choose(trials(), keys(), store).specs == {ROW: "adnce(mu=0.0)"}


def test_a_missing_trial_leaves_the_row_waiting(store: Store) -> None:
    cell = trials()[0].cell
    store.record_path(cell, "0-0").unlink()
    choice = choose(trials(), keys(), store)
    assert choice.specs == {}
    assert choice.waiting == {ROW: "waits for 1 of 8 tuning cells"}
    store.write_failure(cell, Failure("0-0", "failed", "killed"))
    assert choose(trials(), keys(), store).waiting == choice.waiting
    unplanned = {c: k for c, k in keys().items() if c != cell}
    assert choose(trials(), unplanned, store).waiting == choice.waiting


def test_a_row_whose_trials_all_diverged_stays_waiting(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell, key in keys().items():
        store.write_failure(cell, Failure(key, "diverged", "Diverged: nan"))
    choice = choose(trials(), keys(), store)
    assert choice.waiting == {ROW: "every tuning trial diverged"}
