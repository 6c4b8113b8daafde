"""Texts of one's own: read the same in every format, and what is wrong in them said."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.data import corpora, own_sets, sentence_data, text_tables
from harness import plugins
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.run.runner import run_one
from harness.store import identity
from harness.store.records import Store
from harness.testing import scores_of
from tasks.sentences.sentences import Sentences

RANDOMNESS = Randomness("sentences", "", 0)


def loaded(spec: str) -> Sentences:
    task: Sentences = plugins.build("tasks", spec)
    task.load(RANDOMNESS)
    return task


TRIPLES = [
    (f"The miller ground corn {i}.", f"Corn was ground {i}.", f"No corn {i}.") for i in range(4)
]
NAMES = ("anchor", "positive", "negative")


def write_table(path: Path, rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> Path:
    """Write rows in the format that the file's name says."""
    kind = text_tables.format_of(path)
    dicts = [dict(zip(names, row, strict=True)) for row in rows]
    if kind == ".parquet":
        pd.DataFrame(dicts).to_parquet(path)
        return path
    if kind in (".csv", ".tsv"):
        stream = io.StringIO(newline="")
        csv.writer(stream, delimiter="\t" if kind == ".tsv" else ",").writerows([names, *rows])
        text = stream.getvalue()
    elif kind == ".json":
        text = json.dumps(dicts)
    elif kind == ".jsonl":
        text = "".join(json.dumps(each) + "\n" for each in dicts)
    else:
        text = "".join(f"{row[0]}\n" for row in rows)
    content = text.encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix.lower() == ".gz" else content)
    return path


ENDINGS = ("csv", "CSV", "tsv", "jsonl", "json", "parquet", "csv.gz", "tsv.gz", "jsonl.GZ")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_is_read_the_same_in_every_format(tmp_path: Path, ending: str) -> None:
    path = write_table(tmp_path / f"mine.{ending}", TRIPLES, NAMES)
    assert corpora.read(str(path)) == (TRIPLES, "")
    assert corpora.sentences_per_example(str(path)) == 3
    assert corpora.read(str(path), columns="positive").rows == [(row[1],) for row in TRIPLES]
    assert corpora.read(str(path), columns="negative+anchor").rows[0] == (
        TRIPLES[0][2],
        TRIPLES[0][0],
    )
    with pytest.raises(InputError, match=r"`columns` must name .*got 'no', and it has anchor"):
        corpora.read(str(path), columns="no")


@pytest.mark.parametrize("ending", ["txt", "TXT", "txt.gz"])
def test_lines_are_read_with_a_mark_at_the_start_and_windows_ends(
    tmp_path: Path, ending: str
) -> None:
    content = "\ufeffOne.\r\n\r\nTwo.\r\n".encode()
    path = tmp_path / f"marked.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    assert corpora.read(str(path)).rows == [("One.",), ("Two.",)]


@pytest.mark.parametrize("names", corpora.PAIRED)
def test_the_usual_columns_of_pairs_are_recognised(tmp_path: Path, names: tuple[str, ...]) -> None:
    rows = [row[:2] for row in TRIPLES]
    path = write_table(tmp_path / "pairs.csv", rows, names[:2])
    assert corpora.read(str(path)).rows == rows


def test_premises_are_paired_with_what_they_entail_alone(tmp_path: Path) -> None:
    rows = [("p1", "h1", 0), ("p2", "h2", 2), ("p3", "h3", "entailment"), ("p4", "h4", 1)]
    path = write_table(tmp_path / "nli.jsonl", rows, ("premise", "hypothesis", "label"))
    found = corpora.read(str(path))
    assert found.rows == [("p1", "h1"), ("p3", "h3")]
    assert found.left_out == f"2 of 4 rows of {path} are no entailment"


def test_a_set_that_datasets_has_saved_is_read(tmp_path: Path) -> None:
    import datasets

    table = datasets.Dataset.from_list([dict(zip(NAMES, row, strict=True)) for row in TRIPLES])
    table.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "several"))
    for name in ("one", "several"):
        assert corpora.read(str(tmp_path / name)).rows == TRIPLES
        assert corpora.content(str(tmp_path / name)).checksum


@pytest.mark.parametrize("count", [1, 3])
def test_rows_without_a_text_are_counted_and_too_many_are_refused(
    tmp_path: Path, count: int
) -> None:
    rows = [*TRIPLES * 10]
    for i in range(count):
        rows[2 * i + 1] = (*rows[2 * i + 1][:2], " ")
    path = write_table(tmp_path / "gaps.csv", rows, NAMES)
    said = rf"{count} of 40 rows of .*gaps.csv have an empty cell, the first in line 3, 'negative'"
    if count > 40 * corpora.MAX_LEFT_OUT:
        with pytest.raises(InputError, match=rf"{said}; at most 5% may.*'anchor.positive'"):
            corpora.read(str(path))
        return
    assert len(corpora.read(str(path)).rows) == 39
    (one,) = [c for c in Sentences(corpus=str(path)).fetch() if c.setting == "corpus"]
    assert re.fullmatch(said, one.note)
    run_one(Cell(f"sentences(corpus='{path}',steps=1)", "siamese", "infonce", 0), tmp_path / "run")
    (record,) = Store(tmp_path / "run").records()
    assert record.notes == [f"gaps.csv: {one.note}"]


