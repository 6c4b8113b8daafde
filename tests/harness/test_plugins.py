import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import plugins
from harness.core import registry
from harness.core.errors import InputError
from harness.losses.adnce import ADNCE


def test_build_applies_the_settings_of_the_spec() -> None:
    loss = plugins.build("losses", "adnce(temperature=0.4, mu=0.7, sigma=0.5)")
    assert isinstance(loss, ADNCE)
    assert (loss.temperature, loss.mu, loss.sigma, loss.form) == (0.4, 0.7, 0.5, "image")


def test_a_bare_word_is_a_text_and_inf_a_number() -> None:
    assert plugins.build("losses", "adnce(form=graph)").form == "graph"
    assert plugins.build("losses", "adnce(sigma=inf)").sigma == float("inf")
    assert plugins.parse("losses", "adnce(mu=-inf)")[1] == {"mu": -float("inf")}


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("infonce", "infonce"),
        ("infonce()", "infonce"),
        ("infonce(temperature=0.1)", "infonce"),
        ("infonce(temperature=1)", "infonce(temperature=1.0)"),
        (" adnce( sigma = 2, mu=0.50)", "adnce(mu=0.5, sigma=2.0)"),
        ("adnce(form='graph')", "adnce(form='graph')"),
    ],
)
def test_specs_have_one_canonical_form(spec: str, canonical: str) -> None:
    assert plugins.canonical("losses", spec) == canonical


@given(
    temperature=st.floats(0.001, 10),
    mu=st.floats(-10, 10),
    form=st.sampled_from(["image", "sentence", "graph"]),
)
def test_specs_round_trip(temperature: float, mu: float, form: str) -> None:
    spec = f"adnce(temperature={temperature!r}, mu={mu!r}, form={form!r})"
    written = plugins.canonical("losses", spec)
    assert plugins.canonical("losses", written) == written
    assert plugins.resolved("losses", written) == plugins.resolved("losses", spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "infonec",
            r"There is no loss 'infonec'. Did you mean 'infonce' or 'infonce_cosine' or "
            r"'infonce_learned'\? Known: ",
        ),
        ("adnce(temprature=1)", r"no setting 'temprature'. Did you mean 'temperature'\? Settings"),
        ("adnce(tau=1)", r"Settings of the loss 'adnce': temperature=0.1, mu=0.7, sigma=1.0, form"),
        ("adnce(mu='high')", r"`mu` of the loss 'adnce' must be a number, such as 0.7: got 'high'"),
        ("adnce(mu=True)", "`mu` of the loss 'adnce' must be a number"),
        (
            "adnce(sigma=0)",
            r"Loss 'adnce\(sigma=0\)': `sigma` must be a number at least 0.0001: got",
        ),
        ("adnce(mu=1e20)", "`mu` must be a number at least -10 and at most 10: got 1e\\+20"),
        ("adnce(form=oval)", "`form` must be one of 'image', 'sentence', 'graph': got 'oval'"),
        ("adnce(0.5)", "A spec must read"),
        ("adnce(mu=0.5", "A spec must read"),
        ("adnce(**{})", "A spec must read"),
        ("adnce(mu=__import__('os').getcwd())", "A spec must read"),
        ("adnce(mu=1)(mu=2)", "A spec must read"),
        ("", "A spec must read"),
    ],
)
def test_an_invalid_spec_is_an_error(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plugins.build("losses", spec)


def test_specs_are_split_at_commas_outside_brackets() -> None:
    text = "infonce,adnce(mu=0.5, sigma=1), margin"
    nested = plugins.split_specs("swav(crops=(2, 6), x=[1,2]),infonce,,")
    assert nested == ["swav(crops=(2, 6), x=[1,2])", "infonce"]
    assert plugins.split_specs(text) == ["infonce", "adnce(mu=0.5, sigma=1)", "margin"]


def test_commas_and_brackets_in_quotes_are_text() -> None:
    text = """x(text='a) , b\\' ,'),y(t=")")"""
    assert plugins.split_specs(text) == ["""x(text='a) , b\\' ,')""", """y(t=")")"""]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('dead')", "could not be loaded .* RuntimeError: dead"),
        ("import sys; sys.exit(3)", "could not be loaded .* SystemExit: 3"),
        ("def make(*, x=1): raise RuntimeError('boom')", "could not be built: RuntimeError: boom"),
        ("def make(*, x=1): raise SystemExit(0)", "of faulty could not be built: SystemExit: 0"),
    ],
)
def test_the_error_of_a_faulty_plugin_names_it(
    plugin: Callable[..., None], body: str, message: str
) -> None:
    plugin("faulty", "losses:faulty = faulty:make", body)
    with pytest.raises(InputError, match=message):
        plugins.build("losses", "faulty")
    assert plugins.build("losses", "infonce")
    sys.modules.pop("faulty", None)


