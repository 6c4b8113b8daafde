"""Whole runs on the third party's task: in real worker processes, or in this one.

A worker imports for seconds, so ``Inside`` does its work where no process is what is
tested; that both give the same scores is.
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from runs import SPY, STUDY, TUNED, Inside, scores
from synthetic import texts

from harness.core.cells import Cell
from harness.core.content import Content
from harness.core.errors import InputError
from harness.run import attempt, runner
from harness.run.engines import Engine, Event, Job, Resources
from harness.run.local import Local
from harness.run.runner import Interrupted, Summary, run
from harness.run.status import states
from harness.store import identity
from harness.store.identity import identify
from harness.store.records import Store
from harness.store.table import load_records
from harness.study.study import Study
from leaderboards import leaderboard
from leaderboards.analysis.pairs import Pair, pair_of


def process_of(engine: Local, event: Event) -> Any:
    return engine.workers[event.worker - 1].process


def running(engine: Local) -> list[bool]:
    return [
        worker.process is not None and worker.process.poll() is None for worker in engine.workers
    ]


def test_scores_do_not_depend_on_jobs_or_on_other_cells(tmp_path: Path) -> None:
    """To the last bit: with one worker, with two, and for a cell that ran alone and here."""
    for jobs in (1, 2):
        summary = run(STUDY, tmp_path / str(jobs), engine=f"local(jobs={jobs})")
        assert len(summary.done) == 6
        assert not summary.failed
    assert scores(tmp_path / "1") == scores(tmp_path / "2")
    alone = Study("s", tasks=STUDY.tasks, losses=["adnce"], seeds=[1])
    run(alone, tmp_path / "alone", engine=Inside())
    rows = scores(tmp_path / "alone")
    assert rows
    assert all(row in scores(tmp_path / "1") for row in rows)


def test_cells_of_one_seed_are_paired(tmp_path: Path) -> None:
    run(STUDY, tmp_path, engine=Inside())
    table = load_records(tmp_path)
    both = zip(table["key"], table["proof"], strict=True)
    proofs = {key: json.loads(proof) for key, proof in both}
    seeds = dict(zip(table["key"], table["seed"], strict=True))
    for part, trained_alone in (("start", False), ("ids", True), ("views", True)):
        by_seed: dict[int, set[str]] = {}
        for key, proof in proofs.items():
            if proof[part] or not trained_alone:
                by_seed.setdefault(seeds[key], set()).add(json.dumps(proof[part]))
        assert [len(found) for found in by_seed.values()] == [1, 1]
        assert len(set.union(*by_seed.values())) == 2
    board = leaderboard(table)
    assert board.rows["pairs"].tolist() == board.rows["seeds"].tolist()


def test_a_run_runs_only_the_missing_cells(tmp_path: Path) -> None:
    first = run(STUDY, tmp_path, engine=Inside())
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    again = run(STUDY, tmp_path, engine=Inside())
    assert (len(again.done), len(again.skipped)) == (0, len(first.done))
    study = STUDY.but(seeds=3, losses=["infonce", "adnce", "margin"])
    more = run(study, tmp_path, engine=Inside())
    assert {(cell.loss, cell.seed) for cell in more.done} == {
        ("infonce", 2), ("adnce", 2), ("margin", 0), ("margin", 1), ("margin", 2), ("untrained", 2),
    }  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    run(STUDY, tmp_path, engine=Inside())
    before = scores(tmp_path)
    path = sorted((tmp_path / "records").iterdir())[0]
    path.write_text(path.read_text()[:200])
    summary = run(STUDY, tmp_path, engine=Inside())
    assert len(summary.done) == 1
    assert scores(tmp_path) == before


def test_the_key_covers_the_source_of_every_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(identity, "_source", lambda *names: asked.append(names) or "digest")
    identify(Cell("blobs", "siamese", "margin", 0))
    task = {"harness.task", "harness.recipe", "harness.settings", "harness.training.loop"}
    task |= {"triptych_example"}
    assert set(asked[1]) == task, "a pair shares neither loss nor method"
    assert set(asked[0]) == task | {
        "harness.losses.base", "harness.methods.base", "harness.methods.siamese",
    }  # fmt: skip
    asked.clear()
    identify(Cell("blobs", "siamese", "untrained", 0))
    assert set(asked[0]) == set(asked[1]) == task, "nor is it trained with either"


def test_other_code_data_or_machine_is_not_paired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = STUDY.but(losses=["infonce"], seeds=1)

    def found(name: str) -> Pair:
        run(study, tmp_path / name, engine=Inside())
        tables = [load_records(tmp_path / each) for each in ("first", name)]
        one, other = (t.loc[t["loss"] == "infonce", "proof"].iloc[0] for t in tables)
        return pair_of(one, other)

    run(study, tmp_path / "first", engine=Inside())
    assert found("again") == Pair()
    with monkeypatch.context() as patch:
        contents = (Content("data", "file", "another"),)
        patch.setattr(identity, "_fetch", cache(lambda task: contents))
        # Another start and other batches as well: the data key the streams.
        assert {"data", "initial weights"} <= set(found("data").differs)
    with monkeypatch.context() as patch:
        patch.setattr(identity, "_source", cache(lambda *modules: "another"))
        assert found("source").differs == ("frame",)
    with monkeypatch.context() as patch:
        patch.setattr(attempt.provenance, "versions", lambda: {"torch": "another"})
        pair = found("torch")
        assert (pair.paired, len(pair.across)) == (True, 2), "ids and weights agree"


def test_changed_source_or_data_makes_another_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = STUDY.cells()[0]
    key = identify(cell).key
    contents = (Content("data", "file", "another checksum"),)
    monkeypatch.setattr(identity, "_fetch", lambda task: contents)
    assert identify(cell).key != key
    monkeypatch.undo()
    monkeypatch.setattr(identity, "_source", lambda *modules: "another source")
    assert identify(cell).key != key


def test_records_say_where_numbers_come_from(tmp_path: Path) -> None:
    study = Study("s", tasks=STUDY.tasks, losses=["infonce", "adnce(sigma=inf)"], seeds=1)
    run(study, tmp_path)
    records = {record.cell["loss"]: record for record in Store(tmp_path).records()}
    record = records["infonce"]
    assert record.settings["loss"] == {"temperature": 0.1}
    assert record.settings["task"] == {"noise": 2.0, "steps": 4, "batch_size": 64}
    assert record.settings["method"] == {"pairing": None}
    assert [step for step, _ in record.curve] == [1, 2, 3, 4]
    assert record.steps == 4
    assert record.throughput == pytest.approx(4 * 64 / record.seconds["train"])
    assert record.seconds["total"] >= record.seconds["train"] + record.seconds["evaluate"] > 0
    assert record.peak_memory["resident"] > 50_000_000
    assert record.device.startswith("cpu (")
    assert record.device.endswith("1 thread)")
    assert {"python", "torch", "triptych"} <= record.versions.keys()
    assert record.commit is None or len(record.commit.removesuffix("+changes")) == 40
    assert records["adnce(sigma=inf)"].settings["loss"]["sigma"] == "inf"
    assert records["untrained"].steps == 0
    assert "loss" not in records["untrained"].settings


class Failing(Engine):
    """An engine that runs cells in this process, and whose every second cell fails."""

    def __init__(self) -> None:
        self.cells: list[tuple[Cell, str]] = []

    def submit(self, job: Job, resources: Resources) -> None:
        self.cells.append((job.cell, job.key))

    def events(self) -> Iterator[Event]:
        for number, (cell, key) in enumerate(self.cells):
            yield Event("started", cell)
            if number % 2:
                yield Event("failed", cell, reason="ValueError: bad luck", details="Traceback")
            else:
                attempt.run_cell(cell, key, self.folder)
                yield Event("done", cell)

    def close(self) -> None:
        pass


def test_a_failed_cell_fails_alone_and_says_why(tmp_path: Path) -> None:
    summary = run(STUDY, tmp_path, engine=Failing())
    assert (len(summary.done), len(summary.failed)) == (3, 3)
    assert set(summary.failed.values()) == {"ValueError: bad luck"}
    written = [json.loads(path.read_text()) for path in (tmp_path / "failures").iterdir()]
    assert {w["reason"] for w in written} == {"ValueError: bad luck"}
    assert {Cell(**w["cell"]) for w in written} == set(summary.failed)


class Idle(Failing):
    """An engine that says done and has done nothing."""

    def events(self) -> Iterator[Event]:
        for cell, _ in self.cells:
            yield Event("done", cell)


def test_a_cell_is_done_only_if_its_record_exists(tmp_path: Path) -> None:
    summary = run(STUDY.but(seeds=1), tmp_path, engine=Idle())
    assert not summary.done
    assert all("It left no valid record in" in reason for reason in summary.failed.values())
    assert len(summary.failed) == 3


class Silent(Failing):
    """An engine that ends without a word."""

    def events(self) -> Iterator[Event]:
        yield from ()


def test_cells_that_an_engine_does_not_report_have_failed(tmp_path: Path) -> None:
    summary = run(STUDY.but(seeds=1), tmp_path, engine=Silent())
    assert len(summary.failed) == 3
    assert "ended without reporting" in next(iter(summary.failed.values()))


class LateFailure(Failing):
    """A worker that dies after its record was written."""

    def events(self) -> Iterator[Event]:
        for cell, key in self.cells:
            attempt.run_cell(cell, key, self.folder)
            yield Event("failed", cell, reason="The worker was killed by SIGKILL.")


def test_a_cell_with_a_record_is_done_even_if_its_worker_fails(tmp_path: Path) -> None:
    summary = run(STUDY.but(seeds=1), tmp_path, engine=LateFailure())
    assert (len(summary.done), summary.failed) == (3, {})
    assert not (tmp_path / "failures").exists()


def test_an_engine_serves_one_run_after_another(tmp_path: Path) -> None:
    engine = Local(jobs=1)
    for name in ("one", "two"):
        assert len(run(STUDY.but(seeds=1), tmp_path / name, engine=engine).done) == 3
    assert scores(tmp_path / "one") == scores(tmp_path / "two")


def test_failed_and_diverged_cells_do_not_stop_the_others(tmp_path: Path) -> None:
    """Noise so large that the projections are infinite, and the loss is NaN."""
    study = Study("s", tasks=["blobs(steps=2, noise=1e38)"], losses=["infonce"], seeds=1)
    good = Study("s", tasks=["blobs(steps=2)"], losses=["infonce"], seeds=1)
    both = Study("s", tasks=[*study.tasks, *good.tasks], losses=["infonce"], seeds=1)
    summary = run(both, tmp_path, engine="local(jobs=1)")
    assert {cell.loss for cell in summary.failed} == {"untrained"}  # It cannot be scored.
    assert {cell.task for cell in summary.done} == set(good.tasks)
    assert [cell.task for cell in summary.diverged] == list(study.tasks)
    assert "diverged at step 1 of 2: the objective is nan" in next(iter(summary.diverged.values()))
    assert not summary.complete
    again = run(both, tmp_path, engine="local(jobs=1)")
    assert again.diverged == summary.diverged, "what diverged would again: it is not run again"
    assert len(again.done) == 0


def test_a_killed_worker_fails_only_its_cell(tmp_path: Path) -> None:
    study = Study("s", tasks=["blobs(steps=400)"], losses=["infonce"], seeds=2)
    engine = Local(jobs=1)
    killed: list[Cell] = []

    def kill(event: Event, summary: Summary) -> None:
        if event.kind == "step" and not killed:
            killed.append(event.cell)
            os.kill(process_of(engine, event).pid, signal.SIGKILL)

    summary = run(study, tmp_path, engine=engine, listen=kill)
    assert list(summary.failed) == killed
    assert "killed by SIGKILL, perhaps because memory ran out" in summary.failed[killed[0]]
    assert len(summary.done) == 3
    again = run(study, tmp_path)
    assert again.done == killed
    assert not list((tmp_path / "failures").iterdir())


CRASHES = """
import ctypes, multiprocessing, time
from triptych_example import Blobs

