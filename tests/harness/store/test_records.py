import json
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import CELL, record, texts

from harness.core import files
from harness.core.cells import TUNED
from harness.core.files import write_atomically
from harness.core.schema import read_json
from harness.core.telling import MAX_KEPT
from harness.run.status import faults
from harness.store.records import SCHEMA, Failure, Store, _signed, read_record
from harness.store.table import load_records


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write_record(CELL, record())
    assert read_record(path) == record()
    assert store.has(CELL, record().key)
    assert not store.has(CELL, "another")
    assert not store.has(replace(CELL, seed=4), record().key)


@pytest.mark.parametrize("cut", [0, 1, 100, -2])
def test_a_truncated_record_is_not_read(tmp_path: Path, cut: int) -> None:
    store = Store(tmp_path)
    path = store.write_record(CELL, record())
    path.write_text(path.read_text()[:cut])
    assert not store.has(CELL, record().key)
    assert dict(store.scan()) == {path: None}


def test_an_edited_record_is_not_read(tmp_path: Path) -> None:
    path = Store(tmp_path).write_record(CELL, record())
    path.write_text(path.read_text().replace("61.5", "99.5"))
    assert read_record(path) is None


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"checksum": 1}', "\x00", "[" * 200_000])
def test_other_content_is_not_read_as_a_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "records" / "x.json"
    path.parent.mkdir()
    path.write_text(text)
    assert read_record(path) is None


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_success_clears_an_earlier_failure(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failure = Failure("k" * 16, "failed", "it broke", "traceback")
    store.write_failure(CELL, failure)
    assert json.loads(store.failure_path(CELL).read_text())["reason"] == "it broke"
    assert store.failure(CELL, "k" * 16) == failure
    assert store.failure(CELL, "of other code") is None
    assert store.failure(replace(CELL, seed=4), "k" * 16) is None
    store.write_record(CELL, record("n" * 16))  # whatever the key: the bug was mended
    assert not store.failure_path(CELL).exists()
    assert store.failure_path(CELL) != store.failure_path(replace(CELL, loss="x" * 99 + "a"))
    assert store.failure_path(replace(CELL, loss="x" * 99)) != store.failure_path(CELL)


def test_a_later_study_without_a_baseline_keeps_the_earlier_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_study({"plan": [], "baseline": "infonce"})
    store.write_study({"plan": [], "baseline": None})
    assert store.study()["baseline"] == "infonce"
    store.write_study({"plan": [], "baseline": "margin"})
    assert store.study()["baseline"] == "margin"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"baseline": []}',
        '{"baseline": null}',
        '{"baseline": null, "plan": 1}',
        '{"baseline": null, "plan": [{"label": "a", "key": "k"}]}',
        '{"baseline": null, "plan": [{"label": "a", "key": "k", "cell": {"task": "t"}}]}',
        '{"baseline": null, "plan": [], "spaces": []}',
        '{"baseline": null, "plan": [], "earlier": null}',
        '{"baseline": null, "plan": [], "earlier": [{}]}',
        '{"baseline": null, "plan": [{"label": "a", "key": "k", "trial": "1", "cell": '
        '{"task": "t", "method": "m", "loss": "l", "seed": 0}}]}',
        '{"baseline": null, "plan": [{"label": "a", "key": "k", "cell": '
        '{"task": "t", "method": "m", "loss": "l", "seed": "0"}}]}',
        "[" * 200_000,
    ],
)
def test_a_damaged_study_is_not_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    assert Store(tmp_path).study() == {}


def plan_of(label: str) -> dict[str, Any]:
    place = {"label": label + TUNED, "key": label, "trial": None, "cell": CELL.to_dict()}
    return {"name": "s", "schema": SCHEMA, "baseline": None, "plan": [place]}


