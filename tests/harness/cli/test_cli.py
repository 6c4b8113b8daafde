"""The command line, as a user's shell runs it; `here` where a fresh process shows no more."""

import csv
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from conftest import TRIPTYCH, environment
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from harness.cli import app
from harness.cli import board as board_module
from harness.cli import run as run_module
from harness.core.errors import InputError

Call = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["--tasks", "blobs(steps=3)", "--losses", "infonce,adnce(mu=0.5, sigma=2)", "--seeds", "2"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tasks", ["images", "sentences", "nodes", "blobs", "labels=10", "noise=2.0"]),
        ("losses", ["infonce", "adnce", "margin", "temperature=0.1", "form='image'"]),
        ("methods", ["siamese", "pairing=None"]),
        ("studies", ["quickstart  Three panels: is ADNCE better than InfoNCE, on images"]),
        (
            "studies --long",
            [
                "Neither loss is tuned",
                "27 cells: 3 tasks x 3 rows x 3 seeds",
                "after 96 tuning cells",
            ],
        ),
        ("tasks --long", ["labels=10 (0 or more; evaluation)", "data='mnist-5k' (location)"]),
        ("engines", ["local", "jobs=0"]),
    ],
)
def test_list(kind: str, words: list[str]) -> None:
    done = CliRunner().invoke(app, ["list", *kind.split()])
    assert done.exit_code == 0, done.output
    for word in words:
        assert word in done.stdout


def test_plan_with_overrides_and_a_modality(here: Call) -> None:
    arguments = ["tasks.images.steps=20", "seeds=2", "--no-time", "losses.adnce.mu=0.5"]
    plan = here("plan", "quickstart", *arguments, "--modality", "image")
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"images\(steps=20\) +siamese +adnce\(mu=0.5\) +2 +2", plan.stdout)
    assert "6 cells, 0 of them tuning trials." in plan.stdout


