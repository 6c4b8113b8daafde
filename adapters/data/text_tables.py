"""Read texts of one's own: lines, or a table in any of the usual formats.

The format follows from the end of a file's name, in capitals or not: ``.txt`` (a sentence a
line), ``.csv``, ``.tsv``, ``.jsonl`` or ``.json``, ``.parquet``, each also with ``.gz``; or a
folder that ``datasets`` has saved. All other files are refused, never read as lines.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from adapters.data.saved_sets import is_saved, open_saved, saved_files
from harness.core.archives import gunzip, is_hidden
from harness.core.errors import InputError, require
from harness.core.schema import parse_json
from harness.data import fingerprint

FORMATS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")
NO_TEXTS = ("readme", "license", "licence", "copying", "changelog", "notice")
"""The names, without their endings, of files in a folder that are not read."""
PARTS = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev",
    "validation": "dev", "test": "test", "testing": "test",
}  # fmt: skip
"""{what files, splits and the column ``split`` say: the part}."""
_NESTED = (list, tuple, dict, bytes)
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
csv.field_size_limit(2**31 - 1)  # Python's own limit, 131,072 characters, is less than a book.


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

    def named(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the columns that have one of some names, in the order of these names.

        Capitals, spaces and marks do not count: ``Sentence 1`` and ``sentence_1`` are
        ``sentence1``.
        """
        wanted = [plain(name) for name in names]
        found = [column for column in self.columns if plain(column) in wanted]
        return tuple(sorted(found, key=lambda column: wanted.index(plain(column))))

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


def plain(name: str) -> str:
    """Return the name of a column without its capitals, spaces and marks.

    >>> plain("Hard_Neg"), plain("Sentence 1")
    ('hardneg', 'sentence1')
    """
    return re.sub(r"[\W_]+", "", name.lower())


def whole(cell: str) -> str:
    """Return a number as it is without its fraction, if that is zero; pandas writes 1 as 1.0.

    >>> whole("1.0"), whole("-1"), whole("1.5"), whole("good")
    ('1', '-1', '1.5', 'good')
    """
    return str(int(cell.partition(".")[0])) if re.fullmatch(r"[+-]?[0-9]+\.0*", cell) else cell


def parts_of(table: Table, where: object) -> list[str]:
    """Return the part that a table's column ``split`` says for each row; none without a column.

    Raises:
        InputError: if there are two such columns, or a cell says no part.
    """
    columns = table.named(("split",))
    require(
        len(columns) < 2,
        f"{where} must have one column `split`: got {', '.join(columns)}. Rename the others.",
    )
    cells = [cell for (cell,) in table.cells(columns, where)] if columns else []
    for line, cell in zip(table.lines, cells, strict=False):
        require(
            cell.lower() in PARTS,
            f"`split` must be train, dev or test: got {cell!r} in {table.word} {line} of {where}. "
            "Correct it, or rename the column.",
        )
    return [PARTS[cell.lower()] for cell in cells]


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
        f"left out): got {', '.join(other[:3]) or 'none'} in {place}. Name a file, or a folder "
        "inside, or move the others away.",
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
    """Yield (number and format, file) of the files at a place: what is read, and hashed."""
    return numbered(files_in(place))


