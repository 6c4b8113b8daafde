"""Plugins from files: named, imported after everything else, fingerprinted and snapshotted."""

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import plugins
from harness.core import children, guard, plugin_files, registry, sources
from harness.core.errors import InputError
from harness.study.study import Study

LOSS = """
from typing import Annotated
from triptych import Between, ScoreLoss
from {helper} import scaled


class Margin(ScoreLoss):
    '''Push negatives a margin below the positive.'''

    margin: Annotated[float, Between(0, 2)] = 0.2

    def per_anchor(self, pos, neg, keep):
        gaps = (neg - pos[:, None] + self.margin).clamp_min(0) * keep
        return scaled(gaps.sum(dim=1) / keep.sum(dim=1).clamp_min(1))


class _Private(Margin):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder with a loss in a file, and a helper beside it."""
    monkeypatch.chdir(tmp_path)
    files, origins, loaded = dict(plugin_files._files), dict(plugin_files._origins), {*sys.modules}
    name = f"losses_{time.monotonic_ns()}"
    (tmp_path / f"{name}.py").write_text(LOSS.format(helper=f"helper_{name}"))
    (tmp_path / f"helper_{name}.py").write_text("SCALE = 1.0\ndef scaled(x): return x * SCALE\n")
    given = dict(registry._given)
    yield tmp_path
    registry._given.clear()
    registry._given.update(given)
    for module in {*sys.modules} - loaded:
        if "losses_" in module or "helper_" in module:
            sys.modules.pop(module)
    plugin_files._stamps.clear()
    plugin_files._files.clear()
    plugin_files._files.update(files)
    plugin_files._origins.clear()
    plugin_files._origins.update(origins)
    sources.forget()


@pytest.fixture
def file(folder: Path) -> Path:
    return next(folder.glob("losses_*.py"))


def test_a_class_in_a_file_has_one_canonical_name(file: Path) -> None:
    canonical = f"{file.name}:Margin(margin=0.5)"
    specs = [
        f"{file.name}:Margin(margin=.5)", f"{file.name}:margin( margin=0.50 )",
        f"./{file.name}:Margin(margin=0.5)", f"{file}:Margin(margin=0.5)",
    ]  # fmt: skip
    assert {plugins.canonical("losses", spec) for spec in specs} == {canonical}
    assert plugins.canonical("losses", canonical) == canonical
    built = plugins.build("losses", canonical)
    assert built.margin == 0.5
    assert plugins.spec_of("losses", built) == canonical
    assert plugins.spec_of("losses", type(built)) == f"{file.name}:Margin"


def test_a_registered_file_offers_its_classes_by_their_bare_names(file: Path) -> None:
    with pytest.raises(InputError, match=r"The loss 'margin' is ambiguous|no loss 'no_such'"):
        plugins.build("losses", "no_such")
    assert plugins.defined_in_file(file.name) == [("losses", f"{file.name}:Margin")]
    assert f"{file.name}:Margin" in plugins.names("losses")
    # The tests' own third party has a loss `margin` as well.
    assert "margin" in plugins.names("losses")
    rivals = rf"ambiguous: .*{file.name}:Margin and .*:margin have that name"
    with pytest.raises(InputError, match=rivals):
        plugins.canonical("losses", "margin")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py", "must be a Python file that exists: got 'nowhere.py'"),
        ("text.txt", "must be a Python file that exists: got 'text.txt'"),
        ("my-losses.py", "a name of letters, digits and underscores.*'my-losses.py'. Rename it"),
        ("random.py", "not have the name of another module: got 'random.py'.*Rename the file"),
        ("harness.py", "not have the name of another module: got 'harness.py'"),
        ("empty.py", "must define a class derived from triptych.Loss.*got none"),
        ("broken.py", "could not be imported: SyntaxError"),
    ],
)
def test_a_file_that_is_no_plugins_file_is_refused(folder: Path, name: str, message: str) -> None:
    if name != "nowhere.py":
        (folder / name).write_text("class (" if name == "broken.py" else "x = 1")
    with pytest.raises(InputError, match=message):
        plugins.defined_in_file(name)


