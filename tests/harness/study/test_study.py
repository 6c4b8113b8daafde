from pathlib import Path

import pytest
from runs import Inside
from typer.testing import CliRunner

from harness.cli import app
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run.runner import run
from harness.store.table import load_records
from harness.study import shipped as shipped_module
from harness.study.shipped import shipped
from harness.study.study import Study
from leaderboards import leaderboard


def test_cells_are_the_grid_with_untrained() -> None:
    study = Study("s", tasks=["blobs"], losses=["infonce", "adnce(mu=0.5)"], seeds=2)
    labels = [(cell.loss, cell.seed) for cell in study.cells()]
    losses = ["infonce", "adnce(mu=0.5)", "untrained"]
    assert labels == [(loss, seed) for seed in (0, 1) for loss in losses]


def test_two_ways_to_write_a_cell_are_one_cell() -> None:
    study = Study("s", tasks=["blobs"], losses=["adnce(mu=0.7)", "adnce", "untrained"], seeds=1)
    assert study.cells() == [
        Cell("blobs", "siamese", "adnce", 0),
        Cell("blobs", "siamese", "untrained", 0),
    ]


def test_every_shipped_study_is_valid() -> None:
    assert "quickstart" in shipped()
    for name in shipped():
        study = Study.load(name)
        assert study.name == name
        assert Study.from_dict(study.to_dict()) == study


def test_quickstart_is_the_three_panels() -> None:
    study = Study.load("quickstart")
    assert len(study.cells()) == 27
    assert study.baseline == "infonce"


def test_a_study_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('tasks = ["blobs(noise=3)"]\nlosses = ["margin"]\nseeds = [4, 2]\n')
    study = Study.load(path)
    assert (study.name, study.tasks, study.seeds) == ("mine", ("blobs(noise=3.0)",), (4, 2))
    assert study.baseline is None


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Study("s", tasks=["blob"], losses=["infonce(tau=1)", "adnec"], methods=[], seeds=0)
    message = str(caught.value)
    for part in ("'blob'", "'blobs'", "'tau'", "'adnec'", "'adnce'", "`methods`", "`seeds`"):
        assert part in message


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks = [", "is not valid TOML"),
        ('tasks = ["blobs"]\nlosses = ["infonce"]\nsedes = 3', "'sedes'. Did you mean 'seeds'"),
        ('losses = ["infonce"]', "`tasks` is missing"),
        ('tasks = "blobs"\nlosses = ["infonce"]', "`tasks` must be a list of specs"),
        ('tasks = ["blobs"]\nlosses = ["infonce"]\nseeds = [1, 1]', "`seeds` must be"),
        ('tasks = ["blobs"]\nlosses = ["infonce"]\nseeds = true', "`seeds` must be"),
        ('tasks = ["blobs"]\nlosses = ["infonce"]\nbaseline = "adnce"', "`baseline` must be one"),
        ('tasks = ["blobs"]\nlosses = ["untrained"]', "`losses` must .* is always included"),
        ('tasks = ["blobs"]\nlosses = ["infonce"]\nseeds = 1000000000000', "`seeds` must be"),
        ('name = 3\ntasks = ["blobs"]\nlosses = ["infonce"]', "`name` must be a text: got 3"),
    ],
)
def test_mistakes_in_a_study_file_are_reported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Study.load(path)


def test_a_study_file_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('tasks = ["blobs"]\nlosses = ["infonce"]\nseeds = 2\n', encoding="utf-8-sig")
    assert Study.load(path).seeds == (0, 1)


def test_seeds_may_be_any_whole_numbers() -> None:
    parts = {"name": "s", "tasks": ["blobs"], "losses": ["infonce"]}
    for seeds in (range(3), 3, [0, 1, 2]):
        assert Study.from_dict(parts | {"seeds": seeds}).seeds == (0, 1, 2)
    for seeds in ([True], [-1, 2], range(0)):
        with pytest.raises(InputError, match="`seeds` must be a number of seeds"):
            Study.from_dict(parts | {"seeds": seeds})