BROKEN: dict[str, tuple[bytes, str]] = {
    "latin.csv": (
        "text\nok\ncaf\u00e9\n".encode("latin-1"),
        r"UTF-8: line 3 has the byte 0xe9",
    ),
    "latin.txt": (
        "caf\u00e9\n".encode("latin-1"),
        r"line 1 .* Save the file as UTF-8",
    ),
    "short.csv": (b"text,b\nx,y\nz\n", r"as many cells .* heading, 2: got 1 in line 3"),
    "long.csv": (b"text,b\nx,y,z\n", r"heading, 2: got 3 in line 2"),
    "short.tsv": (b"text\tb\nx\n", r"as many cells .* heading, 2: got 1 in line 2. Put one tab"),
    "bad.jsonl": (
        b'{"text": "x"}\n{"text": \n',
        r"hold an object in each line: line 2",
    ),
    "list.jsonl": (b"[1, 2]\n", r"must hold objects such as|got another value"),
    "deep.json": (b"[" * 100_000, r"deep.json must hold an object"),
    "cut.csv.gz": (
        gzip.compress(b"text\nx\ny\n")[:-9],
        r"cut.csv.gz must be readable: got EOFError",
    ),
    "no.parquet": (b"PAR1 nothing", r"no.parquet is not a valid Parquet file"),
    "notes.docx": (b"PK", r"Texts must be in a file .txt, .csv, .*: got .*notes.docx"),
    "empty.txt": (b"\n\n", r"must have two sentences or more.*got 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_text_that_cannot_be_read_is_named_with_the_line(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        corpora.read(str(tmp_path / name))


def test_a_folder_of_texts_leaves_out_its_readme_and_refuses_what_it_cannot_read(
    tmp_path: Path,
) -> None:
    for name in ("a.txt", "b.jsonl", "README.txt", "LICENSE", ".hidden"):
        text = '{"text": "Three."}\n' if name == "b.jsonl" else f"{name} one.\n"
        (tmp_path / name).write_text(text)
    assert corpora.read(str(tmp_path)).rows == [("a.txt one.",), ("Three.",)]
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError, match=r"must hold files .* alone .*: got more in"):
        corpora.read(str(tmp_path))


@given(
    rows=st.lists(
        st.tuples(
            *[st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1)] * 2
        ),
        min_size=2,
        max_size=5,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_text_survives_every_format(rows: list[tuple[str, str]], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    wanted = [tuple(cell.strip() for cell in row) for row in rows]
    if any("" in row for row in wanted):
        return
    for ending in ("csv", "jsonl", "json", "parquet"):
        path = write_table(folder / f"a.{ending}", rows, ("sent0", "sent1"))
        read = [
            tuple(" ".join(cell.split()) for cell in row) for row in corpora.read(str(path)).rows
        ]
        assert read == [tuple(" ".join(cell.split()) for cell in row) for row in wanted], ending


# Sets of one's own to evaluate on


SCORED = ("score", "sentence1", "sentence2")


def scored_rows(parts: bool = False) -> list[tuple[Any, ...]]:
    rows = [(i % 5 + 0.5, f"The fox {i} runs.", f"A fox runs {i % 7}.") for i in range(12)]
    return [(*row, "dev" if i % 2 else "test") for i, row in enumerate(rows)] if parts else rows


def labelled_rows(parts: bool = False) -> list[tuple[Any, ...]]:
    rows = [(f"Praise {i}." if i % 2 else f"Blame {i}.", ("bad", "good")[i % 2]) for i in range(40)]
    return [(*row, "test" if i > 30 else "train") for i, row in enumerate(rows)] if parts else rows


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_own_sets_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.chdir(tmp_path)
    pairs, labels = ("score", "sentence1", "sentence2"), ("text", "label")
    write_table(tmp_path / f"pairs.{ending}", scored_rows(), pairs)
    write_table(tmp_path / f"own dev.{ending}", scored_rows(True), (*pairs, "split"))
    write_table(tmp_path / f"mood.{ending}", labelled_rows(), labels)
    write_table(tmp_path / f"parted.{ending}", labelled_rows(True), (*labels, "split"))
    names = "+".join(f"./{name}.{ending}" for name in ("pairs", "own dev", "mood", "parted"))
    shipped = "sts-b+" if ending == "csv" else ""  # It has 2,500 pairs.
    task = loaded(f"sentences(evaluation='{shipped}{names}', layers=1)")
    found = scores_of(task, task.encoder())
    assert {
        "pairs_spearman",
        "own_dev_spearman",
        "mood_accuracy",
        "parted_accuracy",
    } <= found.keys()
    assert found["mood_accuracy"] > 90
    validation = scores_of(task, task.encoder(), "validation")
    assert "own_dev_spearman" in validation and "pairs_spearman" not in validation
    first = ["sts_spearman"] if shipped else []
    assert [m.name for m in task.metrics][: len(first) + 1] == [*first, "own_dev_spearman"]


def test_an_own_set_alone_needs_a_part_to_choose_on(tmp_path: Path) -> None:
    pairs = write_table(tmp_path / "pairs.csv", scored_rows(), SCORED)
    with pytest.raises(InputError, match=r"set with a validation part.*your own with a part 'dev'"):
        Sentences(evaluation=str(pairs))
    folder = tmp_path / "mine"
    folder.mkdir()
    for part in ("dev", "test"):
        write_table(folder / f"{part}.csv", scored_rows(), SCORED)
    task = loaded(f"sentences(evaluation='{folder}', layers=1)")
    assert [metric.name for metric in task.metrics] == ["mine_spearman"]


def test_an_own_set_is_known_by_its_content_and_not_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        rows = scored_rows() if folder != "c" else scored_rows()[1:]
        path = tmp_path / folder / "pairs.csv"
        write_table(path, rows, SCORED)
        cell = Cell(f"sentences(evaluation='sts-b+{path}')", "siamese", "infonce", 0)
        identity.forget()
        keys.append(identity.identify(cell).key)
        assert identity.identify(cell).task == "sentences(evaluation='sts-b+pairs.csv')"
    assert keys[0] == keys[1] != keys[2]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"`keep_out` must name './a/pairs.csv'.*Set keep_out='sts-b"
    ):
        Sentences(corpus=str(write_table(tmp_path / "c.csv", scored_rows(), ("x", "text", "y"))),
                  evaluation="sts-b+./a/pairs.csv").fetch()  # fmt: skip


WRONG_SETS = {
    "no score": (
        "a,sentence1,sentence2\n1,x,y\n",
        r"column score or similarity and two",
    ),
    "no number": (
        "score,sentence1,sentence2\nx,a,b\n",
        r"number: line 2 of .*own.csv has 'x'",
    ),
    "nan": ("score,sentence1,sentence2\n1,a,b\nnan,a,b\n", r"finite number: line 3 of .*has 'nan'"),
    "no text": ("text,label\n,1\nx,2\n", r"a text in text: line 2 of .*own.csv has none"),
    "no class": ("text,label\nx,\ny,1\n", r"must have a label: line 2 of .*own.csv has none"),
    "one class": (
        "text,label\nx,1\ny,1\n",
        r"two classes, or two scores, or more: all in .* have 1",
    ),
    "part": (
        "text,label,split\nx,1,eval\ny,2,test\n",
        r"must be train, dev or test: got 'eval' in line 2",
    ),
    "no test": (
        "text,label,split\nx,1,train\nx,2,train\ny,1,dev\ny,2,dev\n",
        r"parts train and test, or no parts",
    ),
    "one row": ("text,label\nx,1\n", r"two rows or more: got 1"),
}


@pytest.mark.parametrize("fault", WRONG_SETS)
def test_an_own_set_with_a_fault_is_refused_with_its_line(tmp_path: Path, fault: str) -> None:
    text, message = WRONG_SETS[fault]
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        Sentences(evaluation=f"sts-b+{tmp_path}/own.csv")


@pytest.mark.parametrize("names", [("sentence1", "sentence2"), ("question", "answer")])
@pytest.mark.parametrize("relation", corpora.RELATIONS)
@pytest.mark.parametrize("value", ["0", "1", "0.5", "true"])
def test_a_column_whose_pairs_may_be_no_positives_is_not_guessed_at(
    tmp_path: Path, names: tuple[str, str], relation: str, value: str
) -> None:
    """In MRPC, QQP and PAWS 1 is a paraphrase; in RTE 0 is an entailment."""
    rows = [(*row[:2], value) for row in TRIPLES]
    path = write_table(tmp_path / "pairs.csv", rows, (*names, relation))
    said = rf"column '{relation}' of a corpus .*got '{value}' in line 2 of .*remove the column"
    for columns in ("", "+".join(names)):
        with pytest.raises(InputError, match=said):
            Sentences(corpus=str(path), columns=columns).fetch()
    assert corpora.read(str(path), columns=names[0]).rows == [(row[0],) for row in TRIPLES]


@pytest.mark.parametrize("names", corpora.PAIRED)
def test_a_relation_in_words_is_understood_between_all_pairs(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    words = ("entailment", "neutral", "-", "Entailment")
    rows = [(*row[:2], word) for row, word in zip(TRIPLES, words, strict=True)]
    path = write_table(tmp_path / "pairs.tsv", rows, (*names[:2], "gold_label"))
    assert corpora.read(str(path)).rows == [TRIPLES[0][:2], TRIPLES[3][:2]]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "title": str.title,
    "spaces": lambda name: f" {name.replace('_', ' ')}",
    "dots": lambda name: name.replace("_", "."),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("relation", corpora.RELATIONS)
@pytest.mark.parametrize("names", [NAMES, ("Premise", "Hypothesis", "hard negative")])
def test_a_relation_is_seen_in_any_spelling_and_beside_hard_negatives(
    tmp_path: Path, names: tuple[str, ...], relation: str, spelling: str
) -> None:
    column = SPELLINGS[spelling](relation).strip()
    rows = [(*row, "paraphrase") for row in TRIPLES]
    path = write_table(tmp_path / "triples.csv", rows, (*names, column))
    for columns in ("", "+".join(names), "+".join(names[:2])):
        with pytest.raises(InputError, match=rf"'{column}' of a corpus .*got 'paraphrase' in line"):
            corpora.read(str(path), columns=columns)
    words = ("entailment", "neutral", "-", "Entailment")
    rows = [(*row, word) for row, word in zip(TRIPLES, words, strict=True)]
    write_table(path, rows, (*names, column))
    found = corpora.read(str(path))
    assert found.rows == [TRIPLES[0], TRIPLES[3]]
    assert found.left_out == f"2 of 4 rows of {path} are no entailment"


NEGATIVES = ("negative", "hard_neg", "hard_negative", "Hard Negative", "neg", "negative_1")


@pytest.mark.parametrize("name", NEGATIVES)
@pytest.mark.parametrize("pair", corpora.PAIRED)
def test_a_column_of_hard_negatives_is_read_and_several_are_refused(
    tmp_path: Path, pair: tuple[str, str], name: str
) -> None:
    path = write_table(tmp_path / "triples.jsonl", TRIPLES, (*pair, name))
    assert corpora.read(str(path)) == (TRIPLES, "")
    assert corpora.sentences_per_example(str(path)) == 3
    rows = [(*row, row[2]) for row in TRIPLES]
    write_table(path, rows, (*pair, name, "negative_2"))
    with pytest.raises(InputError, match=r"one column of hard negatives: .*columns='.*\+.*\+.*'"):
        corpora.read(str(path))
    chosen = corpora.read(str(path), columns=f"{pair[0]}+{pair[1]}+{name}")
    assert chosen == (TRIPLES, f"not read of {path}: negative_2")


@pytest.mark.parametrize("others", [("url",), ("id", "source text"), ("is_true",)])
def test_columns_beside_pairs_that_are_not_read_are_noted(
    tmp_path: Path, others: tuple[str, ...]
) -> None:
    path = write_table(tmp_path / "a.csv", [(*r[:2], *others) for r in TRIPLES], ("anchor",
                       "positive", *others))  # fmt: skip
    for columns in ("", "anchor+positive"):
        assert corpora.read(str(path), columns=columns).left_out == (
            f"not read of {path}: {', '.join(others)}"
        )
    assert corpora.read(str(path), columns="anchor").left_out == ""
    write_table(path, [(*row[:1], *others) for row in TRIPLES], ("Text", *others))
    assert corpora.read(str(path)).left_out == ""


@pytest.mark.parametrize("others", [("sentence",), ("answer",), ("question", "title")])
def test_a_second_column_of_sentences_is_noted_in_a_corpus_and_refused_in_a_set(
    tmp_path: Path, others: tuple[str, ...]
) -> None:
    rows = [(f"One {i}.", str(i % 2), *(f"{o} {i}" for o in others)) for i in range(6)]
    path = write_table(tmp_path / "a.csv", rows, ("text", "label", *others))
    assert others[0] in corpora.read(str(path)).left_out
    with pytest.raises(
        InputError, match=rf"All columns of sentences .*got {others[0]} beside text"
    ):
        own_sets.read(str(path))


def test_several_pairs_are_not_chosen_from(tmp_path: Path) -> None:
    names = ("question", "answer", "sentence", "label")
    path = write_table(tmp_path / "a.csv", [(*row, i % 2) for i, row in enumerate(TRIPLES)], names)
    for read in (corpora.read, own_sets.read):
        with pytest.raises(InputError, match=r"question\+answer and question\+sentence. Rename"):
            read(str(path))


def test_the_answers_of_qnli_are_read_with_their_questions(tmp_path: Path) -> None:
    names = ("index", "question", "sentence", "label")
    labels = ("entailment", "not_entailment")
    rows = [(i, f"Why {i}?", f"So {i}.", labels[i % 2]) for i in range(6)]
    path = write_table(tmp_path / "qnli.tsv", rows, names)
    found = own_sets.read(str(path)).labelled
    assert found is not None and found.columns == ([r[1] for r in rows], [r[2] for r in rows])
    assert corpora.read(str(path)).rows == [row[1:3] for row in rows[::2]]


def saved(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    """Write a set as ``datasets`` saves it; ``rows=`` gives one without splits."""
    import datasets

    made = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    whole = made["rows"] if "rows" in made else datasets.DatasetDict(made)
    whole.save_to_disk(str(folder))
    return folder


def as_dicts(rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_the_splits_of_a_saved_set_are_its_parts(tmp_path: Path) -> None:
    rows = as_dicts(scored_rows(), SCORED)
    splits = {"train": rows[:2], "validation": rows[2:6], "test": rows[6:]}
    found = own_sets.read(str(saved(tmp_path / "pairs", **splits)))
    assert {split: len(pairs.scores) for split, pairs in found.pairs.items()} == {
        "validation": 4,
        "test": len(rows) - 6,
    }
    assert found.pairs["test"].first == [row["sentence1"] for row in rows[6:]]
    whole = own_sets.read(str(saved(tmp_path / "whole", rows=rows)))
    assert {split: len(pairs.scores) for split, pairs in whole.pairs.items()} == {"test": len(rows)}
    labelled = as_dicts(labelled_rows(), ("text", "label"))
    parted = own_sets.read(str(saved(tmp_path / "m", train=labelled[:-4], test=labelled[-4:])))
    assert parted.labelled is not None and sorted(parted.labelled.parts)[:5] == ["test"] * 4 + [
        "train"
    ]
    with pytest.raises(
        InputError, match=r"splits train, dev and test alone: got validation_matched"
    ):
        own_sets.read(str(saved(tmp_path / "odd", train=rows, validation_matched=rows)))


def test_a_saved_corpus_is_its_train_split(tmp_path: Path) -> None:
    rows = as_dicts(TRIPLES, NAMES)
    assert corpora.read(str(saved(tmp_path / "a", train=rows, test=rows[:1]))).rows == TRIPLES
    with pytest.raises(InputError, match=r"must have a split 'train': .* has dev, test"):
        corpora.read(str(saved(tmp_path / "b", dev=rows, test=rows)))


@pytest.mark.parametrize("kind", ["scores", "classes"])
def test_a_part_whose_values_are_hidden_is_refused(tmp_path: Path, kind: str) -> None:
    """GLUE's test sets have -1 in each row."""
    rows, names = (
        (scored_rows(), SCORED) if kind == "scores" else (labelled_rows(), ("text", "label"))
    )
    hidden = [tuple(-1 if n in ("score", "label") else v for n, v in zip(names, row, strict=True))
              for row in rows]  # fmt: skip
    folder = saved(tmp_path / "glue", train=as_dicts(rows, names), test=as_dicts(hidden, names))
    with pytest.raises(InputError, match=r"all of the part test in .*glue have -1.*GLUE"):
        Sentences(evaluation=f"sts-b+{folder}")


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "json", "saved"])
def test_a_missing_cell_is_empty_and_keeps_whole_numbers_whole(tmp_path: Path, ending: str) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "label": 0},
        {"text": None, "label": 1},
        {"text": "b", "label": None},
    ]
    path = tmp_path / f"mine.{ending}"
    if ending == "saved":
        saved(path, rows=rows)
    elif ending == "parquet":
        pd.DataFrame(rows).astype({"label": "Int64"}).to_parquet(path)
    else:
        write_table(path, [tuple(row.values()) for row in rows], ("text", "label"))
    (table,) = text_tables.read(path).values()
    assert table.rows == [("a", "0"), ("", "1"), ("b", "")]
    with pytest.raises(InputError, match=r"a text in text: row 2|a text in text: line 2"):
        own_sets.read(str(path))


def test_not_a_number_is_a_missing_cell_too(tmp_path: Path) -> None:
    rows = [{"score": value, "text": "a"} for value in (1.5, float("nan"))]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    assert text_tables.read_file(tmp_path / "a.parquet").rows == [("1.5", "a"), ("", "a")]


@pytest.mark.parametrize("value", [["a", "b"], {"a": "b"}, []])
@pytest.mark.parametrize("ending", ["parquet", "jsonl", "json", "saved"])
def test_a_list_is_no_text(tmp_path: Path, ending: str, value: Any) -> None:
    if value == [] and ending == "saved":
        value = ["c"]
    rows = [{"text": "x", "more": value}, {"text": "y", "more": value}]
    path = tmp_path / f"mine.{ending}"
    if ending == "saved":
        saved(path, rows=rows)
    elif ending == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        write_table(path, [tuple(row.values()) for row in rows], ("text", "more"))
    assert corpora.read(str(path)).rows == [("x",), ("y",)]
    with pytest.raises(InputError, match=r"in each cell of 'more': (row|line) 1 has a list, a map"):
        corpora.read(str(path), columns="more")


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("text,text\na,b\nc,d\n")
    with pytest.raises(InputError, match=r"one column 'text': got 2. Rename"):
        corpora.read(str(tmp_path / "twice.csv"))


@pytest.mark.parametrize("name", ["pairs", "sts", "sick_r", "sts12", "sst2"])
def test_sets_of_one_name_have_metrics_of_different_names(tmp_path: Path, name: str) -> None:
    paths = [tmp_path / folder / f"{name}.csv" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        write_table(path, scored_rows(), SCORED)
    task = loaded(f"sentences(evaluation='sts-b+{paths[0]}+{paths[1]}', layers=1)")
    found = scores_of(task, task.encoder())
    assert {f"a_{name}_spearman", f"b_{name}_spearman", "sts_spearman"} == found.keys()
    write_table(paths[1], labelled_rows(), ("text", "label"))  # One is labelled now.
    task = Sentences(evaluation=f"sts-b+{paths[0]}+{paths[1]}")
    assert {f"a_{name}_spearman", f"b_{name}_accuracy"} < {one.name for one in task.metrics}
    paths[1].rename(tmp_path / "a" / f"{name}.tsv")
    with pytest.raises(
        InputError, match=r"files of different names: got .*csv' and .*tsv'. Rename"
    ):
        Sentences(evaluation=f"sts-b+{paths[0]}+{paths[0].with_suffix('.tsv')}")


# What is read is what is hashed; what cannot be right is refused

PART_NAMES = {
    "train": ("train", "training", "TRAIN"),
    "dev": ("dev", "val", "valid", "validation"),
    "test": ("test", "testing", "Test"),
}


def contents(kind: str) -> tuple[list[list[tuple[Any, ...]]], tuple[str, ...]]:
    """Return three lists of rows to be parts, and their columns."""
    if kind == "pairs":
        return [[(i + n, f"A {n} {i}.", f"B {n} {i}.") for i in range(3)] for n in range(3)], SCORED
    return [[(f"A {n} {i}.", "ab"[i % 2]) for i in range(4)] for n in range(3)], ("text", "label")


def write_parts(
    folder: Path, parts: dict[str, list[tuple[Any, ...]]], names: tuple[str, ...], ending: str
) -> Path:
    folder.mkdir()
    for part, rows in parts.items():
        write_table(folder / f"{part}.{ending}", rows, names)
    return folder


def seen(own: own_sets.OwnSet) -> object:
    """Return all that a set holds, in a form that can be compared."""
    if own.labelled is not None:
        columns, classes, parts = own.labelled
        return columns, classes.tolist(), parts.tolist()
    return {s: (p.first, p.second, p.scores.tolist()) for s, p in own.pairs.items()}


@pytest.mark.parametrize("ending", ["csv", "jsonl.gz", "parquet"])
@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_equal_checksums_are_equal_sets_whatever_files_are_called(
    tmp_path: Path, kind: str, ending: str
) -> None:
    rows, names = contents(kind)
    by_checksum: dict[str, set[str]] = {}
    for n, order in enumerate(permutations(rows)):
        for i in range(3):
            called = [each[i] for each in PART_NAMES.values()]
            parts = dict(zip(called, order, strict=True))
            folder = write_parts(tmp_path / f"{n}-{i}", parts, names, ending)
            key = own_sets.content(str(folder), "evaluation").checksum
            by_checksum.setdefault(key, set()).add(repr(seen(own_sets.read(str(folder)))))
    assert len(by_checksum) == 6, "an order of the contents has one checksum, and no other has it"
    assert all(len(sets) == 1 for sets in by_checksum.values())


LAYOUTS = {
    "hub": ["train-00000-of-00001", "test-00000-of-00001"],
    "old hub": ["train-00000-of-00001-5af2e1", "test-00000-of-00001-0bc1de"],
    "shards": ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"],
    "one sharded": ["train", "test-00000-of-00002", "test-00001-of-00002"],
}
BAD_LAYOUTS = {
    "a shard is missing": ["train", "test-00001-of-00002"],
    "a shard of another set": ["train", "test-00000-of-00002", "test-00001-of-00003"],
    "a shard twice": ["train", "test-00000-of-00001-5af", "test-00000-of-00001-5ae"],
    "two names of a part": ["train", "dev", "validation", "test"],
    "whole and in shards": ["train", "test", "test-00000-of-00001"],
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("layout", [*LAYOUTS, *BAD_LAYOUTS])
def test_shards_are_read_in_order_and_must_be_whole(
    tmp_path: Path, layout: str, ending: str
) -> None:
    names = {**LAYOUTS, **BAD_LAYOUTS}[layout]
    parts = {name: [(f"{name} {i}.", "ab"[i % 2]) for i in range(4)] for name in names}
    folder = write_parts(tmp_path / "set", parts, ("text", "label"), ending)
    if layout in BAD_LAYOUTS:
        with pytest.raises(InputError, match=r"The part (test|dev) must be in one file, or in all"):
            own_sets.read(str(folder))
        return
    found = own_sets.read(str(folder)).labelled
    assert found is not None
    assert sorted(found.columns[0]) == sorted(text for rows in parts.values() for text, _ in rows)
    assert all(t.startswith(p) for t, p in zip(found.columns[0], found.parts, strict=True))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_part_without_values_is_said_to_hide_them(tmp_path: Path, ending: str) -> None:
    folder = write_parts(tmp_path / "a", {"train": labelled_rows(), "dev": labelled_rows()},
                         ("sentence", "label"), ending)  # fmt: skip
    rows = [(i, text) for i, (text, _) in enumerate(labelled_rows())]
    write_table(folder / f"test.{ending}", rows, ("index", "sentence"))
    with pytest.raises(InputError, match=r"got index, sentence. Remove a part whose .*GLUE's"):
        own_sets.read(str(folder))


@pytest.mark.parametrize("score", ["score", "similarity", "Score"])
def test_scores_of_single_sentences_are_not_read_and_noted(tmp_path: Path, score: str) -> None:
    rows = [(*row, i / 10) for i, row in enumerate(labelled_rows())]
    path = write_table(tmp_path / "a.csv", rows, ("Text", "Label", score))
    found = own_sets.read(str(path))
    assert found.labelled is not None and found.labelled.columns[0] == [row[0] for row in rows]
    notes = [own_sets.content(str(path), setting).note for setting in ("evaluation", "keep_out")]
    assert notes == [f"not read of {path}: {score}", ""]
    write_table(path, [(*r[1:], r[0], "a") for r in scored_rows()], ("sentence1", "sentence2",
                score, "label"))  # fmt: skip
    with pytest.raises(InputError, match=rf"one column of scores or classes: got {score}, label"):
        own_sets.read(str(path))


@pytest.mark.parametrize("column", corpora.CLASSES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_classes_are_seen_in_any_spelling_and_once(
    tmp_path: Path, column: str, spelling: str
) -> None:
    name = SPELLINGS[spelling](column).strip()
    path = write_table(tmp_path / "a.jsonl", labelled_rows(), ("text", name))
    found = own_sets.read(str(path)).labelled
    assert found is not None and set(found.classes) == {0, 1}
    other = "class" if column == "label" else "label"
    write_table(path, [(*row, 1) for row in labelled_rows()], ("text", name, other))
    with pytest.raises(InputError, match=r"one column of scores or classes: got .*, .*Remove"):
        own_sets.read(str(path))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "saved"])
@pytest.mark.parametrize("of_test", [float, int, "{}.0".format, "{}.00".format])
def test_whole_floats_are_whole_numbers_in_all_parts(
    tmp_path: Path, ending: str, of_test: Callable[[int], object]
) -> None:
    train = [(f"A {i}.", i % 2) for i in range(8)]
    test = [(f"B {i}.", of_test(i % 2)) for i in range(8)]
    names = ("text", "label")
    if ending == "saved":
        splits = {"train": as_dicts(train, names), "test": as_dicts(test, names)}
        folder = saved(tmp_path / "a", **splits)
    else:
        folder = write_parts(tmp_path / "a", {"train": train, "test": test}, names, ending)
    found = own_sets.read(str(folder)).labelled
    assert found is not None
    assert dict(zip(found.columns[0], found.classes.tolist(), strict=True)) == {
        text: int(text[2]) % 2 for text in found.columns[0]
    }


@pytest.mark.parametrize("part", ["dev", "test"])
@pytest.mark.parametrize("odd", ["2", "2.0", "True", "Good", "-1", "good one"])
def test_a_class_that_train_lacks_is_refused(tmp_path: Path, part: str, odd: str) -> None:
    rows = {p: [(f"{p} {i}.", ("1", "good")[i % 2]) for i in range(4)] for p in PART_NAMES}
    folder = write_parts(tmp_path / "a", rows, ("text", "label"), "csv")
    assert own_sets.read(str(folder)).labelled is not None
    write_table(folder / f"{part}.csv", [*rows[part], ("x", odd)], ("text", "label"))
    name = text_tables.whole(odd)
    with pytest.raises(InputError, match=rf"in the part train: got '{name}' in the part {part} of"):
        own_sets.read(str(folder))


@pytest.mark.parametrize("value", ["0.5", "-1.25", "4.200"])
def test_a_fraction_is_no_class(tmp_path: Path, value: str) -> None:
    """GLUE's STS-B has its scores in a column `label`."""
    rows = [("a", "b", "1.0"), ("c", "d", value), ("e", "f", "2.0")]
    path = write_table(tmp_path / "a.csv", rows, ("sentence1", "sentence2", "label"))
    with pytest.raises(
        InputError, match=rf"whole number: line 3 of .* has '{value}'. Name .*score"
    ):
        own_sets.read(str(path))


# Names of classes


RELATION_WORDS = ("entailment", "neutral", "contradiction")


def with_classes(path: Path, names: tuple[str, ...], values: list[int | None]) -> Path:
    """Write premises and hypotheses whose labels are numbers with names, as `datasets` does."""
    import datasets

    features = datasets.Features({
        "premise": datasets.Value("string"), "hypothesis": datasets.Value("string"),
        "label": datasets.ClassLabel(names=list(names)),
    })  # fmt: skip
    columns = {
        "premise": [f"p{i}" for i in range(len(values))],
        "hypothesis": [f"h{i}" for i in range(len(values))],
        "label": values,
    }
    table = datasets.Dataset.from_dict(columns, features=features)
    if path.suffix == ".parquet":
        table.to_parquet(str(path))
    elif path.suffix == ".splits":
        datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(path))
    else:
        table.save_to_disk(str(path))
    return path


@pytest.mark.parametrize("names", [*permutations(RELATION_WORDS)], ids="-".join)
@pytest.mark.parametrize("ending", ["parquet", "saved", "splits", "hub"])
def test_the_numbers_of_classes_are_read_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], ending: str
) -> None:
    values = [0, 1, 2, -1, None, 2, 1, 0]
    path = with_classes(tmp_path / f"nli.{ending}", names, values)
    spec = str(path)
    if ending == "hub":
        import datasets

        table = datasets.load_from_disk(spec)
        monkeypatch.setattr(datasets, "load_dataset", lambda *args, **more: table)
        spec = f"hub:{tmp_path}/one"
    entailed = names.index("entailment")
    wanted = [(f"p{i}", f"h{i}") for i, value in enumerate(values) if value == entailed]
    found = corpora.read(spec)
    assert found.rows == wanted and "6 of 8 rows" in found.left_out


