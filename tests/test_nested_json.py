"""JSON that is nested too deep is refused in a sentence wherever a file from outside is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.data import corpora, hf_folders, node_data
from adapters.data.saved_sets import open_saved
from harness import data
from harness.core import plugin_files
from harness.core.errors import InputError
from harness.core.schema import read_json
from harness.run import claims
from harness.store.records import Store, read_record
from harness.study.study import Study

DEEP = ["[" * 200_000, '{"a":' * 200_000, "[" * 5000 + "]" * 5000]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def encoder(folder: Path, config: str) -> str:
    put(folder / "model.safetensors", "")  # It is looked for before the configuration is read.
    return str(put(folder / "config.json", config).parent)


REFUSED: dict[str, Callable[[Path, str], object]] = {
    "lines": lambda folder, deep: corpora.read(str(put(folder / "lines.jsonl", f"{deep}\n"))),
    "rows": lambda folder, deep: corpora.read(str(put(folder / "rows.json", deep))),
    "saved": lambda folder, deep: open_saved(put(folder / "state.json", deep).parent),
    "wikics": lambda folder, deep: node_data.load(
        "wikics", str(put(folder / "wikics/raw/data.json", deep).parents[2])
    ),
    "encoder": lambda folder, deep: hf_folders.config_of(encoder(folder / "net", deep)),
    "snapshot": lambda folder, deep: plugin_files.use_snapshot(
        put(folder / plugin_files.INDEX, deep).parent
    ),
    "study": lambda folder, deep: Study.load(put(folder / "s.toml", f"seeds = {deep}")),
}
"""{what is read: read it; an InputError names the file}."""


@pytest.mark.parametrize("deep", DEEP, ids=["lists", "objects", "whole"])
@pytest.mark.parametrize("what", REFUSED)
def test_a_deep_file_is_refused_and_named(tmp_path: Path, what: str, deep: str) -> None:
    with pytest.raises(InputError) as refused:
        REFUSED[what](tmp_path, deep)
    assert str(tmp_path) in str(refused.value) and len(str(refused.value)) < 1000


@pytest.mark.parametrize("deep", DEEP, ids=["lists", "objects", "whole"])
def test_a_deep_file_of_ours_counts_as_none(
    tmp_path: Path, deep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="nested more than 150 deep"):
        read_json(deep)
    store = Store(tmp_path / "run")
    put(store.study_path, deep)
    assert store.study() == {}
    assert read_record(put(tmp_path / "record.json", deep)) is None
    assert store.failure_at(put(tmp_path / "failure.json", deep)) is None
    assert claims.read(put(tmp_path / "claim", deep)) == {}
    assert plugin_files.origins_in(put(tmp_path / "index.json", deep)) == {}
    file = put(tmp_path / "data.txt", "text")
    checksum = data.fingerprint(file)
    (remembered,) = (tmp_path / "cache" / "fingerprints").iterdir()
    put(remembered, deep)
    assert data.fingerprint(file) == checksum
