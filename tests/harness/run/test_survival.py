"""Real processes, killed, starved and doubled: nothing is lost and nothing is done twice."""

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import TRIPTYCH, environment
from runs import SPY, STUDY, TUNED, Inside

from benchmarks import kills
from harness.core.cells import Cell
from harness.core.commands import run_again
from harness.core.errors import InputError
from harness.run import runner
from harness.run.attempt import attempt
from harness.run.claims import take
from harness.run.engines import Job
from harness.run.runner import run, run_one
from harness.run.status import faults, states
from harness.store.checkpoints import Checkpoints, Stopped
from harness.store.identity import identify
from harness.store.records import Failure, Store
from harness.store.table import load_records
from harness.study.study import Study

LONG = """
name = "long"
tasks = ["blobs(steps=400)", "scheduled(steps=60)"]
losses = ["infonce", "sogclr"]
seeds = 1
probes = 2
"""


class AtWork(random.Random):
    """Pauses that begin when a cell is at work: killed while it imports, a process loses nothing.

    Args:
        events: of the run, as ``kills.disturbed`` writes them.
    """

    def __init__(self, events: Path) -> None:
        super().__init__(10)
        self.events = events

    def uniform(self, a: float, b: float) -> float:
        before = self.events.read_text().count('"kind": "step"')

        def at_work() -> bool:
            said = self.events.read_text()
            return said.count('"kind": "step"') > before or '"kind": "summary"' in said

        wait_for(at_work, seconds=240)
        return super().uniform(a, b)


def test_a_run_killed_at_random_moments_gives_the_same_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A main process and a worker of a study; the peaceful run is in this process."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    study = tmp_path / "long.toml"
    study.write_text(LONG)
    run(study, tmp_path / "peace", engine=Inside())
    told = kills.disturbed(
        [str(study), "--checkpoint", "0.005", "--jobs", "1"], tmp_path / "disturbed",
        kills=2, pause=(0, 1), rng=AtWork(tmp_path / "disturbed.events"),
    )  # fmt: skip
    assert told.kills == {"main": 1, "worker": 1}
    peace, other = kills.board(tmp_path / "peace"), kills.board(tmp_path / "disturbed")
    assert kills.differences(peace, other) == []
    assert len(peace) > 20, "files and figures"
    # A header, and a row for each task and loss.
    assert len(peace["leaderboard.csv"].splitlines()) == 1 + 2 * 3
    store = Store(tmp_path / "disturbed")
    assert all(state.state == "done" for state in states(store))
    for folder in ("checkpoints", "claims", "failures"):
        assert not list((store.folder / folder).glob("*")), folder
    assert not list(store.folder.glob("*/.*"))


def test_boards_are_compared_in_every_file_and_without_times(tmp_path: Path) -> None:
    """Other times make no difference, another score does, and so does a file that is missing."""
    run(STUDY, tmp_path / "run", engine=Inside())
    first = kills.board(tmp_path / "run")
    assert {"board.html", "leaderboard.md", "leaderboard.tex", "records.csv"} < set(first)
    store = Store(tmp_path / "run")
    record = next(record for record in store.records() if record.steps)
    slower = replace(
        record,
        seconds={name: 3 * value for name, value in record.seconds.items()},
        peak_memory=dict.fromkeys(record.peak_memory, 1 << 40),
        finished="2031-12-31T23:59:59+00:00",
        continued=[2],
    )
    store.write_record(Cell(**record.cell), slower)
    assert kills.differences(first, kills.board(tmp_path / "run")) == []
    scores = {
        split: {name: value + 1 for name, value in of_split.items()}
        for split, of_split in record.scores.items()
    }
    store.write_record(Cell(**record.cell), replace(record, scores=scores))
    different = kills.differences(first, kills.board(tmp_path / "run"))
    assert {"board.html", "leaderboard.csv", "leaderboard.md", "records.csv"} <= set(different)
    for name in first:
        assert kills.differences(first, {**first, name: first[name] + b" "}) == [name]
        missing = {other: content for other, content in first.items() if other != name}
        assert kills.differences(first, missing) == kills.differences(missing, first) == [name]


