"""Kill a study's processes at random moments, resume it, and compare its board byte for byte.

    python benchmarks/kills.py quickstart --kills 20 --checkpoint 0.05

The study is run twice, each time in a folder of its own. The first run is undisturbed. In the
second, the main process, one of its workers, or the process of a cell is killed (SIGKILL) at
random moments, and the same command is started again until the run is complete. This prints the
kills, the steps that were done twice, and whether all files and figures of the two boards are the
same bytes. Both are drawn from records with the same times and memory: these differ from run to
run.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.core.cells import Cell
from harness.store.records import Store

MAX_STARTS = 3


@dataclass
class Disturbed:
    """What happened to the run whose processes were killed.

    Attributes:
        kills: how many processes were killed: {main, worker}.
        starts: how often the command was given.
        continued: how many cells resumed from a checkpoint.
        repeated: steps that were done again.
        seconds: wall time of all starts together.
    """

    kills: dict[str, int] = field(default_factory=lambda: {"main": 0, "worker": 0})
    starts: int = 0
    continued: int = 0
    repeated: int = 0
    seconds: float = 0.0


def main() -> None:
    """Run the study twice, and print what the kills cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", help="a study's name or file; further options go to the run")
    parser.add_argument("--kills", type=int, default=10, help="processes to kill")
    parser.add_argument("--checkpoint", default="0.05", help="minutes between checkpoints")
    parser.add_argument(
        "--pause", type=float, nargs=2, default=(5, 40), help="seconds between kills"
    )
    parser.add_argument("--seed", type=int, default=0)
    options, run_options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as top:
        command = [options.study, *run_options]
        started = time.monotonic()
        undisturbed(command, Path(top, "peace"))
        print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
        result = disturbed(
            [*command, "--checkpoint", options.checkpoint], Path(top, "disturbed"),
            kills=options.kills, pause=tuple(options.pause), rng=random.Random(options.seed),  # noqa: S311
        )  # fmt: skip
        print(
            f"disturbed: {result.seconds:.0f} s; {result.kills['main']} main processes and "
            f"{result.kills['worker']} workers were killed, and the command was started "
            f"{result.starts} times; {result.continued} cells continued from a checkpoint, "
            f"{result.repeated} steps were done twice"
        )
        peace, other = board(Path(top, "peace")), board(Path(top, "disturbed"))
        different = differences(peace, other)
        for name in sorted(peace | other):
            print(f"{name}: {'DIFFERENT' if name in different else 'the same bytes'}")
        if different:
            raise SystemExit(f"{len(different)} files of the boards differ.")


def triptych(*words: str, **options) -> subprocess.Popen:
    """Start the command line in a session of its own."""
    executable = str(Path(sys.executable).with_name("triptych"))
    return subprocess.Popen([executable, *words], start_new_session=True, **options)


def undisturbed(command: list[str], folder: Path) -> None:
    """Run the study to its end."""
    process = triptych("run", *command, "--out", str(folder), stdout=subprocess.DEVNULL)
    if process.wait():
        raise SystemExit("The undisturbed run failed.")


def disturbed(
    command: list[str],
    folder: Path,
    *,
    kills: int,
    pause: tuple[float, float],
    rng: random.Random,
    environment: dict[str, str] | None = None,
) -> Disturbed:
    """Run the study again and again, killing its processes, until it is complete."""
    result = Disturbed()
    started = time.monotonic()
    words = ["run", *command, "--out", str(folder), "--log", "json"]
    steps: dict[str, int] = {}
    calm = 0  # Starts after the last kill; the run must complete within MAX_STARTS of them.
    while calm < MAX_STARTS:
        result.starts += 1
        calm += sum(result.kills.values()) >= kills
        log = folder.with_suffix(".events")
        with log.open("w") as events:
            process = triptych(*words, stdout=events, stderr=subprocess.STDOUT, env=environment)
        while process.poll() is None and sum(result.kills.values()) < kills:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(*pause))
            kind = rng.choice(["main", "worker"])
            while not (victims := processes(process.pid, kind)) and process.poll() is None:
                time.sleep(0.05)  # It has no worker at the moment.
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(victims), signal.SIGKILL)
                    result.kills[kind] += 1
        status = process.wait()
        count_steps(log, steps, result)
        if status == 0:
            result.seconds = time.monotonic() - started
            return result
    raise SystemExit(
        f"The run is not complete after {MAX_STARTS} undisturbed starts: {log.read_text()[-3000:]}"
    )


def processes(main: int, kind: str) -> list[int]:
    """Return the processes of a kind: the main one alone, or all workers and their cells' ones."""
    if kind == "main":
        return [main]
    workers = children(main)
    return [*workers, *(cell for worker in workers for cell in children(worker))]


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` started."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            pids += map(int, (thread / "children").read_text().split())
    return pids


def count_steps(log: Path, steps: dict[str, int], result: Disturbed) -> None:
    """Count, from a run's events, the cells that were resumed and the steps done again.

    ``steps`` holds the last step of each unfinished cell, and is brought up to date.
    """
    fresh: set[str] = set()  # Cells that were started, without a step yet.
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            event = json.loads(line)
            cell = json.dumps(event["cell"])
            if event["kind"] == "started":
                fresh.add(cell)
            elif event["kind"] == "step":
                before = steps.get(cell, 0)
                if cell in fresh and before:
                    # The first event is of the first step after the start.
                    result.continued += event["step"] > 1
                    result.repeated += max(0, before - event["step"] + 1)
                fresh.discard(cell)
                steps[cell] = event["step"]
            elif event["kind"] == "done":
                steps.pop(cell, None)


def board(folder: Path) -> dict[str, bytes]:
    """Return {path: content} of every file and figure of the run's board, without times."""
    null = subprocess.DEVNULL
    with tempfile.TemporaryDirectory() as top:
        copy_without_times(folder, Path(top, "run"))
        # From the same place in both: a board names the folder of its run.
        words = ("board", "run", "--to", "board", "--figures")
        if triptych(*words, cwd=top, stdout=null, stderr=null).wait():
            raise SystemExit(f"`triptych board {folder}` failed.")
        into = Path(top, "board")
        files = [path for path in into.rglob("*") if path.is_file()]
        return {path.relative_to(into).as_posix(): path.read_bytes() for path in files}


def copy_without_times(folder: Path, into: Path) -> None:
    """Copy a run, with the same times, memory and command in all of its copies."""
    shutil.copytree(folder, into)
    store = Store(into)
    for record in store.records():
        same = replace(
            record,
            seconds=dict.fromkeys(record.seconds, 1.0),
            throughput=1.0,
            peak_memory=dict.fromkeys(record.peak_memory, 1 << 20),
            finished="2000-01-01T00:00:00+00:00",
            continued=[],
        )
        store.write_record(Cell(**record.cell), same)
    study = store.study()
    store.study_path.unlink()  # Otherwise its plan would be merged into the new one.
    store.write_study(study | {"command": "triptych run"})


def differences(one: Mapping[str, bytes], two: Mapping[str, bytes]) -> list[str]:
    """Return the names of the files that differ, or that one of two boards lacks."""
    return sorted(name for name in {*one, *two} if one.get(name) != two.get(name))


if __name__ == "__main__":
    main()
