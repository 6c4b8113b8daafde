"""Single values of a study changed from outside: ``tasks.images.steps=20``."""

from typing import Any

import pytest

from harness.core.errors import InputError
from harness.study.overrides import read_overrides
from harness.study.study import Study

SPACE = {"low": 0.1, "high": 1.0}


def study(**given: Any) -> Study:
    """Return a study with two tasks of one plugin, aliases, labels, margins and a tuned loss."""
    values = {
        "name": "mine",
        "tasks": {"few": {"use": "blobs(steps=3)"}, "many": {"use": "blobs(noise=3.0)"}},
        "losses": {
            "infonce": {"temperature": SPACE},
            "ours": {"use": "adnce(mu=0.5)"},
            "adnce": {},
        },
        "seeds": 2,
        "baseline": "ours",
        "margins": {"few": 0.5},
        "tuning": {"trials": 4, "seeds": 1},
        "labels": {"ours": "ADNCE (ours)", "many": "Blobs", "accuracy": "probe"},
    }
    return Study.from_dict(values | given)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=20", 20),
        ("a=1e-3", 1e-3),
        ("a=.5", 0.5),
        ("a=true", True),
        ("a=True", True),
        ("a=None", None),
        ("a=inf", float("inf")),
        ("a=conv", "conv"),
        ('a="two words"', "two words"),
        ("a=two words", "two words"),
        ("a=./a/path=b", "./a/path=b"),
        ("a=2026-01-02", "2026-01-02"),
        ("a=[1, 2]", [1, 2]),
        ("a={low = 0.1, high = 1.0}", SPACE),
        ("a = 3", 3),
        ("a=", ""),
    ],
)
def test_values_are_read_as_toml_or_as_specs_write_them(text: str, value: object) -> None:
    found = read_overrides([text])["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["seeds"], r"must read KEY=VALUE, such as seeds=2 or .*: got 'seeds'"),
        (["=3"], r"must read KEY=VALUE"),
        (["seeds=1", "seeds=2"], r"`seeds` must be given once: got it twice"),
        (["seeds=[1, 2"], r"`seeds` must have a value as TOML writes it.*Quote it"),
        (['a="b'], r"`a` must have a value as TOML writes it"),
    ],
)
def test_texts_that_are_no_overrides(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_overrides(texts)


def test_keys_settings_and_entries_are_set() -> None:
    found = Study.load("quickstart").override(
        {
            "seeds": 2,
            "probes": 0,
            "tasks.images.steps": 20,
            "tasks.nodes.data": "citeseer",
            "losses.adnce.mu": 0.5,
            "methods.siamese.pairing": "both_views",
        }
    )
    assert found.tasks == ("images(steps=20)", "sentences", "nodes(data='citeseer')")
    assert list(found.losses) == ["infonce", "adnce(mu=0.5)"]
    assert found.methods == ("siamese(pairing='both_views')",)
    assert (found.seeds, found.probes, found.baseline) == ((0, 1), 0, "infonce")
    assert found.aliases["MNIST-5k"] == "images(steps=20)"
    assert Study.from_dict(found.to_dict()) == found
    assert Study.load("quickstart").override({}) == Study.load("quickstart")


def test_a_plugins_name_means_all_its_specs_an_alias_or_a_spec_one() -> None:
    assert study().override({"tasks.blobs.steps": 9}).tasks == (
        "blobs(steps=9)", "blobs(noise=3.0, steps=9)",
    )  # fmt: skip
    assert study().override({"tasks.few.steps": 9}).tasks == ("blobs(steps=9)", "blobs(noise=3.0)")
    assert study().override({"tasks.blobs( noise=3 ).steps": 9}).tasks == (
        "blobs(steps=3)", "blobs(noise=3.0, steps=9)",
    )  # fmt: skip
    assert list(study().override({"losses.ours.sigma": 2}).losses)[1:] == [
        "adnce(mu=0.5, sigma=2.0)", "adnce",
    ]  # fmt: skip
    both = study().override({"losses.adnce.sigma": 2, "losses.ours.mu": 0.1})
    assert list(both.losses)[1:] == ["adnce(mu=0.1, sigma=2.0)", "adnce(sigma=2.0)"]


def test_labels_aliases_margins_and_the_baseline_go_along() -> None:
    found = study().override({"losses.ours.sigma": 2, "tasks.few.steps": 9})
    assert found.baseline == "adnce(mu=0.5, sigma=2.0)"
    assert found.aliases == {
        "few": "blobs(steps=9)", "many": "blobs(noise=3.0)", "ours": "adnce(mu=0.5, sigma=2.0)",
    }  # fmt: skip
    assert found.margins == {"blobs(steps=9)": 0.5}
    assert found.labels["adnce(mu=0.5, sigma=2.0)"] == "ADNCE (ours)"
    assert found.labels["accuracy"] == "probe"


def test_a_search_is_changed_added_and_ended() -> None:
    wider = study().override({"losses.infonce.temperature": {"low": 0.01, "high": 2.0}})
    assert wider.losses["infonce"] == {"temperature": {"low": 0.01, "high": 2.0}}  # type: ignore[call-overload]
    more = study().override({"losses.ours.form": ["image", "graph"], "tuning.trials": 2})
    assert more.entries[1].label == more.baseline == "adnce(mu=0.5)[tuned]"
    assert len(more.trials()) == 2 * 2 * 2
    none = study(baseline="infonce").override({"losses.infonce.temperature": 0.5})
    assert (none.tuning, none.baseline) == (None, "infonce(temperature=0.5)")
    new = Study.load("quickstart").override(
        {"losses.adnce.mu": SPACE, "tuning.trials": 2, "tuning.seeds": 1}
    )
    assert len(new.trials()) == 3 * 2


def test_entries_of_tables_are_set_by_aliases_and_new_names() -> None:
    found = study().override(
        {"margins.many": 2, "labels.few": "A few", "tasks.few.steps": 9, "labels.accuracy": "p"}
    )
    assert found.margins == {"blobs(steps=9)": 0.5, "blobs(noise=3.0)": 2.0}
    assert found.labels["blobs(steps=9)"] == "A few"
    assert (found.labels["accuracy"], found.labels["blobs(noise=3.0)"]) == ("p", "Blobs")


def test_specs_for_a_whole_group_and_the_steps_of_all_tasks() -> None:
    found = study().override(
        {"losses": "ours, dcl", "losses.dcl.temperature": 0.2, "steps": 5, "tasks.many.steps": 7}
    )
    assert list(found.losses) == ["adnce(mu=0.5)", "dcl(temperature=0.2)"]
    assert found.tasks == ("blobs(steps=5)", "blobs(noise=3.0, steps=7)")
    assert found.tuning is None
    assert found.aliases["many"] == "blobs(noise=3.0, steps=7)"
    chosen = study().override({"losses": ["adnce(mu=0.50)"], "losses.adnce(mu=0.5).sigma": 3})
    assert list(chosen.losses) == ["adnce(mu=0.5, sigma=3.0)"]
    moved = study().override({"baseline": "adnce", "losses.adnce(mu=0.5).mu": 0.1})
    assert (moved.baseline, list(moved.losses)[1]) == ("adnce", "adnce(mu=0.1)")


def test_the_changed_study_has_the_cells_of_one_that_is_written_so() -> None:
    written = study(tasks=["blobs(steps=9)", "blobs(noise=3.0)"], margins=None, labels={})
    assert set(study().override({"tasks.few.steps": 9}).cells()) == set(written.cells())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sedes": 2}, r"no key 'sedes' of a study\. Did you mean seeds\b.*Known: .*, seeds, .*"),
        ({"blobs.steps": 2}, r"Did you mean tasks\.blobs\.steps\?"),
        ({"noise": 2}, r"no key 'noise' of a study\. Did you mean tasks\.blobs\.noise\?"),
        ({"seeds.first": 2}, r"no key 'seeds\.first' of a study"),
        ({"tasks.blobs": 2}, r"no key 'tasks\.blobs' of a study.*tasks\.NAME\.SETTING"),
        (
            {"tasks.blob.steps": 2},
            r"`tasks\.blob` must be a part of the study 'mine'.*mean 'blobs'",
        ),
        ({"tasks.images.steps": 2}, r"must be a part of .* Known: blobs, .*few, many\."),
        ({"tasks.few.stpes": 2}, r"no setting 'stpes'\. Did you mean 'steps'\?.*noise=2.0"),
        ({"tasks.few.steps": "x"}, r"`steps` of the task 'blobs' must be a whole number.*got 'x'"),
        ({"losses.ours.sigma": -1}, r"`sigma` must be a number at least .*got -1"),
        ({"tuning.trails": 2}, r"no key of tuning 'trails'\. Did you mean 'trials'"),
        ({"margins.fwe": 2}, r"no task of `margins` 'fwe'\. Known: blobs"),
        (
            {"tuning": {"trials": 2, "seeds": 1}, "tuning.trials": 2},
            r"`tuning` must be given as a whole or by its entries: got both",
        ),
        ({"seeds": 0}, r"`seeds` must be a number of seeds"),
        ({"losses.ours(mu=1).sigma": 1}, r"no loss 'ours'"),
    ],
)
def test_wrong_overrides_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        study().override(values)


def test_only_the_tasks_of_a_modality() -> None:
    quickstart = Study.load("quickstart")
    assert quickstart.of_modality(["graph", "image"]).tasks == ("images", "nodes")
    assert quickstart.of_modality(["sentence"]).aliases == {"STS-B": "sentences"}
    with pytest.raises(
        InputError, match=r"`modality` must be one of 'image', 'sentence', 'graph': got 'images'"
    ):
        quickstart.of_modality(["images"])
