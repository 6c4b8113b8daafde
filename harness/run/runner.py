"""Run a study: give its cells to an engine, which leaves records; skip finished cells."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from harness import plugins
from harness.core import distributed, files, guard, plugin_files, sources
from harness.core.cells import Cell, Planned, is_trained, specs_of
from harness.core.errors import InputError, require, require_number
from harness.run.attempt import attempt, fit_cell
from harness.run.bar import Bar
from harness.run.choice import Choice, Row, choose
from harness.run.claims import LEASE, Watch, holder
from harness.run.dry_run import combinations, try_combinations
from harness.run.engines import Engine, Event, Job, Resources
from harness.run.estimate import all_cells
from harness.run.folders import RUNS
from harness.run.local import Local
from harness.run.processes import hidden_library
from harness.run.reasons import MAX_FAILURES, shared
from harness.store import provenance, staleness
from harness.store.checkpoints import Checkpoints
from harness.store.identity import (
    Identity,
    forget,
    identify,
    label_of,
    require_one_content_a_name,
)
from harness.store.records import SCHEMA, Failure, Store, read_record
from harness.store.table import Place
from harness.study.labels import plugin_names
from harness.study.study import Study
from harness.training.loop import Diverged

POLL = 1.0
"""Seconds between two checks of the cells that other runs have claimed."""

REMINDER = 60.0
"""Seconds between two reports of the cells that this run waits for."""

HOLDERS = 2
"""The number of claims that such a report describes."""

log = logging.getLogger("harness")


@dataclass(repr=False)
class Summary:
    """Hold a study's cells by their outcome.

    Attributes:
        expected: how many cells there are in all.
        cells: the cells known so far; those of tuned rows are known once tuning is done.
        skipped: cells that had a valid record already.
        shared: cells that another run on the same folder finished meanwhile.
        done: cells that this run finished.
        failed: failed cells, with the reason.
        diverged: diverged cells, with the reason; they are not tried again.
        waiting: rows of the board whose settings could not be chosen, with the reason.
        stale: cells that had a record made with other code, with what has changed since.
        stopped: why the run ended before all cells were tried; empty if it did not.
    """

    expected: int = 0
    cells: list[Cell] = field(default_factory=list)
    skipped: list[Cell] = field(default_factory=list)
    shared: list[Cell] = field(default_factory=list)
    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)
    diverged: dict[Cell, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    stale: dict[Cell, str] = field(default_factory=dict)
    stopped: str = ""

    def __repr__(self) -> str:
        """Return counts for notebooks, because the cells themselves may be thousands.

        >>> Summary(expected=3, failed={Cell("nodes", "siamese", "infonce", 0): "killed"})
        Summary(expected=3, skipped=0, shared=0, done=0, failed=1, diverged=0, waiting=0)
        """
        counts = ("skipped", "shared", "done", "failed", "diverged", "waiting")
        listed = ", ".join(f"{name}={len(getattr(self, name))}" for name in counts)
        return f"Summary(expected={self.expected}, {listed})"

    @property
    def recorded(self) -> list[Cell]:
        """Return the cells that have a record, from this run or any other."""
        return [*self.done, *self.skipped, *self.shared]

    def accounted(self) -> Iterable[Cell]:
        """Return the cells whose outcome is known."""
        return chain(*self._outcomes)

    @property
    def settled(self) -> int:
        """Return the number of cells whose outcome is known."""
        return sum(map(len, self._outcomes))

    @property
    def _outcomes(self) -> tuple[Collection[Cell], ...]:
        return self.skipped, self.shared, self.done, self.failed, self.diverged

    @property
    def complete(self) -> bool:
        """Return whether every row of the board has all of its scores."""
        lost = [cell for cell in self.diverged if cell.scored == "test"]
        return not (self.failed or self.waiting or lost)


class Interrupted(KeyboardInterrupt):
    """Raised after Ctrl-C stopped a run; ``summary`` holds the cells finished until then."""

    def __init__(self, summary: Summary) -> None:
        super().__init__("the run was stopped")
        self.summary = summary


class _GaveUp(Exception):
    """Raised to end a run whose cells fail."""


Listener = Callable[[Event, Summary], None]


def run(
    study: Study | str | Path,
    folder: str | Path | None = None,
    *,
    jobs: int | None = None,
    engine: Engine | str = "local",
    device: str = "auto",
    slots_per_gpu: int = 1,
    shard: str | None = None,
    checkpoint_minutes: float = 5.0,
    tensorboard: bool = False,
    add: bool = False,
    command: str = "",
    try_first: bool = False,
    max_failures: int = MAX_FAILURES,
    cell_minutes: float = 0.0,
    cell_gib: float = 0.0,
    listen: Listener = lambda event, summary: None,
    progress: bool = True,
) -> Summary:
    """Run the cells of ``study`` that have no valid record under ``folder`` yet.

    The tuning trials come first, scored on validation alone. The cells of the board follow,
    with the best trials' settings and fresh seeds. Every finished cell is on disk at once. A
    run can be stopped at any moment, and the same call continues it. A cell that fails ends
    neither the run nor another cell. Several runs on one folder share the work.

    Args:
        study: a :class:`Study`, the name of a shipped one, or a path to a TOML file.
        folder: the folder of the records; by default, ``runs/`` and the study's name.
        jobs: how many worker processes; None or 0: one a core, or what ``engine`` says.
        engine: an engine, or its spec, such as ``"local(jobs=2)"``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        slots_per_gpu: how many cells share a GPU at a time.
        shard: ``"3/8"`` runs only the third of eight parts of the cells; None runs all.
        checkpoint_minutes: minutes between two checkpoints of a long cell; 0: only when stopped.
        tensorboard: whether to write TensorBoard event files.
        add: whether ``folder`` may hold the records of another study, beside which these go.
        command: the command line that continues the run, for ``triptych status`` to show.
        try_first: whether to try each combination with a plugin from outside Triptych before the
            grid (:mod:`harness.run.dry_run`). The cells of one that fails are not run.
        max_failures: how many cells may fail with one message before the run ends; 0: any number.
        cell_minutes: minutes that a cell may take in this run; one that takes longer is stopped,
            and counts as failed; 0: any number.
        cell_gib: memory in GiB that a cell's process may hold, its libraries included; one that
            asks for more fails; 0: any amount. Only Linux has such a limit.
        listen: a function that is called with every event and the summary so far.
        progress: whether to show a bar over the cells, with the last finished cell's score.

    Raises:
        InputError: if the study is invalid, or if ``folder`` cannot be written or is another
            study's.
        Interrupted: on Ctrl-C, after the workers were stopped.
    """
    _require_no_import()
    _require_libraries()
    if plugin_files.refresh():
        guard.forget()
    if not isinstance(study, Study):
        study = Study.load(study)
    require_number("slots_per_gpu", slots_per_gpu, at_least=1, whole=True)
    require_number("checkpoint_minutes", checkpoint_minutes, at_least=0)
    require_number("max_failures", max_failures, at_least=0, whole=True)
    store = Store(default_folder(study) if folder is None else folder)
    if not add:
        _require_own_folder(study, store)
    built = built_engine(engine, jobs)
    current = _Run(
        study,
        store,
        built,
        Resources(
            provenance.choose_device(device, elsewhere=built.elsewhere),
            slots_per_gpu,
            cell_minutes,
            cell_gib,
        ),
        _Options(
            _shard(shard),
            60 * checkpoint_minutes,
            tensorboard,
            command,
            try_first,
            max_failures,
        ),
        listen,
        progress=progress,
    )
    try:
        current.find_stale()
        with copied_plugins(study.specs(), current.store) as current.snapshot:
            _work(current)
            current.find_lost()
    except _GaveUp as reason:
        current.summary.stopped = str(reason)
    except KeyboardInterrupt:
        raise Interrupted(current.summary) from None
    finally:
        if current.bar is not None:
            current.bar.close(current.summary)
        with suppress(OSError):  # Files that killed writers left do no harm.
            files.sweep(current.store.folder)
    return current.summary


def built_engine(engine: Engine | str, jobs: int | None) -> Engine:
    """Return the engine, with ``jobs`` workers if a number is given."""
    if isinstance(engine, Engine):
        require(
            jobs is None,
            f"`jobs` must be given with the name of an engine: got {jobs!r} with an engine that "
            "is built already. Give it to the engine.",
        )
        return engine
    spec = engine if jobs is None else plugins.with_settings("engines", engine, {"jobs": jobs})
    built: Engine = plugins.build("engines", spec)
    return built


def _require_no_import() -> None:
    """Raise an error if a plugin's file starts a run while it is being imported."""
    if plugin_files.loading:
        raise InputError(
            f"The plugin's file {plugin_files.loading[-1]}.py starts a run when it is imported. "
            'Put the call below `if __name__ == "__main__":`.'
        )