def numbered(files: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield (number and format, file) of some files.

    A file's name does not count, so that a copy of a text is the same text.
    """
    for number, file in enumerate(files):
        yield f"{number:06}{format_of(file) or file.suffix}", file


@lru_cache(maxsize=2)
def _read_saved(folder: Path, checksum: str) -> Mapping[str, Table]:
    del checksum  # Part of the cache's key: a folder that changed is read again.
    return {name: from_dataset(table, folder / name) for name, table in open_saved(folder).items()}


@lru_cache(maxsize=4)
def _read_file(file: Path, checksum: str) -> Table:
    del checksum  # As above.
    kind = format_of(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} could not be read: {error}. Copy it again.") from error
    if file.name.lower().endswith(".gz"):
        content = gunzip(content, file)
    if kind == ".parquet":
        return _parquet(file, content)
    text = decoded(file, content)
    if kind == ".txt":
        return _lines(file, text)
    if kind in (".csv", ".tsv"):
        return _delimited(file, text, "\t" if kind == ".tsv" else ",")
    return _json(file, text, lines=kind == ".jsonl")


def decoded(file: object, content: bytes) -> str:
    """Return the text in a file's content.

    Raises:
        InputError: if it is neither UTF-8 nor UTF-16 with its mark; the message names the line.
    """
    # Excel's "Unicode text" is UTF-16, and begins with a mark that UTF-8 never begins with.
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if is_utf16 else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].decode(encoding, "ignore").count("\n") + 1
        raise InputError(
            f"{file} must be {'UTF-16, as it begins' if is_utf16 else 'UTF-8'}: line {line} has "
            f"the byte {content[error.start]:#x}, which is not. Save the file as UTF-8."
        ) from error
    line = text.partition("\0")[0].count("\n") + 1
    require(
        "\0" not in text,
        f"{file} must be a text in UTF-8: line {line} has a NUL character, as UTF-16 has without "
        "its mark. Save the file as UTF-8.",
    )
    return text.replace("\r\n", "\n")


def _lines(file: Path, text: str) -> Table:
    # Not splitlines(), which also breaks lines at Unicode characters that a sentence may hold.
    found = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    tabs = sum("\t" in line for _, line in found)
    require(
        tabs <= len(found) / 2,
        f"{file} must have a sentence in each line: {tabs:,} of {len(found):,} lines have tabs, "
        "as a table has. Rename it to .tsv, or replace the tabs.",
    )
    return Table(("text",), [(line,) for _, line in found], [n for n, _ in found])


def _delimited(file: Path, text: str, delimiter: str) -> Table:
    rows, lines = _split_rows(file, text, delimiter)
    head = rows[0] if rows else ()
    others = [mark for mark in _SEPARATORS if mark != delimiter]
    other = next((mark for mark in others if len(head) == 1 and mark in head[0]), "")
    require(
        not other,
        f"{file} must have {_SEPARATORS[delimiter]} between its columns: its heading, "
        f"{', '.join(head)!r}, has {_SEPARATORS.get(other)}. Save it with commas as .csv, or with "
        "tabs as .tsv.",
    )
    for row, line in zip(rows, lines, strict=True):
        require(
            len(row) == len(head),
            f"{file} must have as many cells in each line as in its heading, {len(head)}: got "
            f"{len(row)} in line {line}. " + (
                "Put quotation marks around cells that hold a comma." if delimiter == "," else
                "Put one tab between two cells, and none inside of a cell."
            ),
        )  # fmt: skip
    return Table(head, rows[1:], lines[1:])


def _split_rows(file: Path, text: str, delimiter: str) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return the rows of a table, with its heading, and the line that each begins in."""
    # Tables with tabs know no quotation marks: a sentence may begin with one.
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    # Not strict, an unclosed quotation mark would make one cell of all lines to the next mark.
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
    rows, lines, begun = [], [], 1
    try:
        for row in reader:
            if row:
                rows.append(tuple(cell.strip() for cell in row))
                lines.append(begun)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{file} must close each quotation mark that a cell begins with, right before the next "
            f"comma or the end of the line: the row that begins in line {begun} does not, up to "
            f"line {reader.line_num} ({error}). Write the marks inside of a cell twice, and one "
            "more around it."
        ) from error
    return rows, lines


def _json(file: Path, text: str, *, lines: bool) -> Table:
    found: list[Any] = []
    numbers: list[int] = []
    try:
        if lines or not text.lstrip().startswith("["):
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    numbers.append(number)
                    found.append(parse_json(line))
        else:
            found = parse_json(text)
            numbers = list(range(1, len(found) + 1))
    except ValueError as error:
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
    word = "line" if lines else "row"
    for number, row in zip(numbers, table.rows, strict=True):
        half = next((one for one in (*table.columns, *row) if _LONE_SURROGATE.search(one)), None)
        require(
            half is None,
            f"{file} must have whole characters: got {half!a} in {word} {number}, where one "
            "half of a pair of escapes is missing. Write the pair, or remove the half.",
        )
    nested = {name: numbers[row - 1] for name, row in table.nested.items()}
    return table._replace(lines=numbers, word=word, nested=nested)


def _parquet(file: Path, content: bytes) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        # pandas would turn whole numbers into 0.0 and 1.0 if a cell of their column is missing.
        table = parquet.read_table(io.BytesIO(content))
        rows = table.to_pylist()
        # `datasets` writes the names of classes beside the columns.
        about = parse_json((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        features = about.get("info", {}).get("features") or {}
    except (pyarrow.ArrowException, OSError, ValueError, AttributeError) as error:
        raise InputError(f"{file} is not a valid Parquet file: {error}. Copy it again.") from error
    return from_rows(_with_names(rows, features, file))


def from_dataset(table: Any, where: object) -> Table:
    """Return the table of a ``datasets.Dataset``; classes that have names get these."""
    return from_rows(_with_names(table.to_list(), table.features.to_dict(), where))


def _with_names(
    rows: Sequence[dict[str, Any]], features: Mapping[str, Any], where: object
) -> Sequence[Mapping[str, Any]]:
    """Replace the numbers of classes by their names in the columns whose feature says names.

    -1 stays: it is the class of a row whose class is hidden, or that has none.
    """
    classes = {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, Mapping)
        and feature.get("_type") == "ClassLabel"
        and feature.get("names")
    }
    for column, names in classes.items():
        for number, row in enumerate(rows, start=1):
            value = row.get(column)
            if not isinstance(value, int) or value == -1:
                continue
            require(
                0 <= value < len(names),
                f"{where} must have classes 0 to {len(names) - 1} in {column!r}, since it names "
                f"{len(names)}: got {value} in row {number}. Save the set again.",
            )
            row[column] = str(names[value])
    return rows


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