@pytest.mark.parametrize("names", [("no", "yes"), ("yes", "no"), ("0", "1")])
@pytest.mark.parametrize("ending", ["parquet", "saved"])
def test_other_names_of_classes_are_refused_between_pairs_and_are_classes_in_a_set(
    tmp_path: Path, names: tuple[str, ...], ending: str
) -> None:
    path = with_classes(tmp_path / f"a.{ending}", names, [0, 1, 1, 0])
    found = own_sets.read(str(path)).labelled
    assert found is not None
    assert [sorted(names)[each] for each in found.classes] == [names[i] for i in (0, 1, 1, 0)]
    if names != ("0", "1"):  # These are no names, and are read as numbers without names are.
        with pytest.raises(InputError, match=r"'label' of a corpus .*: got '(no|yes)' in row 1"):
            corpora.read(str(path))


@pytest.mark.parametrize("about", [b"{", b"[]", b'{"info": 3}', b"\xff"])
def test_parquet_whose_names_of_classes_cannot_be_read_is_refused(
    tmp_path: Path, about: bytes
) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": ["a", "b"], "label": [0, 7]})
    file = tmp_path / "a.parquet"
    parquet.write_table(table.replace_schema_metadata({b"huggingface": about}), file)
    with pytest.raises(InputError, match=r"a.parquet is not a valid Parquet file"):
        corpora.read(str(file))
    named = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
    metadata = {b"huggingface": json.dumps(named).encode()}
    parquet.write_table(table.replace_schema_metadata(metadata), file)
    with pytest.raises(InputError, match=r"classes 0 to 1 in 'label'.*: got 7 in row 2"):
        corpora.read(str(file))