def _require_libraries() -> None:
    """Raise an error if a file beside the running script has the name of a library."""
    hidden = hidden_library()
    require(
        hidden is None,
        f"{hidden} must not have the name of a library that Triptych needs: Python imports it in "
        "the library's place. Rename it.",
    )


def _work(current: "_Run") -> None:
    """Run the tuning trials, and then the cells of the board."""
    study = current.study
    choice = Choice()
    trials = study.trials()
    if trials:
        current.identify(trials)
        # An earlier run may have finished the trials: keep its choice in the plan meanwhile.
        choice = choose(trials, current.keys, current.store)
        current.work(trials, [*trials, *study.finals(choice.specs)])
        choice = choose(trials, current.keys, current.store)
    current.withheld = choice.waiting
    finals = study.finals(choice.specs)
    current.work(finals, [*trials, *finals])


@contextmanager
def copied_plugins(specs: Iterable[tuple[str, str]], store: Store) -> Iterator[Path | None]:
    """Copy plugins' files into the run's folder, and import from the copies until the block ends.

    Workers read them too: an edit while cells run changes none of them.

    Args:
        specs: (group, spec) of the plugins that cells use.
        store: the run's folder.

    Yields:
        The copies' folder; None if no plugin is in a file.

    Raises:
        InputError: if the copies cannot be written.
    """
    forget()
    roots: set[str] = set()
    for group, spec in specs:
        if ":" in spec:  # In the name of the plugin, or of a network that it uses.
            with suppress(InputError):  # Its cells fail with this error.
                roots |= plugins.modules(group, spec)
    try:
        folder = plugin_files.write_snapshot(
            store.folder / "plugins", sources.modules_of(roots) if roots else {}
        )
    except OSError as error:
        raise not_writable(store, error) from error
    try:
        with plugin_files.snapshot_used(folder):
            forget()  # It has read the user's files.
            yield folder
    finally:
        forget()


