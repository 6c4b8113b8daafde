"""What a study's file says by itself: its question, its size and its time."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, environment

from harness.cli import listing
from harness.core.errors import InputError
from harness.study.shipped import About, Grid, shipped
from harness.study.study import Study


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_study_asks_a_question_and_says_size_and_time(name: str) -> None:
    about = About.of_file(shipped()[name])
    assert about.question.endswith("?")
    assert len(about.question) <= 200
    assert about.takes
    assert str(about.grid) in listing.study_line(Study.load(name)), "the study counts otherwise"


def about(tmp_path: Path, text: str) -> About:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return About.of_file(path)


def test_the_grid_counts_methods_controls_lists_and_tuning(tmp_path: Path) -> None:
    text = """
        # One thing. And another.
        takes = "a minute"
        tasks = ["blobs", "nodes"]
        methods = ["siamese", "moco"]
        seeds = [3, 5]
        control = true
        [losses.infonce]
        temperature = { low = 0.1, high = 1.0 }
        [losses.adnce]
        methods = ["siamese"]
        form = ["image", "graph"]
        [losses.dcl]
        [losses.untrained]
        [tuning]
        trials = 4
        seeds = 2
    """.replace("        ", "")
    found = about(tmp_path, text.lstrip())
    assert (found.question, found.takes) == ("One thing.", "a minute")
    # infonce and dcl with two methods, adnce with one, untrained, control.
    assert found.grid == Grid(tasks=2, rows=7, seeds=2, trials=2 * 3 * 4 * 2)
    assert str(found.grid) in listing.study_line(Study.load(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    "text",
    [
        "# Broken.\n[",
        "# Broken.\nlosses = 3",
        "# Broken.\n[losses]\ninfonce = 3",
        "# Broken.\nseeds=0.5",
    ],
)
def test_a_file_that_is_no_study_is_listed_without_its_size(tmp_path: Path, text: str) -> None:
    found = about(tmp_path, text)
    assert (found.question, found.grid) == ("Broken.", None)


def test_takes_is_no_part_of_a_study_and_a_wrong_key_is_still_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('takes = "1 minute"\ntasks = ["blobs"]\nlosses = ["infonce"]\n')
    assert "takes" not in Study.load(path).to_dict()
    path.write_text('tkaes = "1 minute"\ntasks = ["blobs"]\nlosses = ["infonce"]\n')
    with pytest.raises(InputError, match=r"There is no study key 'tkaes'\. Did you mean"):
        Study.load(path)


def test_listing_studies_imports_no_task() -> None:
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom harness.cli import app\n"
        "done = CliRunner().invoke(app, ['list', 'studies'])\n"
        "print([name for name in ('torch', 'numpy', 'tasks.images') if name in sys.modules])\n"
        "print(done.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env=environment(PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    imported, *lines = done.stdout.splitlines()
    assert imported == "[]"
    place = lines.index("quickstart  Three panels: is ADNCE better than InfoNCE, on images, "
                        "sentences and a graph?")  # fmt: skip
    assert lines[place + 1] == "    3 tasks x 3 rows x 3 seeds; 6 minutes on two cores"