def test_run_and_board(triptych: Call, here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = triptych("run", "quickstart", "--out", str(folder), *SMALL, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "[6/6]" in done.stdout
    assert re.search(
        r"done +blobs\(steps=3\) / siamese / adnce\(mu=0.5, sigma=2.0\) / seed 1", done.stdout
    )
    assert "6 cells run in" in done.stdout
    assert "No loss is shown better than InfoNCE" in done.stdout
    page = folder / "board" / "board.html"
    assert f"Written to {folder / 'board'}. Open {page} in a browser." in done.stdout
    assert page.exists()
    assert "\x1b" not in done.stdout, "escape codes where there is no terminal"

    shutil.rmtree(folder / "board")
    again = here("run", "quickstart", "--out", str(folder), *SMALL)
    assert again.returncode == 0
    assert "0 cells run in 0:" in again.stdout
    assert "6 had a record already" in again.stdout
    assert page.exists()

    shutil.rmtree(folder / "board")
    files = {name: tmp_path / "new" / f"board.{name}" for name in ("csv", "md", "tidy")}
    board = triptych(
        "board", str(folder), "--baseline", "adnce(sigma=2, mu=0.5)",
        "--csv", str(files["csv"]), "--markdown", str(files["md"]), "--tidy", str(files["tidy"]),
    )  # fmt: skip
    assert board.returncode == 0, board.stderr
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert {row["loss"] for row in rows} == {"infonce", "adnce(mu=0.5, sigma=2.0)", "untrained"}
    zero = [row["loss"] for row in rows if row["difference"] == "0.0"]
    assert zero == ["adnce(mu=0.5, sigma=2.0)"]
    tidy = list(csv.DictReader(files["tidy"].read_text().splitlines()))
    assert len(tidy) == 6
    assert {"validation_accuracy", "test_accuracy", "commit", "key"} <= set(tidy[0])
    assert "| Loss " in files["md"].read_text()
    assert not (folder / "board").exists(), "only what was asked for is written"


TUNED = """
tasks = ["blobs(steps=3)"]
seeds = 3
probes = 1
baseline = "infonce"
[losses.infonce]
temperature = { low = 0.05, high = 1.0, log = true }
[losses.margin]
[tuning]
trials = 2
seeds = 1
"""


def test_plan_run_and_board_a_tuned_study_in_two_folders(here: Call, tmp_path: Path) -> None:
    study = tmp_path / "mine.toml"
    study.write_text(TUNED)
    plan = here("plan", str(study))
    assert plan.returncode == 0, plan.stderr
    assert "11 cells, 2 of them tuning trials." in plan.stdout
    assert re.search(r"tuning .* infonce\[tuned\] +2 +1 +2 ", plan.stdout)
    assert "from a few steps of each task here" in plan.stdout
    done = here("run", str(study), "--out", str(tmp_path / "one"))
    assert done.returncode == 0, done.stderr
    assert "11 cells run in" in done.stdout
    assert "1 of 2 losses tuned" in done.stdout
    # The other machine's folder: that two runs give the same bytes is tested elsewhere.
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    again = here("plan", str(study), "--out", str(tmp_path / "one"))
    assert re.search(r"The 0 cells without a record .* about 0:00 .* from 8 records", again.stdout)
    every = here("plan", str(study), "--cells", "--no-time")
    assert "blobs(steps=3) / untrained / seed 2 (test)" in every.stdout
    assert "About" not in every.stdout
    both = here("board", str(tmp_path / "one"), str(tmp_path / "two"), "--to", str(tmp_path))
    assert both.returncode == 0, both.stderr
    assert "different scores" not in both.stderr
    alone = here("board", str(tmp_path / "one"), "--to", str(tmp_path / "alone"))
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "leaderboard.csv").read_text() == (
        tmp_path / "alone" / "leaderboard.csv"
    ).read_text()
    pairing = here("board", str(tmp_path / "one"), "--pairing")
    assert pairing.returncode == 0, pairing.stderr
    assert "No row has 8 paired seeds" in pairing.stdout


def test_run_logs_json_and_tensorboard_and_show_prints_the_record(
    here: Call, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = [*SMALL, "--jobs", "1", "--log", "json", "--tensorboard", "--shard", "1/2"]
    done = here("run", "quickstart", "--out", str(folder), *arguments)
    assert done.returncode == 0, done.stderr
    *events, last = map(json.loads, done.stdout.splitlines())
    assert last["kind"] == "summary"
    assert last["done"] == events[-1]["settled"] == events[-1]["expected"] == 3
    assert {event["kind"] for event in events} == {"trying", "started", "step", "done"}
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events)
    named = {(event["cell"]["loss"], event["cell"]["seed"]) for event in events}
    assert len(named) == 3
    trained = [path for path in (folder / "tensorboard").iterdir() if "untrained" not in path.name]
    assert trained
    for path in trained:
        found = EventAccumulator(str(path)).Reload()
        assert [event.step for event in found.Scalars("loss")] == [1, 2, 3]
        assert [event.step for event in found.Scalars("validation/accuracy")] == [1, 2]

    status = here("status", str(folder), "--cells")
    assert "6 cells: 3 done, 3 to do" in status.stdout
    assert len(status.stdout.splitlines()) == 1 + 6 + 2
    key = next(line.split()[1] for line in status.stdout.splitlines() if "  done" in line)
    shown = here("show", str(folder), key[:8])
    (log,) = re.findall(r"^log +(.*)", shown.stdout, re.MULTILINE)
    assert key in Path(log).read_text()
    assert re.search(r"^run again +triptych cell 'blobs\(steps=3\)' --method", shown.stdout, re.M)
    record = json.loads(here("show", str(folder), key, "--json").stdout)
    (event,) = (e for e in events if e["kind"] == "done" and e["cell"] == record["cell"])
    assert (event["metric"], event["score"]) == ("accuracy", record["scores"]["test"]["accuracy"])
    assert event["seconds"] == record["seconds"]["total"]


def test_a_missing_tensorboard_is_an_error_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"needs the package.*pip install 'triptych\[tensorboard"):
        run_module._require_tensorboard()


def test_run_takes_overrides_and_keeps_them_in_its_command(
    here: Call, small: str, tmp_path: Path
) -> None:
    folder = str(tmp_path / "run")
    done = here("run", small, "tasks.blobs.steps=2", "losses=infonce", "seeds=1", "--out", folder)
    assert done.returncode == 0, done.stderr
    study = json.loads((tmp_path / "run" / "study.json").read_text())
    assert study["tasks"] == ["blobs(steps=2)"]
    assert "2 cells run" in done.stdout
    assert study["command"].endswith(f"tasks.blobs.steps=2 losses=infonce seeds=1 --out {folder}")


