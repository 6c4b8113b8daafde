"""What code a result depends on: comments and other modules move no digest, tokens do."""

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import plugins
from harness.core import registry, sources
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.store import identity
from harness.store.identity import FRAME, forget, identify

CODE = '''"""What the module does."""
import os  # for its path

# A remark.
LIMIT = 3
"""What the limit is of."""


def f(x, *, y="# no remark"):
    """Return a text.

    With an empty line.
    """

    text = """kept

    # as it is  """
    return f"{x:#x} {y!r} '" + text + 'a' "b"  # done


class Ünïcode: "Its docstring."; é = "ß"  # after wide letters


async def g(): r"""Raw."""


class Loss(Base):
    """Of ß."""

    label: ClassVar[str] = "ß-NCE"  # what people call it
    metrics = Metric("é", margin=(1.0), label="é-score"), Metric(
        "f",
        unit="%",  # a share
        label="F",
    )
'''
WITHOUT = '''import os
LIMIT = 3
def f(x, *, y="# no remark"):
    text = """kept

    # as it is  """
    return f"{x:#x} {y!r} '" + text + 'a' "b"
class Ünïcode: ; é = "ß"
async def g():
class Loss(Base):
    metrics = Metric("é", margin=(1.0)), Metric(
        "f",
        unit="%",
    )
'''
RECORDED = "d328e03a483c16940f42232572d73f5e"


def test_comments_and_docstrings_are_removed_and_strings_are_kept() -> None:
    assert sources.without_remarks(CODE) == WITHOUT


def _pythons() -> list[str]:
    """Return the Pythons on this machine that Triptych could run on, this one among them."""
    named = [which(f"python3.{minor}") for minor in range(11, 20)]
    kept = sorted(map(str, Path.home().glob(".pyenv/versions/3.*/bin/python3")))
    ask = ["-c", "import sys; print(*sys.version_info[:2])"]
    found: dict[str, str] = {}
    for python in filter(None, [sys.executable, *named, *kept]):
        done = subprocess.run([python, *ask], capture_output=True, text=True, check=False)
        if not done.returncode and tuple(map(int, done.stdout.split())) >= (3, 11):
            found.setdefault(done.stdout.strip(), python)
    return list(found.values())


@pytest.mark.parametrize("python", _pythons())
def test_every_python_gives_the_recorded_digest(python: str) -> None:
    """Of a text with all kinds of strings, on each Python that is on this machine."""
    program = (
        "import hashlib, runpy, sys; found = runpy.run_path(sys.argv[1]); "
        "text = found['without_remarks'](sys.stdin.read()); "
        "print(hashlib.sha256(text.encode()).hexdigest()[:32])"
    )
    asked = [python, "-X", "utf8", "-c", program, sources.__file__]
    done = subprocess.run(asked, input=CODE, capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.strip() == RECORDED, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "class A(Loss):\n    x = 1\n{}",
        "class A(lab.Loss, Mixin[int]):\n{}    x = 1\n",
    ],
)
@pytest.mark.parametrize(
    "label",
    [
        "label = 'A'", "label = '''A\n\nB'''", "label = ('A' 'B')", "label: ClassVar[str] = 'A'",
        "label: typing.ClassVar = 'A'", "label: 'ClassVar[str]' = 'é'  # So people call it.",
    ],
)  # fmt: skip
def test_a_plugins_label_is_no_code(text: str, label: str) -> None:
    assert sources.without_remarks(text.format(f"    {label}\n")) == sources.without_remarks(
        text.format("")
    )


@pytest.mark.parametrize(
    "text",
    [
        "label = {}\n",
        "class A(Loss):\n    label: str = {}\n",
        "class A(Loss):\n    label: Annotated[str, OneOf(NAMES)] = {}\n",
        "class A(Loss):\n    label = name = {}\n",
        "class A(Loss):\n    label = f({})\n",
        "class A(Loss):\n    label = {} + x\n",
        "class A(Loss):\n    labels = {}\n",
        "class A(Loss):\n    def f(self):\n        self.label = {}\n",
        "class A(Loss):\n    def f(self):\n        label = {}\n",
        "class A:\n    label = {}\n",
        "class A(StrEnum):\n    label = {}\n",
        "read(file, label={})\n",
        "LogMetric('a', label={})\n",
        "Metric(label={})\n",
    ],
)
def test_any_other_label_is_code(text: str) -> None:
    assert sources.without_remarks(text.format("'a'")) != sources.without_remarks(
        text.format("'b'")
    )