# Train alone


def as_layout(place: Path, layout: str, names: tuple[str, ...], parts: dict[str, Any]) -> Path:
    """Write a set with parts, in one of the ways to say them."""
    if layout == "saved":
        return saved(place, **{part: as_dicts(rows, names) for part, rows in parts.items()})
    kind, _, ending = layout.partition(" ")
    if kind == "folder":
        return write_parts(place, parts, names, ending)
    rows = [(*row, part) for part, each in parts.items() for row in each]
    return write_table(place.with_suffix(f".{ending}"), rows, (*names, kind))


@pytest.mark.parametrize("parts", [("train", "dev", "test"), ("validation", "train"), ("train",)])
@pytest.mark.parametrize(
    "layout",
    ["saved", "folder csv", "folder tsv", "folder parquet", "folder jsonl.gz", "split csv",
     "Split jsonl", "SPLIT parquet"],
)  # fmt: skip
def test_a_corpus_with_parts_is_its_train_part(
    tmp_path: Path, layout: str, parts: tuple[str, ...]
) -> None:
    rows = {part: [(f"{part} {i}", f"{part} more {i}") for i in range(3)] for part in parts}
    path = as_layout(tmp_path / "set", layout, ("anchor", "positive"), rows)
    found = corpora.read(str(path))
    assert found.rows == rows["train"]
    assert ("than train" in found.left_out) == (len(parts) > 1)
    assert corpora.content(str(path)).note == found.left_out
    without = as_layout(tmp_path / "none", layout, ("anchor", "positive"), {
        {"train": "dev"}.get(part, part): each for part, each in rows.items()
    })  # fmt: skip
    with pytest.raises(
        InputError, match=r"must have (a split 'train'|rows of .*|files train, dev)"
    ):
        corpora.read(str(without))


