"""A task that reads a file without declaring it is found, by its contract and before the grid."""

import gzip
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from harness.core import plugin_files
from harness.core.cells import Cell
from harness.run.dry_run import try_cell
from harness.testing.tasks import check_task_declares_what_it_reads

TASK = '''
import gzip, pickle, zipfile
from pathlib import Path
import numpy as np, pandas as pd, torch
from PIL import Image
from triptych import checksums
from triptych_example import Blobs

FILE = Path({file!r})

class Own(Blobs):
    """Blobs, with a file of one's own."""

    def read(self):
        {read}

    def {when}:
        self.read()
        return super().{call}
'''
DECLARED = """
    def fetch(self):
        return checksums(FILE)
"""


def save_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "open": ("with open(FILE) as file: file.read()", lambda path: path.write_text("x")),
    "os.open": ("import os; os.close(os.open(FILE, os.O_RDONLY))", lambda p: p.write_text("x")),
    "Path": ("FILE.read_bytes()", lambda path: path.write_text("x")),
    "numpy": ("np.load(FILE)", save_array),
    "a memory map": ("np.load(FILE, mmap_mode='r')", save_array),
    "pandas": ("pd.read_csv(FILE)", lambda path: pd.DataFrame({"a": [1]}).to_csv(path)),
    "torch": ("torch.load(FILE)", lambda path: torch.save(torch.ones(3), path)),
    "gzip": ("gzip.open(FILE).close()", lambda path: gzip.open(path, "w").close()),
    "zipfile": ("zipfile.ZipFile(FILE).close()", lambda path: zipfile.ZipFile(path, "w").close()),
    "Pillow": (
        "Image.open(FILE).load()",
        lambda path: Image.new("RGB", (2, 2)).save(path, format="png"),
    ),
}
TIMES = {
    "load(self, randomness)": "load(randomness)",
    "batch(self, index)": "batch(index)",
    "encoder(self)": "encoder()",
    "evaluate(self, encoder, splits)": "evaluate(encoder, splits)",
}


@pytest.fixture
def task(tmp_path: Path, as_a_user: None) -> Callable[..., str]:
    """Return a function that writes a task and its file, and returns the task's spec."""
    path = (
        tmp_path / f"own_task_{time.monotonic_ns()}.py"
    )  # Files of one name may not both be used.

    def write(reader: str = "open", when: str = "load(self, randomness)", more: str = "") -> str:
        read, make = READERS[reader]
        file = tmp_path / "own data.bin"
        make(file)
        text = TASK.format(file=str(file), read=read, when=when, call=TIMES[when])
        path.write_text(text + more)
        plugin_files.refresh()
        return f"{path}:Own(steps=3)"

    return write


@pytest.mark.parametrize("reader", READERS)
def test_a_file_is_found_however_it_is_read(task: Callable[..., str], reader: str) -> None:
    with pytest.raises(AssertionError, match=r"the task reads '.*own data\.bin', and `fetch` does"):
        check_task_declares_what_it_reads(task(reader))
    check_task_declares_what_it_reads(task(reader, more=DECLARED))
    check_task_declares_what_it_reads(task(reader, more=DECLARED))  # The checksum is remembered.


@pytest.mark.parametrize("when", TIMES)
def test_a_file_is_found_whenever_it_is_read(task: Callable[..., str], when: str) -> None:
    with pytest.raises(AssertionError, match=r"Return triptych\.checksums\('.*own data\.bin'\)"):
        check_task_declares_what_it_reads(task(when=when))
    check_task_declares_what_it_reads(task(when=when, more=DECLARED))


def test_it_is_found_before_the_grid(task: Callable[..., str]) -> None:
    cell = Cell(task(), "siamese", "infonce", 0)
    event = try_cell(cell)
    assert event["kind"] == "failed"
    assert "`fetch` must return the checksums of all files that the task reads" in event["reason"]
    task(more=DECLARED)
    assert try_cell(cell) == {"kind": "done"}


def test_a_file_that_the_task_itself_writes_is_not_its_data(task: Callable[..., str]) -> None:
    spec = task(
        more="""
    def read(self):
        FILE.write_text("scratch")
        FILE.read_text()
"""
    )
    check_task_declares_what_it_reads(spec)


LOSS = """
from pathlib import Path
from triptych_example import Margin

FILE = Path({file!r})
{at_import}

class Own(Margin):
    def setup(self):
        super().setup()
        {when_built}

    def forward(self, contrast):
        {when_used}
        return super().forward(contrast)
"""


@pytest.mark.parametrize("when", ["at_import", "when_built", "when_used"])
def test_a_loss_that_reads_a_file_is_found_before_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.csv"
    file.write_text("1")
    places = dict.fromkeys(("at_import", "when_built", "when_used"), "pass")
    path = tmp_path / f"reads_{time.monotonic_ns()}.py"
    path.write_text(LOSS.format(file=str(file), **{**places, when: "FILE.read_text()"}))
    event = try_cell(Cell("blobs(steps=2)", "siamese", f"{path.name}:Own", 0))
    plugin_files._files.pop(path.name)
    assert event["kind"] == "failed"
    assert "a loss must read no file of data, because its cells are run again" in event["reason"]
    assert f"it reads '{file}'. Write the values into a Python file" in event["reason"]
