"""No cell changes the cells after it: each begins as a fresh interpreter does."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import scores

from harness.core.files import open_log
from harness.run import worker
from harness.run.runner import run
from harness.store.records import Store
from harness.study.study import Study

HEAD = """
import atexit, builtins, decimal, gc, logging, math, os, random, signal, sys, threading, time
import resource, warnings
import numpy as np
import torch
from torch.nn import functional, modules
from harness.losses import base
from harness.losses.infonce import InfoNCE
import harness.contrast, harness.core.randomness, harness.evaluation.probes, harness.training.loop


def always(value):
    return lambda *arguments, **named: value
"""
CHANGES = {
    # Torch's own state.
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "seed": "torch.manual_seed(1)",
    "grad": "torch.autograd.set_grad_enabled(False)",
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "threads": "torch.set_num_threads(2)",
    "flush": "torch.set_flush_denormal(True)",
    "precision": "torch.set_float32_matmul_precision('medium')",
    "forward_hook": "modules.module.register_module_forward_hook("
    "lambda m, i, o: o * 2 if torch.is_tensor(o) else o)",
    "pre_hook": "modules.module.register_module_forward_pre_hook(lambda m, i: (i[0] * 2, *i[1:]))",
    "optimizer_hook": "torch.optim.optimizer.register_optimizer_step_pre_hook("
    "lambda o, a, k: [p.grad.zero_() for g in o.param_groups for p in g['params']] and None)",
    # Functions of libraries, of Python and of Triptych.
    "linear": "old = functional.linear; functional.linear = lambda *a: old(*a) + 1",
    "normalize": "functional.normalize = lambda x, **named: x",
    "adam": "torch.optim.AdamW.step = always(None)",
    "relu": "torch.nn.ReLU.forward = lambda self, x: x",
    "numpy": "np.random.default_rng = always(np.random.Generator(np.random.PCG64(5)))",
    "mean": "np.mean = always(0.5)",
    "sqrt": "math.sqrt = always(1.0)",
    "len": "old = builtins.sorted; builtins.sorted = lambda *a, **k: old(*a, **k)[::-1]",
    "score": "base.ScoreLoss.forward = lambda self, contrast: contrast.anchors.sum()",
    "stream": "old = harness.core.randomness.Randomness.seed\n"
    "harness.core.randomness.Randomness.seed = lambda self, *a: old(self, *a) ^ 5",
    "probe": "harness.evaluation.probes.logistic_probe = always(0.5)",
    "infonce": "InfoNCE.forward = lambda self, contrast: contrast.anchors.sum() * 0",
    "loop": "harness.training.loop.SPLITS = ('validation',)",
    "module": "sys.modules['sklearn.linear_model'] = None",
    # Python's and the process's state.
    "random": "random.seed(1); np.random.seed(1)",
    "numpy_errors": "np.seterr(all='raise')",
    "warnings": "warnings.simplefilter('error')",
    "recursion": "sys.setrecursionlimit(200)",
    "collector": "gc.disable()",
    "decimal": "decimal.getcontext().prec = 2",
    "folder": "os.chdir('/')",
    "environment": "os.environ.clear()",
    "path": "sys.path.clear()",
    "umask": "os.umask(0o777)",
    "files": "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))",
    "size": "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))",
    "output": "os.close(1); os.close(2)",
    "signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "logging": "logging.disable(logging.CRITICAL); logging.raiseExceptions = True",
    "thread": "threading.Thread(target=time.sleep, args=(600,)).start()",
    "burner": "threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()",
    "exit": "atexit.register(time.sleep, 600)",
    "child": "os.fork() or time.sleep(600)",
    "clock": "time.monotonic = always(0.0); time.time = always(0.0)",
    "profile": "sys.setprofile(lambda *a: None); threading.settrace(lambda *a: None)",
}
"""{name: what a loss does when it is first called}."""


def losses_that_change(names: list[str]) -> str:
    """Return a module with a loss for each change of this name."""
    text = HEAD
    for name in names:
        lines = "\n".join(f"        {line}" for line in CHANGES[name].split("\n"))
        text += f"\n\nclass {name.title()}(InfoNCE):\n    def forward(self, contrast):\n{lines}\n"
        text += "        return super().forward(contrast)\n"
    return text


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    folder = tmp_path_factory.mktemp("alone")
    run(Study("s", tasks=["blobs(steps=4)"], losses=["infonce", "adnce"], seeds=1), folder)
    return scores(folder)


@pytest.mark.parametrize("part", range(4))
def test_no_cell_changes_the_cells_after_it(
    tmp_path: Path, plugin: Callable[..., None], alone: list[list[Any]], part: int
) -> None:
    names = [*CHANGES][part::4]
    lines = "\n".join(f"x_{name} = changes_{part}:{name.title()}" for name in names)
    plugin(f"changes_{part}", f"losses:{lines}", losses_that_change(names))
    losses = [*(f"x_{name}" for name in names), "infonce", "adnce"]
    study = Study("s", tasks=["blobs(steps=4)"], losses=losses, seeds=1)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", max_failures=0)
    assert len(summary.recorded) + len(summary.failed) + len(summary.diverged) == len(losses) + 1
    assert all(cell.loss.startswith("x_") for cell in summary.failed), summary.failed
    assert [row for row in scores(tmp_path / "run") if not row[2].startswith("x_")] == alone


ENDS = {
    "os._exit(0)": "exited with status 0",
    "os._exit(3)": "exited with status 3",
    "os.kill(os.getpid(), signal.SIGKILL)": "was killed by SIGKILL, perhaps because memory ran out",
    "os.kill(os.getpid(), signal.SIGBUS)": "was killed by SIGBUS",
    "os.abort()": "was killed by SIGABRT",
    "os.killpg(0, signal.SIGKILL)": "was killed by SIGKILL",
    "os.kill(os.getppid(), signal.SIGKILL); time.sleep(9)": "was killed by SIGKILL",
    "os.closerange(3, 999); os._exit(0)": "exited with status 0",
}
"""{what a loss does when it is first called: how its cell's failure describes it}."""


def test_a_cell_that_ends_its_process_fails_alone(
    tmp_path: Path, plugin: Callable[..., None], alone: list[list[Any]]
) -> None:
    text = HEAD
    for i, line in enumerate(ENDS):
        text += f"\n\nclass End{i}(InfoNCE):\n    def forward(self, contrast):\n        {line}\n"
    names = [f"end{i}" for i in range(len(ENDS))]
    plugin("ends", "losses:" + "\n".join(f"{name} = ends:{name.title()}" for name in names), text)
    losses = [*names, "infonce", "adnce"]
    study = Study("s", tasks=["blobs(steps=4)"], losses=losses, seeds=1)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", max_failures=0)
    told = {cell.loss: reason for cell, reason in summary.failed.items()}
    assert list(told) == names
    for name, how in zip(names, ENDS.values(), strict=True):
        assert f"The worker {how}" in told[name]
    logs = "".join(path.read_text() for path in (tmp_path / "run/logs").glob("*end*"))
    for crash in ("Bus error", "Aborted"):
        assert re.search(rf"Fatal Python error: {crash}\n(.*\n)+?.*ends.py.* in forward\n", logs)
    assert scores(tmp_path / "run") == alone


SLOW = """
import os, signal, subprocess, time
import torch
from harness.losses.infonce import InfoNCE

class Slow(InfoNCE):
    def forward(self, contrast):
        time.sleep(1)
        return super().forward(contrast)

class Hung(InfoNCE):
    def forward(self, contrast):
        time.sleep(600)

class Chatty(InfoNCE):
    def forward(self, contrast):
        for _ in range(70):
            print("x" * 2**20)
        time.sleep(3)
        return super().forward(contrast)

class Greedy(InfoNCE):
    def setup(self):
        self.held = []
    def before_step(self, step, steps):
        if step:  # A dry run takes one step.
            self.held.append(torch.ones(2**28))

class Stopped(InfoNCE):
    def before_step(self, step, steps):
        if step == 3:  # A dry run takes one step.
            subprocess.Popen(["sh", "-c", f"sleep 12; kill -CONT {os.getpid()}"])
            os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_cell_that_takes_too_long_is_stopped_alone_and_continued(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin("slow", "losses:slow = slow:Slow\nhung = slow:Hung", SLOW)
    study = Study("s", tasks=["blobs(steps=20)"], losses=["slow", "hung", "infonce"], seeds=1)
    folder = tmp_path / "run"
    summary = run(study, folder, engine="local(jobs=1)", cell_minutes=0.15, progress=False)
    assert [cell.loss for cell in summary.failed] == ["slow", "hung"]
    assert len(summary.done) == 2
    assert all("longer than 0.15 minutes (`--cell-minutes`)" in r for r in summary.failed.values())
    again = run(study.but(losses=["slow"]), folder, engine="local(jobs=1)", progress=False)
    assert again.complete
    (slow,) = [r for r in Store(folder).records() if r.cell["loss"] == "slow"]
    assert slow.continued and 0 < slow.continued[0] < 20


def test_a_log_does_not_grow_without_end(tmp_path: Path, plugin: Callable[..., None]) -> None:
    plugin("slow_chatty", "losses:chatty2 = slow_chatty:Chatty", SLOW)
    study = Study("s", tasks=["blobs(steps=1)"], losses=["chatty2"], seeds=1)
    run(study, tmp_path / "run", engine="local(jobs=1)", progress=False)
    (log,) = (tmp_path / "run" / "logs").glob("*chatty2*")
    assert 2**20 < log.stat().st_size < 40 * 2**20
    text = log.read_text()
    assert "--- cut here: more than 67,108,864 bytes were written ---" in text
    assert "in " in text.splitlines()[-1], "the end is there"


def test_the_seconds_of_a_cell_leave_out_the_time_in_which_it_was_stopped(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin("slow_stopped", "losses:stopped = slow_stopped:Stopped", SLOW)
    study = Study("s", tasks=["blobs(steps=4)"], losses=["stopped"], seeds=1)
    began = time.monotonic()
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", progress=False)
    assert summary.complete, summary.failed
    assert time.monotonic() - began > 12
    (record,) = [r for r in Store(tmp_path / "run").records() if r.cell["loss"] == "stopped"]
    assert record.seconds["total"] < 10
    assert record.seconds["train"] <= record.seconds["total"]


def test_a_cell_that_asks_for_too_much_memory_fails_alone(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin("slow_greedy", "losses:greedy = slow_greedy:Greedy", SLOW)
    study = Study("s", tasks=["blobs(steps=9)"], losses=["greedy", "infonce"], seeds=1)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", cell_gib=3, progress=False)
    assert [cell.loss for cell in summary.failed] == ["greedy"]
    assert len(summary.done) == 2
    (reason,) = summary.failed.values()
    assert re.search(r"more than 3 GiB of memory \(`--cell-gib`\). Raise.*allocate", reason)


ODD = """
import ctypes, logging, multiprocessing, os, subprocess, sys, time
from harness.losses.infonce import InfoNCE

def answer(queue):
    queue.put(42)

class Forks(InfoNCE):  # As a loader with several processes does.
    def before_step(self, step, steps):
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=answer, args=(queue,))
        process.start()
        process.join(20)
        if process.exitcode != 0:
            raise RuntimeError(f"the process ended with {process.exitcode}")