def test_what_is_not_trained_on_is_not_hashed_and_a_file_of_no_part_is_refused(
    tmp_path: Path,
) -> None:
    parts = {part: [(f"{part} {i}.",) for i in range(3)] for part in ("train_a", "train_b", "test")}
    folder = write_parts(tmp_path / "a", parts, ("text",), "csv")
    first = corpora.content(str(folder))
    assert first.note == f"files of other parts than train in {folder}: test.csv"
    (folder / "test.csv").write_text("text\nAnother.\n")
    assert corpora.content(str(folder)).checksum == first.checksum
    (folder / "train_b.csv").write_text("text\nAnother.\n")
    assert corpora.content(str(folder)).checksum != first.checksum
    (folder / "extra.csv").write_text("text\nMore.\n")
    with pytest.raises(InputError, match=r"files train, dev and test alone: got extra.csv, test"):
        corpora.read(str(folder))
    (folder / "test.csv").unlink()
    assert ("More.",) in corpora.read(str(folder)).rows, "nothing says what is not trained on"


@pytest.mark.parametrize("read", [corpora.read, own_sets.read])
@pytest.mark.parametrize("value", ["", "eval", "trian", "1"])
def test_another_word_in_split_is_refused(tmp_path: Path, read: Any, value: str) -> None:
    rows = [*[(f"a {i}", i % 2, "train") for i in range(4)], ("b", 1, value)]
    path = write_table(tmp_path / "a.csv", rows, ("text", "label", "split"))
    with pytest.raises(InputError, match=rf"must be train, dev or test: got '{value}' in line 6"):
        read(str(path))


