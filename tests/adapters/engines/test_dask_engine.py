"""Runs on real dask clusters: schedulers and workers that are killed, and come back.

After each, nothing is lost, nothing has failed, and scores are the local engine's.
"""

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
from conftest import environment
from distributed import Client
from runs import scores

from adapters.engines import dask_engine
from adapters.engines.dask_engine import Dask, is_report
from harness import plugins
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run.engines import Engine, Event, Job, Resources
from harness.run.runner import Interrupted, Summary, run
from harness.store.identity import identify
from harness.store.records import Store
from harness.study.study import Study

STUDY = Study("s", tasks=["blobs(steps=400)"], losses=["infonce"], seeds=2)
ONE = STUDY.but(seeds=1)
Scores = dict[int, list[list[Any]]]


class Cluster:
    """A scheduler and workers, started by dask's own commands."""

    def __init__(self, logs: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.logs = logs
        self.started: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> "subprocess.Popen[bytes]":
        """Start a scheduler, always on the same port, and wait until it answers.

        On a busy machine its imports take longer than the engine waits for an address.
        """
        here = ("--host", "127.0.0.1", "--port", str(self.port))
        process = self._start("scheduler", *here, "--dashboard-address", "127.0.0.1:0")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            time.sleep(0.1)
        return process

    def worker(self, *options: str) -> "subprocess.Popen[bytes]":
        """Start a worker without a nanny, which would start it again."""
        return self._start("worker", self.address, "--no-nanny", "--nthreads", "1", *options)

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        dask = [str(Path(sys.executable).with_name("dask")), *command]
        with (self.logs / f"{command[0]}-{len(self.started)}.txt").open("wb") as log:
            process = subprocess.Popen(dask, stdout=log, stderr=log, env=environment())
        self.started.append(process)
        return process

    def kill(self) -> None:
        """Kill all that runs still."""
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    yield started
    started.kill()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    """Return what the local engine gives: {number of seeds: scores}."""
    folder = tmp_path_factory.mktemp("local")
    assert run(STUDY, folder, engine="local(jobs=2)").complete
    found = scores(folder)
    return {2: found, 1: [row for row in found if row[4] == 0]}


def once(kind: str, act: Callable[[Event], None]) -> Callable[[Event, Summary], None]:
    """Return a listener that acts on the first event of a kind about a trained cell."""
    acted: list[Event] = []

    def listen(event: Event, summary: Summary) -> None:
        if event.kind == kind and event.cell.loss != "untrained" and not acted:
            acted.append(event)
            act(event)

    return listen


def dask_worker_of(folder: Path, cell: Cell) -> psutil.Process:
    """Return the dask worker whose interpreter, or a fork of it, has claimed a cell."""
    claim = json.loads(Store(folder).claim_path(cell, identify(cell).key).read_text())
    above = psutil.Process(claim["owner"]["pid"]).parents()
    return next(process for process in above if "harness.run.worker" not in process.cmdline())


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


def test_a_cluster_on_this_machine_runs_all_cells(tmp_path: Path, local: Scores) -> None:
    engine = Dask(jobs=2)
    before = psutil.Process().children(recursive=True)
    seen: list[Event] = []
    summary = run(ONE, tmp_path, engine=engine, listen=lambda event, _: seen.append(event))
    assert (len(summary.done), summary.failed) == (2, {})
    assert scores(tmp_path) == local[1]
    assert {event.kind for event in seen} == {"started", "step", "done"}
    assert {event.worker for event in seen} == {1, 2}
    assert_gone([p for p in psutil.Process().children(recursive=True) if p not in before])
    cluster = engine._started
    with engine.open(tmp_path):
        assert engine._started is cluster, "kept for the next phase of a run"
    del engine
    gc.collect()
    assert cluster.status.name == "closed"


REPORT = {"key": "run_job-1", "kind": "step", "step": 3, "steps": 400, "loss": 0.5}
WRONG: dict[str, list[Any]] = {
    "key": [None, 7, b"run_job-1", ["run_job-1"], {}, [], "another"],
    "kind": [None, 0, "", "done", "failed", "diverged", "claimed", "Step", ["step"], {"step": 1}],
    "step": [None, "3", 3.0, -1, True, [], [3], {}, float("nan")],
    "steps": [None, "400", 400.5, -400, False, {}, (1, 2)],
    "loss": [None, "0.5", True, [0.5], {}, b"0.5"],
}
"""{field of a report: values that it never has}."""
STRANGE: list[Any] = [
    None, True, 0, -1, 1 << 63, 0.5, float("nan"), "", "hello", "x" * 100_000, "\x1b[31mred",
    b"", b"\x80\x04.", [], [REPORT], [None] * 1000, {}, {"": None}, {1: 2}, {None: None},
    {"round": "1", "cell": {}, "kind": "step"}, {"cell": "task"}, {"cell": {"task": []}},
    {"op": "close"}, {"key": {"key": {"key": {}}}}, {"action": "stop"}, Path("somewhere"),
    {"kind": "step", "step": 10**30}, np.zeros(3), {"kind": np.zeros(3), "key": "run_job-1"},
]  # fmt: skip
HOSTILE = [
    *STRANGE,
    *({name: value for name, value in REPORT.items() if name != left} for left in REPORT),
    *(REPORT | {name: value} for name, values in WRONG.items() for value in values),
]


def test_only_reports_are_taken_for_reports() -> None:
    assert len(HOSTILE) > 60
    assert is_report(REPORT)
    assert is_report(REPORT | {"kind": "started", "step": 0, "steps": 0, "loss": 0})
    assert [news for news in HOSTILE if is_report(news)] == [REPORT | {"key": "another"}]


def test_events_of_others_disturb_no_run(
    tmp_path: Path, local: Scores, capfd: pytest.CaptureFixture[str]
) -> None:
    """They reach it on a real cluster, some with the key of a cell that is running."""
    engine = Dask(jobs=1)
    sent: list[Any] = []

    def disturb(event: Event) -> None:
        (key, *_) = engine._futures
        with Client(engine._started, set_as_default=False) as other:
            for news in HOSTILE:
                shapes = [news]
                if isinstance(news, dict) and news.get("key") == REPORT["key"]:
                    shapes.append(news | {"key": key})
                for shape in shapes:
                    with suppress(TypeError):  # Dask sends only what msgpack can write.
                        other.log_event(dask_engine.TOPIC, shape)
                        sent.append(shape)
            for topic in ("print", "warn"):
                other.unsubscribe_topic(topic)  # This client would print it, too.
                for shape in ("\x1b[31mhostile", {"args": ("hostile",)}, {"message": b""}, 7):
                    other.log_event(topic, shape)
            assert len(other.get_events(dask_engine.TOPIC)) >= len(sent)

    heard: list[Event] = []
    acted = once("step", disturb)

    def listen(event: Event, summary: Summary) -> None:
        heard.append(event)
        acted(event, summary)

    summary = run(ONE, tmp_path, engine=engine, listen=listen)
    assert len(sent) > 90
    assert summary.complete and not summary.failed
    assert scores(tmp_path) == local[1]
    assert all(0 <= event.step <= event.steps == 400 for event in heard if event.kind == "step")
    said = capfd.readouterr()
    assert "hostile" not in said.out + said.err


def test_a_cluster_on_this_machine_can_be_reached_from_no_other(tmp_path: Path) -> None:
    def ports() -> set[tuple[str, int]]:
        found = psutil.Process().net_connections("inet")
        return {tuple(one.laddr) for one in found if one.status == "LISTEN"}

    before = ports()
    with Dask(jobs=1).open(tmp_path):
        assert {address for address, _ in ports() - before} <= {"127.0.0.1"}


def test_a_late_worker_takes_cells_and_those_of_a_killed_one_run_again(
    cluster: Cluster, tmp_path: Path, local: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dask gives a cell up at the first death; the engine does not.
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    cluster.scheduler()
    late = threading.Timer(2, cluster.worker)
    late.start()
    killed: list[psutil.Process] = []

    def kill(event: Event) -> None:
        cluster.worker()
        worker = dask_worker_of(tmp_path, event.cell)
        killed.extend([worker, *worker.children(recursive=True)])
        worker.kill()

    engine = Dask(address=cluster.address)
    summary = run(STUDY, tmp_path, engine=engine, listen=once("step", kill))
    late.join()
    assert killed
    assert summary.complete
    assert len(summary.done) + len(summary.shared) == 4
    assert scores(tmp_path) == local[2]
    assert_gone(killed)


def test_cells_are_resubmitted_when_the_scheduler_comes_back(
    cluster: Cluster, tmp_path: Path, local: Scores
) -> None:
    scheduler, worker = cluster.scheduler(), cluster.worker()

    def restart(event: Event) -> None:
        scheduler.kill()
        scheduler.wait()
        cluster.scheduler()
        cluster.worker()  # The other one leaves, as its scheduler has.

    engine = Dask(address=cluster.address, patience=60)
    summary = run(ONE, tmp_path, engine=engine, listen=once("step", restart))
    assert summary.complete
    assert len(summary.done) + len(summary.shared) == 2
    assert scores(tmp_path) == local[1]
    assert worker.wait(timeout=40) is not None


def test_cells_fail_if_the_scheduler_does_not_come_back(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = cluster.scheduler()
    monkeypatch.setattr(dask_engine, "CONNECT", 2.0)
    with Dask(address=cluster.address, patience=1) as engine:
        engine.open(tmp_path)
        for cell in STUDY.cells():
            engine.submit(Job(cell, "key", str(tmp_path)), Resources())
        events = engine.events()
        threading.Timer(1, scheduler.kill).start()
        found = list(events)
    assert {event.cell for event in found} == set(STUDY.cells())
    assert len(found) == 4
    assert all("The scheduler was gone for 1 s" in event.reason for event in found)


def test_ctrl_c_stops_the_cells_and_leaves_the_cluster(
    cluster: Cluster, tmp_path: Path, local: Scores
) -> None:
    cluster.scheduler()
    worker = cluster.worker()

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    engine = Dask(address=cluster.address)
    with pytest.raises(Interrupted) as stop:
        run(ONE, tmp_path, engine=engine, listen=once("step", interrupt))
    assert {cell.loss for cell in stop.value.summary.done} <= {"untrained"}
    assert_gone(psutil.Process(worker.pid).children())
    left = [*tmp_path.glob("checkpoints/*infonce*"), *tmp_path.glob("records/*infonce*")]
    assert left, "neither its state was saved, nor was it finished"
    assert not list((tmp_path / "claims").iterdir())
    assert run(ONE, tmp_path, engine=engine).complete
    assert scores(tmp_path) == local[1]


SBATCH = """#!/bin/sh
cp "$1" "$JOBS/$$.sh"
setsid sh "$JOBS/$$.sh" > "$JOBS/$$.txt" 2>&1 &
echo "Submitted batch job $!"
echo $! >> "$JOBS/submitted"
"""
SCANCEL = """#!/bin/sh
kill -- "-$1" 2>/dev/null || true
"""


def certificate(folder: Path) -> dict[str, Any]:
    """Return dask's settings of a certificate that is made by OpenSSL's own command."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no command `openssl`")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=us", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    one = {"cert": str(cert), "key": str(key)}
    sides = {f"distributed.comm.tls.{side}": one for side in ("scheduler", "worker", "client")}
    return {"distributed.comm.tls.ca-file": str(cert), **sides}


@pytest.mark.parametrize("security", ["none", "given certificates", "new certificates"])
def test_a_queueing_systems_jobs_run_the_cells_and_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: Scores, security: str
) -> None:
    """``sbatch`` is a script that runs jobs on this machine; one is killed, and submitted again."""
    tls = certificate(tmp_path) if security == "given certificates" else {}
    if security == "new certificates":
        pytest.importorskip("cryptography")
    commands, jobs = tmp_path / "bin", tmp_path / "jobs"
    for folder in (commands, jobs):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.setenv("JOBS", str(jobs))
    monkeypatch.setattr(dask_engine, "UPKEEP", 1.0)
    slurm: dict[str, Any] = {"cores": 1, "memory": "1GB", "walltime": "01:00:00"}

    def kill(event: Event) -> None:
        address = engine._started.scheduler_address
        assert address.startswith("tcp://127.0.0.1:" if security == "none" else "tls://127.0.0.1:")
        if security != "none":
            with pytest.raises(OSError):
                Client(address.replace("tls://", "tcp://"), timeout=2, set_as_default=False)
        worker = dask_worker_of(tmp_path / "run", event.cell)
        os.killpg(os.getpgid(worker.pid), signal.SIGKILL)

    import_module("dask_jobqueue")  # Its defaults come first, and what is set on top of them.
    settings = {f"jobqueue.slurm.{name}": value for name, value in slurm.items()}
    settings |= {"distributed.deploy.lost-worker-timeout": "1s"} | tls
    with dask.config.set(settings):
        engine = Dask(
            cluster="slurm",
            jobs=1,
            interface="lo",
            security="none" if security == "none" else "tls",
        )
        summary = run(ONE, tmp_path / "run", engine=engine, listen=once("step", kill))
        del engine
        gc.collect()
    assert summary.complete
    assert scores(tmp_path / "run") == local[1]
    submitted = [int(pid) for pid in (jobs / "submitted").read_text().split()]
    assert len(submitted) == 2
    deadline = time.monotonic() + 20
    while any(map(is_running, submitted)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, submitted))
    scripts = [path.read_text() for path in jobs.glob("*.sh")]
    assert all("--no-dashboard --dashboard-address 127.0.0.1:0" in text for text in scripts)
    assert all(("--tls-key" in text) == (security != "none") for text in scripts)
    assert not list((tmp_path / "run").glob(".dask-jobqueue*")), "a key was left behind"


class Submitted(Exception):
    """Hold the options that a queueing system's cluster would have been started with."""


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace SLURM's cluster by one that only raises :class:`Submitted` with its options."""
    library = import_module("dask_jobqueue")

    class Stub:
        job_cls = type("Job", (), {"submit_command": "sh"})

        def __init__(self, **options: Any) -> None:
            raise Submitted(options)

    monkeypatch.setattr(library, "SLURMCluster", Stub)


def options_of(engine: Dask, folder: Path, **settings: Any) -> dict[str, Any]:
    yaml = {f"jobqueue.slurm.{name.replace('_', '-')}": value for name, value in settings.items()}
    with dask.config.set(yaml), pytest.raises(Submitted) as submitted:
        engine.open(folder)
    options: dict[str, Any] = submitted.value.args[0]
    return options


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("interface", "settings", "network"),
    [
        ("ib0", {}, "ib0"),
        ("", {"interface": "ib1"}, "ib1"),
        ("ib0", {"interface": "ib1"}, "ib0"),
        ("", {"scheduler_options": {"interface": "ib2"}}, None),
        ("", {"scheduler_options": {"host": "10.0.0.1"}}, None),
        ("", {}, ""),
        ("", {"interface": ""}, ""),
        ("", {"scheduler_options": None}, ""),
        ("", {"scheduler_options": {"port": 8786}}, ""),
        ("", {"scheduler_options": {"host": ""}}, ""),
    ],
)
def test_a_queueing_systems_scheduler_listens_on_a_named_network(
    tmp_path: Path, interface: str, settings: dict[str, Any], network: str | None
) -> None:
    engine = Dask(cluster="slurm", jobs=2, interface=interface, security="none")
    if network == "":
        yaml = {f"jobqueue.slurm.{n.replace('_', '-')}": value for n, value in settings.items()}
        message = r"^`interface` must name the network .*interface='ib0'.* This machine has .*lo"
        with dask.config.set(yaml), pytest.raises(InputError, match=message):
            engine.open(tmp_path)
        return
    options = options_of(engine, tmp_path, **settings)
    assert options["interface"] == network
    assert options["scheduler_options"]["dashboard"] is False
    assert options["scheduler_options"]["dashboard_address"] == "127.0.0.1:0"
    assert options["worker_extra_args"] == ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    assert options["shared_temp_directory"] == str(tmp_path)


@pytest.mark.usefixtures("slurm")
def test_a_dashboard_that_is_asked_for_is_shown(tmp_path: Path) -> None:
    engine = Dask(cluster="slurm", jobs=2, interface="ib0", security="none")
    asked = {"dashboard_address": ":8787"}
    for words in (["--dashboard-address", ":1"], ["--dashboard-address=:1"]):
        found = options_of(engine, tmp_path, scheduler_options=asked, worker_extra_args=words)
        assert found["scheduler_options"] == asked
        assert found["worker_extra_args"] == words
    lifetime = ["--lifetime", "230m"]
    for name in ("worker_extra_args", "extra"):
        found = options_of(engine, tmp_path, **{name: lifetime})
        assert found["worker_extra_args"][:2] == lifetime
        assert "--no-dashboard" in found["worker_extra_args"]


@pytest.mark.usefixtures("slurm")
def test_a_queueing_systems_cluster_has_certificates_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Dask(cluster="slurm", jobs=1, interface="ib0")
    with dask.config.set(certificate(tmp_path)):
        found = options_of(engine, tmp_path)["security"]
    assert found.require_encryption and found.tls_ca_file == str(tmp_path / "cert.pem")
    plain = Dask(cluster="slurm", jobs=1, interface="ib0", security="none")
    assert options_of(plain, tmp_path)["security"] is None
    monkeypatch.setattr(dask_engine, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"^`security='tls'` needs the library 'cryptography'.*security='none'"
    ):
        engine.open(tmp_path)
    made = object()
    monkeypatch.setattr(dask_engine, "find_spec", lambda name: name)
    monkeypatch.setattr("distributed.security.Security.temporary", lambda: made)
    assert options_of(engine, tmp_path)["security"] is made


def test_a_gpu_cell_waits_for_a_worker_with_a_gpu(cluster: Cluster, tmp_path: Path) -> None:
    cluster.scheduler()
    cluster.worker()
    cell = STUDY.cells()[0]

    def first_event(engine: Engine, resources: Resources) -> Event:
        engine.open(tmp_path)
        engine.submit(Job(cell, identify(cell).key, str(tmp_path)), resources)
        return next(engine.events())

    with Dask(address=cluster.address) as engine:
        arrive = threading.Timer(2, cluster.worker, ("--resources", "GPU=1"))
        begun = time.monotonic()
        arrive.start()
        assert first_event(engine, Resources("cuda", 3)).kind == "started"
        assert time.monotonic() - begun > 2


def test_a_wrong_address_fails_within_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dask_engine, "CONNECT", 1.0)
    for address in ("tcp://127.0.0.1:1", "nonsense://there"):
        engine = Dask(address=address)
        with pytest.raises(InputError, match=r"nothing answers at .* Start one with `dask sched"):
            engine.open(tmp_path)
        engine.close()


def test_a_missing_queueing_system_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"could be started.*'condor_submit' was not found"):
        Dask(cluster="htcondor", jobs=1).open(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("jobs=-1", "`jobs` must be a whole number at least 0: got -1"),
        ("patience=-1", "`patience` must be a number at least 0"),
        ("cluster='slurn'", "`cluster` must be one of '', 'slurm', .*: got 'slurn'"),
        ("cluster='slurm'", "`jobs` must be 1 or more with `cluster`: got 0. Set the number"),
        ("address='tcp://a:1', jobs=2", "`address` must be alone: got 'tcp://a:1' with"),
        ("interface='ib0'", "`interface` and `security` must be left out without `cluster`"),
        ("address='tcp://a:1', security='none'", "must be left out without `cluster`: got '' and"),
        ("security='ssl'", "`security` must be one of 'tls', 'none': got 'ssl'"),
    ],
)
def test_wrong_settings_are_errors(settings: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plugins.build("engines", f"dask({settings})")


def test_devices_that_a_cluster_cannot_provide_are_errors(tmp_path: Path) -> None:
    job = Job(STUDY.cells()[0], "key", str(tmp_path))
    with pytest.raises(InputError, match="`device` must be cpu or cuda on a cluster: got 'cuda:1'"):
        Dask(address="tcp://a:1").submit(job, Resources("cuda:1"))
    with pytest.raises(InputError, match="use `--engine local`"):
        Dask(jobs=1).submit(job, Resources("cuda"))


def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_engine, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Run `pip install 'triptych\[cluster\]'`"):
        plugins.build("engines", "dask")