def starts(folder: Path) -> dict[str, int]:
    """Return how often each cell was begun, from its log."""
    logs = (folder / "logs").glob("*seed*.log")
    return {path.name: len(re.findall(r"  --- ", path.read_text())) for path in logs}


def test_two_runs_on_one_folder_share_the_work(tmp_path: Path) -> None:
    study = STUDY.but(tasks=["blobs(steps=300)"])
    summaries: list[Any] = [None, None]

    def one(i: int) -> None:
        summaries[i] = run(study, tmp_path / "shared", engine="local(jobs=1)")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = summaries
    assert first.complete and second.complete
    assert not first.failed and not second.failed
    for summary in summaries:
        assert summary.settled == summary.expected == 6
    assert set(starts(tmp_path / "shared").values()) == {1}, "a cell was run twice"
    assert len(starts(tmp_path / "shared")) == 6
    assert faults(Store(tmp_path / "shared")) == []


def test_a_run_waits_for_cells_that_another_run_has_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back without a record, the cell is tried here."""
    monkeypatch.setattr(runner, "POLL", 0.05)
    (cell,) = STUDY.but(losses=["infonce"], seeds=1).cells()[:1]
    store = Store(tmp_path)
    claim = take(store.claim_path(cell, identify(cell).key))
    assert claim is not None
    heard: list[str] = []

    def listen(event: Any, summary: Any) -> None:
        heard.append(event.kind)
        if event.kind == "claimed":
            assert event.cell == cell
            threading.Timer(1.0, claim.path.unlink).start()

    study = STUDY.but(losses=["infonce"], seeds=1)
    summary = run(study, tmp_path, engine=Inside(), listen=listen)
    assert heard.count("claimed") >= 1
    assert cell in summary.done
    assert summary.complete


def wait_for(what: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


@pytest.fixture
def running(tmp_path: Path, small: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The command line on cells of ten seconds or more, each at work."""
    folder = tmp_path / "run"
    with subprocess.Popen(
        [TRIPTYCH, "run", small, "--tasks", "blobs(steps=4000)", "--losses", "infonce",
         "--seeds", "1", "--out", str(folder), "--jobs", "1"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        log = wait_for(lambda: list((folder / "logs").glob("*infonce*.log")))[0]
        wait_for(lambda: "step 200 " in log.read_text())
        yield process, folder
        process.kill()


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_saves_the_state_of_its_cells(
    running: tuple[subprocess.Popen[str], Path], signalled: int
) -> None:
    """Killed outright, the main process says nothing; the workers notice and save."""
    process, folder = running
    process.send_signal(signalled)
    said = process.communicate()[0]
    (state,) = wait_for(lambda: list((folder / "checkpoints").glob("*.safetensors")))
    if signalled == signal.SIGTERM:
        assert process.returncode == 130
        assert "Run the same command again to continue" in said
    study = Study("s", tasks=["blobs(steps=4000)"], losses=["infonce"], seeds=1, probes=4)
    (cell,) = [cell for cell in study.cells() if cell.loss == "infonce"]
    wait_for(lambda: not list((folder / "claims").iterdir()) or signalled == signal.SIGKILL)
    (found,) = [s for s in states(Store(folder)) if s.cell == cell]
    assert (found.state, found.note) == ("to do", "will resume from a checkpoint")
    assert state.stat().st_size > 1000


def test_a_cell_that_another_run_finished_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since this run looked: its workers find the record, and say whose it is."""
    study = STUDY.but(losses=["infonce"], seeds=1)
    run(study, tmp_path)
    has = Store.has
    looks: list[Cell] = []

    def blind_at_first(store: Store, cell: Cell, key: str) -> bool:
        looks.append(cell)
        return looks.count(cell) > 1 and has(store, cell, key)

    monkeypatch.setattr(Store, "has", blind_at_first)
    again = run(study, tmp_path)
    assert (len(again.done), len(again.shared), again.settled) == (0, 2, 2)
    assert set(starts(tmp_path).values()) == {1}


def test_a_new_attempt_removes_an_earlier_failure(tmp_path: Path) -> None:
    """It failed, was tried again, and stopped on the way: it has not failed now."""
    cell = Cell("blobs(steps=5)", "siamese", "infonce", 0)
    key, store = identify(cell).key, Store(tmp_path)
    store.write_failure(cell, Failure(key, "failed", "the disk was full, yesterday"))
    keep = Checkpoints(store.checkpoint_path(cell, key))
    keep.stop_requested = True
    with pytest.raises(Stopped):
        attempt(Job(cell, key, str(tmp_path)), checkpoints=keep)
    assert store.failure(cell, key) is None
    assert store.checkpoint_path(cell, key).exists()
    assert not list((tmp_path / "claims").iterdir())


def test_shards_are_disjoint_and_cover_all_cells(tmp_path: Path) -> None:
    parts = [run(STUDY, tmp_path, shard=f"{i}/3", engine=Inside()) for i in (1, 2, 3)]
    assert [part.expected for part in parts] == [2, 2, 2]
    done = [cell for part in parts for cell in part.done]
    assert len(done) == len(set(done))
    assert set(done) == set(STUDY.cells())


def test_shards_of_a_tuned_study_are_the_same_before_and_after_the_choice(tmp_path: Path) -> None:
    """The first sees no choice, the second all of it; then the first goes on."""
    shards = partial(run, TUNED, tmp_path, engine=Inside())
    one = shards(shard="1/2")
    assert one.waiting and not one.failed
    two = shards(shard="2/2")
    rest = shards(shard="1/2")
    done = [cell for part in (one, two, rest) for cell in part.done]
    assert len(done) == len(set(done)) == TUNED.size()
    assert set(load_records(tmp_path)["status"]) == {"done"}


def test_failures_are_reported_when_standard_output_is_full(tmp_path: Path, small: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [TRIPTYCH, "run", small, "--tasks", "blobs(steps=3, noise=1e38)", "--losses",
             "infonce", "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "run")],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "2 cells failed:" in done.stderr
    assert f"To try them again:\n  triptych run {small}" in done.stderr


DAEMON = """
import os, time
from triptych_example import Blobs

class Daemon(Blobs):
    def load(self, randomness):
        if os.fork() == 0:
            os.setsid()
            with open(os.environ["DAEMON_LOG"], "a") as log:
                log.write(f"{os.getpid()}\\n")
            time.sleep(60)
            os._exit(0)
        raise RuntimeError("and left a daemon")
"""


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_daemon_left_by_a_plugin_does_not_block_the_run(
    tmp_path: Path, plugin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "daemons"
    monkeypatch.setenv("DAEMON_LOG", str(log))
    plugin("daemons", "tasks:daemon = daemons:Daemon", DAEMON)
    started = time.monotonic()
    study = Study("s", tasks=["daemon(steps=3)"], losses=["infonce"], seeds=1)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)")
    assert len(summary.failed) == 2
    assert all("and left a daemon" in reason for reason in summary.failed.values())
    assert time.monotonic() - started < 300, "it waited for the daemon"
    for pid in map(int, wait_for(lambda: log.read_text().split() if log.exists() else [])):
        os.kill(pid, signal.SIGKILL)  # Alive: the run was over before they were.


@pytest.mark.parametrize("shard", ["", "0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"])
def test_an_invalid_shard_is_an_error(tmp_path: Path, shard: str) -> None:
    with pytest.raises(InputError, match="`shard` must read PART/PARTS"):
        run(STUDY, tmp_path, shard=shard)


BREAKS = """
import os, sys, json
import numpy as np
from triptych_example import Blobs

class Break(Blobs):
    def __init__(self, *, how: str = "raise", steps: int = 3):
        super().__init__(steps=steps)
        self.how = how

    def load(self, randomness):
        super().load(randomness)
        seen = os.environ.pop("BROKEN", None)
        if self.how == "raise":
            os.environ["BROKEN"] = "by a cell before this one"
            raise RuntimeError("no luck")
        if self.how == "exit":
            sys.exit(3)
        if self.how == "memory":
            np.empty((1 << 60,), dtype=np.uint8)
        assert seen is None, "what a failed cell left behind reached another"
"""


def test_a_broken_plugin_fails_only_its_cell_and_leaves_no_files(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin("breaks", "tasks:break = breaks:Break", BREAKS)
    ways = ["exit", "memory", "raise", "not"]
    tasks = [f"break(how={way!r})" for way in ways]
    study = Study("s", tasks=tasks, losses=["infonce"], seeds=1)
    # One cell of each: a worker is started for each that follows a failed one.
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", shard="1/2")
    reasons = {cell.task: reason for cell, reason in summary.failed.items()}
    assert [cell.task for cell in (*summary.failed, *summary.done)] == [
        *tasks[:2],
        "break",
        tasks[3],
    ]
    words = ["SystemExit: 3", "MemoryError: Unable to allocate 1.00 EiB", "RuntimeError: no luck"]
    assert len(reasons) == 3
    for word, task in zip(words, [*tasks[:2], "break"], strict=True):
        assert word in reasons[task]
    # The workers wrote it down themselves, with the traceback.
    store = Store(tmp_path / "run")
    for cell, reason in summary.failed.items():
        failure = store.failure(cell, identify(cell).key)
        assert failure is not None and failure.reason == reason
        assert "Traceback" in failure.details


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB, where this machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_cells_and_damages_no_record(small_disk: Path) -> None:
    folder = small_disk / "run"
    study = STUDY.but(tasks=["blobs(steps=3)"], seeds=3)
    free = os.statvfs(small_disk)
    # Room for the plan and a few records, and no more.
    (small_disk / "ballast").write_bytes(b"x" * (free.f_bsize * (free.f_bavail - 12)))
    summary = run(study, folder, engine="local(jobs=1)")
    assert 0 < len(summary.done) < 9
    assert len(summary.done) + len(summary.failed) == 9
    assert all("No space left" in reason for reason in summary.failed.values())
    store = Store(folder)
    assert len(store.records()) == len(summary.done)
    assert all(record is not None for _, record in store.scan()), "a half-written record"
    (small_disk / "ballast").unlink()
    again = run(study, folder, engine=Inside())
    assert again.complete
    assert set(again.done) == set(summary.failed)


def test_a_folder_that_can_no_longer_be_written_fails_before_training(
    tmp_path: Path, plugin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin("spies", "tasks:spy = spies:Spy", SPY)
    monkeypatch.setenv("SPY_LOG", str(tmp_path / "log"))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "claims").touch()  # In the way of the folder: nothing can be claimed.
    study = Study("s", tasks=["spy(steps=3)"], losses=["infonce"], seeds=1)
    summary = run(study, folder, engine=Inside())
    assert len(summary.failed) == 2
    assert all("Could not write to" in reason for reason in summary.failed.values())
    assert not (tmp_path / "log").exists(), "it was trained, and could not be written"


def test_the_command_of_a_cell_gives_its_scores(tmp_path: Path) -> None:
    run(STUDY.but(seeds=1), tmp_path / "run", engine=Inside())
    record = next(record for record in Store(tmp_path / "run").records() if record.steps)
    cell = Cell(**record.cell)
    done = subprocess.run(
        [TRIPTYCH, *_words(run_again(cell)), "--out", str(tmp_path / "alone")],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    (alone,) = Store(tmp_path / "alone").records()
    assert (alone.scores, alone.proof, alone.key) == (record.scores, record.proof, record.key)
    assert re.search(rf"^key +{record.key}$", done.stdout, re.MULTILINE)


def _words(line: str) -> list[str]:
    import shlex

    return shlex.split(line)[1:]


def test_the_cell_command_reports_a_failure(tmp_path: Path) -> None:
    for _ in range(2):
        event = run_one(Cell("blobs(steps=2, noise=1e17)", "siamese", "vicreg", 0), tmp_path)
        assert event.kind == "diverged"
        assert "diverged at step 1 of 2" in event.reason


def test_the_cell_command_does_not_repeat_a_finished_cell(tmp_path: Path) -> None:
    cell = Cell("blobs(steps=2)", "siamese", "infonce", 0)
    assert [run_one(cell, tmp_path).kind for _ in range(2)] == ["done", "done"]
    assert list(starts(tmp_path).values()) == [1]