def test_two_files_of_one_name_are_refused(file: Path, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / file.name).write_text(file.read_text())
    plugin_files.add(file)
    with pytest.raises(InputError, match=r"must not share a name: got .* and .*other.*Rename one"):
        plugins.canonical("losses", f"other/{file.name}:Margin")


def test_a_file_and_its_neighbours_are_fingerprinted(file: Path, folder: Path) -> None:
    spec = f"{file.name}:Margin"
    helper = folder / f"helper_{file.name}"
    roots = plugins.modules("losses", spec)
    assert {file.stem, helper.stem} <= sources.modules_of(roots).keys()

    def digest() -> str:
        sources.forget()
        return sources.source_digest(plugins.modules("losses", spec))

    first = digest()
    helper.write_text("# a remark\n" + helper.read_text())
    assert digest() == first
    helper.write_text(helper.read_text().replace("1.0", "2.0"))
    assert digest() != first
    # What is beside the file but not imported counts for nothing, nor do installed plugins change.
    second, own = digest(), sources.source_digest(["harness.losses.adnce"])
    (folder / "unused.py").write_text("x = 1")
    assert digest() == second
    assert sources.source_digest(["harness.losses.adnce"]) == own


def test_a_file_never_hides_an_installed_module(file: Path, folder: Path) -> None:
    (folder / "evaluate.py").write_text("raise RuntimeError('a file of the user was imported')")
    plugin_files.add(file)
    assert plugin_files.path_of("evaluate") is None
    assert "evaluate" not in plugin_files.neighbours()
    found = importlib.util.find_spec("evaluate")
    assert found is not None and not str(found.origin).startswith(str(folder))


def test_a_snapshot_is_read_in_the_place_of_an_edited_file(file: Path, folder: Path) -> None:
    spec = f"{file.name}:Margin"
    modules = plugins.modules("losses", spec)
    before = sources.source_digest(modules)
    copied = plugin_files.write_snapshot(folder / "run", sources.modules_of(modules))
    assert copied is not None
    again = plugin_files.write_snapshot(folder / "run", sources.modules_of(modules))
    assert again == copied, "the same content has the same folder"
    index = json.loads((copied / plugin_files.INDEX).read_text())
    assert index["files"][file.name]["origin"] == str(file)
    file.write_text(file.read_text().replace("= 0.2", "= 0.9"))
    sources.forget()
    assert sources.source_digest(plugins.modules("losses", spec)) != before
    with plugin_files.snapshot_used(copied):
        sources.forget()
        assert sources.source_digest(plugins.modules("losses", spec)) == before
    sources.forget()
    other = plugin_files.write_snapshot(folder / "run", sources.modules_of(modules))
    assert other is not None and other != copied


def test_an_edited_file_is_imported_anew(file: Path) -> None:
    spec = f"{file.name}:Margin"
    assert plugins.build("losses", spec).margin == 0.2
    assert not plugin_files.refresh()
    file.write_text(file.read_text().replace("= 0.2", "= 0.95"))
    assert plugin_files.refresh()
    assert plugins.build("losses", spec).margin == 0.95


def test_a_package_beside_the_file_is_copied_whole(folder: Path, file: Path) -> None:
    package = folder / f"helper_{file.stem}_pkg" / "inner"
    package.mkdir(parents=True)
    for where in (package, package.parent):
        (where / "__init__.py").write_text("")
    (package / "deep.py").write_text("def scaled(x): return x\n")
    name = f"helper_{file.stem}_pkg"
    file.write_text(LOSS.format(helper=f"{name}.inner.deep"))
    modules = plugins.modules("losses", f"{file.name}:Margin")
    copied = plugin_files.write_snapshot(folder / "run", sources.modules_of(modules))
    assert copied is not None
    found = {str(path.relative_to(copied)) for path in copied.rglob("*.py")}
    inside = {f"{name}/__init__.py", f"{name}/inner/__init__.py", f"{name}/inner/deep.py"}
    assert found == {file.name, *inside}