def test_no_changed_bit_of_a_plan_or_a_failure_is_believed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_study(plan_of("adnce"))
    store.write_failure(CELL, Failure("k", "diverged", "It diverged."))
    failure = store.failure_path(CELL)
    for path, read in (
        (store.study_path, store.study),
        (failure, lambda: store.failure_at(failure)),
    ):
        whole = path.read_bytes()
        assert read()
        for number in range(8 * len(whole)):
            changed = bytearray(whole)
            changed[number // 8] ^= 1 << number % 8
            path.write_bytes(changed)
            assert not read(), bytes(changed)
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert not read(), length
        path.write_bytes(whole)


def test_plans_that_are_written_at_once_are_all_kept(tmp_path: Path) -> None:
    def write(label: str) -> None:
        for i in range(10):
            Store(tmp_path).write_study(plan_of(f"{label}{i}"))

    threads = [threading.Thread(target=write, args=(label,)) for label in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study = Store(tmp_path).study()
    kept = {place["key"] for place in (*study["plan"], *study["earlier"])}
    assert kept == {f"{label}{i}" for label in "abcd" for i in range(10)}


@pytest.mark.parametrize(
    "odd", ["pipe", "link to a pipe", "folder", "dangling link", "link to zero"]
)
def test_what_is_no_plain_file_is_never_waited_for(tmp_path: Path, odd: str) -> None:
    store = Store(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for path in (store.record_path(CELL, "k"), store.failure_path(CELL), store.study_path):
        path.parent.mkdir(exist_ok=True)
        if odd == "pipe":
            os.mkfifo(path)
        elif odd == "folder":
            path.mkdir()
        else:
            targets = {"link to a pipe": tmp_path / "pipe", "link to zero": Path("/dev/zero")}
            path.symlink_to(targets.get(odd, tmp_path / "none"))
    assert dict(store.scan()) == {store.record_path(CELL, "k"): None}
    assert store.failure(CELL, "k") is None and store.study() == {}
    assert faults(store)


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").stat().st_mode == plain.stat().st_mode


def test_file_names_are_safe(tmp_path: Path) -> None:
    cell = replace(CELL, loss="x(form='../../<b>|')", task="t" * 300)
    path = Store(tmp_path).record_path(cell, "k")
    assert path.parent == tmp_path / "records"
    assert len(path.name) < 255
    assert not set("<>|'/ ") & set(path.name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scores", {"test": {"accuracy": "high"}}),
        ("scores", {"test": 61.5}),
        ("scores", {"test": {"accuracy": math.nan}}),
        ("steps", "40"),
        ("steps", True),
        ("seconds", None),
        ("curve", [[1]]),
        ("curve", [[1, "2.5"]]),
        ("diagnostics", [[0, {"rank": None}]]),
        ("probed", 5),
        ("cell", {"task": "blobs"}),
        ("cell", {**CELL.to_dict(), "seed": "3"}),
        ("versions", ["3.11"]),
        ("metrics", {"name": "accuracy"}),
        ("device", None),
    ],
)
def test_a_record_of_wrong_types_is_left_out_and_the_others_are_read(
    tmp_path: Path, name: str, value: Any
) -> None:
    """Its checksum is right: somebody's script wrote it. One such took a whole board down."""
    store = Store(tmp_path)
    wrong = store.write_record(CELL, record())
    values = {key: own for key, own in json.loads(wrong.read_text()).items() if key != "checksum"}
    wrong.write_text(_signed(json.dumps(values | {name: value}, indent=1)))
    assert read_record(wrong) is None
    good = replace(CELL, seed=4)
    store.write_record(good, record("n" * 16, cell=good.to_dict()))
    table = load_records(tmp_path)
    assert table["seed"].unique().tolist() == [4]
    assert any(f"valid record: {wrong}" in note for note in texts(table))


TEXTS = st.text(st.characters(exclude_categories=()), max_size=60)  # With lone surrogates.


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reason=TEXTS, details=TEXTS)
def test_a_failure_with_any_text_is_kept_and_can_be_written_again(
    tmp_path: Path, reason: str, details: str
) -> None:
    store = Store(tmp_path)
    failure = Failure("a" * 16, "failed", reason, details)
    store.write_failure(CELL, failure)
    found = store.failure(CELL, "a" * 16)
    assert found is not None
    for before, after in ((failure.reason, found.reason), (details, found.details)):
        assert after.encode().decode() == after
        assert after == before or any("\ud800" <= letter <= "\udfff" for letter in before)


@pytest.mark.parametrize("text", [r"\ud800", r"\udc80", r"a\uDFFFb", r"\udc80\ud800"])
def test_half_a_surrogate_pair_makes_a_file_damaged(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        read_json(f'{{"label": "{text}"}}')
    assert read_json(r'{"label": "\ud83d\ude00"}') == {"label": "\U0001f600"}
    store = Store(tmp_path)
    store.study_path.write_text(f'{{"baseline": "{text}", "plan": []}}')
    assert store.study() == {}


def test_half_a_character_anywhere_is_written_and_read_again(tmp_path: Path) -> None:
    """As in the name of a folder that is no UTF-8, which Python writes so."""
    store, half = Store(tmp_path), "r\udcff"
    store.write_study(plan_of("adnce") | {"command": half, "names": {half: half}})
    assert store.study()["command"] == r"r\udcff"
    store.write_failure(CELL, Failure("k", "failed", half, half, half))
    assert store.failure(CELL, "k") == Failure("k", "failed", *[r"r\udcff"] * 3)
    store.write_record(CELL, record(notes=[half], versions={half: half}))
    assert store.records()[0].notes == [r"r\udcff"]


@given(reason=st.text(st.characters(), max_size=2000))
def test_a_reason_is_one_line_of_a_few_hundred_characters(reason: str) -> None:
    kept = Failure("k", "failed", reason * 3).reason
    assert len(kept) <= MAX_KEPT and kept.isprintable()
