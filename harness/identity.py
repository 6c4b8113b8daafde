"""What a cell's result depends on: its spec, its data, and the source of all that makes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from harness import plugins, provenance
from harness.cells import Cell, is_trained
from harness.errors import InputError
from harness.records import record_key


@dataclass(frozen=True)
class Identity:
    """What a cell's result depends on: the record of another identity is another result.

    Attributes:
        cell: the cell's whole spec.
        data: {name: checksum} of the task's data.
        source: a digest of the source of the training loop and of all plugins used.
        frame: the same without the loss: what two losses must share to be paired.
    """

    cell: Cell
    data: Mapping[str, str]
    source: str
    frame: str

    @property
    def key(self) -> str:
        """Return 16 hexadecimal digits that stand for all of the above."""
        return record_key(self.cell, self.data, self.source)


def identify(cell: Cell) -> Identity:
    """Return what the result of ``cell`` depends on, downloading missing data.

    Raises:
        InputError: where a plugin or its data is not to be had.
    """
    frame = {"harness.training"} | _modules("tasks", cell.task) | _modules("methods", cell.method)
    loss = _modules("losses", cell.loss) if is_trained(cell.loss) else set()
    return Identity(
        cell=cell,
        data=_data(cell.task),
        source=_source(*sorted(frame | loss)),
        frame=_source(*sorted(frame)),
    )


def _data(task: str) -> dict[str, str]:
    found = _fetch(task)
    if isinstance(found, InputError):
        raise found
    return found


@cache
def _fetch(task: str) -> dict[str, str] | InputError:
    """Return checksums, or the error: a download that failed is tried once a run."""
    try:
        return dict(plugins.build("tasks", task).fetch())
    except InputError as error:
        return error
    except (Exception, SystemExit) as error:  # A plugin's own; other tasks go on.
        return InputError(f"The data of {task} is not to be had: {type(error).__name__}: {error}")


@cache
def _source(*modules: str) -> str:
    return provenance.source_digest(modules)


def forget() -> None:
    """Forget data and sources seen by an earlier run of this process: files may have changed."""
    _fetch.cache_clear()
    _source.cache_clear()
    provenance.forget()


def _modules(group: str, spec: str) -> set[str]:
    return plugins.modules(group, plugins.parse(group, spec)[0])