def test_a_metrics_label_is_no_code() -> None:
    for before, after in (
        ("Metric('a', label='A')", "Metric('a')"),
        ("metrics.Metric('a', label='A', margin=1.0)", "metrics.Metric('a', margin=1.0)"),
        ("preset('a', f(x, y), label='A')", "preset('a', f(x, y))"),
        ("Metric(('a'), label='A')", "Metric(('a'))"),
    ):
        assert sources.without_remarks(before) == after


FILES = sorted(Path(sources.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_files_without_comments_are_the_same_program(path: Path) -> None:
    """Their syntax trees agree, docstrings aside; no comment is left."""
    text = sources.read(path)
    kept = sources.without_remarks(text)
    comments = {t.string for t in tokenize.generate_tokens(io.StringIO(text).readline)
                if t.type == tokenize.COMMENT}  # fmt: skip
    assert not any(comment in kept.splitlines() for comment in comments)
    assert _tree(text) == _tree(kept)


def _tree(text: str) -> str:
    """Return a module's tree without docstrings; a body that lost its only one gets `pass`."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # A body was a docstring alone.
        return _tree(_with_bodies(text))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [
                one for one in body
                if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
                        and isinstance(one.value.value, str)) and not isinstance(one, ast.Pass)
            ]  # fmt: skip
    return ast.dump(tree)


def _with_bodies(text: str) -> str:
    """Put `pass` where a line that opens a block is followed by one that is not deeper."""
    lines = text.splitlines()
    made = []
    for number, line in enumerate(lines):
        made.append(line)
        after = lines[number + 1] if number + 1 < len(lines) else ""
        deep, deeper = (len(each) - len(each.lstrip()) for each in (line, after))
        if line.endswith(":") and deeper <= deep:
            made.append(" " * (deep + 1) + "pass")
    return "\n".join(made)


PIECES = ("# a remark", '"""A docstring."""', "", "    ", '# \'odd\' """ quotes')


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(PIECES)), max_size=8))
def test_inserted_comments_do_not_change_the_digest(extra: list[tuple[int, str]]) -> None:
    lines = ["import os", "x = 1", "text = 'one # two'", "if x:", "    x = 2", "y = x"]
    made = list(lines)
    for place, piece in sorted(extra, reverse=True):
        inside = place == 4 and piece.startswith('"')  # A statement at the start of the block.
        made.insert(place, f"    {piece}" if inside else piece)
    text = "\n".join(made) + "\n"
    assert sources.without_remarks(text) == sources.without_remarks("\n".join(lines) + "\n")
    assert sources.without_remarks(text.replace("x = 2", "x = 3")) != sources.without_remarks(text)


def test_line_ends_and_a_byte_order_mark_do_not_change_the_digest(tmp_path: Path) -> None:
    contents = [CODE.encode(), CODE.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + CODE.encode()]
    found = set()
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.py"
        path.write_bytes(content)
        found.add(sources.code_of(path))
    assert len(found) == 1