def test_a_study_from_a_file_adds_seeds_and_losses(here: Call, tmp_path: Path) -> None:
    study = tmp_path / "mine.toml"
    study.write_text('tasks = ["blobs(steps=3)"]\nlosses = ["infonce"]\nseeds = 1\n')
    folder = str(tmp_path / "run")
    first = here("run", str(study), "--out", folder)
    assert "2 cells run" in first.stdout, first.stderr
    second = here("run", str(study), "--out", folder, "--losses", "infonce,margin", "--seeds", "2")
    assert "4 cells run" in second.stdout, second.stderr
    assert "2 had a record already" in second.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstart", "--out", "x", "--losses", "infonec"], "Did you mean 'infonce'"),
        (["run", "quickstart", "--out", "x", "--tasks", "nodes(drawz=1)"], "mean 'draws'"),
        (["run", "quickstart", "--out", "x", "--engine", "slurm"], "dask(cluster='slurm', jobs=8)"),
        (["run", "quickstart", "--methods", "simclr"], "`--methods siamese --losses simclr`"),
        (["cell", "images", "--loss", "moco"], "`--method moco --loss infonce`"),
        (["run", "quickstart", "--mu", "1"], "write losses.adnce.mu=VALUE behind the study's name"),
        (["plan", "quickstart", "--steps", "1"], "`steps` is a key of the study: write steps="),
        (["run", "quickstart", "--patience", "1"], 'write --engine "dask(patience=VALUE)"'),
        (["cell", "images", "--temperature", "1"], 'in the spec, as in "infonce(temperature=VALUE'),
        (["run", "quickstart", "--nothing", "1"], "No such option: --nothing\n"),
        (["status", "--mu", "1"], "No such option: --mu\n"),
        (
            ["plan", "quickstart", "--seeds", "one"],
            "must be a number of seeds, such as 5, or whole",
        ),
        (["list", "adnce"], "write `triptych list losses adnce`"),
        (["list", "quickstart"], "write `triptych list studies quickstart`"),
        (["list", "loss"], "Did you mean 'losses'"),
        (["run", "quickstart", "--out", "x", "--device", "tpu"], "`device` must be one of"),
        (["run", "quickstart", "--engine", "local(jobs=1)", "--jobs", "2"], "jobs twice"),
        (["run", "quickstart", "--shard", "9/8"], "`shard` must read PART/PARTS"),
        (["plan", "quickstart", "tasks.images.stpes=2"], "Did you mean 'steps'"),
        (["plan", "quickstart", "20"], "An override must read KEY=VALUE"),
        (["run", "quickstart", "seeds=2", "--seeds", "3"], "`seeds` must be given once"),
        (["plan", "quickstart", "--modality", "images"], "one of 'image', 'sentence', 'graph'"),
        (["status", "nowhere"], "must be the folder of a run: got a folder without a plan"),
        (["cell", "imagse", "--loss", "infonce"], "Did you mean 'images'"),
        (["board", "nowhere"], "There is no record under 'nowhere'. Run a study first"),
        (["plan", "quickstrat"], "Did you mean 'quickstart'"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_wrong_input_exits_with_2_and_a_message(arguments: list[str], message: str) -> None:
    """In this process: a fresh one imports torch for seconds."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr


def test_the_name_of_a_run_is_no_folder(here: Call, tmp_path: Path) -> None:
    (tmp_path / "here" / "runs" / "mine" / "records").mkdir(parents=True)
    for command in ("status", "board"):
        done = here(command, "mine")
        assert done.returncode == 2
        assert "There is one of that name: write runs/mine." in done.stderr


def test_another_studys_folder_needs_add(here: Call, small: str, tmp_path: Path) -> None:
    folder, other = str(tmp_path / "run"), tmp_path / "other.toml"
    other.write_text(Path(small).read_text())
    arguments = ["losses=infonce", "seeds=1", "--out", folder]
    assert here("run", small, *arguments).returncode == 0
    refused = here("run", str(other), *arguments)
    assert refused.returncode == 2
    assert (
        "holds the study 'small', and this is 'other'. Name another folder with" in refused.stderr
    )
    added = here("run", str(other), *arguments, "--add")
    assert added.returncode == 0, added.stderr
    assert "2 had a record already" in added.stdout


def test_seeds_may_be_a_list(here: Call, small: str) -> None:
    plan = here("plan", small, "--seeds", "0,7", "--no-time", "--cells")
    assert plan.returncode == 0, plan.stderr
    assert {line.split()[-2] for line in plan.stdout.splitlines() if "(test)" in line} == {"0", "7"}


def test_wrong_input_prints_no_traceback(triptych: Call) -> None:
    done = triptych("run", "quickstrat", "--out", "x")
    assert done.returncode == 2
    assert "Did you mean 'quickstart'" in done.stderr
    assert "Traceback" not in done.stderr


def test_failed_cells_exit_with_1_and_keep_the_others(here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # Of the last one no encoder can be evaluated, so that its dry run fails.
    tasks = "blobs(steps=3),blobs(steps=3, noise=1e17),blobs(steps=3, noise=1e38)"
    done = here(
        "run", "quickstart", "--out", str(folder), "--tasks", tasks, "--losses", "vicreg",
        "--seeds", "1",
    )  # fmt: skip
    assert done.returncode == 1
    assert "2 cells failed:" in done.stderr
    assert "1 cell diverged; the next run skips them:" in done.stderr
    diverged = "blobs(noise=1e+17, steps=3) / siamese / vicreg / seed 0: diverged at step 1 of 3"
    assert diverged in done.stderr
    command = f"triptych run quickstart --out {folder} --tasks '{tasks}' --losses vicreg --seeds 1"
    assert f"To try them again:\n  {command}\n" in done.stderr
    assert len(list((folder / "records").iterdir())) >= 2

    status = here("status", str(folder))
    assert status.returncode == 0, status.stderr
    assert status.stdout.startswith("6 cells: 3 done, 2 failed, 1 diverged, 0 to do")
    assert re.search(r"diverged +[0-9a-f]{16}  blobs\(noise=1e\+17.* at step 1 of 3", status.stdout)
    assert f"To run the remaining cells:\n  {command}\n" in status.stdout
    assert "Every file of the run is intact." in here("status", str(folder), "--verify").stdout
    record = min((folder / "records").iterdir())
    record.write_text(record.read_text()[:-40])
    damaged = here("status", str(folder), "--verify")
    assert damaged.returncode == 1
    assert "1 damaged" in damaged.stdout
    assert f"{record}: was cut short or changed" in damaged.stderr

    failed = here("show", str(folder), "untrained noise=1e+38")
    assert "Traceback" in failed.stdout
    assert re.search("^state +failed: ", failed.stdout, re.MULTILINE)


def test_a_board_that_fails_does_not_hide_the_outcome_of_the_run(
    here: Call, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(f"no space left for {folder}")

    monkeypatch.setattr(board_module, "conclude", fail, raising=False)
    folder = tmp_path / "run"
    done = here("run", small, "--out", str(folder), "--losses", "infonce", "--seeds", "1")
    assert done.returncode == 0
    assert "2 cells run in" in done.stdout
    words = f"The board could not be written: OSError: no space left for {folder}"
    assert words in done.stderr
    assert f"\n  triptych board {folder}\n" in done.stderr


def test_a_run_continues_when_its_output_pipe_is_closed(small: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [TRIPTYCH, "run", small, "--jobs", "1", "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=120)
    assert len(list((tmp_path / "run" / "records").glob("*.json"))) == 6


def test_sigterm_stops_the_workers_too(small: str, tmp_path: Path) -> None:
    arguments = ["--tasks", "blobs(steps=1000000)", "--losses", "infonce", "--seeds", "1"]
    process = subprocess.Popen(
        [TRIPTYCH, "run", small, *arguments, "--jobs", "1", "--out", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert any("started" in line for line in process.stdout), process.communicate()
    deadline = time.monotonic() + 60
    children: list[str] = []
    while not children and time.monotonic() < deadline:
        threads = list(Path(f"/proc/{process.pid}/task").iterdir())
        children = [c for t in threads for c in (t / "children").read_text().split()]
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. 0 of 2 cells are on disk" in errors
    assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_the_board_names_damaged_records(here: Call, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_text("x")
    done = here("board", str(tmp_path))
    assert done.returncode == 2
    assert "Left out a file that is not a valid record: " in done.stderr
    assert "a.json" in done.stderr


def in_terminal(arguments: list[str], cwd: Path, interrupt_at: str = "") -> tuple[str, int]:
    """Run in a pseudo-terminal of 80 columns; send Ctrl-C when a text is seen."""
    pid, handle = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ignored where the tests were started by `&`.
        terminal = environment(COLUMNS="80", LINES="24", TERM="xterm-256color")
        os.execve(TRIPTYCH, ["triptych", *arguments], terminal)
    text, deadline, sent = "", time.monotonic() + 120, False
    while time.monotonic() < deadline:
        if select.select([handle], [], [], 0.2)[0]:
            try:
                text += os.read(handle, 65536).decode(errors="replace")
            except OSError:
                break
        if interrupt_at and not sent and interrupt_at in text:
            os.write(handle, b"\x03")
            sent = True
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(handle)
    return text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_terminal_shows_bars_and_the_run_resumes_after_ctrl_c(
    here: Call, small: str, tmp_path: Path
) -> None:
    arguments = [
        "run", small, "--out", str(tmp_path / "run"),
        "--losses", "adnce(temperature=0.4, mu=0.6, sigma=0.5, form='graph')",
        "--tasks", "blobs(steps=3),blobs(steps=1000, noise=1.23456)", "--seeds", "1",
        "--jobs", "1",
    ]  # fmt: skip
    text, status = in_terminal(arguments, tmp_path, interrupt_at="/1000")
    assert status == 130, text[-500:]
    for words in ("Stopped. 2 of 4 cells are on disk", "/1000 loss ", " left", "done: adnce("):
        assert words in text, text[-500:]
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\^C", "", text)
    steps = re.findall(r"[^\r\n]*/1000 loss [^\r\n]*", plain)
    assert all(re.match(r"adnce\(.*…?.*\) · seed 0 · blobs", line) for line in steps), steps[-1]
    assert max(map(len, steps)) <= 80
    assert len(list((tmp_path / "run" / "records").glob("*.json"))) == 2
    done = here(*arguments)
    assert done.returncode == 0, done.stderr
    assert "2 cells run" in done.stdout
    assert "2 had a record already" in done.stdout