def test_a_snapshot_that_is_gone_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read.*Run the study's command again"):
        plugin_files.use_snapshot(tmp_path)


def test_a_study_takes_specs_classes_instances_and_tables(file: Path) -> None:
    cls = plugins.load("losses", f"{file.name}:Margin")
    study = Study(
        "s", tasks=["blobs"],
        losses=["infonce", cls, cls(margin=0.5), f"{file.name}:Margin(margin=0.7)"],
    )  # fmt: skip
    name = f"{file.name}:Margin"
    assert list(study.losses) == ["infonce", name, f"{name}(margin=0.5)", f"{name}(margin=0.7)"]
    searched = Study(
        "s", tasks=["blobs"], losses={cls: {"margin": {"low": 0.1, "high": 1.0}}, "infonce": {}},
        tuning={"trials": 2, "seeds": 1}, baseline=cls,
    )  # fmt: skip
    assert searched.baseline == f"{name}[tuned]"
    assert list(searched.but(losses=[cls]).losses[name]) == ["margin"]


ALONE = """
from triptych import ScoreLoss

class Margin(ScoreLoss):
    def per_anchor(self, pos, neg, keep):
        return -pos
"""


def test_two_studies_with_files_of_one_name_are_not_mixed_up(file: Path, folder: Path) -> None:
    text = f'tasks = ["blobs"]\nlosses = ["infonce", "{file.name}:Margin"]\n'
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / file.name).write_text(ALONE)
        (folder / name / "study.toml").write_text(text)
    Study.load(folder / "a/study.toml")
    with pytest.raises(InputError, match=r"must not share a name: got .*/a/.* and .*/b/"):
        Study.load(folder / "b/study.toml")
    assert Study.load(folder / "a/study.toml").losses


def test_a_file_without_its_class_and_a_dotted_name_say_how_to_write_it(file: Path) -> None:
    with pytest.raises(InputError, match=rf"behind a colon: write '{file.name}:Margin'\.$"):
        plugins.canonical("losses", file.name)
    with pytest.raises(InputError, match="write none, for it has no such class"):
        plugins.canonical("tasks", file.name)
    with pytest.raises(InputError, match=rf"before its name: write '{file.name}:Margin'\.$"):
        plugins.canonical("losses", f"{file.stem}.Margin")


def test_a_users_class_with_a_shipped_losss_name_leaves_shipped_studies_alone(
    file: Path,
) -> None:
    file.write_text(file.read_text() + "\nclass InfoNCE(Margin):\n    pass\n")
    plugins.defined_in_file(file.name)
    assert plugins.canonical("losses", "infonce") == "infonce"
    assert plugins.canonical("losses", "InfoNCE") == f"{file.name}:InfoNCE"
    assert Study.load("quickstart").losses


@pytest.mark.parametrize(
    ("group", "name", "got"),
    [
        ("tasks", "Margin", "triptych.Task: got <class"),
        ("methods", "Margin", "triptych.Method: got <class"),
        ("losses", "scaled", "triptych.Loss: got <function"),
        ("losses", "Annotated", "triptych.Loss: got"),
    ],
)
def test_another_kind_of_class_is_refused(file: Path, group: str, name: str, got: str) -> None:
    with pytest.raises(InputError, match=f"must be a class derived from {got}"):
        plugins.build(group, f"{file.name}:{name}")


def test_an_override_takes_the_bare_name_of_a_class_in_a_file(file: Path) -> None:
    plugins.defined_in_file(file.name)
    study = Study("s", tasks=["blobs"], losses=["infonce", f"{file.name}:Margin"])
    for name in ("Margin", f"{file.name}:Margin"):
        changed = study.override({f"losses.{name}.margin": 0.7})
        assert f"{file.name}:Margin(margin=0.7)" in changed.losses