def not_writable(store: Store, error: OSError) -> InputError:
    """Return the error for a run's folder that cannot be written."""
    return InputError(
        f"Could not write to {str(store.folder)!r}: {error}. Name another folder with `--out`."
    )


def _require_own_folder(study: Study, store: Store) -> None:
    """Raise an error if ``store`` holds a study of another name."""
    other = store.study().get("name", study.name)
    require(
        other == study.name,
        f"`folder` must not be another study's: {str(store.given)!r} holds the study {other!r}, "
        f"and this is {study.name!r}. Name another folder with `--out`; or give `--add` (in "
        "Python, `add=True`) to put these cells beside the others, on one board.",
    )


def _shard(text: str | None) -> tuple[int, int]:
    """Parse ``"3/8"`` as (part, parts), with parts counted from 0."""
    if text is None:
        return 0, 1
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    require(
        found is not None and int(found[1]) <= int(found[2]),
        f"`shard` must read PART/PARTS, such as 3/8 for the third of eight parts: got {text!r}.",
    )
    assert found is not None
    return int(found[1]) - 1, int(found[2])


@dataclass(frozen=True)
class _Options:
    shard: tuple[int, int]
    checkpoint: float
    tensorboard: bool
    command: str
    try_first: bool
    max_failures: int


def default_folder(study: Study) -> Path:
    """Return the folder of the records of ``study`` if none is given."""
    return RUNS / study.name


