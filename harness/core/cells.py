"""Cells: a study plans them, an engine runs them, and each leaves one record."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

UNTRAINED = "untrained"
"""Stands in place of a loss: the encoder is evaluated as it is at step 0."""

DEFAULT_METHOD = "siamese"
"""The method of a loss if the study names none for it."""
DEFAULT_SEEDS = 3
"""The number of seeds of a study that does not say."""
PARTS = {"task": "tasks", "method": "methods", "loss": "losses"}
"""{part of a cell: the group of plugins that it names one of}."""
NO_METHOD = ""
"""The method of a cell that is not trained: one such cell serves the rows of all methods."""

FIXED = "fixed:"
"""Prefix of one of a task's ``references``, an encoder that stands in place of a loss."""

CONTROL = "control"
"""The label of the row that repeats the baseline with its temperature moved by a millionth."""

TUNED = "[tuned]"
"""Suffix of the name of a loss whose settings are chosen on validation."""

Spec = str
"""A plugin's name with its settings, in canonical form."""


def name_of(spec: Spec) -> str:
    """Return a plugin's name, without the settings of its spec.

    >>> name_of("adnce(mu=0.5)")
    'adnce'
    """
    return spec.partition("(")[0]


def is_trained(loss: str) -> bool:
    """Return whether ``loss`` names a loss, rather than ``untrained`` or a reference encoder.

    >>> [is_trained(name) for name in ("infonce", "untrained", "fixed:oracle")]
    [True, False, False]
    """
    return loss != UNTRAINED and not loss.startswith(FIXED)


def baseline_row(rows: Iterable[str], wanted: Iterable[str | None] = ()) -> str:
    """Return the row that others are compared with: InfoNCE's if none of ``wanted`` is a row.

    Without InfoNCE, it is the first row.

    Args:
        rows: the labels of the rows, of which there is at least one.
        wanted: the baselines of studies, the first one first.

    >>> baseline_row(["adnce", "infonce"]), baseline_row(["adnce", "hcl"], [None, "hcl"])
    ('infonce', 'hcl')
    """
    rows = list(rows)
    return next(row for row in (*wanted, "infonce", f"infonce{TUNED}", *rows) if row in rows)


@dataclass(frozen=True)
class Cell:
    """One task, method, loss and seed, each plugin by its canonical spec.

    Attributes:
        task: its spec.
        method: its spec; always ``NO_METHOD`` if the cell is not trained.
        loss: its spec, ``untrained``, or ``fixed:`` and the name of a reference.
        seed: the seed.
        scored: ``test`` scores validation and test; ``validation`` never looks at test.
        probes: how often validation is scored during training.
    """

    task: str
    method: str
    loss: str
    seed: int
    scored: Literal["test", "validation"] = "test"
    probes: int = 0

    def __post_init__(self) -> None:
        # One untrained cell serves all methods, so that equal cells must not differ in theirs.
        if not is_trained(self.loss):
            object.__setattr__(self, "method", NO_METHOD)

    def __str__(self) -> str:
        """Return the cell's label."""
        method = f"{self.method} / " if self.method else ""
        return f"{self.task} / {method}{self.loss} / seed {self.seed}"

    @property
    def stage(self) -> str:
        """Return ``tuning`` for a cell of a tuning trial, ``final`` for a cell of the board."""
        return "tuning" if self.scored == "validation" else "final"

    def to_dict(self) -> dict[str, Any]:
        """Return the cell as plain values; ``Cell(**values)`` restores it."""
        return asdict(self)


def specs_of(cell: Cell) -> list[tuple[str, Spec]]:
    """Return the pair (group, spec) of each plugin that a cell uses."""
    parts = PARTS if is_trained(cell.loss) else ("task",)
    return [(PARTS[part], getattr(cell, part)) for part in parts]


@dataclass(frozen=True)
class Planned:
    """A cell with its place in a study.

    Attributes:
        cell: what is run.
        label: the row of the board that it belongs to.
        trial: the number of its tuning trial; None if it is scored on test.
        task: the task's label on boards; empty if it is not known yet.
    """

    cell: Cell
    label: str
    trial: int | None = None
    task: Spec = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Planned":
        """Restore the cell and its place from an entry of a written plan."""
        cell = Cell(**values["cell"])
        return cls(cell, values["label"], values.get("trial"), values.get("task", cell.task))