def test_mistakes_are_reported_whichever_others_there_are() -> None:
    wrong = {
        "name": "s",
        "tasks": ["blobs"],
        "losses": {"infonce": {"temperature": {"low": 0.1, "high": 1.0}}, "adnec": {}},
        "methods": ["siamese"],
        "seeds": [0, 1],
        "tuning": {"trials": 2, "seeds": [1]},
        "sedes": 3,
    }
    with pytest.raises(InputError) as caught:
        Study.from_dict(wrong)
    for words in ("no study key 'sedes'", "no loss 'adnec'"):
        assert words in str(caught.value)
    with pytest.raises(InputError) as caught:
        Study.from_dict(wrong | {"losses": ["infonce"], "baseline": "infonec", "seeds": -1})
    for words in (
        "no study key 'sedes'",
        "`seeds` must be",
        "`baseline` must be one of infonce: got 'infonec'",
        "`tuning` must have a loss with a search space",
    ):
        assert words in str(caught.value)
    with pytest.raises(InputError) as caught:
        Study.from_dict({"task": ["blobs"], "losses": ["adnec"], 3: 4})  # type: ignore[dict-item]
    for words in ("`name` is missing", "`tasks` is missing", "no study key 'task'", "'adnec'"):
        assert words in str(caught.value)
    assert "must name at least one of the tasks" not in str(caught.value)


def test_a_binary_study_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not valid TOML"):
        Study.load(path)


def test_a_missing_file_and_a_wrong_name() -> None:
    with pytest.raises(InputError, match=r"There is no study file 'no.toml'"):
        Study.load("no.toml")
    with pytest.raises(InputError, match="Did you mean 'quickstart'"):
        Study.load("quickstrat")


def test_changes_to_a_study() -> None:
    study = Study("s", tasks=["blobs(noise=3.0)", "images"], losses=["infonce", "adnce"], seeds=3)
    study = study.but(baseline="infonce")
    assert study.but(tasks=["blobs"]).tasks == ("blobs(noise=3.0)",)
    assert study.but(tasks=["nodes"]).tasks == ("nodes",)
    assert study.but(seeds=5).seeds == (0, 1, 2, 3, 4)
    assert study.but(losses=["adnce", "margin"]).baseline is None
    assert study.but(losses=["margin", "infonce"]).baseline == "infonce"
    assert study.but() == study
    floor = Study("s", tasks=["blobs"], losses=["infonce"], baseline="untrained")
    assert floor.but(seeds=5).baseline == "untrained"


def test_a_broken_package_of_studies_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = shipped_module.load

    def load(group: str, name: str) -> object:
        if name == "broken":
            raise InputError("The study 'broken' could not be loaded.")
        return known(group, name)

    monkeypatch.setattr(shipped_module, "load", load)
    monkeypatch.setattr(shipped_module, "names", lambda group: ["broken", "triptych"])
    with pytest.warns(UserWarning, match="'broken' could not be loaded"):
        assert "quickstart" in shipped()


def test_losses_that_do_not_fit_a_method_are_an_error_of_the_study() -> None:
    with pytest.raises(InputError) as caught:
        Study(
            "s",
            tasks=["blobs", "sentences"],
            losses=["infonce", "regression"],
            methods=["byol", "supervised_contrastive"],
        )
    text = str(caught.value)
    assert "`infonce` cannot be trained with `byol`: InfoNCE needs negatives" in text
    assert "(on blobs, sentences)" in text
    assert "SupervisedContrastive needs labels, but the task gives none (on sentences)." in text
    assert "`regression` cannot be trained with `supervised_contrastive`" in text
    assert (
        "differ by dropout alone: training would destroy the pretrained encoder (on sentences)."
        in text
    )
    assert "`triptych list methods --long` lists which losses each method takes." in text


SPACE = {"low": 0.02, "high": 1.0, "log": True}
BUDGET = {"trials": 4, "seeds": 2}


def tuned(**changes: object) -> Study:
    values = {
        "name": "s",
        "tasks": ["blobs"],
        "losses": {
            "infonce": {"temperature": SPACE},
            "adnce": {"mu": {"low": 0, "high": 1}, "temperature": SPACE, "sigma": 2.0},
            "margin": {},
        },
        "seeds": 3,
        "tuning": BUDGET,
    }
    return Study.from_dict(values | changes)