def test_a_file_that_is_not_python_is_digested_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def f(:\n  # remark\n")
    assert sources.code_of(path) == "def f(:\n  # remark\n"


# Which modules


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in which every way to import leads somewhere."""
    files = {
        "__init__.py": "from sourced.heavy import everything\nfrom sourced.engine import Engine\n",
        "loss.py": "import os\nfrom sourced.helper import f\nfrom sourced import Engine\n",
        "helper.py": "def f():\n    from . import late\n",
        "late.py": "x = 1\n",
        "engine.py": "class Engine: pass\n",
        "heavy.py": "everything = 1\n",
        "other.py": "y = 1\n",
        "typed.py": "from typing import TYPE_CHECKING\nimport typing\nif TYPE_CHECKING:\n"
        "    from sourced.other import y\nelse:\n    from sourced.late import x\n"
        "if typing.TYPE_CHECKING:\n    import sourced.heavy\n",
        "whole.py": "import sourced\nprint(sourced)\n",
        "dotted.py": "import sourced\nsourced.late.x; sourced.Engine()\n",
        "aliased.py": "import sourced.inner as i\nfrom sourced import inner\ni.deep.z; inner.w\n",
        "starred.py": "from sourced.late import *\n",
        "inner/__init__.py": "w = 1\n",
        "inner/deep.py": "z = 1\n",
        "lazy/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from sourced.late import x\ndef __getattr__(name): ...\n",
        "uses_lazy.py": "from sourced.lazy import x\n",
        "circle.py": "from sourced.circle import nothing\nimport sourced.circle\n",
        "defined.py": "from sourced.inner import w\n",
    }
    folder = tmp_path / "sourced"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield folder
    forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "sourced"]:
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("loss", "loss helper late engine"),
        ("typed", "typed late"),
        ("whole", "whole __init__ heavy engine"),
        ("dotted", "dotted late engine"),
        ("aliased", "aliased inner.deep inner.__init__"),
        ("starred", "starred late"),
        ("uses_lazy", "uses_lazy late"),
        ("circle", "circle"),
        ("defined", "defined inner.__init__"),
    ],
)
@pytest.mark.usefixtures("package")
def test_a_name_leads_to_the_module_that_defines_it(module: str, needs: str) -> None:
    found = sources.modules_of([f"sourced.{module}"])
    names = {
        name if path.stem != "__init__" else f"{name}.__init__" for name, path in found.items()
    }
    assert {name.removeprefix("sourced.") for name in names} == set(needs.split())


@pytest.mark.parametrize(
    ("file", "changes"),
    [("loss", True), ("helper", True), ("late", True), ("engine", True), ("other", False),
     ("heavy", False), ("__init__", False)],
)  # fmt: skip
@pytest.mark.parametrize(
    ("added", "counts"), [("# remark\n", False), ('"""Text."""\n', False), ("z = 9\n", True)]
)
def test_the_digest_follows_imports(
    package: Path, file: str, changes: bool, added: str, counts: bool
) -> None:
    before = sources.source_digest(["sourced.loss"])
    path = package / f"{file}.py"
    path.write_text(path.read_text() + added)
    sources.forget()
    assert (sources.source_digest(["sourced.loss"]) != before) is (changes and counts)


def test_a_loss_that_imports_from_the_package_depends_on_the_loss_engine(tmp_path: Path) -> None:
    found = sources.modules_of(["triptych_example"])
    assert {"harness.losses.base", "harness.losses.engine.rows"} <= found.keys()
    assert "harness.losses.sums" not in found  # It takes ScoreLoss from there, and no SumLoss.
    for name in ("infonce", "adnce"):
        found = sources.modules_of([f"harness.losses.{name}"])
        assert {"harness.losses.sums", "harness.losses.engine.sums"} <= found.keys()
        assert "harness.losses" not in found
    assert "harness.losses.infonce" not in found, "another family of losses"


def test_a_task_depends_on_its_adapters() -> None:
    assert "adapters.networks.node_networks" in sources.modules_of(["tasks.graphs.nodes"])


def test_the_frame_consists_of_the_listed_modules() -> None:
    """So that it cannot grow unseen: each of them re-runs every cell when its code changes."""
    assert sorted(sources.modules_of([FRAME])) == [
        "harness.contrast",
        "harness.core.clock",
        "harness.core.content",
        "harness.core.digests",
        "harness.core.distributed",
        "harness.core.errors",
        "harness.core.files",
        "harness.core.randomness",
        "harness.core.schema",
        "harness.core.states",
        "harness.evaluation.calibration",
        "harness.heads",
        "harness.losses.base",
        "harness.losses.engine.rows",
        "harness.methods.base",
        "harness.metrics",
        "harness.optimizers",
        "harness.recipe",
        "harness.settings",
        "harness.store.checkpoints",
        "harness.task",
        "harness.training.checks",
        "harness.training.gradients",
        "harness.training.loop",
        "harness.training.proof",
    ]


# Which keys move

CELLS = {
    "images": Cell("images", "siamese", "infonce", 0),
    "adnce": Cell("images", "siamese", "adnce", 0),
    "moco": Cell("images", "moco", "infonce", 0),
    "untrained": Cell("images", "siamese", "untrained", 0),
    "nodes": Cell("nodes", "siamese", "infonce", 0),
    "graphs": Cell("graphs", "siamese", "infonce", 0),
}
TRAINED = "images adnce moco nodes graphs"
MOVED = {
    "harness.training.loop": "images adnce moco untrained nodes graphs",
    "harness.task": "images adnce moco untrained nodes graphs",
    "harness.losses.sums": TRAINED,
    "harness.losses.adnce": "adnce",
    "harness.methods.moco": "moco",
    "harness.evaluation.probes": "images adnce moco untrained nodes",
    "harness.evaluation.folds": "graphs",
    "adapters.views.image_views": "images adnce moco untrained",
    "adapters.networks.graph_networks": "graphs",
    "tasks.images.images": "images adnce moco untrained",
    "harness.evaluation.diagnostics": "",
    "harness.store.table": "",
    "harness.cli.shared": "",
    "harness.run.local": "",
    "harness.run.attempt": "",
    "harness.store.identity": "",
    "harness.core.sources": "",
    "leaderboards.analysis.board": "",
    "adapters.engines.dask_engine": "",
}


def _keys() -> dict[str, str]:
    identity._source.cache_clear()  # Neither data nor imports change here.
    return {name: identify(cell).key for name, cell in CELLS.items()}


@pytest.mark.parametrize("module", MOVED)
def test_changed_code_changes_keys_and_changed_comments_do_not(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, code_of = sources.find_module(module), sources.code_of
    assert changed is not None
    before = _keys()
    for added, moved in (
        ("# A remark.\n", ""), ('"""A docstring."""\n', ""), ("token = 1\n", MOVED[module]),
    ):  # fmt: skip
        code = sources.without_remarks(sources.read(changed) + added)
        monkeypatch.setattr(
            sources, "code_of", lambda path, code=code: code if path == changed else code_of(path)
        )
        after = _keys()
        assert {name for name in CELLS if after[name] != before[name]} == set(moved.split()), added


@pytest.mark.parametrize(
    ("module", "label"),
    [
        ("harness.losses.adnce", 'label = "ADNCE"'),
        ("harness.methods.moco", 'label = "MoCo"'),
        ("harness.losses.presets", 'label="SimCLR"'),
        ("tasks.images.images", 'label="k-NN accuracy"'),
    ],
)
def test_another_label_runs_no_cell_again(
    module: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, code_of = sources.find_module(module), sources.code_of
    assert changed is not None
    cells = {**CELLS, "simclr": Cell("nodes", "siamese", "simclr", 0)}
    identity._source.cache_clear()  # Another test may have changed the code.
    before = {name: identify(cell).key for name, cell in cells.items()}
    text = sources.read(changed)
    assert text.count(label) == 1
    code = sources.without_remarks(text.replace(label, f'{label[:-1]} (ours)"'))
    monkeypatch.setattr(sources, "code_of", lambda path: code if path == changed else code_of(path))
    identity._source.cache_clear()
    assert {name: identify(cell).key for name, cell in cells.items()} == before
    assert code == code_of(changed)
    assert "label" in text and label not in code


# Whose code a plugin is


@pytest.fixture
def base_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loss of a file `derived`, whose base is in a package of somebody else's."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("from lab.base import Base\n")
    (tmp_path / "lab" / "base.py").write_text(
        "from harness.losses import ScoreLoss\nfrom lab.inside import scale\n"
        "class Base(ScoreLoss):\n    depends_on = ('labkernels',)\n"
        "    def per_anchor(self, pos, neg, keep): return scale * pos\n"
    )
    (tmp_path / "lab" / "inside.py").write_text("scale = 2\n")
    (tmp_path / "labkernels.py").write_text("speed = 1\n")
    (tmp_path / "derived.py").write_text("from lab import Base\nclass Derived(Base): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield
    forget()
    for name in [n for n in sys.modules if n.split(".")[0] in ("lab", "labkernels", "derived")]:
        sys.modules.pop(name)


class Entry:
    """An entry point of a distribution that is not installed."""

    module, attr, value, dist = "derived", "Derived", "derived:Derived", None

    def load(self) -> object:
        return getattr(__import__(self.module), self.attr)


DERIVED = registry.Plugin("derived", "derived", "Derived", registry.NO_OWNER, Entry())


@pytest.mark.usefixtures("base_elsewhere")
def test_all_bases_and_declared_helpers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry._entries("losses")
    monkeypatch.setattr(registry, "_entries", lambda group: {**known, "derived": (DERIVED,)})
    roots = plugins.modules("losses", "derived")
    assert {"derived", "lab.base", "labkernels", "harness.losses.base"} <= roots
    assert not any(root.startswith("torch") for root in roots)
    assert {"lab.inside", "labkernels", "harness.losses.engine.rows"} <= sources.modules_of(
        roots
    ).keys()
    assert "lab" not in sources.modules_of(roots)


@pytest.mark.usefixtures("base_elsewhere")
def test_a_missing_helper_module_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry._entries("losses")
    monkeypatch.setattr(registry, "_entries", lambda group: {**known, "derived": (DERIVED,)})
    monkeypatch.setattr(Entry().load(), "depends_on", ("labkernel",), raising=False)
    with pytest.raises(InputError, match=r"`depends_on` of .* must be a tuple .*'labkernel'"):
        plugins.modules("losses", "derived")


def test_imports_from_triptych_lead_to_the_defining_modules(tmp_path: Path) -> None:
    """A plugin imports from `triptych`: what it uses counts, and nothing else of the package."""
    from triptych import represent

    assert represent.__module__ == "harness.evaluation.represent"
    plugin = tmp_path / "faced.py"
    plugin.write_text("from triptych import represent\nimport triptych\ntriptych.mlp([1, 1])\n")
    sys.path.insert(0, str(tmp_path))
    try:
        sources.forget()
        found = set(sources.modules_of(["faced"]))
    finally:
        sys.path.remove(str(tmp_path))
        sources.forget()
    assert {"faced", "harness.evaluation.represent", "harness.heads"} <= found
    assert not found & {"triptych", "harness.run.runner", "harness.study.study"}