class Crash(Blobs):
    def load(self, randomness):
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()
        ctypes.string_at(0)
"""


def test_a_crashed_worker_does_not_hang_on_its_children(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin("crashes", "tasks:crash = crashes:Crash", CRASHES)
    study = Study("s", tasks=["crash(steps=3)", "blobs(steps=3)"], losses=["infonce"], seeds=1)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)")
    assert {cell.task for cell in summary.failed} == {"crash(steps=3)"}
    assert all("killed by SIGSEGV" in reason for reason in summary.failed.values())
    assert {cell.task for cell in summary.done} == {"blobs(steps=3)"}


WANDERS = """
import os
from triptych_example import Blobs

class Wander(Blobs):
    def load(self, randomness):
        os.chdir("/")
        super().load(randomness)
"""


def test_a_plugin_may_change_the_current_folder(
    tmp_path: Path, plugin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin("wanders", "tasks:wander = wanders:Wander", WANDERS)
    monkeypatch.chdir(tmp_path)
    study = Study("s", tasks=["wander(steps=3)"], losses=["infonce"], seeds=2)
    summary = run(study, "relative", engine="local(jobs=1)")
    assert (len(summary.done), summary.failed) == (4, {})
    assert len(list((tmp_path / "relative" / "records").iterdir())) == 4


def test_ctrl_c_keeps_what_is_finished_and_stops_the_workers(tmp_path: Path) -> None:
    study = Study("s", tasks=["blobs(steps=3)", "blobs(steps=100000)"], losses=["infonce"], seeds=1)
    engine = Local(jobs=2)

    def interrupt(event: Event, summary: Summary) -> None:
        if event.kind == "step" and event.steps > 3 and len(summary.done) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stop:
        run(study, tmp_path, engine=engine, listen=interrupt)
    assert len(stop.value.summary.done) >= 2
    # A cell may finish while the run is being stopped.
    assert len(list(Store(tmp_path).records())) >= len(stop.value.summary.done)
    assert not list(tmp_path.glob("*/.tmp-*")), "what killed workers left is swept"
    deadline = time.monotonic() + 20
    while any(running(engine)):
        assert time.monotonic() < deadline, "a worker outlived the run"
        time.sleep(0.05)


def test_workers_leave_when_the_run_is_over(tmp_path: Path) -> None:
    engine = Local(jobs=2)
    run(STUDY.but(seeds=1), tmp_path, engine=engine)
    assert not any(running(engine))
    assert threading.active_count() < 10


def test_what_plugins_print_goes_to_the_log(tmp_path: Path) -> None:
    """Not into the pipe that the engine reads events from."""
    study = Study("s", tasks=["chatty(steps=4)"], losses=["margin"], seeds=1)
    summary = run(study, tmp_path, engine="local(jobs=1)")
    assert len(summary.done) == 2
    store = Store(tmp_path)
    for cell in summary.done:
        log = store.log_path(cell, identify(cell).key).read_text()
        assert str(cell) in log
        assert log.count("{not an event}") == 2  # print() and the file descriptor
        assert "'accuracy'" in log


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"Could not write to .* Name another folder"):
        run(STUDY, tmp_path / "file")


def test_missing_data_fails_only_their_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @cache
    def fetch(task: str) -> tuple[Content, ...] | InputError:
        return InputError("Could not download the data.") if "steps=5" in task else ()

    monkeypatch.setattr(identity, "_fetch", fetch)
    study = Study("s", tasks=["blobs(steps=4)", "blobs(steps=5)"], losses=["infonce"], seeds=1)
    summary = run(study, tmp_path, engine=Inside())
    assert {cell.task for cell in summary.done} == {"blobs(steps=4)"}
    assert set(summary.failed.values()) == {"Could not download the data."}


def test_a_download_that_fails_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, calls = runner.plugins.load("tasks", "blobs"), []

    def fetch(self: Any) -> dict[str, str]:
        calls.append(self)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(task, "fetch", fetch)
    summary = run(STUDY, tmp_path)
    assert len(calls) == 1
    assert len(summary.failed) == 6
    assert "ConnectionError: no route to host" in next(iter(summary.failed.values()))
    monkeypatch.undo()
    assert len(run(STUDY, tmp_path, engine=Inside()).done) == 6


def test_an_invalid_number_of_jobs_is_an_error() -> None:
    with pytest.raises(InputError, match="`jobs` must be a whole number"):
        Local(jobs=-1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of the tuned study: not to be written to."""
    folder = tmp_path_factory.mktemp("tuned")
    summary = run(TUNED, folder, engine=Inside())
    assert len(summary.done) == summary.expected == 12 + 8
    return folder