def test_the_cells_of_a_tuned_study() -> None:
    study = tuned()
    labels = [entry.label for entry in study.entries]
    assert labels == ["infonce[tuned]", "adnce(sigma=2.0)[tuned]", "margin"]
    trials = study.trials()
    assert len(trials) == 4 * 2 * 2
    assert {planned.cell.scored for planned in trials} == {"validation"}
    assert {planned.cell.seed for planned in trials} == {10000, 10001}
    assert study.size() == 16 + 3 * 4
    row = ("blobs", "siamese", labels[0])
    finals = study.finals({row: "infonce(temperature=0.5)"})
    assert [p.label for p in finals[:3]] == [labels[0], "margin", "untrained"]
    assert {p.cell.scored for p in finals} == {"test"}
    assert not {p.cell.seed for p in finals} & {p.cell.seed for p in trials}


def test_trial_k_of_every_loss_is_point_k() -> None:
    """The settings of a loss take coordinates in the order of its signature."""
    by_trial: dict[int | None, dict[str, str]] = {}
    for planned in tuned().trials():
        by_trial.setdefault(planned.trial, {})[planned.label] = planned.cell.loss
    for specs in by_trial.values():
        temperature = specs["infonce[tuned]"].removeprefix("infonce(").removesuffix(")")
        assert specs["adnce(sigma=2.0)[tuned]"].startswith(f"adnce({temperature}, mu=")


def test_another_loss_or_more_trials_do_not_change_the_trials() -> None:
    study = tuned()
    before = {planned.cell for planned in study.trials()}
    more = {**study.losses, "hcl": {"beta": {"low": 0.1, "high": 2.0}, "temperature": SPACE}}
    assert before < {planned.cell for planned in tuned(losses=more).trials()}
    budget = {"trials": 7, "seeds": 3}
    assert before < {planned.cell for planned in tuned(tuning=budget).trials()}


def test_a_tuned_study_round_trips_and_its_baseline_is_a_row() -> None:
    study = tuned(baseline="infonce")
    assert study.baseline == "infonce[tuned]"
    assert Study.from_dict(study.to_dict()) == study
    only = study.but(losses=["adnce"])
    assert [entry.label for entry in only.entries] == ["adnce(sigma=2.0)[tuned]"]
    assert only.baseline is None
    assert study.but(losses=["margin", "hcl"]).tuning is None
    assert study.but(seeds=5).tuning == study.tuning


def test_losses_with_methods_of_their_own() -> None:
    study = Study(
        "s",
        tasks=["blobs"],
        losses={"infonce": {}, "regression": {"methods": ["byol"]}},
        seeds=1,
    )
    pairs = [(cell.method, cell.loss) for cell in study.cells()]
    assert pairs == [
        ("siamese", "infonce"), ("byol", "regression"),
        ("", "untrained"),
    ]  # fmt: skip
    assert study.size() == len(pairs)
    assert Study.from_dict(study.to_dict()) == study