def run_one(
    cell: Cell,
    folder: str | Path,
    *,
    device: str = "auto",
    save: str | Path = "",
    listen: Callable[[Event], None] = lambda event: None,
) -> Event:
    """Run one cell into ``folder``, in a worker process like any other; return its last event.

    A cell that is done or has diverged there, with the same code and data, is not run again. A
    cell with a plugin from outside Triptych is first tried: see :mod:`harness.run.dry_run`.
    If a launcher has started several processes, each calls this, and they share the
    cell: see :mod:`harness.core.distributed`.

    Args:
        cell: the cell to run.
        folder: the folder of its record.
        device: see :func:`run`.
        save: the folder that the trained encoder is written to; empty: it is not kept.
        listen: a function that is called with the cell's events.

    Raises:
        InputError: if a plugin, its data or the device is not available, or if ``save`` is
            given for a cell that is done already.
    """
    _require_no_import()
    _require_libraries()
    if plugin_files.refresh():
        guard.forget()
    resources = Resources(provenance.choose_device(device))
    store = Store(folder)
    with copied_plugins(specs_of(cell), store) as copied:
        # Compute the key before the cell runs: the user may edit a plugin's file meanwhile.
        key = identify(cell).key
        job = Job(cell, key, str(store.folder), save=str(save), plugins=str(copied or ""))
        return replace(_run_job(job, store, resources, listen), key=key)


def _run_job(
    job: Job, store: Store, resources: Resources, listen: Callable[[Event], None]
) -> Event:
    """Run the cell of ``job`` unless its outcome is known; return its last event."""
    cell, key, save = job.cell, job.key, job.save
    settled = store.settled(cell, key)
    if settled == "done":
        if save:
            raise InputError(
                f"`save` must be given when a cell is trained: got it for a cell whose record is "
                f"already under {store.folder}. Name a new folder with `--out`."
            )
        return Event("done", cell)
    if settled is not None:
        return Event("diverged", cell, reason=settled.reason)
    if distributed.count() > 1:
        return _shared(job, resources.device)
    tried = combinations([Planned(cell, cell.loss)], outside=True)
    if tried and is_trained(cell.loss):
        copied = Path(job.plugins) if job.plugins else None
        dry_runs = try_combinations(tried, store.folder, Local(jobs=1), resources, copied=copied)
        lost = dry_runs.failed()
        if cell in lost:
            event = replace(lost[cell], cell=cell)
            store.write_failure(cell, _failure(key, event))
            return event
    with Local(jobs=1).open(store.folder) as engine:
        engine.submit(job, resources)
        for event in engine.events():
            listen(event)
    return event


def _failure(key: str, event: Event) -> Failure:
    return Failure(key, event.kind, event.reason, event.details, event.log)


def _shared(job: Job, device: str) -> Event:
    """Take part in a cell of several processes: rank 0 writes its checkpoints and its record."""
    with distributed.joined(device) as own_device:
        state = Store(job.folder).checkpoint_path(job.cell, job.key)
        if distributed.rank() == 0:
            checkpoints = Checkpoints(state, job.checkpoint)
            values: dict[str, Any] = attempt(job, device=own_device, checkpoints=checkpoints)
            return Event(cell=job.cell, **values)
        try:
            fit_cell(job.cell, device=own_device, checkpoints=Checkpoints(state))
        except Diverged as error:  # Rank 0 diverges too, and writes the failure.
            return Event("diverged", job.cell, reason=str(error))
        return Event("done", job.cell)


def _waiting(holders: Sequence[str]) -> str:
    """Return a line on the cells that other runs hold, and on what to do.

    >>> print(_waiting(["process 7 on 'a'", "process 8 on 'a'", "process 9 on 'b'"]))
    Waiting for 3 cells that other runs have claimed: by process 7 on 'a'; by process 8 on 'a'; \
and 1 more. A claim expires 60 s after its last renewal. If such a process hangs, end it; or stop \
this run, and start it again later.
    """
    cells = "1 cell" if len(holders) == 1 else f"{len(holders)} cells"
    listed = [f"by {each or 'a run that has just ended'}" for each in holders[:HOLDERS]]
    if len(holders) > HOLDERS:
        listed.append(f"and {len(holders) - HOLDERS} more")
    return (
        f"Waiting for {cells} that other runs have claimed: {'; '.join(listed)}. A claim expires "
        f"{LEASE:g} s after its last renewal. If such a process hangs, end it; or stop this run, "
        "and start it again later."
    )


