"""SentEval's transfer tasks: labelled sentences, read from its own folders."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.data import hub_files
from adapters.data.sentence_data import in_senteval
from harness import data
from harness.core.archives import Files
from harness.core.errors import InputError, require
from harness.data import Source, need

CROSS_VALIDATED = ("mr", "cr", "subj", "mpqa")
"""Sets without a split of their own, which are cross-validated."""

_CLASSES = {
    "mr": ("MR/rt-polarity.pos", "MR/rt-polarity.neg"),
    "cr": ("CR/custrev.pos", "CR/custrev.neg"),
    "subj": ("SUBJ/subj.objective", "SUBJ/subj.subjective"),
    "mpqa": ("MPQA/mpqa.pos", "MPQA/mpqa.neg"),
}
# {name: (folder of SentEval's `downstream`, rows of each part, contents, licence)}
_ABOUT: Mapping[str, tuple[str, tuple[int, ...], str, str]] = {
    "mr": (
        "MR", (10_662,), "sentences of film reviews, positive or negative", "research use",
    ),
    "cr": (
        "CR", (3_775,), "sentences of product reviews, positive or negative", "research use",
    ),
    "subj": ("SUBJ", (10_000,), "sentences, subjective or objective", "research use"),
    "mpqa": (
        "MPQA", (10_606,), "phrases of news, positive or negative", "MPQA's own: free of charge",
    ),
    "sst-2": (
        "SST/binary", (67_349, 872, 1_821), "phrases of film reviews, 2 classes", "none stated",
    ),
    "trec": ("TREC", (5_452, 500), "questions, 6 classes", "none stated"),
    "mrpc": (
        "MRPC", (4_076, 1_725), "pairs, paraphrases or not", "Microsoft Research's own",
    ),
}  # fmt: skip

# {name: the files of its parts, in the order train, (dev,) test}
_PARTS = {
    "sst-2": tuple(f"sentiment-{part}" for part in ("train", "dev", "test")),
    "trec": ("train_5500.label", "TREC_10.label"),
    "mrpc": tuple(f"msr_paraphrase_{part}.txt" for part in ("train", "test")),
}


def _files(place: Path, *, name: str) -> Files:
    """Return the files of a set, by name: one for each class, or one for each part."""
    if name in CROSS_VALIDATED:
        return {file: place.parent / file for file in _CLASSES[name]}
    return {file: place / file for file in _PARTS[name]}


def _is_file_of(path: str, *, folder: str, name: str) -> bool:
    """Return whether a path in SentEval's archive is that of one of the set's files."""
    files = _CLASSES[name] if name in _CLASSES else [f"{folder}/{f}" for f in _PARTS[name]]
    return any(f"/{path}".endswith(f"/{file}") for file in files)


def _measure(place: Path, *, name: str) -> Mapping[str, int]:
    return {"rows": len(_read(name, place).classes)}


SOURCES: Mapping[str, Source] = {
    name: Source(
        name=name,
        modality="sentence",
        about=f"{' / '.join(f'{number:,}' for number in rows)} {about} (transfer task)",
        origin="https://github.com/facebookresearch/SentEval (data/downstream)",
        licence=licence,
        places=in_senteval(folder),
        listed=partial(_files, name=name),
        download=partial(
            hub_files.unpack_senteval, wanted=partial(_is_file_of, folder=folder, name=name)
        ),
        counts={"rows": sum(rows)},
        measure=partial(_measure, name=name),
    )
    for name, (folder, rows, about, licence) in _ABOUT.items()
}


class Labelled(NamedTuple):
    """Labelled sentences, or pairs of them.

    Attributes:
        columns: one list of sentences, or two for pairs.
        classes: class of each row, 0 and up.
        parts: part of each row, ``train``, ``dev`` or ``test``; all ``train`` if the set
            has no parts.
    """

    columns: tuple[list[str], ...]
    classes: NDArray[np.int64]
    parts: NDArray[np.str_]

    @property
    def is_crossed(self) -> bool:
        """Return whether the set has no parts and is cross-validated."""
        return bool((self.parts == "train").all())


Example = tuple[str, int | str, tuple[str, ...]]
"""An example's part, class and sentences."""


def read(name: str, root: str = "") -> Labelled:
    """Return a transfer set.

    Raises:
        InputError: if the set is not here, a file is missing, or a class is empty.
    """
    place = need(SOURCES[name], root)
    found = _read(name, place)
    data.require_counts(SOURCES[name], {"rows": len(found.classes)}, place)
    return found


def _read(name: str, place: Path) -> Labelled:
    rows: list[Example]
    if name in CROSS_VALIDATED:
        rows = [
            ("train", label, (text,))
            for label, file in enumerate(_CLASSES[name])
            for text in _lines(place.parent / file)
        ]
    elif name == "sst-2":
        rows = [row for file in _PARTS[name] for row in _sentiment(place / file)]
    elif name == "trec":
        files = zip(("train", "test"), _PARTS[name], strict=True)
        rows = [row for part, file in files for row in _questions(place / file, part)]
    else:
        files = zip(("train", "test"), _PARTS[name], strict=True)
        rows = [row for part, file in files for row in _paraphrases(place / file, part)]
    parts, labels, texts = zip(*rows, strict=True) if rows else ((), (), ())
    classes, numbers = np.unique(np.array(labels), return_inverse=True)
    require(
        len(classes) >= 2,
        f"The set {name!r} must hold two classes or more: got {classes.tolist()} in {place}. "
        "Fetch it again with SentEval's get_transfer_data.bash.",
    )
    columns = tuple(list(column) for column in zip(*texts, strict=True))
    return Labelled(columns, numbers.astype(np.int64), np.array(parts))


def _sentiment(file: Path) -> list[Example]:
    part = file.name.removeprefix("sentiment-")
    split = [line.rsplit("\t", 1) for line in _lines(file, "utf-8")]
    return [(part, label, (text,)) for text, label in _checked_pairs(split, file)]


def _questions(file: Path, part: str) -> list[Example]:
    """Read "CLASS:detail question" lines; only the six coarse classes are used."""
    split = [line.split(" ", 1) for line in _lines(file)]
    return [(part, label.split(":")[0], (text,)) for label, text in _checked_pairs(split, file)]


def _paraphrases(file: Path, part: str) -> list[Example]:
    # The file begins with a byte order mark and a line of headings.
    rows = [line.split("\t") for line in _lines(file, "utf-8-sig")[1:]]
    wrong = [row for row in rows if len(row) != 5]
    require(
        not wrong,
        f"{file} must have 5 columns, separated by tabs and without quoting: got {wrong[:1]}.",
    )
    return [(part, label, (one.strip(), other.strip())) for label, _, _, one, other in rows]


def _checked_pairs(rows: list[list[str]], file: Path) -> list[list[str]]:
    wrong = [row for row in rows if len(row) != 2]
    require(not wrong, f"{file} must have a class and a sentence on each line: got {wrong[:1]}.")
    return rows


def _lines(file: Path, encoding: str = "latin-1") -> list[str]:
    try:
        text = file.read_text(encoding=encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} could not be read: {error}. SentEval's get_transfer_data.bash writes it."
        ) from error
    # Not splitlines(), which also breaks lines at characters that a sentence may hold.
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
