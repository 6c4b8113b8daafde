"""Labels and aliases: what people call the parts of a study, and what is refused."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import plugins
from harness.core.errors import InputError
from harness.study.labels import is_label, plugin_label, plugin_names
from harness.study.study import Study

SPACE = {"low": 0.1, "high": 1.0}


def study(**changes: Any) -> Study:
    values = {
        "name": "s",
        "tasks": {
            "easy": {"use": "blobs(noise=1)", "batch_size": 32},
            "hard": {"use": "blobs(noise=4)"},
            "images": {},
        },
        "losses": {
            "infonce": {},
            "ours": {"use": "adnce(mu=0.5)", "sigma": SPACE},
            "sharp": {"use": "adnce", "temperature": 0.05},
        },
        "tuning": {"trials": 2, "seeds": 1},
        "seeds": 2,
    }
    return Study.from_dict(values | changes)


# Plugins


@pytest.mark.parametrize("group", ["losses", "methods", "tasks"])
def test_every_shipped_plugin_has_a_label_of_its_own(group: str) -> None:
    ours = [
        name
        for name in plugins.names(group)
        if plugins.load(group, name).__module__.startswith(("harness.", "tasks."))
    ]
    labels = [plugin_label(group, name) for name in ours]
    assert all(labels)
    assert len(set(labels)) == len(labels) > 7


MINE = """
from typing import ClassVar
from harness.losses.infonce import InfoNCE

class Derived(InfoNCE):
    pass

class Setting(InfoNCE):
    label: str = "a setting"

class Odd(InfoNCE):
    label = "two\\nlines"
