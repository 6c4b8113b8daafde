"""Read texts of one's own: lines, or a table in any of the usual formats.

The format follows from the end of a file's name, in capitals or not: ``.txt`` (a sentence a
line), ``.csv``, ``.tsv``, ``.jsonl`` or ``.json``, ``.parquet``, each also with ``.gz``; or a
folder that ``datasets`` has saved. All other files are refused, never read as lines.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from adapters.data.saved_sets import is_saved, open_saved, saved_files
from harness.core.errors import InputError, require
from harness.data import fingerprint, is_hidden

FORMATS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")
NO_TEXTS = ("readme", "license", "licence", "copying", "changelog", "notice")
"""The names, without their endings, of files in a folder that are not read."""
_NESTED = (list, tuple, dict, bytes)


class Table(NamedTuple):
    """The rows of a file.

    Attributes:
        columns: the names of its columns; ``text`` alone for lines.
        rows: a cell for each column; empty texts for missing ones.
        lines: the line of the file that each row begins in, from 1; the row's number for formats
            without lines.
        word: what these numbers count, ``line`` or ``row``.
        nested: {column: the number of its first row with a list, a mapping or bytes}.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    lines: list[int]
    word: str = "line"
    nested: Mapping[str, int] = {}

    def cells(self, names: Sequence[str], where: object) -> list[tuple[str, ...]]:
        """Return the cells of some columns, a row each.

        Args:
            names: names of columns.
            where: the table's file, for the message.

        Raises:
            InputError: if two columns have one of the names, or a cell holds several values.
        """
        for name in names:
            require(
                self.columns.count(name) == 1,
                f"{where} must have one column {name!r}: got {self.columns.count(name)}. Rename "
                "the others.",
            )
            require(
                name not in self.nested,
                f"{where} must have a text or a number in each cell of {name!r}: {self.word} "
                f"{self.nested.get(name)} has a list, a mapping or bytes. Write one value a cell.",
            )
        at = [self.columns.index(name) for name in names]
        return [tuple(row[i] for i in at) for row in self.rows]


def format_of(file: Path) -> str:
    """Return the format of a file by the end of its name, without ``.gz``; empty if unknown.

    >>> format_of(Path("A.CSV")), format_of(Path("b.jsonl.gz")), format_of(Path("c.docx"))
    ('.csv', '.jsonl', '')
    """
    name = file.name.lower().removesuffix(".gz")
    return next((each for each in FORMATS if name.endswith(each)), "")


def files_in(place: Path) -> list[Path]:
    """Return the files of texts at a place, sorted by name.

    Hidden files, and those that :data:`NO_TEXTS` names, are left out of a folder.

    Raises:
        InputError: if there are none, or if a folder has other files besides.
    """
    if place.is_file():
        require(
            bool(format_of(place)),
            f"Texts must be in a file {', '.join(FORMATS)} (or one of these with .gz): got "
            f"{place}. Save it as one of them.",
        )
        return [place]
    if is_saved(place):
        return list(saved_files(place).values())
    listed = sorted(file for file in place.iterdir() if not is_hidden(file.name))
    texts = [file for file in listed if not file.name.lower().startswith(NO_TEXTS)]
    other = [file.name for file in texts if not (file.is_file() and format_of(file))]
    require(
        bool(texts) and not other,
        f"A folder of texts must hold files {', '.join(FORMATS)} alone (README and LICENSE are "
        f"left out): got {', '.join(other[:3]) or 'none'} in {place}. Name the files one by one, "
        "or move the others away.",
    )
    return texts


def read(place: Path) -> Mapping[str, Table]:
    """Return {name: table} of what is at a place.

    The name is that of a file in a folder, or of a split of a set that ``datasets`` has saved;
    it is empty for a file, and for a saved set without splits.

    Raises:
        InputError: if it cannot be read; the message names the file, and the line if it has lines.
    """
    if is_saved(place):
        return _read_saved(place, fingerprint(dict(enumerate_files(place))))
    names = {"": place} if place.is_file() else {file.name: file for file in files_in(place)}
    return {name: read_file(file) for name, file in names.items()}


def read_file(file: Path) -> Table:
    """Return the rows of a file; raise as :func:`read` does."""
    return _read_file(file, fingerprint(dict(enumerate_files(file))))