def test_a_file_and_its_column_must_say_one_part(tmp_path: Path) -> None:
    rows = [(*row, "train") for row in labelled_rows()]
    names = ("text", "label", "split")
    folder = write_parts(tmp_path / "a", {"train": rows, "test": rows}, names, "csv")
    with pytest.raises(
        InputError, match=r"`split` must be test, .* line 2 of .*test.csv has train"
    ):
        own_sets.read(str(folder))


# Faults within files


@pytest.mark.parametrize("row", range(1, 5))
@pytest.mark.parametrize("column", range(2))
@pytest.mark.parametrize(
    "cell", ['"So it began, he said.', '"Hello" he said', '"a ""b""c', '"""', '"a"b"', '"a\nb" c']
)
def test_an_unclosed_quotation_mark_is_refused_with_its_line(
    tmp_path: Path, cell: str, column: int, row: int
) -> None:
    cells = [["text", "note"], *[[f"a {i}", f"b {i}"] for i in range(5)]]
    cells[row][column] = cell
    cells[5][1] = '"closed, here"'
    (tmp_path / "a.csv").write_text("".join(",".join(each) + "\n" for each in cells))
    with pytest.raises(
        InputError, match=rf"close each quotation mark .* begins in line {row + 1} "
    ):
        corpora.read(str(tmp_path / "a.csv"))


