"""A class is taken out of a script or notebook with what it uses, and nothing else."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.core.definitions import definitions_of, other_value
from harness.core.errors import InputError

SCRIPT = '''
from __future__ import annotations
import math, sys
import torch as t
from triptych import *

SCALE = 2
SCALE = SCALE + 1
UNUSED = print("a side effect")

def helper(x, *, by=SCALE):
    def inner(y):
        local = y * by
        return local
    return inner(x) + math.pi

@staticmethod
def unused():
    return 1

def decorate(cls):
    return cls

class Base:
    pass

@decorate
class Mine(Base):
    """What it is."""
    rate: float = SCALE

    def forward(self, contrast):
        total = 0
        for each in [helper(i) for i in range(3)]:
            total += each
        return t.tensor(total)

run(Mine)
if __name__ == "__main__":
    sys.exit(1)
'''


def test_what_a_class_uses_is_kept_in_its_order_and_the_rest_is_left_out() -> None:
    text = definitions_of("Mine", [SCRIPT])
    for kept in ("from __future__", "import math, sys", "torch as t", "triptych import *",
                 "SCALE = 2\nSCALE = SCALE + 1", "def helper", "class Base", "def decorate",
                 "@decorate\nclass Mine"):  # fmt: skip
        assert kept in text, kept
    for left in ("a side effect", "unused", "run(Mine)", "sys.exit"):
        assert left not in text, left
    assert definitions_of("Mine", [text]) == text, "and they stand alone"


def test_the_last_definition_counts_in_a_notebook() -> None:
    cells = ["x = 1", "class A:\n    y = x", "this is no Python", "x = 2", "class A:\n    z = x"]
    assert definitions_of("A", cells) == "x = 2\nclass A:\n    z = x"


def test_a_name_that_is_defined_nowhere_is_an_error() -> None:
    message = "`A` cannot be taken out of its script or notebook: it uses 'lost'"
    with pytest.raises(InputError, match=message):
        definitions_of("A", ["def f():\n    lost = 1", "class A:\n    y = lost"])


@pytest.mark.parametrize("text", ["class A:\n    x = __file__, len(__name__)", "class A: pass"])
def test_what_python_gives_every_module_is_no_name_to_define(text: str) -> None:
    assert definitions_of("A", [text]) == text


@pytest.mark.parametrize(
    ("module", "cls"),
    [("argparse", "ArgumentParser"), ("dataclasses", "Field"), ("fractions", "Fraction"),
     ("string", "Template"), ("textwrap", "TextWrapper")],
)  # fmt: skip
def test_a_class_of_the_standard_library_stands_alone(
    tmp_path: Path, module: str, cls: str
) -> None:
    """Real code has statements of every kind."""
    text = Path(importlib.import_module(module).__file__ or "").read_text("utf-8")
    (tmp_path / "alone.py").write_text(definitions_of(cls, [text]))
    command = [sys.executable, "-c", f"from alone import {cls}; print({cls}.__module__)"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "alone\n"


CHANGED = """
import triptych
from torch import abs
WEIGHTS = {"a": 1.0}
WEIGHTS["a"] = 5.0
WEIGHTS.update(b=2)
for key in WEIGHTS:
    WEIGHTS[key] += 1
OTHER = [1]
OTHER.append(2)

class Mine(triptych.ScoreLoss):
    def per_anchor(self, pos, neg, keep):
        return abs(WEIGHTS["a"] * pos)