def test_the_best_trial_on_validation_is_run_with_fresh_seeds(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    found = load_records(tmp_path)
    tuning = found[found["stage"] == "tuning"]
    assert set(tuning["split"]) == {"validation"}
    assert set(tuning["seed"]) == {10000, 10001}
    final = found[found["stage"] == "final"]
    assert set(final["seed"]) == {0, 1}
    for label in ("infonce[tuned]", "margin[tuned]"):
        own = tuning[tuning["loss"] == label]
        means = own.groupby("trial", sort=True)["value"].mean()
        assert len(means) == 3
        assert own.groupby("trial")["seed"].nunique().tolist() == [2, 2, 2]
        best = means.index[means.to_numpy().argmax()]
        specs = set(final.loc[final["loss"] == label, "spec"])
        assert specs == set(own.loc[own["trial"] == best, "spec"])
    again = run(TUNED, tmp_path)
    assert (len(again.done), len(again.skipped)) == (0, 20)
    probed = final[(final["split"] == "validation") & (final["steps"] > 0)]
    assert sorted(probed["step"].unique()) == [2, 4]


def test_no_test_score_is_read_before_the_settings_are_chosen(
    tmp_path: Path, plugin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task itself writes down every split that it is asked for, in every process."""
    plugin("spies", "tasks:spy = spies:Spy", SPY)
    log = tmp_path / "log"
    monkeypatch.setenv("SPY_LOG", str(log))
    chosen_at: list[int] = []
    choose = runner.choose

    def watched(*given: Any) -> Any:
        chosen_at.append(len(log.read_text().splitlines()) if log.exists() else 0)
        return choose(*given)

    monkeypatch.setattr(runner, "choose", watched)
    run(TUNED.but(tasks=["spy(steps=3)"]), tmp_path / "run", engine="local(jobs=1)")
    asked = log.read_text().splitlines()
    assert chosen_at == [0, 12], "what an earlier run chose; then with all trials"
    assert set(asked[:12]) == {"validation"}
    assert asked[12:].count("test") == 8, "test is looked at once a cell of the board"
    for record in Store(tmp_path / "run").records():
        if record.cell["scored"] == "validation":
            assert set(record.scores) == {"validation"}


def test_tuning_resumes(whole: Path, tmp_path: Path) -> None:
    """Stopped in the middle of the trials: the same call goes on to the same board."""

    def interrupt(event: Event, summary: Summary) -> None:
        if len(summary.done) == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(TUNED, tmp_path / "stopped", listen=interrupt)
    found = load_records(tmp_path / "stopped")
    assert texts(found) == []
    waiting = found[(found["status"] == "missing") & (found["stage"] == "final")]
    assert "infonce[tuned]" in set(waiting["loss"])
    run(TUNED, tmp_path / "stopped", engine=Inside())
    assert scores(tmp_path / "stopped") == scores(whole)


class LosesATrial(Failing):
    """An engine that loses one cell of tuning."""

    def open(self, folder: Path) -> "LosesATrial":
        self.cells = []
        super().open(folder)
        return self

    def events(self) -> Iterator[Event]:
        for cell, key in self.cells:
            if cell.scored == "validation" and "margin" in cell.loss and cell.seed == 10001:
                yield Event("failed", cell, reason="The worker was killed by SIGKILL.")
            else:
                attempt.run_cell(cell, key, self.folder)
                yield Event("done", cell)


def test_nothing_is_chosen_while_a_trial_is_missing(tmp_path: Path) -> None:
    summary = run(TUNED, tmp_path, engine=LosesATrial())
    row = "blobs(steps=4) / siamese / margin[tuned]"
    assert summary.waiting == {row: "waits for 3 of 6 tuning cells"}
    assert not summary.complete
    found = load_records(tmp_path)
    margin = found[(found["loss"] == "margin[tuned]") & (found["stage"] == "final")]
    assert set(margin["reason"]) == {"waits for 3 of 6 tuning cells"}
    assert run(TUNED, tmp_path, engine=Inside()).complete


def test_the_default_folder_has_the_studys_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Study("mine", tasks=["blobs(steps=3)"], losses=["infonce"], seeds=1), engine=Inside())
    assert len(list(Path("runs/mine/records").iterdir())) == 2


def test_finished_cells_stay_on_the_board_while_trials_are_added(
    whole: Path, tmp_path: Path
) -> None:
    """More trials, stopped among them: the cells that need no choice are shown as before."""

    def interrupt(event: Event, summary: Summary) -> None:
        if event.kind == "done":
            raise KeyboardInterrupt

    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    more = TUNED.but(tuning={"trials": 4, "seeds": 2})
    with pytest.raises(Interrupted):
        run(more, tmp_path, engine=Inside(), listen=interrupt)
    found = load_records(tmp_path)
    final = found[(found["stage"] == "final") & (found["split"] != "validation")]
    states = final.groupby("loss")["status"].agg(set).to_dict()
    assert states["adnce"] == states["untrained"] == {"done"}
    assert states["margin[tuned]"] == states["infonce[tuned]"] == {"missing"}


def test_a_complete_tuned_study_stays_complete_while_it_is_run_again(
    whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    plans: list[int] = []
    write = Store.write_study

    def watched(store: Store, *given: Any) -> None:
        write(store, *given)
        plans.append(sum(state.state == "done" for state in states(store)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "write_study", watched)
        assert run(TUNED, tmp_path).complete
    assert set(plans) == {TUNED.size()}


def test_another_studys_folder_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    one = Study("one", tasks=["blobs(steps=3)"], losses=["infonce"], seeds=1)
    two = Study("two", tasks=["blobs(steps=3)"], losses=["dcl"], seeds=1)
    run(one, tmp_path, engine=Inside())
    before = (tmp_path / "study.json").read_text()
    with pytest.raises(InputError, match=r"holds the study 'one', and this is 'two'.*`add=True`"):
        run(two, tmp_path, engine=Inside())
    assert (tmp_path / "study.json").read_text() == before
    assert len(list((tmp_path / "records").iterdir())) == 2
    added = run(two, tmp_path, engine=Inside(), add=True)
    assert (len(added.done), len(added.skipped)) == (1, 1), "the untrained cell is shared"
    # With other losses and seeds it is still the same study.
    more = run(two.but(losses=["dcl", "adnce"], seeds=2), tmp_path, engine=Inside())
    assert more.complete


REMOVES = """
import shutil
from harness.losses.infonce import InfoNCE

class Remover(InfoNCE):
    where: str = ""

    def forward(self, contrast):
        shutil.rmtree(self.where)
        return super().forward(contrast)
"""


def test_a_record_that_is_removed_during_a_run_is_noticed(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin("removes", "losses:remover = removes:Remover", REMOVES)
    records = tmp_path / "run" / "records"
    losses = ["infonce", f"remover(where={str(records)!r})"]
    study = Study("s", tasks=["blobs(steps=3)"], losses=losses, seeds=1)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", progress=False)
    lost = {cell.loss: reason for cell, reason in summary.failed.items()}
    assert "was removed during the run. Run the study again." in lost["infonce"]
    assert not summary.complete
    left = {Cell(**record.cell) for record in Store(tmp_path / "run").records()}
    assert set(summary.recorded) == left
