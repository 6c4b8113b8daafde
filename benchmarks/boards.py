"""Time a board of many records: reading, computing, writing, and showing it in a browser.

    python benchmarks/boards.py --records 10000

The records are made up (3 tasks, 4 tuned losses with 32 trials each, the rest fixed), written
by the store itself, and probed four times. `triptych board` is timed first as a command, from
the start of the interpreter to the last file; then its parts are timed. The page is opened in
Debian's `chromium` if it is installed.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from harness.core.cells import UNTRAINED, Cell
from harness.store import provenance
from harness.store.records import SCHEMA, Record, Store
from harness.store.table import load_records
from leaderboards import leaderboard
from leaderboards.render.formats import figure_files, files
from leaderboards.render.terminal import to_text

TASKS = {"images": ("image", ["accuracy"]), "sentences": ("sentence", ["sts_spearman"]),
         "nodes": ("graph", ["accuracy", "macro_f1"])}  # fmt: skip
SEEDS, TRIALS, TUNED = 10, 32, 4


def main() -> None:
    """Write the records, and time every part of their board."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000, help="about this many records")
    parser.add_argument("--keep", type=Path, help="write the page into this folder, and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        number = timed("write the records", lambda: write(Path(folder), options.records))
        print(f"  {number} records")
        command = [Path(sys.executable).with_name("triptych"), "board", folder]
        timed("triptych board", lambda: subprocess.run(command, check=True, capture_output=True))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
        print(f"  peak memory {peak:.0f} MiB")
        records = timed("load_records", lambda: load_records(folder))
        board = timed("leaderboard", lambda: leaderboard(records))
        print(f"  {len(board.rows)} rows, {len(board.trials)} trials, {len(records)} scores")
        report = timed("report", lambda: board.report)
        lines = timed("terminal", lambda: to_text(report, 80)).count("\n") + 1
        print(f"  {lines} lines in a terminal of 80 columns")
        texts = {name: timed(name, text) for name, text in files(report)}
        timed("figures", lambda: [draw() for _, draw in figure_files(report)])
        for name, text in texts.items():
            print(f"  {name} {len(text.encode()) / 2**10:.0f} KiB")
        page = (options.keep or Path(folder)) / "board.html"
        page.write_text(texts["board.html"], encoding="utf-8")
        show(page)


def timed(name, work):
    """Print how long ``work`` takes, and return its result."""
    started = time.perf_counter()
    result = work()
    print(f"{name:>20} {time.perf_counter() - started:7.2f} s", flush=True)
    return result


def write(folder: Path, number: int) -> int:
    """Write about ``number`` records and their plan, and return the exact number."""
    store = Store(folder)
    plan: list[dict] = []
    tuned = TUNED if number >= 2000 else 0  # A small board has no tuned losses.
    rows = max(2, (number - len(TASKS) * tuned * TRIALS * 2) // (len(TASKS) * SEEDS))
    for task in TASKS:
        for loss in range(tuned):
            for trial in range(TRIALS):
                for seed in (10_000, 10_001):
                    spec = f"adnce(temperature={0.02 + trial / 40:.4g}, mu={loss / 8})"
                    cell = Cell(task, "siamese", spec, seed, scored="validation")
                    put(store, plan, cell, f"adnce(mu={loss / 8})[tuned]", trial)
        for row in range(rows):
            loss = UNTRAINED if row == 0 else f"infonce(temperature={row / 100})"
            for seed in range(SEEDS):
                put(store, plan, Cell(task, "siamese", loss, seed, probes=4 * (row > 0)), loss)
    space = {"temperature": {"low": 0.02, "high": 1.0, "log": True}}
    spaces = {f"adnce(mu={loss / 8})[tuned]": space for loss in range(tuned)}
    baseline = "infonce(temperature=0.01)"
    store.write_study({"baseline": baseline, "spaces": spaces, "plan": plan, "schema": SCHEMA})
    return len(plan)


def put(store: Store, plan: list[dict], cell: Cell, label: str, trial: int | None = None) -> None:
    """Write one made-up record, and add its cell to the plan."""
    number = len(plan)
    draw = np.random.default_rng(number)
    modality, metrics = TASKS[cell.task]
    key = f"{number:016x}"
    steps = 0 if cell.loss == UNTRAINED else 100

    def scores() -> dict[str, float]:
        return {metric: float(draw.normal(80, 2)) for metric in metrics}

    splits = ("validation", "test") if cell.scored == "test" else ("validation",)
    pair = f"{cell.task}-{cell.seed}"
    network = {"shapes": "shapes", "weights": pair, "sample": [0.1] * 16}
    marks = {str(step): pair for step in (1, 2, 4, 8, 16, 32, 64, 100) if steps}
    record = Record(
        key=key,
        task=cell.task,
        identity={"source": cell.loss},
        cell=cell.to_dict(),
        modality=modality,
        settings={"loss": {"temperature": round(float(draw.uniform(0.02, 1)), 4), "mu": 0.5}},
        scores={split: scores() for split in splits},
        probed=[[20 * i, scores()] for i in range(1, cell.probes + 1)],
        curve=[[i, 4.0] for i in range(1, steps + 1)],
        steps=steps,
        continued=[],
        seconds={"train": 20.0, "evaluate": 3.0, "total": 25.0},
        throughput=1000.0,
        peak_memory={"resident": 5 * 10**8},
        proof={
            "schema": 4,
            "machine": "cpu",
            "torch": "2",
            "processes": 1,
            "start": {"splits": "", "encoder": network, "head": network},
            "ids": marks,
            "views": marks,
        },
        data={f"{cell.task}.whl": "0" * 64},
        frame="frame",
        versions=provenance.versions(),
        commit="0" * 40,
        device="cpu",
        finished=(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)).isoformat(),
    )
    store.write_record(cell, record)
    planned = {"label": label, "trial": trial, "modality": modality, "key": key}
    plan.append({**planned, "cell": cell.to_dict()})


def show(page: Path) -> None:
    """Print how long a browser takes to open the page, and to paint it first."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed: the page was not opened")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            started = time.perf_counter()
            tab.goto(page.as_uri())
            ready = time.perf_counter() - started
            tab.wait_for_timeout(200)  # A small page is loaded before it is painted.
            paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0]")
            shown = f"{paint['startTime'] / 1000:.2f} s" if paint else "unknown"
            print(f"  opened in {ready:.2f} s, first paint after {shown}")
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