def enumerate_files(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield (number and format, file) of the files at a place: what is read, and hashed.

    A file's name does not count, so that a copy of a text is the same text.
    """
    for number, file in enumerate(files_in(place)):
        yield f"{number:06}{format_of(file) or file.suffix}", file


@lru_cache(maxsize=2)
def _read_saved(folder: Path, checksum: str) -> Mapping[str, Table]:
    del checksum  # Part of the cache's key: a folder that changed is read again.
    return {name: from_rows(table.to_list()) for name, table in open_saved(folder).items()}


@lru_cache(maxsize=4)
def _read_file(file: Path, checksum: str) -> Table:
    del checksum  # As above.
    kind = format_of(file)
    try:
        content = file.read_bytes()
        if file.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file} could not be read: {error}. Copy it again.") from error
    if kind == ".parquet":
        return _parquet(file, content)
    text = _decoded(file, content)
    if kind == ".txt":
        return _lines(text)
    if kind in (".csv", ".tsv"):
        return _delimited(file, text, "\t" if kind == ".tsv" else ",")
    return _json(file, text, lines=kind == ".jsonl")


def _decoded(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{file} must be UTF-8: line {line} has the byte {content[error.start]:#x}, which is "
            "not. Save the file as UTF-8."
        ) from error


def _lines(text: str) -> Table:
    # Not splitlines(), which also breaks lines at Unicode characters that a sentence may hold.
    numbered = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    return Table(("text",), [(line,) for _, line in numbered], [n for n, _ in numbered])


def _delimited(file: Path, text: str, delimiter: str) -> Table:
    # Tables with tabs know no quotation marks: a sentence may begin with one.
    stream, quoting = io.StringIO(text, newline=""), delimiter != "\t"
    reader = (
        csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL)
        if quoting
        else csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    )
    rows, lines, begun = [], [], 1
    try:
        for row in reader:
            if row:
                rows.append(tuple(cell.strip() for cell in row))
                lines.append(begun)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{file} must be a table: line {reader.line_num} cannot be read ({error})."
        ) from error
    head = rows[0] if rows else ()
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(head)), None)
    require(
        wrong is None,
        f"{file} must have as many cells in each line as in its heading, {len(head)}: got "
        f"{len(rows[wrong or 0]) if rows else 0} in line {lines[wrong or 0] if rows else 0}. Put "
        "quotation marks around cells that hold the separator." if delimiter == "," else
        f"{file} must have {len(head)} cells, separated by tabs, in each line: got "
        f"{len(rows[wrong or 0]) if rows else 0} in line {lines[wrong or 0] if rows else 0}.",
    )  # fmt: skip
    return Table(head, rows[1:], lines[1:])


def _json(file: Path, text: str, *, lines: bool) -> Table:
    found: list[Any] = []
    numbers: list[int] = []
    try:
        if lines or not text.lstrip().startswith("["):
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    numbers.append(number)
                    found.append(json.loads(line))
        else:
            found = json.loads(text)
            numbers = list(range(1, len(found) + 1))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file} must hold an object in each line: line {numbers[-1] if numbers else 1} cannot "
            f"be read ({error})."
        ) from error
    wrong = next((i for i, row in enumerate(found) if not isinstance(row, dict)), None)
    require(
        wrong is None,
        f"{file} must hold objects such as {{\"text\": \"...\"}}: got another value in line "
        f"{numbers[wrong or 0] if numbers else 0}.",
    )  # fmt: skip
    table = from_rows(found)
    nested = {name: numbers[row - 1] for name, row in table.nested.items()}
    return table._replace(lines=numbers, word="line" if lines else "row", nested=nested)


def _parquet(file: Path, content: bytes) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        # pandas would turn whole numbers into 0.0 and 1.0 if a cell of their column is missing.
        rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file} is not a valid Parquet file: {error}. Copy it again.") from error
    return from_rows(rows)


def from_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of rows, each {column: value}; missing values become empty texts."""
    columns = tuple(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [tuple(_text(row.get(name)) for name in columns) for row in rows]
    nested: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        for name, value in row.items():
            if isinstance(value, _NESTED):
                nested.setdefault(name, number)
    return Table(columns, cells, list(range(1, len(rows) + 1)), "row", nested)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    is_missing = value is None or value != value  # NaN alone differs from itself.
    return "" if is_missing or isinstance(value, _NESTED) else str(value)
