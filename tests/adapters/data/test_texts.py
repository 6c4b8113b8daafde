"""Texts of one's own: read the same in every format, and what is wrong in them said."""

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.data import corpora, own_sets, text_tables
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
    path.write_bytes(gzip.compress(content) if path.suffix.lower() == ".gz" else content)
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
    "short.tsv": (b"text\tb\nx\n", r"2 cells, separated by tabs, in each line: got 1 in line 2"),
    "bad.jsonl": (
        b'{"text": "x"}\n{"text": \n',
        r"hold an object in each line: line 2",
    ),
    "list.jsonl": (b"[1, 2]\n", r"must hold objects such as|got another value"),
    "deep.json": (b"[" * 100_000, r"deep.json must hold an object"),
    "cut.csv.gz": (gzip.compress(b"text\nx\ny\n")[:-9], r"cut.csv.gz could not be read"),
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
    task = loaded(f"sentences(evaluation='sts-b+{names}', layers=1)")
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
    assert [m.name for m in task.metrics][:2] == ["sts_spearman", "own_dev_spearman"]


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
        r"must be train, dev or test: line 2",
    ),
    "no test": ("text,label,split\nx,1,train\ny,2,dev\n", r"parts train and test, or no parts"),
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


def test_hard_negatives_need_no_relation(tmp_path: Path) -> None:
    rows = [(*row, 1) for row in TRIPLES]
    path = write_table(tmp_path / "triples.csv", rows, (*NAMES, "label"))
    assert corpora.read(str(path)).rows == TRIPLES


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
    assert (
        parted.labelled is not None and list(parted.labelled.parts[-5:]) == ["train"] + ["test"] * 4
    )
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
    rows = [{"text": "a", "label": 0}, {"text": None, "label": 1}, {"text": "b", "label": None}]
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
