"""``triptych list KIND NAME``: a page about each plugin, in plain text."""

# ruff: noqa: RUF001  # Equations have Greek letters.
import re
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from harness import plugins
from harness.cli import app, docstrings, pages
from harness.core.sources import OURS

KINDS = ("losses", "methods", "tasks", "engines")
MARKUP = re.compile(r"``|:\w+:`|\.\. \w+|\\[A-Za-z]|>>>|Args:|Raises:")


def listed(*words: str) -> str:
    done = CliRunner().invoke(app, ["list", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_page_of_a_loss_holds_all_that_is_declared() -> None:
    text = listed("losses", "adnce")
    lines = text.splitlines()
    assert lines[0] == "adnce  ADNCE"
    assert lines[2].startswith("Weight each negative by a Gaussian of its score")
    for words in (
        "    w_j ∝ e^(-(s_j - μ)^2 / 2σ^2), mean_j w_j = 1,",
        "    ℓ = -log (e^(s^+/τ) / (e^(s^+/τ) + Σ_j w_j e^(s_j/τ)))",
        "  mu=0.7 (a number; -10 to 10): the score at which a negative weighs most.",
        "  form='image' (a text; image, sentence, graph): ",
        "Convention: each form is the published one",
        "methods:    moco, moco_v3, siamese, supervised_contrastive",
        "tasks:      all",
        "References: Wu et al., NeurIPS 2023, arXiv 2310.11048.",
        "Code: harness.losses.adnce",
    ):
        assert words in text


def test_several_pages_names_with_dashes_and_specs() -> None:
    text = listed("losses", "hcl-paper", "dcl(mean=True)")
    assert [line for line in text.splitlines() if re.match(r"(hcl_paper|dcl)\b  ", line)]
    assert "\nEquation of HCL:\n" in text
    assert "_Stateful" not in text
    assert "\n    N_g = max{" in text, "a preset shows the equation of the loss it fixes"


def test_a_caution_and_what_does_not_fit_are_named() -> None:
    assert "Caution: on the modality sentence, with its defaults" in listed("losses", "vicreg")
    assert re.search(r"^methods: +byol, moco_v3, simsiam$", listed("losses", "regression"), re.M)
    page = listed("methods", "supervised_contrastive")
    assert re.search(r"^tasks: .*images", page, re.M)
    assert not re.search(r"^tasks: .*sentences", page, re.M)


def test_the_page_of_a_task_holds_modality_metrics_and_inherited_settings() -> None:
    text = listed("tasks", "clusters")
    assert "Modality: synthetic" in text
    assert "  worst_task (%, higher is better, a difference of 1 matters): The accuracy" in text
    assert "Untrained references: oracle." in text
    assert "  steps=150 (a whole number; 1 or more): how many steps a cell trains." in text


def test_pages_of_a_study_an_engine_and_a_file_of_the_board() -> None:
    study = listed("studies", "quickstart")
    assert "size:    27 cells: 3 tasks x 3 rows x 3 seeds" in study
    assert "losses:  infonce, adnce" in study
    assert "jobs=0 (a whole number; 0 or more)" in listed("engines", "local")
    assert listed("boards", "leaderboard.csv").startswith("leaderboard.csv  ")


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_plain_text_within_the_width(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_partners", lambda kind, name: {})  # Tested above; it builds all.
    for name in plugins.names(kind):
        lines = pages.page(kind, name, 60)
        for line in lines:
            assert not MARKUP.search(line), (name, line)
            assert len(line) <= 60 or " " not in line.strip(" -"), (name, line)
        plugin = plugins.load(kind, name)
        if plugin.__module__.partition(".")[0] in OURS:
            missing = plugins.declared(kind, name).keys() - docstrings.read(plugin).arguments.keys()
            assert not missing, f"the docstring of {name} says nothing of {missing}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["losses", "infonec"], r"There is no loss 'infonec'. Did you mean 'infonce'"),
        (["studies", "quickstrat"], r"There is no study 'quickstrat'. Did you mean 'quickstart'"),
        (["boards", "leaderbord.csv"], r"There is no file or figure of a board 'leaderbord.csv'"),
        (["losses", "adnce("], r"A spec must read `name` or"),
    ],
)
def test_an_unknown_name_is_an_error(words: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["list", *words])
    assert done.exit_code == 2
    assert re.search(message, done.stderr)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\frac{a + b}{2\tau}", "(a + b) / 2τ"),
        (r"\log \frac{a}{b}", "log a/b"),
        (r"\sqrt{x} + \sqrt{2\eta}", "√x + √(2η)"),
        (r"x_{ij}^{-1} \ne \hat a", "x_ij^(-1) ≠ â"),
        (r"\max\Big\{a, \; b\Big\}", "max{a, b}"),
        (r"\unheard{x}", "unheardx"),
        ("x^", "x^()"),
        ("a \\", "a"),
    ],
)
def test_equations_as_text(source: str, text: str) -> None:
    assert docstrings.tex(source) == text.replace("â", "a\u0302")


def test_a_docstring_without_sections_and_none_at_all() -> None:
    class Bare:
        pass

    Bare.__doc__ = None
    assert docstrings.read(Bare).summary == ""
    plain: Callable[[], None] = lambda: None  # noqa: E731
    plain.__doc__ = "Do it.\n\nThen :class:`~a.b.Rest`.\n"
    assert docstrings.read(plain).blocks == ["Then Rest."]