def test_definitions_of_a_script_are_tried_in_a_child_too(folder: Path) -> None:
    path = folder / f"script_{time.monotonic_ns()}_Mine.py"
    path.write_text("import os; os._exit(3)")
    plugin_files.add_definitions("script.py:Mine", path, folder, folder / "script.py")
    with pytest.raises(InputError, match=r"exited with status 3 when it was imported"):
        plugins.build("losses", "script.py:Mine")


def test_a_studys_file_names_files_beside_it(file: Path, folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    moved = file.rename(inner / file.name)
    (folder / f"helper_{file.name}").rename(inner / f"helper_{file.name}")
    text = f'tasks = ["blobs"]\nlosses = ["infonce", "{file.name}:Margin(margin=0.3)"]\n'
    (inner / "mine.toml").write_text(text)
    assert f"{file.name}:Margin(margin=0.3)" in Study.load(inner / "mine.toml").losses
    found = plugin_files.file_of(file.name)
    assert found is not None and found.path == moved
    (inner / "two.toml").write_text(f'plugins = "{file.name}"\n{text}')
    assert Study.load("inner/two.toml").losses
    (inner / "wrong.toml").write_text('plugins = "no.py"\ntasks = ["blobs"]\nlosses = ["dcl"]\n')
    with pytest.raises(InputError, match=r"must be a Python file that exists: got 'no.py'"):
        Study.load(inner / "wrong.toml")


def test_a_class_that_no_file_holds_is_refused() -> None:
    from harness.losses.base import ScoreLoss

    class Local(ScoreLoss):
        def per_anchor(self, pos: Any, neg: Any, keep: Any) -> Any:
            return pos

    with pytest.raises(InputError, match=r"must be a class of a file's or notebook's top level"):
        Study("s", tasks=["blobs"], losses=[Local])
    typed = type("Typed", (ScoreLoss,), {"__module__": "nowhere", "__qualname__": "Typed"})
    with pytest.raises(InputError, match=r"source of the loss Typed must be in a Python file"):
        plugins.spec_of("losses", typed)


def test_a_class_of_a_notebook_is_taken_from_its_cells(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPython keeps the cells that were run in `In`."""
    helper = next(folder.glob("helper_*.py")).stem
    cells = [LOSS.format(helper=helper), "run = 1 / 0"]
    main = type(sys)("__main__")
    main.In = cells  # type: ignore[attr-defined]
    exec(cells[0].split("from helper")[0], vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    exec(cells[0], vars(main))
    name = plugins.spec_of("losses", vars(main)["Margin"])
    assert name == "notebook.py:Margin"
    assert plugins.build("losses", f"{name}(margin=0.4)").margin == 0.4
    cells.append(cells[0].replace("= 0.2", "= 0.6"))
    exec(cells[-1], vars(main))
    assert plugins.spec_of("losses", vars(main)["Margin"]) == name
    assert plugins.build("losses", name).margin == 0.6
    del main.In  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"it was typed at a prompt. Write it into a file"):
        plugins.spec_of("losses", vars(main)["Margin"])


# Plugins that end or stall their process


ENDINGS = {
    "import os; os._exit(0)": "exited with status 0 when it was imported",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "killed by SIGSEGV when it was",
    "import time; time.sleep(99)": "took more than 3 s when it was imported",
}


@pytest.mark.parametrize("body", ENDINGS)
def test_a_file_that_ends_its_process_is_its_own_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(guard, "LIMITS", dict.fromkeys(guard.LIMITS, 3.0))
    path = folder / f"losses_{time.monotonic_ns()}.py"
    path.write_text(body)
    with pytest.raises(
        InputError, match=rf"The file .*must not end its process: .*{ENDINGS[body]}"
    ):
        plugins.defined_in_file(path)
    assert plugins.build("losses", "infonce") and os.getpid()


def test_a_loss_that_ends_its_process_when_built_is_its_own_failure(file: Path) -> None:
    text = file.read_text() + "\n    def setup(self):\n        import os; os._exit(3)\n"
    file.write_text(text.replace("class _Private(Margin):\n    pass\n", "class Two(Margin):\n"))
    with pytest.raises(InputError, match=r"exited with status 3 when it was built"):
        plugins.build("losses", f"{file.name}:Two")
    assert plugins.build("losses", f"{file.name}:Margin").margin == 0.2


def test_what_is_merely_raised_keeps_its_own_message(file: Path) -> None:
    text = file.read_text() + "\n    def setup(self):\n        raise SystemExit(3)\n"
    file.write_text(text.replace("class _Private(Margin):\n    pass\n", "class Two(Margin):\n"))
    with pytest.raises(InputError, match="could not be built: SystemExit: 3"):
        plugins.build("losses", f"{file.name}:Two")


def test_triptychs_own_plugins_are_not_tried_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_ask", lambda *_: pytest.fail("a child was asked"))
    assert plugins.build("losses", "adnce") and plugins.build("tasks", "images")
    assert not registry.find("losses", "adnce").is_foreign


def loss_with(head: str, folder: Path) -> Path:
    """Write a loss whose file begins with ``head``; return the file."""
    path = folder / f"losses_{time.monotonic_ns()}.py"
    body = LOSS.replace("from {helper} import scaled", head).replace("scaled(", "(")
    path.write_text(body)
    return path


def code_of(path: Path) -> str:
    """Return the digest of all code that the loss in a file depends on, as of now."""
    sources.forget()
    return sources.source_digest(plugins.modules("losses", f"{path.name}:Margin"))


@pytest.mark.parametrize(
    ("head", "place"),
    [
        ("from {name}.inner import VALUE", "{name}/inner.py"),
        ("import {name}.inner", "{name}/inner.py"),
        ("from {name} import inner", "{name}/inner.py"),
        ("import sys; sys.path.append('{folder}/else')\nimport {name}", "else/{name}.py"),
        ("from importlib import import_module\nM = import_module('{name}')", "{name}.py"),
    ],
)  # fmt: skip
def test_code_from_any_place_that_is_not_installed_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, head: str, place: str
) -> None:
    """Packages without ``__init__.py``, a changed ``sys.path``, a module imported by its name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = {"name": f"helper_{time.monotonic_ns()}", "folder": str(folder)}
    beside = folder / place.format(**names)
    beside.parent.mkdir(exist_ok=True)
    beside.write_text("VALUE = 1\n")
    path = loss_with(head.format(**names), folder)
    before = code_of(path)
    assert code_of(path) == before
    beside.write_text("VALUE = 2\n")
    assert code_of(path) != before


def test_a_package_without_init_and_its_data_are_read_from_a_snapshot(folder: Path) -> None:
    name = f"helper_{time.monotonic_ns()}"
    (folder / name).mkdir()
    (folder / name / "inner.py").write_text(
        "from pathlib import Path\nBESIDE = (Path(__file__).parent / 'other.py').read_text()\n"
    )
    (folder / name / "other.py").write_text("# data beside the code\n")
    path = loss_with(f"from {name}.inner import BESIDE", folder)
    plugins.load("losses", f"{path.name}:Margin")
    copied = plugin_files.write_snapshot(
        folder / "copies", sources.modules_of(plugins.modules("losses", f"{path.name}:Margin"))
    )
    assert copied is not None and (copied / name / "inner.py").is_file()
    assert not (copied / name / "other.py").exists()
    plugin_files._forget_modules()
    for module in [module for module in sys.modules if module.startswith((name, path.stem))]:
        del sys.modules[module]
    plugin_files.use_snapshot(copied)
    made = importlib.import_module(path.stem)
    assert "data beside" in made.BESIDE, "`__file__` leads to the user's folder"
    assert sys.modules[f"{name}.inner"].__loader__.path == str(copied / name / "inner.py")  # type: ignore[union-attr]


def test_a_module_imported_by_a_computed_name_says_why_it_is_missing(folder: Path) -> None:
    name = f"helper_{time.monotonic_ns()}"
    (folder / f"{name}.py").write_text("VALUE = 1\n")
    head = f"from importlib import import_module\nM = import_module('{name[:7]}' + '{name[7:]}')"
    path = loss_with(head, folder)
    copied = plugin_files.write_snapshot(
        folder / "copies", sources.modules_of(plugins.modules("losses", f"{path.name}:Margin"))
    )
    assert copied is not None
    plugin_files._forget_modules()
    sys.modules.pop(name, None)
    plugin_files.use_snapshot(copied)
    with pytest.raises(InputError, match=rf"write `import {name}` at the top of it, .* is copied"):
        plugins.load("losses", f"{path.name}:Margin")


def test_an_empty_folder_does_not_hide_a_file_of_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = loss_with("", folder)
    (folder / "first" / path.stem).mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(folder / "first"), *sys.path])
    assert plugins.build("losses", f"{path.name}:Margin").margin == 0.2


