"""A run writes to no file that a link in its folder leads to."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.cells import Cell
from harness.run import claims
from harness.store.identity import identify
from harness.store.records import Store


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_no_file_of_a_run_is_written_through_a_link(
    tmp_path: Path,
    small: str,
    here: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Records, plan, logs, claims, checkpoints, copies of plugins, the board: all of them."""
    plugin = tmp_path / "linked_losses.py"
    plugin.write_text(
        "from triptych_example import Margin\n\nclass Mine(Margin):\n    margin: float = 0.3\n"
    )
    losses = f"infonce,{plugin}:Mine"

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        options = ["--losses", losses, "--seeds", "1", "--jobs", "1", "--out", str(folder)]
        return here("run", small, *options)

    assert run(tmp_path / "first").returncode == 0
    # A link in the place of a lock is refused: see the next test.
    written = [name for name in files_of(tmp_path / "first") if not name.endswith(".lock")]
    for name in ("study.json", "records/", "logs/", "plugins/", "board/"):
        assert any(path.startswith(name) for path in written)
    store = Store(tmp_path / "second")
    cell = Cell("blobs(steps=3)", "siamese", "infonce", 0, probes=4)
    key = identify(cell).key
    passing = [store.checkpoint_path(cell, key), store.failure_path(cell)]
    claim = store.claim_path(cell, key)
    paths = [*(store.folder / path for path in written), *passing, claim]
    victims = tmp_path / "home"
    victims.mkdir()
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        (victims / str(i)).mkdir()
        (victims / str(i) / "victim").write_text("dear")
        path.symlink_to(victims / str(i) / "victim")
    monkeypatch.setattr(claims, "LEASE", 0.5)
    done = run(store.folder)
    harmed = [
        str(path.relative_to(store.folder))
        for i, path in enumerate(paths)
        if files_of(victims / str(i)) != ["victim"]
        or (victims / str(i) / "victim").read_text() != "dear"
    ]
    assert harmed == []
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any(path.is_symlink() for path in paths)


def test_no_lock_is_a_link(
    tmp_path: Path, small: str, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    victim = tmp_path / "victim"
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".study.lock").symlink_to(victim)
    done = here("run", small, "--seeds", "1", "--jobs", "1", "--out", str(folder))
    assert done.returncode == 2
    assert ".study.lock" in done.stderr
    assert not victim.exists()


def test_no_fingerprint_is_written_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data import checksums

    (tmp_path / "data.csv").write_text("1,2\n")
    victim = tmp_path / "victim"
    for cache in ("first", "second"):
        monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / cache))
        checksums(tmp_path / "data.csv")
        if cache == "first":
            (found,) = files_of(tmp_path / "first")
            victim.write_text("dear")
            (tmp_path / "second" / found).parent.mkdir(parents=True)
            (tmp_path / "second" / found).symlink_to(victim)
    assert victim.read_text() == "dear"
    assert not (tmp_path / "second" / found).is_symlink()