class _Run:
    """Hold the state of one call of :func:`run`, which its phases share."""

    def __init__(
        self,
        study: Study,
        store: Store,
        engine: Engine,
        resources: Resources,
        options: _Options,
        listen: Listener,
        *,
        progress: bool,
    ) -> None:
        self.study, self.store, self.engine = study, store, engine
        self.resources, self.options, self.listen = resources, options, listen
        # Deal places round-robin: adjacent cells cost about the same, and the split must not
        # depend on what tuning chooses.
        first, parts = options.shard
        self.shard = set(list(map(Place.of, all_cells(study)))[first::parts])
        self.summary = Summary(expected=len(self.shard))
        self.bar = Bar(self.summary.expected) if progress else None
        self.identities: dict[Cell, Identity] = {}
        self.keys: dict[Cell, str] = {}
        self.unplanned: dict[Cell, str] = {}
        self.withheld: dict[Row, str] = {}
        self.failures: Counter[str] = Counter()
        self.tried: set[Row] = set()
        self.snapshot: Path | None = None
        self.reminded = -REMINDER

    def find_stale(self) -> None:
        """Find the records of an earlier run whose code has changed since."""
        code = staleness.Code(self.store.study(), self.store.folder)
        for record in self.store.records() if code.blocks else ():
            if why := code.why(record.source):
                self.summary.stale[Cell(**record.cell)] = why

    def find_lost(self) -> None:
        """Account as failed for the cells whose record is gone, such as by a plugin's doing."""
        summary = self.summary
        for account in (summary.done, summary.skipped, summary.shared):
            for cell in [cell for cell in account if not self._path(cell).is_file()]:
                account.remove(cell)
                reason = f"Its record {self._path(cell)} was removed during the run."
                self._account_lost(Event("failed", cell, reason=f"{reason} Run the study again."))

    def _path(self, cell: Cell) -> Path:
        return self.store.record_path(cell, self.keys[cell])

    def work(self, phase: Sequence[Planned], plan: Sequence[Planned]) -> None:
        """Run the cells of ``phase``; ``plan`` holds all cells of the study known so far."""
        self.identify(plan)
        ours = [planned.cell for planned in phase if Place.of(planned) in self.shard]
        # Two paths may lead to the same data, so that several planned cells share one record.
        # Run the first of them: reversed twice, the mapping keeps the first cell of each key.
        cells = list({self.keys.get(cell, cell): cell for cell in reversed(ours)}.values())[::-1]
        self.summary.expected -= len(ours) - len(cells)
        self.summary.cells += cells
        self._write_plan(plan)
        for cell in cells:
            if cell in self.unplanned:
                self._account_lost(Event("failed", cell, reason=self.unplanned[cell]))
        for row, reason in self.withheld.items():
            self.summary.waiting[" / ".join(row)] = reason
        todo = [c for c in cells if c in self.keys and not self._known(c, self.summary.skipped)]
        if self.options.try_first:
            todo = self._without_failed_dry_runs(phase, todo)
        claims = Watch()
        while todo:
            todo = self._await_others(self._run_on_engine(todo), claims)

    def _without_failed_dry_runs(
        self, phase: Sequence[Planned], todo: Sequence[Cell]
    ) -> list[Cell]:
        """Return the cells of ``todo`` but for those that would fail as their dry run did."""
        chosen = set(todo)
        rows = {p: (p.cell.task, p.cell.method, p.label) for p in phase if p.cell in chosen}
        # The final cells of a tuned row differ from its trials in settings alone.
        new = [planned for planned, row in rows.items() if row not in self.tried]
        self.tried.update(rows.values())
        tried = combinations(new, outside=True)
        if not tried:
            return list(todo)
        dry_runs = try_combinations(
            tried, self.store.folder, self.engine, self.resources, self._tell_trying,
            copied=self.snapshot,
        )  # fmt: skip
        failed = dry_runs.failed()
        for cell in todo:
            if cell in failed:
                self._account_lost(replace(failed[cell], cell=cell))
        for reason in {event.reason for event in failed.values()}:
            self._give_up_if_hopeless(reason)
        return [cell for cell in todo if cell not in failed]

    def _tell_trying(self, event: Event) -> None:
        """Tell that a dry run starts: those of a large study take minutes."""
        if event.kind == "started":
            self._tell(Event("trying", event.cell, reason="a step before the grid"))

    def identify(self, plan: Sequence[Planned]) -> None:
        """Compute the identities of all cells of ``plan``, each once a run.

        Raises:
            InputError: if two data sets have one name and different content.
        """
        for cell in dict.fromkeys(planned.cell for planned in plan):
            if cell not in self.keys and cell not in self.unplanned:
                try:
                    self.identities[cell] = identify(cell)
                except InputError as error:
                    self.unplanned[cell] = str(error)
                else:
                    self.keys[cell] = self.identities[cell].key
        require_one_content_a_name(self.identities.values())

    def _known(self, cell: Cell, account: list[Cell]) -> bool:
        """Return whether the outcome of ``cell`` is known; add it to ``account`` if it is done."""
        settled = self.store.settled(cell, self.keys[cell])
        if settled == "done":
            account.append(cell)
        elif settled is not None:
            self.summary.diverged[cell] = settled.reason
        return settled is not None

    def _run_on_engine(self, cells: Sequence[Cell]) -> list[Cell]:
        """Run the cells on the engine, and return those that other runs on the folder have claimed.

        Only records count: a cell is done if and only if it has a valid record, whatever the
        engine reports.
        """
        claimed: list[Cell] = []
        unsettled = dict.fromkeys(cells)
        with self.engine.open(self.store.folder) as engine:
            for cell in cells:
                engine.submit(self._job(cell), self.resources)
            for event in engine.events():
                if not event.settled:
                    self._tell(event)
                elif event.cell in unsettled:
                    del unsettled[event.cell]
                    if event.kind == "claimed":
                        claimed.append(event.cell)
                        whose = self._holder(event.cell)
                        self._tell(replace(event, reason=f"by {whose}" if whose else event.reason))
                    else:
                        self._settle(event)
                        if event.cell in self.summary.failed:
                            self._give_up_if_hopeless(self.summary.failed[event.cell])
        for cell in unsettled:
            reason = "The engine ended without reporting an outcome for this cell."
            self._settle(Event("failed", cell, reason=reason))
        return claimed

    def _job(self, cell: Cell) -> Job:
        options = self.options
        folder = str(self.store.folder)
        return Job(
            cell, self.keys[cell], folder, options.checkpoint, options.tensorboard,
            plugins=str(self.snapshot or ""),
            cell_minutes=self.resources.cell_minutes, cell_gib=self.resources.cell_gib,
        )  # fmt: skip

    def _await_others(self, claimed: Sequence[Cell], claims: Watch) -> list[Cell]:
        """Wait for other runs, and return the cells that this run must try again.

        The other cells of ``claimed`` were finished, or have diverged, in other runs.
        """
        free: list[Cell] = []
        while claimed:
            held = []
            for cell in claimed:
                if not claims.free(self.store.claim_path(cell, self.keys[cell])):
                    held.append(cell)
                elif not self._known(cell, self.summary.shared):
                    free.append(cell)
                else:
                    diverged = cell in self.summary.diverged
                    self._tell(
                        Event("diverged", cell) if diverged else self._done(Event("done", cell))
                    )
            claimed = held
            if free:
                return [*free, *claimed]
            if claimed:
                self._say_waiting(claimed)
                time.sleep(POLL)
        return free

    def _holder(self, cell: Cell) -> str:
        return holder(self.store.claim_path(cell, self.keys[cell]))

    def _say_waiting(self, claimed: Sequence[Cell]) -> None:
        """Say at once, and then every minute, which processes this run waits for."""
        if time.monotonic() - self.reminded < REMINDER:
            return
        self.reminded = time.monotonic()
        log.warning("%s", _waiting([self._holder(cell) for cell in claimed]))

    def _settle(self, event: Event) -> None:
        """Account for a cell by its record alone, whatever the event reports."""
        key = self.keys[event.cell]
        if self.store.has(event.cell, key):
            self.summary.done.append(event.cell)
            self._tell(self._done(event))
            return
        path = self._path(event.cell)
        reason = event.reason or f"It left no valid record in {path}. Check for a full disk."
        kind: Literal["diverged", "failed"] = "diverged" if event.kind == "diverged" else "failed"
        self._account_lost(replace(event, kind=kind, reason=reason))

    def _give_up_if_hopeless(self, reason: str) -> None:
        """Count one more failure for ``reason``, and end the run if these are too many."""
        self.failures[shared(reason)] += 1
        number = self.failures[shared(reason)]
        if 0 < self.options.max_failures <= number:
            left = self.summary.expected - self.summary.settled
            raise _GaveUp(
                f"{number} {'cell' if number == 1 else 'cells'} failed with one message, so the "
                f"other {left} were not tried."
            )

    def _account_lost(self, event: Event) -> None:
        """Account for a cell that left no record, and write its failure."""
        account = self.summary.diverged if event.kind == "diverged" else self.summary.failed
        account[event.cell] = event.reason
        key = self.keys.get(event.cell, "")
        failure = _failure(key, event)
        try:
            if self.store.failure(event.cell, key) != failure:  # Otherwise the worker wrote it.
                self.store.write_failure(event.cell, failure)
        except OSError as error:
            account[event.cell] += f" (and the failure could not be written: {error})"
        self._tell(event)

    def _done(self, event: Event) -> Event:
        """Return ``event`` as that of a cell that is done, with the score in its record."""
        record = read_record(self._path(event.cell))
        if record is None:  # It has been removed since.
            return replace(event, kind="done", reason="", details="")
        return replace(
            event, kind="done", reason="", details="", metric=record.main,
            score=record.main_score, seconds=record.seconds["total"],
        )  # fmt: skip

    def _tell(self, event: Event) -> None:
        """Show an event in the bar, and pass it to the listener."""
        if self.bar is not None:
            self.bar.draw(event, self.summary)
        self.listen(event, self.summary)

    def _copies(self) -> str:
        """Return the place of the plugins' copies in the run's folder; empty if there are none."""
        return str(self.snapshot.relative_to(self.store.folder)) if self.snapshot else ""

    def _write_plan(self, plan: Sequence[Planned]) -> None:
        """Write the study, its cells, and the rows whose settings are not chosen yet."""
        spaces = {
            entry.label: {name: part.to_dict() for name, part in entry.space.items()}
            for entry in self.study.entries
            if entry.space
        }
        settings = partial(plugins.described, "losses")
        modalities = {task: plugins.build("tasks", task).modality for task in self.study.tasks}
        identity_of = {identity.cell.task: identity for identity in self.identities.values()}
        names = {
            task: identity_of[task].task if task in identity_of else label_of(task)
            for task in self.study.tasks
        }
        data = {
            task: {one.name: one.checksum for one in identity.contents}
            for task, identity in identity_of.items()
        }
        planned = [
            {
                "task": names[place.cell.task],
                "label": place.label,
                "trial": place.trial,
                "modality": modalities[place.cell.task],
                "key": self.keys.get(place.cell, ""),
                "cell": place.cell.to_dict(),
            }
            | ({} if place.trial is None else {"settings": settings(place.cell.loss)})
            for place in plan
        ]
        chosen = {(p.cell.task, p.cell.method, p.label) for p in plan if p.trial is None}
        tuned = dict.fromkeys(
            (p.cell.task, p.cell.method, p.label) for p in plan if p.trial is not None
        )
        for row in tuned:
            if row in chosen:
                continue
            task, method, label = row
            reason = self.withheld.get(row, "not run yet: tuning has not chosen its settings")
            planned += [
                {
                    "task": names[task],
                    "label": label,
                    "trial": None,
                    "modality": modalities[task],
                    "key": "",
                    "reason": reason,
                    "cell": Cell(task, method, label, seed).to_dict(),
                }
                for seed in self.study.seeds  # type: ignore[union-attr]
            ]
        roots = {identity.source: identity.modules for identity in self.identities.values()}
        uses = {source: sources.modules_of(modules) for source, modules in roots.items()}
        about = {
            "schema": SCHEMA, "command": self.options.command, "data": data, "spaces": spaces,
            "plan": planned, "names": plugin_names(self.study),
        }  # fmt: skip

        def code(earlier: Mapping[str, Any]) -> dict[str, Any]:
            blocks = staleness.Code(earlier, self.store.folder).blocks
            return {staleness.CODE: staleness.written(uses, blocks, self._copies())}

        try:
            self.store.write_study(self.study.to_dict() | about, code)
        except OSError as error:
            raise not_writable(self.store, error) from error