def test_an_unknown_kind_of_plugin_is_an_error() -> None:
    with pytest.raises(InputError, match="There is no kind of plugin 'lossses'"):
        plugins.names("lossses")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests say which entry points are installed."""
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()


def entry(value: str, name: str = "mine") -> EntryPoint:
    return EntryPoint(name=name, value=value, group="harness.losses")


@pytest.mark.usefixtures("installed")
def test_the_error_of_a_plugin_that_cannot_be_imported_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry("no_such_module:Mine")])
    with pytest.raises(
        InputError, match=r"The loss 'mine' .* could not be loaded .*no_such_module"
    ):
        plugins.load("losses", "mine")


@pytest.mark.usefixtures("installed")
def test_a_shadowed_package_names_the_distribution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shadowed_pkg").mkdir()
    (tmp_path / "shadowed_pkg" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry("shadowed_pkg.mine:Mine")])
    monkeypatch.setattr(registry, "packages_distributions", lambda: {"shadowed_pkg": ["rival"]})
    with pytest.raises(InputError, match="'shadowed_pkg' is shadowed by the distribution rival"):
        plugins.load("losses", "mine")
    sys.modules.pop("shadowed_pkg", None)


class Of:
    """A distribution of some name."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.usefixtures("installed")
def test_plugins_of_one_name_are_told_apart_and_refused_where_one_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rivals = [
        SimpleNamespace(
            name="adnce", value=value, module=value.partition(":")[0],
            attr=value.partition(":")[2], dist=Of(owner), load=lambda value=value: value,
        )
        for owner, value in (("triptych", "harness.losses.adnce:ADNCE"), ("rival", "b:Mine"))
    ]  # fmt: skip
    monkeypatch.setattr(registry, "entry_points", lambda group: rivals)
    assert plugins.names("losses") == ["rival:adnce", "triptych:adnce"]
    ambiguous = "'adnce' is ambiguous: rival:adnce and triptych:adnce have that name"
    with pytest.raises(InputError, match=ambiguous):
        plugins.load("losses", "adnce")
    assert plugins.load("losses", "triptych:adnce") == "harness.losses.adnce:ADNCE"
    assert plugins.plugin_name("losses", "triptych:adnce") == "triptych:adnce"


@pytest.mark.usefixtures("installed")
def test_an_entry_point_listed_twice_is_one_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry("a:Mine"), entry("a:Mine")])
    assert plugins.names("losses") == ["mine"]


@pytest.mark.usefixtures("installed")
def test_nothing_installed_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    with pytest.raises(InputError, match="Install Triptych"):
        plugins.names("losses")


@pytest.mark.usefixtures("installed")
def test_a_setting_without_default_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry("fractions:Fraction.limit_denominator")]
    )
    with pytest.raises(InputError, match="must be a keyword argument with a default"):
        plugins.build("losses", "mine")


def test_none_is_allowed_if_a_settings_type_includes_it() -> None:
    assert plugins.build("losses", "nwj(temperature=None)").temperature is None
    assert plugins.canonical("losses", "nwj(temperature=None)") == "nwj(temperature=None)"
    assert plugins.canonical("losses", "nwj(temperature=0.1)") == "nwj"
    with pytest.raises(InputError, match=r"`temperature` .* must be a number, such as 0.1: got No"):
        plugins.build("losses", "infonce(temperature=None)")


def test_a_dotted_name_of_a_class_says_how_to_write_it() -> None:
    message = r"no loss 'triptych_example\.Margin'.*write 'triptych_example:Margin'\.$"
    with pytest.raises(InputError, match=message):
        plugins.canonical("losses", "triptych_example.Margin")
    assert plugins.canonical("losses", "triptych_example:Margin") == "margin"