@given(rows=st.lists(st.tuples(*[st.text(st.sampled_from('ab",\n '), min_size=1)] * 2), min_size=2))
@settings(max_examples=150, deadline=None)
def test_cells_with_quotation_marks_are_read_as_they_were_written(
    rows: list[tuple[str, str]], tmp_path_factory: Any
) -> None:
    wanted = [tuple(cell.strip() for cell in row) for row in rows]
    path = write_table(tmp_path_factory.mktemp("any") / "a.csv", rows, ("sent0", "sent1"))
    assert text_tables.read_file(path).rows == wanted


@pytest.mark.parametrize("size", [131_072, 131_073, 1_000_000])
@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "jsonl", "parquet"])
def test_a_long_cell_is_read(tmp_path: Path, ending: str, size: int) -> None:
    path = write_table(tmp_path / f"a.{ending}", [("x" * size,), ("y",)], ("text",))
    assert len(corpora.read(str(path)).rows[-2][0]) == size


@pytest.mark.parametrize("ending", ["txt", "TXT", "txt.gz"])
@pytest.mark.parametrize("tabs", [0, 1, 5, 6, 9, 10])
def test_lines_with_tabs_are_a_table(tmp_path: Path, tabs: int, ending: str) -> None:
    lines = [(f"a {i}{chr(9) if i < tabs else ' '}b",) for i in range(10)]
    path = write_table(tmp_path / f"snli.{ending}", lines, ("text",))
    if tabs <= 5:
        assert corpora.read(str(path)).rows == lines
        return
    with pytest.raises(InputError, match=rf"{tabs} of 10 lines have tabs.*Rename it to .tsv"):
        corpora.read(str(path))