class Slow(logging.Handler):
    def emit(self, record):
        pass

    def close(self):
        time.sleep(600)

class Lingers(InfoNCE):
    def before_step(self, step, steps):
        logging.getLogger().addHandler(Slow())

class Leaves(InfoNCE):
    def before_step(self, step, steps):
        if step:  # A dry run takes one step.
            subprocess.Popen(["sleep", "987654"])
            while True:  # It does not let other threads run, and ignores a request to stop.
                ctypes.PyDLL(None).sleep(600)

class Stuck(InfoNCE):
    def before_step(self, step, steps):
        time.sleep(600)
"""


def test_no_cell_waits_for_the_end_of_another_or_loses_files_to_it(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    """Each cell can start processes of its own, however many cells ran before it."""
    plugin("odd_ends", "losses:forks = odd_ends:Forks\nlingers = odd_ends:Lingers", ODD)
    losses = ["lingers", "forks", "infonce"]
    study = Study("s", tasks=["blobs(steps=2)"], losses=losses, seeds=2)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", cell_minutes=1, progress=False)
    assert summary.complete, summary.failed


def test_what_a_plugin_started_ends_with_a_cell_that_is_stopped(
    tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin("odd_leaves", "losses:leaves = odd_leaves:Leaves", ODD)
    study = Study("s", tasks=["blobs(steps=4)"], losses=["leaves"], seeds=1)
    summary = run(study, tmp_path / "run", engine="local(jobs=1)", cell_minutes=0.1, progress=False)
    (reason,) = summary.failed.values()
    assert reason.endswith("run the study again: the cell starts again.")
    assert b"987654" not in b"".join(
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")
    )


def test_a_dry_run_has_the_limits_of_a_cell(tmp_path: Path, plugin: Callable[..., None]) -> None:
    plugin("odd_stuck", "losses:stuck = odd_stuck:Stuck", ODD)
    study = Study("s", tasks=["blobs(steps=4)"], losses=["stuck"], seeds=1)
    summary = run(
        study, tmp_path / "run", engine="local(jobs=1)", cell_minutes=0.1, try_first=True,
        progress=False,
    )  # fmt: skip
    (reason,) = summary.failed.values()
    assert "longer than 0.1 minutes" in reason


def test_a_log_is_cut_in_its_middle_and_through_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_LOG", 4000)
    path, victim = tmp_path / "log", tmp_path / "victim"
    log = open_log(path)
    os.write(log, b"begin" + 2000 * b"-" + 2500 * b"+" + b"end")
    victim.write_bytes(5000 * b"x")
    path.rename(tmp_path / "moved")
    path.symlink_to(victim)
    worker._cut(log)
    os.close(log)
    assert victim.read_bytes() == 5000 * b"x"
    text = (tmp_path / "moved").read_text()
    assert text.startswith("begin-") and text.endswith("+end") and "--- cut here" in text
    assert len(text) < 2100
