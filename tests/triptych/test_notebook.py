"""The tour in docs/notebook.ipynb, executed as a reader would."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT, environment

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


EXECUTE = """
import sys
import nbformat
from jupyter_client import KernelManager
from nbclient import NotebookClient

source, target, home = sys.argv[1:]
book = nbformat.read(source, as_version=4)
# Sockets in the file system, so that no port is opened.
kernel = KernelManager(kernel_name="python3", transport="ipc", ip=f"{home}/kernel")
NotebookClient(book, km=kernel, timeout=300, resources={"metadata": {"path": home}}).execute()
nbformat.write(book, target)
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Execute the notebook in an empty folder; return {code: outputs}."""
    home = tmp_path_factory.mktemp("notebook")
    target = home / "executed.ipynb"
    # In another process: the kernel's client leaves sockets to the garbage collector.
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(target), str(home)],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (home / "runs" / "tour" / "study.json").exists()
    book = nbformat.read(target, as_version=4)
    return {cell.source: cell.outputs for cell in book.cells if cell.cell_type == "code"}


def outputs(executed: dict[str, Any], words: str) -> list[Any]:
    """Return the outputs of the one cell of the notebook with these words."""
    (found,) = (outputs for code, outputs in executed.items() if words in code)
    return list(found)


def streamed(found: list[Any], name: str) -> str:
    return "".join(each["text"] for each in found if each.get("name") == name)


def shown(found: list[Any]) -> dict[str, str]:
    """Return what a cell shows as its value: {MIME type: content}."""
    (value,) = (each["data"] for each in found if each["output_type"] == "execute_result")
    return dict(value)


def test_the_notebook_is_committed_without_outputs() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_a_run_shows_a_bar_and_a_line_of_counts(executed: dict[str, Any]) -> None:
    found = outputs(executed, "triptych.run(study")
    bar = streamed(found, "stderr")
    assert "12/12" in bar and "seed 2 · clusters" in bar
    assert "Warning" not in bar, "ipywidgets are not needed"
    (line,) = shown(found)["text/plain"].splitlines()
    assert line.startswith("Summary(expected=12, skipped=0, shared=0, done=12, failed=0")


def test_records_are_a_table(executed: dict[str, Any]) -> None:
    assert "adnce(sigma=0.5)" in shown(outputs(executed, "pivot_table"))["text/plain"]


def test_a_board_shows_a_page_and_prints_a_dozen_lines(executed: dict[str, Any]) -> None:
    found = outputs(executed, "board = triptych.leaderboard(records)")
    page = shown(found)["text/html"]
    assert "ADNCE" in page and "InfoNCE" in page and "<svg" in page
    assert [each["output_type"] for each in found] == ["execute_result"], "and nothing else"
    printed = streamed(outputs(executed, "print(board)"), "stdout").splitlines()
    assert 5 <= len(printed) <= 20
    assert any(line.startswith("ADNCE") for line in printed)


def test_a_class_in_a_cell_is_a_row_and_trains_its_own_cells_alone(
    executed: dict[str, Any],
) -> None:
    found = outputs(executed, "triptych.run(mine")
    bar = streamed(found, "stderr")
    assert "9/15" in bar and "15/15" in bar and "infonce" not in bar
    printed = streamed(found, "stdout")
    assert re.search(r"^Hardest +[\d.]+", printed, re.MULTILINE)
    assert re.search(r"^Hardest\(margin=0\.5\)|^Hardest, margin", printed, re.MULTILINE)


def test_a_figure_is_an_svg(executed: dict[str, Any]) -> None:
    assert shown(outputs(executed, "board.figure("))["image/svg+xml"].lstrip().startswith("<svg")


def test_the_notebook_names_files_that_exist() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((\w+\.md)\)", text)
    assert linked
    assert all((Path(NOTEBOOK).parent / name).exists() for name in linked)