def test_settings_in_tables_and_steps_for_all_tasks() -> None:
    study = Study.from_dict(
        {
            "name": "s",
            "tasks": {"blobs": {"noise": 3}, "images": {"steps": 7}},
            "losses": {"adnce(mu=0.5)": {"sigma": 2}},
            "steps": 20,
            "probes": 3,
        }
    )
    assert study.tasks == ("blobs(noise=3.0, steps=20)", "images(steps=7)")
    assert list(study.losses) == ["adnce(mu=0.5, sigma=2.0)"]
    probes = {cell.loss: cell.probes for cell in study.cells()}
    assert probes == {"adnce(mu=0.5, sigma=2.0)": 3, "untrained": 0}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuning": None}, r"`infonce` searches temperature, .* add \[tuning\] with trials"),
        ({"losses": ["infonce"]}, "`tuning` must have a loss with a search space"),
        ({"tuning": {"trials": 4}}, "`tuning.seeds` is missing"),
        ({"tuning": {"trials": 0, "seeds": 1}}, "`tuning.trials` must be a whole number at least"),
        ({"tuning": {"trails": 4, "seeds": 1}}, "'trails'. Did you mean 'trials'"),
        ({"tuning": {"trials": 4, "seeds": [1, 5]}}, r"must be fresh: got \[1\]\. Write"),
        ({"tuning": 8}, "`tuning` must be a table"),
        ({"losses": {"infonce": {"temprature": SPACE}}}, "'temprature'. Did you mean 'temperatur"),
        ({"losses": {"infonce": {"temperature": {"low": 1}}}}, r"`low` and `high`: got .* Add"),
        (
            {"losses": {"infonce(temperature=0.5)": {"temperature": SPACE}}},
            "`temperature` of the loss .* must be fixed or searched: got both",
        ),
        (
            {"losses": {"adnce": {"temperature": {"low": -1.0, "high": 1.0}}}},
            "`temperature` must be a number at least 0.0001",
        ),
        (
            {"losses": {"infonce": {"methods": ["byol"]}}},
            "`infonce` cannot be trained with `byol`",
        ),
        ({"losses": 3}, "`losses` must be a list of specs"),
        ({"tasks": {"blobs": 3}}, "`tasks` must be a list of specs"),
        ({"tasks": {"blobs(noise=1)": {"noise": 3}}}, "is given noise twice"),
        ({"steps": 0}, "`steps` must be a whole number at least 1"),
        ({"probes": -1}, "`probes` must be a whole number at least 0"),
        ({"probes": 10**12}, "and at most 1000"),
        ({"name": "../evil"}, "`name` must be of letters"),
        ({"name": ""}, "`name` must be of letters"),
        ({"name": "a\0"}, "`name` must be of letters"),
        ({"tuning": {"trials": 4096, "seeds": 10000}}, "A study must have at most 100000 cells"),
        ({"losses": {"infonce": {"temperature": 10**400}}}, "`temperature` of the loss 'infonce'"),
        (
            {"losses": {"infonce": {"temperature": {"low": 1, "high": 10**400}}}},
            "`infonce.temperature.high` must be a number at most",
        ),
        ({"losses": {"infonce": {"temperature": [0.1, "x"]}}}, "`temperature` of the loss"),
        (
            {"losses": {"infonce": {"temperature": {"low": 0.10000001, "high": 0.10000002}}}},
            "ends that differ in their first 4 digits",
        ),
        ({"losses": {"untrained": {"x": 1}, "infonce": {}}}, "`losses.untrained` must have no"),
        ({"losses": {"infonce": {"methods": "byol"}}}, "such as .methods. moco"),
        ({"baseline": "hcl"}, r"`baseline` must be one of infonce\[tuned\]"),
    ],
)
def test_mistakes_of_a_tuned_study_are_reported(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tuned(**changes)


def test_unknown_keys_do_not_hide_other_mistakes() -> None:
    with pytest.raises(InputError) as caught:
        Study.from_dict({"name": "s", "tasks": ["blob"], "losses": ["infonec"], "sedes": 3})
    for part in ("'sedes'", "'seeds'", "'blob'", "'blobs'", "'infonec'", "'infonce'"):
        assert part in str(caught.value)


def test_a_tasks_own_steps_are_kept_even_if_they_are_its_default() -> None:
    study = Study("s", tasks=["images(steps=100)", "blobs"], losses=["infonce"], steps=20)
    assert study.tasks == ("images", "blobs(steps=20)")
    assert Study.from_dict(study.to_dict()) == study
    assert study.but(steps=5).tasks == ("images(steps=5)", "blobs(steps=5)")


def test_changes_by_tables_keep_their_settings() -> None:
    study = Study("s", tasks=["blobs"], losses=["infonce"])
    assert list(study.but(losses={"adnce": {"mu": 0.5}}).losses) == ["adnce(mu=0.5)"]
    assert study.but(tasks={"blobs": {"noise": 3}}).tasks == ("blobs(noise=3.0)",)
    assert study.but(losses={"adnce": {"mu": SPACE}}, tuning=BUDGET).size() == 8 + 6


def test_all_mistakes_of_a_losss_table_are_reported_at_once() -> None:
    table = {"temprature": SPACE, "mu": {"low": 0, "hihg": 1}, "sigma": -1.0}
    with pytest.raises(InputError) as caught:
        tuned(losses={"adnce": table})
    for part in ("'temprature'", "hihg", "`sigma` must be"):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, "a = " + "9" * 5001])