Mine.label = "Mine"
triptych.run("quickstart", losses=[Mine])
"""


def test_lines_that_change_a_value_are_kept_and_calls_of_modules_are_not() -> None:
    text = definitions_of("Mine", [CHANGED])
    for kept in ("from torch import abs", 'WEIGHTS["a"] = 5.0', "WEIGHTS.update(b=2)",
                 "for key in WEIGHTS", 'Mine.label = "Mine"'):  # fmt: skip
        assert kept in text
    assert "OTHER" not in text
    assert "triptych.run" not in text


@pytest.mark.parametrize("above", ["def make():", 'if __name__ == "__main__":'])
def test_a_class_that_is_not_at_the_top_level_is_refused(above: str) -> None:
    with pytest.raises(InputError, match=r"`Mine` must be defined at the top level.*Move it there"):
        definitions_of("Mine", [f"{above}\n    class Mine: pass\n"])


@pytest.mark.parametrize(
    ("lines", "used"),
    [
        ("S = 1.0\nif not S:\n    S = 5.0", "S"),
        ("S = 1\nS += 1", "S"),
        ("S = 0.5\nHALF = S / 2\nS = 1.0", "(S, HALF)"),
        ("S = 'a'\nfor S in ():\n    pass", "S"),
        ("S = 2.0\ntry:\n    S = float('x')\nexcept ValueError:\n    pass", "S"),
        ("def S(): return 1\nold = S\ndef S(): return old() + 1", "S()"),
        ("def S(): return 1\nif not S:\n    def S(): return 2", "S()"),
        ("S = 3\nALL = [S for _ in range(2)]\nS = 4", "(ALL, S)"),
        ("S = 1\nclass Base:\n    kept = S\nS = 2", "(Base.kept, S)"),
        ("import xml.dom.minidom\nimport xml.sax", "(xml.dom.__name__, xml.sax.__name__)"),
        ("S = {'a': 1}\nS['a'] = 2\nS |= {'b': 3}", "S"),
    ],
)
def test_definitions_give_the_values_of_the_script(lines: str, used: str) -> None:
    """Values that are replaced on some ways only, or read before they are replaced."""
    script = f"{lines}\nclass Mine:\n    def value(self): return {used}\n"
    values = []
    for text in (script, definitions_of("Mine", [script])):
        names: dict[str, Any] = {}
        exec(text, names)
        values.append(names["Mine"]().value())
    assert values[0] == values[1]


@pytest.mark.parametrize(
    "lines",
    [
        "import torch\nW = torch.zeros(2)\ntorch.nn.init.ones_(W)",
        "import random\nW = [1, 2, 3, 4, 5, 6, 7, 8]\nrandom.Random(0).shuffle(W)",
        "import random\nW = random.random()",
        "W = {}\ndef fill(t): t['scale'] = 5.0\nfill(W)",
        "W = 1.0\ndef configure():\n    global W\n    W = 5.0\nconfigure()",
        "W = {'a': 0}\nother = W\nother['a'] = 1",
    ],
)
def test_a_value_that_the_definitions_do_not_give_is_named(lines: str) -> None:
    script = f"{lines}\nclass Mine:\n    rate = 1\n    def value(self): return W\n"
    whole, taken = ModuleType("whole"), ModuleType("taken")
    exec(script, vars(whole))
    exec(definitions_of("Mine", [script]), vars(taken))
    assert other_value(taken, whole) == "W"
    vars(taken)["W"] = vars(whole)["W"]
    assert other_value(taken, whole) == ""
    vars(whole)["Mine"].rate = 2
    assert other_value(taken, whole) == "Mine.rate"


@pytest.mark.parametrize(
    "cell", ["%%time\n{}", "%matplotlib inline\n!pip install x\n{}", "\x0c\n{}", "t = '\u2028'\n{}"]
)  # fmt: skip
def test_lines_that_only_a_notebook_reads_and_odd_line_ends_are_no_obstacle(cell: str) -> None:
    text = "@keep\ndef f():\n    return 1"
    found = definitions_of("f", ["def keep(f): return f", cell.format(text)])
    assert found.endswith(text)


@pytest.mark.parametrize(
    "code",
    [
        "x = (100\n% 7)",
        "x = [\n    1,\n    3\n    % 2]",
        "x = 100 \\\n% 7",
        "x = '''\n%time\n!ls\n'''",
        "def g():\n    return (5\n%\n3)\nx = g()",
    ],
)
@pytest.mark.parametrize(
    "command", ["%%time", "!echo it's (", "!pip install \\\n  x", "%time f(1,"]
)
def test_only_commands_are_left_out_of_a_cell(code: str, command: str) -> None:
    """A line of an expression may begin with % too."""
    want: dict[str, Any] = {}
    exec(code, want)
    got: dict[str, Any] = {}
    exec(definitions_of("f", [f"{command}\n{code}\ndef f():\n    return x"]), got)
    assert got["x"] == want["x"]


def test_a_command_inside_a_function_is_left_out_alone() -> None:
    found: dict[str, Any] = {}
    body = "    if a:\n        !ls\n    else:\n        %time g()\n    return (100\n  % 7)"
    exec(definitions_of("f", [f"def f(a):\n{body}"]), found)
    assert found["f"](True) == 2