@pytest.mark.parametrize(("ending", "separator", "word"), [
    ("csv", ";", "semicolons"), ("csv", "\t", "tabs"), ("csv", "|", "bars"),
    ("tsv", ",", "commas"), ("tsv", ";", "semicolons"), ("CSV", ";", "semicolons"),
])  # fmt: skip
@pytest.mark.parametrize("cells", [("A", "1"), ("A, b", "1,5"), ("A", "b\tc")])
def test_another_separator_is_said_and_never_a_name(
    tmp_path: Path, ending: str, separator: str, word: str, cells: tuple[str, str]
) -> None:
    lines = [separator.join(each) for each in (("text", "id"), cells, cells)]
    (tmp_path / f"a.{ending}").write_text("\n".join(lines))
    for columns in ("", lines[0]):
        with pytest.raises(InputError, match=rf"heading, .*text.*id.*, has {word}. Save it with"):
            corpora.read(str(tmp_path / f"a.{ending}"), columns=columns)


TEXTS = {
    "a.csv": "text\nCaf\u00e9 one.\nTwo \U0001f600.\n",
    "a.tsv": "text\tid\nCaf\u00e9 one.\t1\nTwo \U0001f600.\t2\n",
    "a.txt": "Caf\u00e9 one.\r\nTwo \U0001f600.\r\n",
    "a.jsonl": '{"text": "Caf\u00e9 one."}\n{"text": "Two \U0001f600."}\n',
    "a.json": '[{"text": "Caf\u00e9 one."}, {"text": "Two \\ud83d\\ude00."}]',
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("packed", [False, True])
def test_unicode_with_a_mark_is_read(
    tmp_path: Path, name: str, encoding: str, packed: bool
) -> None:
    content = TEXTS[name].encode(encoding)
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert corpora.read(str(path)).rows == [("Caf\u00e9 one.",), ("Two \U0001f600.",)]
    if encoding == "utf-16":
        path.write_bytes(b"\xfe\xff" + TEXTS[name].encode("utf-16-be")
                         if not packed else gzip.compress(content))  # fmt: skip
        assert corpora.read(str(path)).rows[0] == ("Caf\u00e9 one.",)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "cut"])
def test_other_unicode_is_refused_and_named(tmp_path: Path, name: str, encoding: str) -> None:
    text = TEXTS[name].replace("\u00e9", "e").replace("\U0001f600", ":)")
    cut = text.encode("utf-16")[:-1]
    (tmp_path / name).write_bytes(cut if encoding == "cut" else text.encode(encoding))
    with pytest.raises(InputError, match=r"UTF-(8|16).*line \d.*(NUL|which is not).*as UTF-8"):
        corpora.read(str(tmp_path / name))


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ude00\\ud83d", "x\\uDBFF y"])
@pytest.mark.parametrize("ending", ["json", "jsonl", "jsonl.gz"])
@pytest.mark.parametrize("where", ["text", "note", "name"])
def test_half_a_character_is_refused_with_its_line(
    tmp_path: Path, where: str, ending: str, half: str
) -> None:
    cells = {"text": "hello", "note": "x", "name": "more"}
    cells[where] += half
    lines = ['{"text": "a"}', '{{"text": "{}", "note": "{}", "{}": 1}}'.format(*cells.values())]
    text = "\n".join(lines) if "l" in ending else f"[{', '.join(lines)}]"
    path = tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    number = 1 if where == "name" else 2  # A column is of all rows.
    with pytest.raises(InputError, match=rf"whole characters: got '.*\\ud.* in \w+ {number}, "):
        Sentences(corpus=str(path)).fetch()


GARBAGE = (b"", b"\n", b"\x80\x81 garbage\n", "caf\u00e9\n".encode("latin-1"), b"a\tb\n", b"a\0b\n",
           b"4.5\tone\n", b"x\ty\tz\n" * 3, b"relatedness_score\tsentence_A\n1\n" * 5)  # fmt: skip


@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("name", ["sick-r", *sentence_data.SUBSETS])
def test_a_broken_scored_set_is_said_in_a_sentence(
    tmp_path: Path, name: str, content: bytes
) -> None:
    place = tmp_path / sentence_data.SOURCES[name].places[0]
    place.mkdir(parents=True)
    names = {f"{subset}.test.tsv" for subset in sentence_data.SUBSETS.get(name, ())}
    for each in names or sentence_data.SICK_FILES[:1]:
        (place / each).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(place))):
        Sentences(evaluation=f"sts-b+{name}", root=str(tmp_path)).fetch()
