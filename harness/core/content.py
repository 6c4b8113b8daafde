"""Identify what a task reads by its content, not by its location."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from harness.core.errors import require


@dataclass(frozen=True)
class Content:
    """One data set, or one encoder, that a task uses.

    Attributes:
        setting: the task's setting that names it, such as ``data`` or ``corpus``.
        name: its label on boards. Cells that differ only in it are the same cell.
        checksum: of the content of the files that are read, and of no others.
        form: how the files are read, such as ``folder`` or ``csv``, if that does not follow
            from their content.
        trained_on: whether training examples come from it. Only the checksums of such data
            seed random streams; data that are only scored, and encoders, count in the cell's
            key alone.
        note: what a reader should know of how it was read, such as what was left out; empty if
            there is nothing. Records and ``triptych cell`` say it.
    """

    setting: str
    name: str
    checksum: str
    form: str = ""
    trained_on: bool = True
    note: str = ""


Fetched = Mapping[str, str] | Sequence[Content]
"""What :meth:`harness.task.Task.fetch` returns.

A mapping {role: checksum} is for tasks whose data lie in one known place; its roles count in
the cell's key.
"""


def contents_of(fetched: object, task: str) -> tuple[Content, ...]:
    """Return the contents that ``task`` uses, from either form of :data:`Fetched`.

    Raises:
        InputError: if ``fetch`` returned something else.
    """
    advice = "Return {name: checksum}, or a list of harness.core.content.Content."
    if isinstance(fetched, Mapping):
        texts = all(isinstance(part, str) for pair in fetched.items() for part in pair)
        require(texts, f"`fetch` of {task} must return texts: got {dict(fetched)!r}. {advice}")
        return tuple(Content(name, name, fetched[name]) for name in sorted(fetched))
    listed = fetched if isinstance(fetched, list | tuple) else [fetched]
    found = tuple(one for one in listed if isinstance(one, Content))
    good = len(found) == len(listed)
    require(good, f"`fetch` of {task} must return the contents it uses: got {fetched!r}. {advice}")
    return found


def training_data(contents: Iterable[Content]) -> str:
    """Return one checksum of all training data; an empty text if they are generated.

    >>> training_data([Content("data", "pets", "abc"), Content("network", "net", "def",
    ...                                                        trained_on=False)])
    'abc'
    """
    found = [(one.setting, one.checksum) for one in contents if one.trained_on]
    if len(found) < 2:
        return "".join(checksum for _, checksum in found)
    return sha256(repr(sorted(found)).encode()).hexdigest()