def test_a_link_keeps_its_own_name(folder: Path) -> None:
    path = loss_with("", folder)
    link = folder / f"losses_link_{time.monotonic_ns()}.py"
    link.symlink_to(path)
    assert plugins.canonical("losses", f"{link.name}:Margin") == f"{link.name}:Margin"


def test_a_files_import_moves_no_folder_and_prints_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = loss_with("import os; os.chdir('/'); print('hello')", folder)
    plugins.load("losses", f"{path.name}:Margin")
    assert Path.cwd() == folder
    printed = capsys.readouterr()
    assert printed.out == "" and "hello" in printed.err


def test_a_thread_that_goes_on_is_its_files_failure(folder: Path) -> None:
    head = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    path = loss_with(head, folder)
    with pytest.raises(InputError, match=r"'Thread-\d+.*went on for 10 s.*daemon=True"):
        plugins.load("losses", f"{path.name}:Margin")
    assert path.stem not in sys.modules, "it was not imported here"


POOL = "from concurrent.futures import ThreadPoolExecutor; pool = ThreadPoolExecutor(2)\n"


@pytest.mark.parametrize(
    "head",
    [
        f"{POOL}assert list(pool.map(abs, [-1, -2])) == [1, 2]",
        f"import time; {POOL}pool.submit(time.sleep, 3)",
        "import threading, time; threading.Thread(target=time.sleep, args=(3,)).start()",
        "import threading, time; threading.Thread(target=time.sleep, args=[60], daemon=1).start()",
    ],
)
def test_threads_that_end_with_their_process_are_no_failure(folder: Path, head: str) -> None:
    path = loss_with(head, folder)
    assert plugins.build("losses", f"{path.name}:Margin").margin == 0.2


def test_a_label_that_the_code_reads_counts() -> None:
    remark = 'class A(B):\n    label = "one"\n'
    value = remark + 'def f(a):\n    return a.label == "one"\n'
    assert sources.code_in(remark) == sources.code_in(remark.replace('"one"', '"two"'))
    changed = value.replace('label = "one"', 'label = "two"')
    assert sources.code_in(value) != sources.code_in(changed)


def test_two_threads_may_ask_one_child(folder: Path) -> None:
    """As two runs in one process do."""
    child = children.Child("harness.run.guarded")
    request = {"action": "load", "group": "losses", "spec": "infonce", "files": []}
    answers: list[object] = []

    def ask() -> None:
        for _ in range(30):
            answers.append(child.ask(request, 30.0))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=90)
    child.end()
    assert answers == [{"thread": None}] * 120
