"""Names that are none of their kind: what was meant stands in the error."""

from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.study.hints import require_group
from harness.study.study import Study


@pytest.mark.parametrize(
    ("group", "spec", "message"),
    [
        ("methods", "simclr", r"There is no method 'simclr'\. There is a loss of that name: write "
         r"`--methods siamese --losses simclr`\.$"),
        ("methods", "adnce(mu=0.5)", r'write `--methods siamese --losses "adnce\(mu=0\.5\)"`'),
        ("methods", "regression", r"write `--methods byol --losses regression`"),
        ("losses", "moco", r"a method of that name: write `--methods moco --losses infonce`"),
        ("losses", "byol", r"write `--methods byol --losses regression`"),
        ("losses", "images", r"There is a task of that name: write `--tasks images`"),
        ("tasks", "dcl", r"There is a loss of that name: write `--losses dcl`"),
        ("tasks", "local", r"There is an engine of that name: write `--engine local`"),
        ("tasks", "mnist-5k", r"a data set of that name: write `images\(data='mnist-5k'\)`"),
        ("tasks", "cora", r"a data set of that name: write `nodes\(data='cora'\)`"),
        ("engines", "slurm", r"value of the setting `cluster` of the engine 'dask': write "
         r"`--engine \"dask\(cluster='slurm', jobs=8\)\"`"),
    ],
)  # fmt: skip
def test_a_name_of_another_kind_is_recognised(group: str, spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_group(group, spec)


@pytest.mark.parametrize(
    ("group", "spec"),
    [("losses", "adnce(mu=1)"), ("losses", "sogclr-paper"), ("losses", "no_such"),
     ("losses", "untrained"), ("losses", "(("), ("methods", "siamese")],
)  # fmt: skip
def test_nothing_is_raised_for_others(group: str, spec: str) -> None:
    require_group(group, spec)


def test_options_are_those_of_a_cell(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"write `--method moco --loss infonce`"):
        require_group("losses", "moco", of_cell=True)
    with pytest.raises(InputError, match=r"write `images`"):
        require_group("losses", "images", of_cell=True)


def test_a_class_in_a_file_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("class (")
    (tmp_path / "binary.py").write_bytes(b"\x00\xff")
    (tmp_path / "mine.py").write_text("x = 1\nclass MyMargin:\n    pass\n")
    for name in ("my_margin", "MyMargin", "my-margin"):
        with pytest.raises(InputError, match=r"mine\.py has a class of that name: write `mine\.py"):
            require_group("losses", name)
    require_group("losses", "other_margin")


def test_studies_say_it_too() -> None:
    with pytest.raises(InputError, match=r"no method 'simclr'\. There is a loss of that name"):
        Study("s", tasks=["blobs"], losses=["infonce"], methods=["simclr"])
    with pytest.raises(InputError, match=r"no loss 'blobs'\. There is a task of that name"):
        Study("s", tasks=["blobs"], losses=["blobs"])
    with pytest.raises(InputError, match=r"no method 'simclr'\. There is a loss of that name"):
        Study.load("quickstart").but(methods=["simclr"])
    with pytest.raises(InputError, match=r"no task or alias 'cora'\. Did you mean 'Cora'"):
        Study.load("quickstart").but(tasks=["cora"])


def test_a_study_without_its_suffix_and_the_folder_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mystudy.toml").touch()
    with pytest.raises(InputError, match=r"There is a file of that name: write mystudy\.toml"):
        Study.load("mystudy")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.json").write_text("{}")
    with pytest.raises(InputError, match=r"run is the folder of a run: name the study, and"):
        Study.load("run")
    with pytest.raises(InputError, match=r"Known: .*theory-sufficiency\.$"):
        Study.load("nothing")