"""


@pytest.mark.parametrize("name", ["Derived", "Setting", "Odd"])
def test_a_plugin_without_a_label_is_called_by_its_name(
    name: str, plugin: Callable[..., None]
) -> None:
    plugin("mine", f"losses:mine = mine:{name}", MINE)
    assert plugin_label("losses", "mine") == ""
    found = plugin_names(Study("s", tasks=["blobs"], losses=["mine", "infonce"]))
    assert found == {"infonce": "InfoNCE", "siamese": "Siamese"}


def test_the_names_are_those_of_the_studys_plugins_and_metrics() -> None:
    found = plugin_names(Study("s", tasks=["nodes"], losses={"dclw": {"methods": ["moco"]}}))
    assert found == {"nodes": "Nodes", "dclw": "DCL-W", "moco": "MoCo", "macro_f1": "macro-F1"}


def test_a_task_with_wrong_metrics_has_no_labels(plugin: Callable[..., None]) -> None:
    text = "from triptych_example import Blobs\nclass Wrong(Blobs):\n    metrics = 3\n"
    plugin("wrong", "tasks:wrong = wrong:Wrong", text)
    assert plugin_names(Study("s", tasks=["wrong"], losses=["hcl"])) == {
        "hcl": "HCL", "siamese": "Siamese",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "good"),
    [("χ²-DRO", True), ("x" * 80, True), ("x" * 81, False), (" ", False), ("a\x1b[1m", False),
     ("a\u202eb", False), ("a\u2028b", False), (3, False)],
)  # fmt: skip
def test_a_label_is_short_and_can_be_seen(text: object, good: bool) -> None:
    assert is_label(text) is good


# Aliases


def test_an_alias_stands_for_the_spec_of_its_table() -> None:
    found = study(baseline="ours", margins={"easy": 2.0})
    assert found.tasks == ("blobs(noise=1.0, batch_size=32)", "blobs(noise=4.0)", "images")
    assert [entry.label for entry in found.entries] == [
        "infonce", "adnce(mu=0.5)[tuned]", "adnce(temperature=0.05)",
    ]  # fmt: skip
    assert found.aliases == {
        "easy": "blobs(noise=1.0, batch_size=32)", "hard": "blobs(noise=4.0)",
        "ours": "adnce(mu=0.5)[tuned]", "sharp": "adnce(temperature=0.05)",
    }  # fmt: skip
    assert found.baseline == "adnce(mu=0.5)[tuned]"
    assert found.margins == {"blobs(noise=1.0, batch_size=32)": 2.0}
    assert not any(alias in str(cell) for cell in found.cells() for alias in found.aliases)
    assert Study.from_dict(found.to_dict()) == found


def test_an_aliased_study_has_the_cells_of_the_plain_one() -> None:
    plain = {
        "tasks": ["blobs(noise=1, batch_size=32)", "blobs(noise=4)", "images"],
        "losses": {"infonce": {}, "adnce(mu=0.5)": {"sigma": SPACE}, "adnce(temperature=0.05)": {}},
    }
    assert study().cells() == study(**plain).cells()


def test_methods_have_aliases_that_a_losss_own_methods_may_name() -> None:
    found = Study.from_dict(
        {
            "name": "s",
            "tasks": ["blobs"],
            "methods": {"siamese": {}, "slow": {"use": "moco(momentum=0.9)"}},
            "losses": {"infonce": {"methods": ["slow"]}, "hcl": {}},
        }
    )
    assert found.aliases == {"slow": "moco(momentum=0.9)"}
    assert found.entries[0].methods == ("moco(momentum=0.9)",)
    assert found.but(methods=["slow"]).methods == ("moco(momentum=0.9)",)
    assert Study.from_dict(found.to_dict()) == found


def test_an_alias_that_is_the_name_of_its_own_spec_says_nothing() -> None:
    losses = {"infonce": {"use": "infonce"}, "adnce": {"use": "adnce", "sigma": SPACE}}
    assert study(losses=losses, tasks=["blobs"]).aliases == {}


def test_steps_for_all_tasks_reach_aliased_ones_too() -> None:
    assert study(steps=7).aliases["hard"] == "blobs(noise=4.0, steps=7)"


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": {"a": {"use": 3}}}, "`use` of `tasks.a` must be a spec, such as .*: got 3"),
        ({"tasks": {"a": {"use": "blob"}}}, "no task 'blob'. Did you mean 'blobs'"),
        ({"tasks": {"images": {"use": "blobs"}}}, "The alias 'images' of blobs must not be the"),
        ({"tasks": {"hcl": {"use": "blobs"}}}, "The alias 'hcl' of blobs must not be the name"),
        ({"losses": {"adnce": {"use": "adnce(mu=0.5)"}}}, r"The alias 'adnce' of adnce\(mu=0.5\)"),
        ({"losses": {"control": {"use": "adnce"}}}, "The alias 'control' of adnce must not"),
        ({"tasks": {"a(b)": {"use": "blobs"}}}, r"An alias must be of letters.* got 'a\(b\)'"),
        ({"tasks": {"a" * 81: {"use": "blobs"}}}, "have at most 80 characters: got 'aaa"),
        (
            {"tasks": {"a": {"use": "blobs"}, "b": {"use": "blobs()"}}},
            "blobs must have one alias: got 'a' and 'b'",
        ),
        (
            {"tasks": {"a": {"use": "blobs"}}, "losses": {"a": {"use": "hcl"}}},
            "The alias 'a' must stand for one spec: got blobs and hcl. Rename one",
        ),
        ({"aliases": 3}, "`aliases` must be a table of texts: got 3"),
        ({"aliases": {"a": "blobs(noise=5)"}}, r"no spec of `aliases` 'blobs\(noise=5\)'. Did you"),
    ],
)
def test_wrong_aliases_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        study(**({"tuning": None} if "losses" in changes else {}) | changes)


# A study's labels


def test_labels_are_kept_under_canonical_names() -> None:
    found = study(
        steps=9,
        labels={
            "ours": "Ours", "easy": "Easy", "infonce": "NT-Xent", "images": "MNIST",
            "adnce(temperature=0.05)": "Sharp", "accuracy": "acc.", "siamese": "plain",
            "untrained": "Random weights",
        },
    )  # fmt: skip
    assert found.labels == {
        "adnce(mu=0.5)[tuned]": "Ours", "blobs(noise=1.0, steps=9, batch_size=32)": "Easy",
        "infonce": "NT-Xent", "images": "MNIST", "adnce(temperature=0.05)": "Sharp",
        "accuracy": "acc.", "siamese": "plain", "untrained": "Random weights",
    }  # fmt: skip
    assert Study.from_dict(found.to_dict()) == found
    assert found.cells() == study(steps=9).cells()


def test_a_spec_may_be_labelled_as_the_file_writes_it() -> None:
    parts = {"tasks": ["blobs( noise=3 )"], "losses": {"adnce(mu=.50)": {"sigma": SPACE}}}
    for name in ("adnce(mu=.50)", "adnce(mu=0.5)", "adnce(mu=0.5)[tuned]"):
        found = study(**parts, steps=9, labels={"blobs( noise=3 )": "B", name: "A"})
        assert found.labels == {"blobs(noise=3.0, steps=9)": "B", "adnce(mu=0.5)[tuned]": "A"}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], "`labels` must be a table of texts, such as .*: got"),
        ({"infonce": ""}, "`labels.infonce` must be a text of 1 to 80 characters.*: got ''"),
        ({"infonce": 3}, "`labels.infonce` must be a text .*: got 3"),
        ({"infonce": "a\x07"}, "`labels.infonce` must be a text .* without control characters"),
        ({"infonec": "a"}, "no name of `labels` 'infonec'. Did you mean 'infonce'"),
        ({"hcl": "a"}, "no name of `labels` 'hcl'"),
        ({"ous": "a"}, "no name of `labels` 'ous'. Did you mean 'ours'"),
        ({3: "a"}, "no name of `labels` '3'"),
        ({"easy": "a", "blobs(noise=1)": "b"}, "`labels` must name blobs.* once: got 'a' and 'b'"),
        ({"easy": "a", "ours": "a"}, "must give each name another label: .* are both 'a'"),
    ],
)
def test_wrong_labels_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        study(labels=labels, tasks={"easy": {"use": "blobs(noise=1)"}, "blobs(noise=1)": {}})


def test_mistakes_of_names_are_reported_together() -> None:
    tasks = {"images": {"use": "blobs"}}
    with pytest.raises(InputError) as caught:
        study(tasks=tasks, labels={"infonec": "a", "ours": ""}, baseline="adnec", seeds=-1)
    for part in ("'images' of blobs", "'infonec'", "`labels.ours`", "got 'adnec'", "`seeds`"):
        assert part in str(caught.value)


# Changes


def test_aliases_choose_tasks_and_losses() -> None:
    whole = study(labels={"easy": "Easy", "ours": "Ours", "images": "MNIST"}, baseline="ours")
    part = whole.but(tasks=["easy"], losses=["ours", "infonce"])
    assert part.tasks == ("blobs(noise=1.0, batch_size=32)",)
    assert [entry.label for entry in part.entries] == ["adnce(mu=0.5)[tuned]", "infonce"]
    assert part.aliases == {k: v for k, v in whole.aliases.items() if k in ("easy", "ours")}
    assert part.labels == {whole.aliases["easy"]: "Easy", whole.aliases["ours"]: "Ours"}
    assert part.baseline == whole.baseline
    assert Study.from_dict(part.to_dict()) == part
    assert whole.but() == whole
    assert whole.but(tasks=["blobs"]).tasks == whole.tasks[:2]
    assert whole.but(baseline="sharp").baseline == "adnce(temperature=0.05)"


def test_other_steps_keep_aliases_labels_and_margins() -> None:
    whole = study(labels={"easy": "Easy"}, margins=0.5).but(steps=3)
    easy = "blobs(noise=1.0, steps=3, batch_size=32)"
    assert whole.aliases["easy"] == easy
    assert whole.labels == {easy: "Easy"}
    assert whole.margins == {easy: 0.5, "blobs(noise=4.0, steps=3)": 0.5, "images": 0.5}


def test_a_table_of_changes_may_have_aliases() -> None:
    changed = study().but(losses={"wide": {"use": "adnce(sigma=2)"}})
    assert changed.aliases["wide"] == "adnce(sigma=2.0)"
    assert changed.aliases["easy"] == "blobs(noise=1.0, batch_size=32)"
    assert "ours" not in changed.aliases


def test_an_unknown_alias_of_a_change_is_an_error() -> None:
    with pytest.raises(InputError, match=r"no task or alias 'eesy'\. Did you mean 'easy'"):
        study().but(tasks=["eesy"])
    with pytest.raises(InputError, match="no loss or alias 'easy'"):
        study().but(losses=["easy"])


def test_a_study_file_with_aliases_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'losses = ["infonce"]\n'
        '[tasks.B]\nuse = "blobs"\nnoise = 3\n[labels]\nB = "Blobs"\ninfonce = "NT-Xent"\n'
    )
    found = Study.load(path)
    assert found.aliases == {"B": "blobs(noise=3.0)"}
    assert found.labels == {"blobs(noise=3.0)": "Blobs", "infonce": "NT-Xent"}


def test_the_examples_of_the_docs_are_studies() -> None:
    text = Path(__file__).parents[3].joinpath("docs", "studies.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    studies = [Study.from_dict({"name": "s"} | tomllib.loads(example)) for example in examples]
    assert [set(each.aliases) for each in studies] == [set(), {"few", "many", "ours"}]
