"""The import law of docs/design: tasks -> adapters -> harness; leaderboards alone."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from docs.draw_architecture import ROOMS, drawing, imported, room_of

ROOT = Path(__file__).parent.parent
OURS = {"harness", "adapters", "tasks", "leaderboards", "triptych"}
STANDARD = set(sys.stdlib_module_names)
FOREIGN_OF_HARNESS = {"torch", "numpy", "scipy", "sklearn", "pandas", "jaxtyping"}
FOREIGN_OF_ADAPTERS_ONLY = {
    "transformers", "tokenizers", "datasets", "torch_geometric", "evaluate", "kornia", "filelock",
    "dask", "distributed", "dask_jobqueue", "ray", "PIL", "huggingface_hub", "mteb",
    "pytorch_optimizer", "sentence_transformers",
}  # fmt: skip
ALLOWED = {
    "harness": {"harness"},
    "adapters": {"adapters", "harness"},
    "tasks": {"tasks", "adapters", "harness"},
    "leaderboards": {"leaderboards"},
    "triptych": {"triptych", "harness", "leaderboards"},  # The public face: nobody imports it.
}
UPWARD = {
    ("leaderboards/analysis/leaderboard.py", "*"),  # What a notebook and `print` show.
    ("harness/losses/engine/rows.py", "harness/losses/base.py"),  # Types alone.
    ("harness/losses/engine/sums.py", "harness/losses/sums.py"),
}
"""The arrows that run back up, with the reason."""

FILES = [path for package in sorted(OURS) for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found.add(node.module or "")
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "__import__":
            pytest.fail(f"{path}: __import__ hides an import")
    return found


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def test_there_are_files_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == OURS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_those_they_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    cli = path.is_relative_to(ROOT / "harness/cli")  # It alone knows all the parts.
    allowed = ALLOWED[package] | ({"leaderboards"} if cli else set())
    assert tops(path) & OURS <= allowed


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.relative_to(ROOT).parts[0] in ROOMS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_folder_imports_a_later_one(path: Path) -> None:
    """Within a package, a folder imports from the folders before it, never from a later one."""
    package, *_ = path.relative_to(ROOT).parts
    order = ROOMS[package]
    name = path.relative_to(ROOT).as_posix()
    for other in imported(path):
        if other.is_relative_to(ROOT / package):
            upward = order.index(room_of(other)[1]) > order.index(room_of(path)[1])
            allowed = UPWARD & {(name, "*"), (name, other.relative_to(ROOT).as_posix())}
            assert not upward or allowed, f"{name} imports {other.relative_to(ROOT)}"


def test_the_drawing_of_the_architecture_is_current() -> None:
    """``python docs/draw_architecture.py`` draws it."""
    assert (ROOT / "docs/architecture.svg").read_text(encoding="utf-8") == drawing()


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.relative_to(ROOT).parts[0] == "harness"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_harness_imports_few_libraries(path: Path) -> None:
    exceptions = {
        "harness/cli": {"typer", "rich", "tensorboard"},
        "harness/core/states.py": {"safetensors"},
        "harness/optimizers.py": {"pytorch_optimizer"},
        "harness/run/bar.py": {"tqdm"},
    }
    allowed = FOREIGN_OF_HARNESS.union(
        *(more for place, more in exceptions.items() if path.is_relative_to(ROOT / place))
    )
    assert tops(path) - STANDARD - OURS <= allowed


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.relative_to(ROOT).parts[0] == "leaderboards"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_leaderboards_import_few_libraries(path: Path) -> None:
    allowed = {"numpy", "pandas", "scipy", "statsmodels", "jinja2", "markupsafe"}
    exceptions = {"render/terminal.py": {"rich"}, "figures/pdf.py": {"svglib", "reportlab"}}
    allowed |= exceptions.get(path.relative_to(ROOT / "leaderboards").as_posix(), set())
    assert tops(path) - STANDARD - OURS <= allowed


@pytest.mark.parametrize("library", sorted(FOREIGN_OF_ADAPTERS_ONLY))
def test_only_adapters_import_foreign_libraries(library: str) -> None:
    users = {path.relative_to(ROOT) for path in FILES if library in tops(path)}
    assert {path.parts[0] for path in users - {Path("harness/optimizers.py")}} <= {"adapters"}


def test_the_harness_names_no_plugin_module() -> None:
    """Plugins are loaded through entry points; only plugins may import other plugins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    plugins = {
        value.partition(":")[0]
        for group in ("losses", "methods")
        for value in project[f"harness.{group}"].values()
    }
    assert "harness.losses.infonce" in plugins
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module not in plugins:
            assert not imports(path) & plugins, path


def test_nothing_is_unpickled() -> None:
    for path in set(FILES) - {ROOT / "adapters/data/plain_pickle.py"}:  # By an allow-list.
        assert not tops(path) & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}, path
        loads = re.findall(r"(?<!safetensors\.)torch\.load\(", path.read_text(encoding="utf-8"))
        assert not loads, path


@pytest.mark.parametrize("package", sorted(OURS))
def test_no_other_distribution_shadows_ours(package: str) -> None:
    module = __import__(package)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / package


HEAVY = {
    "sklearn", "scipy", "pandas", "transformers", "tokenizers", "datasets", "torch_geometric",
    "evaluate", "kornia", "pytorch_optimizer",
}  # fmt: skip
"""Libraries that take a good part of a second, or more, to import."""

THEIR_OWN = {
    "harness/store/table.py",  # It makes the pandas table, and is imported where one is asked for.
    "adapters/metrics/hf_evaluate.py",  # Its classes derive from the library's.
}


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.relative_to(ROOT).parts[0] != "leaderboards"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    """Listing, planning and a run with nothing to do should not wait for them."""
    top = ast.parse(path.read_text(encoding="utf-8")).body
    names = {
        name.split(".")[0]
        for node in top
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    if str(path.relative_to(ROOT)) not in THEIR_OWN:
        assert not names & HEAVY