def test_toml_that_crashes_the_parser_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="is not valid TOML"):
        Study.load(path)


def test_a_method_named_twice_is_run_once() -> None:
    study = Study("s", tasks=["blobs"], losses={"infonce": {"methods": ["siamese", "siamese()"]}})
    assert study.size() == len(study.cells()) == 6


def test_cautions_about_a_modality_are_shown_before_a_run() -> None:
    study = Study("s", tasks=["images", "sentences"], losses=["vicreg", "infonce"])
    assert [line.split(":")[0] for line in study.cautions()] == ["vicreg on sentences"]
    planned = CliRunner().invoke(
        app, ["plan", "quickstart", "--no-time", "--tasks", "sentences", "--losses", "vicreg"]
    )
    assert (
        "vicreg on sentences: with its defaults it ends below the untrained encoder"
        in planned.stderr
    )


def test_studies_of_many_losses_have_at_least_5_seeds() -> None:
    """With 3 seeds the simultaneous interval of 36 losses finds nothing below ten points."""
    for name in shipped():
        study = Study.load(name)
        assert len(study.entries) < 8 or len(study._seeds()) >= 5, name


def test_a_control_is_the_baseline_again() -> None:
    study = Study("s", tasks=["blobs"], losses=["infonce", "adnce"], seeds=2, control=True)
    rows = [planned for planned in study.finals({}) if planned.label == "control"]
    assert [planned.cell.loss for planned in rows] == ["infonce(temperature=0.1000001)"] * 2
    assert study.size() == len(study.cells()) == 2 * (2 + 1 + 1)
    assert Study.from_dict(study.to_dict()) == study
    adnce = study.but(losses=["adnce"])
    assert {p.cell.loss for p in adnce.finals({}) if p.label == "control"} == {
        "adnce(temperature=0.1000001)"
    }


def test_a_tuned_baselines_control_has_the_chosen_settings() -> None:
    losses = {"infonce": {"temperature": {"low": 0.05, "high": 1.0, "log": True}}}
    tuning = {"trials": 2, "seeds": 1}
    study = Study("s", tasks=["blobs"], losses=losses, seeds=1, tuning=tuning, control=True)
    assert not [planned for planned in study.finals({}) if planned.label == "control"]
    chosen = {("blobs", "siamese", "infonce[tuned]"): "infonce(temperature=0.5)"}
    (row,) = [planned for planned in study.finals(chosen) if planned.label == "control"]
    assert row.cell.loss == "infonce(temperature=0.5000005)"
    assert study.size() == 2 + 1 + 1 + 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"control": "yes"}, "`control` must be true or false: got 'yes'"),
        ({"losses": ["vicreg"], "control": True}, "`control` needs a baseline with a temperature"),
        ({"margins": 0}, "`margins` must be a number above 0: got 0"),
        ({"margins": {"blobs": "half"}}, "`margins` must be a number above 0: got 'half'"),
        ({"margins": {"blob": 0.5}}, "no task of `margins` 'blob'. Did you mean 'blobs'"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_wrong_margins_and_controls_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Study(**{"name": "s", "tasks": ["blobs"], "losses": ["infonce"], **given})  # type: ignore[arg-type]


def test_a_studys_margins_reach_the_board(tmp_path: Path) -> None:
    study = Study(
        "s", tasks=["blobs(steps=4)"], losses=["infonce", "adnce"], seeds=3,
        margins={"blobs": 2.5}, control=True,
    )  # fmt: skip
    run(study, tmp_path, engine=Inside())
    table = load_records(tmp_path)
    assert set(table.loc[table["main"], "margin"]) == {2.5}
    board = leaderboard(table)
    control = board.rows[board.rows["loss"] == "control"].iloc[0]
    assert (control["kind"], control["pairs"]) == ("control", 3)
    assert board.rows["control_std"].notna().all()
