"""The dask engine: run cells on a cluster through dask.distributed and dask-jobqueue."""

import logging
import math
import os
import shutil
import socket
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any

from harness.core.cells import Cell
from harness.core.errors import InputError, is_number, require
from harness.run.engines import Engine, Event, Job, Resources
from harness.run.processes import GRACE, WorkerProcess
from harness.settings import Between, OneOf

CLUSTERS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}
"""The class of ``dask_jobqueue`` for each queueing system."""

CONNECT = 5.0
"""Seconds that a scheduler may take to answer."""

TICK = 1.0
"""Seconds between two checks of the scheduler, and between two reports of a cell's step."""

UPKEEP = 30.0
"""Seconds between two requests to replace a queueing system's lost jobs."""

MAX_DEATHS = 4
"""Attempts at a cell that may end with the death of its worker; then the cell has failed."""

TOPIC = "triptych"
"""The dask topic on which workers report progress. Results go to the store instead."""

LOOPBACK = "127.0.0.1:0"
"""The address of a page of dask's that nobody asked for; dask always starts its server."""

log = logging.getLogger("harness")


class Dask(Engine):
    """Cells on the workers of a dask cluster, each in a fresh interpreter there.

    With an address, the engine connects to a scheduler that already runs. With a queueing
    system's name, it starts workers in that system's jobs, configured by dask's own YAML
    files. With neither, it starts workers on this machine. A cluster that this engine
    started is kept until the engine is dropped, so that the phases of a run share it; the
    interpreters end with each phase.

    Only plain values and functions of this module go through dask, but dask's own
    protocol pickles them: whoever reaches the scheduler's port can run code on every
    machine of the cluster. For a queueing system, the scheduler therefore listens on one
    network, and each side shows a certificate. Your own scheduler is yours to protect.

    Args:
        address: a scheduler's address, such as ``tcp://head:8786``.
        cluster: a queueing system: slurm, pbs, sge, lsf, htcondor or oar.
        jobs: number of the queueing system's jobs; or, on this machine, of cells at a
            time (0: one a core).
        patience: seconds to wait for a lost scheduler before giving up.
        interface: the network, such as ib0, on which the scheduler and the queueing
            system's jobs find each other; empty: the one that dask's YAML files name.
        security: ``tls``: with the certificates of dask's YAML files, or with ones that
            are made for this run; ``none``: anybody on the network may run code as you.

    Raises:
        InputError: if a setting is wrong, or the extra ``cluster`` is not installed.
    """

    address: str = ""
    cluster: Annotated[str, OneOf(("", *CLUSTERS))] = ""
    jobs: Annotated[int, Between(0)] = 0
    patience: Annotated[float, Between(0)] = 300.0
    interface: str = ""
    security: Annotated[str, OneOf(("tls", "none"))] = "tls"

    def setup(self) -> None:
        """Check that the settings fit together and that the libraries are installed."""
        require(
            not (self.address and (self.cluster or self.jobs)),
            f"`address` must be alone: got {self.address!r} with cluster={self.cluster!r}, "
            f"jobs={self.jobs}. Leave these out; workers are started beside the scheduler.",
        )
        require(
            not self.cluster or self.jobs > 0,
            f"`jobs` must be 1 or more with `cluster`: got {self.jobs}. Set the number of jobs to "
            f"submit, such as dask(cluster='{self.cluster}', jobs=8).",
        )
        require(
            bool(self.cluster) or (not self.interface and self.security == "tls"),
            f"`interface` and `security` must be left out without `cluster`: got "
            f"{self.interface!r} and {self.security!r}. On this machine alone no port is opened; "
            "a scheduler of your own is protected where it is started.",
        )
        for library in ("distributed", *(["dask_jobqueue"] if self.cluster else [])):
            require(
                find_spec(library) is not None,
                f"The engine `dask` needs the library {library!r}, which is not installed. "
                "Run `pip install 'triptych[cluster]'`.",
            )
        self.elsewhere = bool(self.address or self.cluster)
        self._started: Any = None
        self._client: Any = None

    def open(self, folder: Path) -> "Engine":
        """Connect to the scheduler, or start the cluster if there is none yet."""
        super().open(folder)
        self._unsettled: dict[Cell, tuple[Job, Resources]] = {}
        self._futures: dict[str, tuple[Any, Cell]] = {}
        self._news: SimpleQueue[Any] = SimpleQueue()
        self._numbers: dict[Cell, int] = {}
        self._attempts: Counter[Cell] = Counter()
        self._round = uuid.uuid4().hex
        try:
            self._client = self._connect(CONNECT)
        except InputError:
            raise
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            answer = (
                f"`address` must be a running dask scheduler's: nothing answers at "
                f"{self.address!r}. Start one with `dask scheduler`, which prints its address."
                if self.address
                else "No dask cluster could be started. Its settings are in dask's YAML files: "
                "see docs/clusters.md."
            )
            raise InputError(f"{answer} ({type(error).__name__}: {error})") from error
        return self

    def submit(self, job: Job, resources: Resources) -> None:
        """Keep the cell; :meth:`events` hands it to the scheduler."""
        require(
            resources.device in ("cpu", "cuda"),
            f"`device` must be cpu or cuda on a cluster: got {resources.device!r}. To choose a "
            "GPU, set CUDA_VISIBLE_DEVICES where the worker is started.",
        )
        require(
            self.elsewhere or resources.device == "cpu",
            "`device` must be cpu with workers that the engine `dask` starts on this machine: got "
            "'cuda'. For this machine's GPUs use `--engine local`; or start workers with "
            "`--resources GPU=1`, and give the engine their scheduler's address.",
        )
        self._unsettled[job.cell] = (job, resources)

    def events(self) -> Iterator[Event]:
        """Hand all cells to the scheduler, and yield their events."""
        self._send(list(self._unsettled))
        upkeep = time.monotonic()
        quiet = True
        while self._unsettled:
            with suppress(Empty):
                news = self._news.get(timeout=TICK)
                quiet = False
                yield from self._progress(news) if is_report(news) else self._ended(news)
            if self._client.status != "running":
                yield from self._wait_for_scheduler()
            if time.monotonic() - upkeep > UPKEEP:
                upkeep = time.monotonic()
                if self.cluster:  # Replace jobs that died or met their time limit.
                    self._started.scale(jobs=self.jobs)
                if quiet:
                    log.warning(
                        "No worker has taken a cell yet; still waiting. Check that the cluster has "
                        "workers (for GPUs: workers started with `--resources GPU=1`)."
                    )
                    quiet = False

    def close(self) -> None:
        """Cancel the waiting cells, and have the workers save the state of the running ones."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.status == "running":
            with suppress(OSError):  # If the scheduler is gone, its workers leave by themselves.
                client.cancel([future for future, _ in self._futures.values()], force=True)
                client.run(stop, self._round, on_error="ignore")
        self._futures.clear()
        client.close()

    def _connect(self, timeout: float) -> Any:
        """Return a client of the scheduler, which has ``timeout`` seconds to answer.

        Raises:
            OSError, ValueError, TypeError, RuntimeError: if there is none, or TLS is missing.
        """
        from distributed import Client

        if not self.address and self._started is None:
            self._started = self._start()
            weakref.finalize(self, _close, self._started)
        client = Client(self.address or self._started, timeout=timeout, set_as_default=False)
        for topic in ("print", "warn"):  # Others' texts, which dask would print here unescaped.
            client.unsubscribe_topic(topic)
        # The callback must not refer to `self`, or it would keep the engine and its cluster alive.
        news = self._news

        def report(event: Any) -> None:
            if is_report(event[1]):
                news.put(event[1])

        client.subscribe_topic(TOPIC, report)
        return client

    def _start(self) -> Any:
        """Start a cluster of a queueing system's jobs, or of threads of this process.

        On this machine a worker can be a thread, because it only waits for its interpreter.
        """
        if self.cluster:
            import dask_jobqueue

            kind = getattr(dask_jobqueue, CLUSTERS[self.cluster])
            command = kind.job_cls.submit_command.split()[0]
            if shutil.which(command) is None:  # Dask would only log this, and wait forever.
                raise FileNotFoundError(f"the command {command!r} was not found on this machine")
            cluster = kind(**self._options())
            cluster.scale(jobs=self.jobs)
            return cluster
        from distributed import LocalCluster

        return LocalCluster(
            n_workers=1,
            threads_per_worker=self.jobs or None,
            processes=False,
            memory_limit=0,
            silence_logs=logging.ERROR,
            dashboard_address=LOOPBACK,
            worker_dashboard_address=LOOPBACK,
            scheduler_kwargs={"dashboard": False},
        )

    def _options(self) -> dict[str, Any]:
        """Return the options of a queueing system's cluster that protect its ports.

        Raises:
            InputError: if no network is named, or certificates cannot be made.
        """
        import dask

        def given(name: str) -> Any:
            return dask.config.get(f"jobqueue.{self.cluster}.{name}", None)

        scheduler = dict(given("scheduler-options") or {})
        interface = self.interface or given("interface")
        require(
            bool(interface or scheduler.get("interface") or scheduler.get("host")),
            "`interface` must name the network that the scheduler and the jobs share: got none, "
            "neither here nor in dask's YAML files. Without it, the scheduler would take work from "
            "all networks of this machine. Set it, such as "
            f"dask(cluster='{self.cluster}', jobs={self.jobs}, interface='ib0'). This machine has "
            f"{', '.join(networks())}.",
        )
        worker = list(given("worker-extra-args") or given("extra") or [])
        if "dashboard_address" not in scheduler:
            scheduler |= {"dashboard": False, "dashboard_address": LOOPBACK}
        if not any(str(word).startswith("--dashboard-address") for word in worker):
            worker += ["--no-dashboard", "--dashboard-address", LOOPBACK]
        return {
            "interface": interface,
            "scheduler_options": scheduler,
            "worker_extra_args": worker,
            "security": self._security(),
            # Jobs read the certificate there; the run's folder is one that all machines see.
            "shared_temp_directory": given("shared-temp-directory") or str(self.folder),
        }

    def _security(self) -> Any:
        """Return the certificates of dask's YAML files, or new ones; None if none are wanted."""
        from distributed.security import Security

        if self.security == "none":
            return None
        if Security().tls_ca_file:
            return Security(require_encryption=True)
        require(
            find_spec("cryptography") is not None,
            "`security='tls'` needs the library 'cryptography' to make certificates: it is not "
            "installed, and dask's YAML files name none. Run `pip install cryptography`; or, if "
            "you trust everybody on the network to run code as you, set security='none'.",
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        return Security.temporary()

    def _send(self, cells: list[Cell]) -> None:
        """Hand cells to the scheduler."""
        for cell in cells:
            job, resources = self._unsettled[cell]
            # Rounded down, so that three thirds of a GPU fit on one.
            gpu = math.floor(1e6 / resources.slots_per_gpu) / 1e6
            future = self._client.submit(
                run_job,
                job.to_dict(),
                resources.device,
                self._round,
                key=f"run_job-{uuid.uuid4().hex}",
                resources={"GPU": gpu} if resources.device == "cuda" else None,
                pure=False,
            )
            self._futures[future.key] = (future, cell)
            future.add_done_callback(self._news.put)

    def _progress(self, news: dict[str, Any]) -> Iterator[Event]:
        """Yield the progress that a worker reported, if it is about a cell of this round."""
        _, cell = self._futures.get(news["key"], (None, None))
        if cell not in self._unsettled:
            return
        if news["kind"] == "started":
            self._attempts[cell] += 1
        if cell not in self._numbers:  # Show it under the smallest worker number that is free.
            taken = set(self._numbers.values())
            self._numbers[cell] = min(set(range(1, len(taken) + 2)) - taken)
        steps = {name: news[name] for name in ("step", "steps", "loss")}
        yield Event(news["kind"], cell, self._numbers[cell], **steps)

    def _ended(self, future: Any) -> Iterator[Event]:
        """Yield the last event of a cell, or hand the cell to the scheduler once more."""
        _, cell = self._futures.pop(future.key, (None, None))
        if cell not in self._unsettled:
            return
        try:
            outcome = future.result(timeout=CONNECT)
        except Exception as error:
            name = type(error).__name__
            self._attempts[cell] += 1
            # Dask also counts workers that died before they started the cell, so count our own
            # attempts, and let the cell go on if dask gave it up too early.
            too_early = name == "KilledWorker" and self._attempts[cell] <= MAX_DEATHS
            if future.status == "error" and not too_early:
                yield self._settled(cell, kind="failed", reason=f"{name}: {error}")
            elif self._client.status == "running":
                self._send([cell])
            return
        yield self._settled(cell, **outcome)

    def _settled(self, cell: Cell, **outcome: Any) -> Event:
        del self._unsettled[cell]
        return Event(cell=cell, worker=self._numbers.pop(cell, 0), **outcome)

    def _wait_for_scheduler(self) -> Iterator[Event]:
        """Find the scheduler again and resubmit all cells, or let them fail."""
        log.warning("The scheduler is gone; waiting up to %g s for it.", self.patience)
        self._futures.clear()
        deadline = time.monotonic() + self.patience
        while self._client.status == "connecting":  # The client itself retries for a while.
            time.sleep(TICK / 10)
        while True:
            self._client.close()
            left = max(TICK, deadline - time.monotonic())
            try:
                self._client = self._connect(min(CONNECT, left))
                self._send(list(self._unsettled))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    reason = f"The scheduler was gone for {self.patience:g} s: {error}"
                    break
                time.sleep(TICK)
        for cell in list(self._unsettled):
            yield self._settled(cell, kind="failed", reason=reason)


def _close(cluster: Any) -> None:
    try:
        cluster.close()
    except Exception as error:  # Such as a job that could not be cancelled.
        log.warning("The cluster was not closed: %s: %s", type(error).__name__, error)
    # The jobs' certificate and key: dask_jobqueue removes them only some time later.
    for name in ("_job_ca_file", "_job_cert", "_job_key"):
        file = getattr(cluster, name, None)
        if file is not None:
            with suppress(OSError):
                file.close()


def networks() -> list[str]:
    """Return the names of this machine's networks."""
    return sorted(name for _, name in socket.if_nameindex())


def is_report(news: Any) -> bool:
    """Return whether an event is a report of :func:`run_job`: anybody may send others.

    >>> is_report({"key": "run_job-1", "kind": "step", "step": 1, "steps": 9, "loss": 0.5})
    True
    >>> is_report("hello")
    False
    """
    return (
        isinstance(news, dict)
        and all(isinstance(news.get(name), str) for name in ("key", "kind"))
        and news["kind"] in ("started", "step")
        and all(type(news.get(name)) is int and news[name] >= 0 for name in ("step", "steps"))
        and is_number(news.get("loss"))
    )


# The functions below run in a dask worker, in several of its threads at once: `_lock` guards
# the idle interpreters, the busy ones with their rounds, and the rounds that were stopped.

_lock = threading.Lock()
_idle: list[WorkerProcess] = []
_busy: dict[WorkerProcess, str] = {}
_stopped_rounds: set[str] = set()


def run_job(job: dict[str, Any], device: str, of_round: str) -> dict[str, str]:
    """Run a job in an interpreter of this dask worker, and return its last event."""
    from distributed import get_worker

    worker = get_worker()
    last = -TICK
    with _interpreter(of_round) as interpreter:
        for event in interpreter.run(Job.from_dict(job), device):
            now = time.monotonic()
            if event.settled:
                break
            if event.kind == "started" or now - last >= TICK:
                last = now
                news = {
                    "key": worker.get_current_task(),
                    "kind": event.kind,
                    "step": event.step,
                    "steps": event.steps,
                    "loss": event.loss,
                }
                with suppress(OSError, RuntimeError):  # The worker may be leaving.
                    worker.log_event(TOPIC, news)
    return {"kind": event.kind, "reason": event.reason, "details": event.details}


def stop(of_round: str) -> None:
    """Stop the interpreters that run cells of a round, and those that run none."""
    with _lock:
        _stopped_rounds.add(of_round)
        idle, _idle[:] = list(_idle), []
        busy = [interpreter for interpreter, round_ in _busy.items() if round_ == of_round]
    for interpreter in busy:
        interpreter.ask_to_stop()
    # In a thread, because dask waits for this function and the interpreters may take a while.
    threading.Thread(target=_end, args=(idle, busy), daemon=True).start()


@contextmanager
def _interpreter(of_round: str) -> Iterator[WorkerProcess]:
    """Lend an interpreter; they are reused, because starting one takes seconds."""
    with _lock:
        if of_round in _stopped_rounds:
            raise RuntimeError("the run was stopped")
        interpreter = _idle.pop() if _idle else WorkerProcess(os.getpid())
        _busy[interpreter] = of_round
    try:
        yield interpreter
    finally:
        with _lock:
            del _busy[interpreter]
            stopped = of_round in _stopped_rounds
            if not stopped:
                _idle.append(interpreter)
        if stopped:
            interpreter.finish()


def _end(idle: list[WorkerProcess], busy: list[WorkerProcess]) -> None:
    for interpreter in idle:
        interpreter.finish()
    for interpreter in busy:
        interpreter.kill(after=GRACE)
