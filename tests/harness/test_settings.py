"""Settings as annotated fields: what a constructor takes, checks, and says of itself."""

import inspect
import math
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import plugins
from harness.core.errors import InputError
from harness.losses.adnce import ADNCE
from harness.losses.hcl import HCL, Debiased
from harness.settings import Above, Between, Configured, OneOf, evaluation, location, settings_of


class Base(Configured):
    kept: ClassVar[str] = "no setting"
    bare = "no setting either"
    low: Annotated[float, Between(0, 1)] = 0.5
    count: Annotated[int, Between(1), evaluation] = 3
    place: Annotated[str, location] = ""
    form: Annotated[str, OneOf(("round", "square"))] = "round"
    maybe: Annotated[float | None, Above(0)] = None
    flag: bool = False

    def setup(self) -> None:
        super().setup()
        self.doubled = 2 * self.low


class Colour(Enum):
    RED = 1
    BLUE = 2


class Places(Configured):
    root: Path = Path("data")
    colour: Colour = Colour.RED


class Other(Base, fixed={"flag": True}):
    low: float = 0.25
    own: int = 7


def test_a_constructor_takes_the_declared_settings_and_no_others() -> None:
    made = Base(low=1, count=2)
    assert (made.low, made.count, made.form, made.doubled) == (1.0, 2, "round", 2.0)
    assert type(made.low) is float
    assert list(inspect.signature(Base).parameters) == list(Base.settings)
    assert "kept" not in Base.settings
    assert "bare" not in Base.settings
    with pytest.raises(TypeError, match=r"unexpected setting 'lwo'\. Did you mean 'low'"):
        Base(lwo=1)  # type: ignore[call-arg]


def test_a_redeclared_setting_keeps_its_bases_rule_and_role() -> None:
    assert list(Other.settings) == ["own", "low", "count", "place", "form", "maybe"]
    assert Other().low == 0.25
    assert Other.settings["low"].rule == Between(0, 1)
    assert Other.settings["count"].role == evaluation
    with pytest.raises(InputError, match="`low` must be a number at least 0 and at most 1: got 2"):
        Other(low=2.0)


def test_a_fixed_setting_has_its_value_and_cannot_be_given() -> None:
    assert Other().flag is True
    with pytest.raises(TypeError, match="unexpected setting 'flag'"):
        Other(flag=False)  # type: ignore[call-arg]
    assert Debiased().beta == 0.0
    assert "beta" in HCL.settings
    with pytest.raises(TypeError, match=r"`fixed` of Wrong must name .*: got \['none'\]"):

        class Wrong(Base, fixed={"none": 1}):
            pass


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"low": math.nan}, "`low` must be a number at least 0 and at most 1: got nan"),
        ({"low": True}, "`low` must be a number at least 0 and at most 1: got True"),
        ({"low": None}, "`low` must be a number at least 0 and at most 1: got None"),
        ({"count": 1.5}, "`count` must be a whole number at least 1: got 1.5"),
        ({"count": 0}, "`count` must be a whole number at least 1: got 0"),
        (
            {"form": "sqare"},
            "`form` must be one of 'round', 'square': got 'sqare'. Did you mean 's",
        ),
        ({"maybe": 0}, "`maybe` must be a number above 0: got 0"),
        ({"flag": 1}, "`flag` must be True or False, such as False: got 1"),
        ({"place": 3}, "`place` must be a text, such as '': got 3"),
    ],
)
def test_the_error_of_an_invalid_value_states_the_rule(
    given_: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Base(**given_)


def test_a_plain_constructor_still_declares_settings() -> None:
    class Plain(Base):
        def __init__(self, *, own: float = 1.0, where: Annotated[str, location] = "") -> None:
            super().__init__(low=0.75)
            self.own, self.where = own, where

    assert list(settings_of(Plain)) == ["own", "where"]
    assert Plain.settings["where"].role == location
    made = Plain(own=2.0)
    assert (made.own, made.low, made.doubled) == (2.0, 0.75, 1.5)
    assert list(inspect.signature(Plain).parameters) == ["own", "where"]

    class Child(Plain):
        pass

    assert list(Child.settings) == ["own", "where"]


def test_a_function_can_be_a_plugin() -> None:
    def make(*, size: int = 3) -> None: ...

    assert settings_of(make)["size"].default == 3

    def wrong(size: int) -> None: ...

    with pytest.raises(InputError, match="keyword argument with a default: got `size: int`"):
        settings_of(wrong)


@given(value=st.floats(-5, 5))
def test_an_open_end_of_a_range_excludes_its_bound(value: float) -> None:
    for rule, inside in ((Between(0, 1), 0 <= value <= 1), (Above(0, 1), 0 < value <= 1)):
        if inside:
            rule.check("x", value)
        else:
            with pytest.raises(InputError, match="`x` must be a number"):
                rule.check("x", value)


@pytest.mark.parametrize("group", ["losses", "methods", "tasks", "engines"])
def test_every_default_keeps_its_own_rule(group: str) -> None:
    for name in plugins.names(group):
        for setting in plugins.declared(group, name).values():
            assert setting.checked(setting.default) == setting.default, (name, setting)


def test_settings_are_described_with_rule_and_role() -> None:
    assert ADNCE.settings["sigma"].described() == "sigma=1.0 (0.0001 or more)"
    assert Base.settings["count"].described() == "count=3 (1 or more; evaluation)"
    assert Base.settings["flag"].described() == "flag=False"


def test_types_in_annotations_must_be_importable() -> None:
    with pytest.raises(TypeError, match=r"settings of Typed cannot be read: .*Import the types in"):

        class Typed(Configured):
            x: "Missing" = 1  # type: ignore[name-defined]


def test_an_assignment_without_an_annotation_is_refused() -> None:
    """It would look like another default, and every cell would train at the base's."""
    with pytest.raises(TypeError, match=r"`low` is a setting of Sharp's base: write `low: float"):

        class Sharp(Base):
            low = 0.75


def test_settings_that_an_inherited_constructor_does_not_take_are_refused() -> None:
    class Plain(Base):
        def __init__(self, *, own: float = 1.0) -> None:
            super().__init__()
            self.own = own

    with pytest.raises(TypeError, match=r"Child inherits a constructor that does not take .*own"):

        class Child(Plain):
            own: float = 2.0


def test_a_plain_constructor_keeps_rules_and_roles_of_its_base() -> None:
    class Plain(Base):
        def __init__(self, *, place: str = "", count: int = 2) -> None:
            super().__init__(place=place, count=count)

    assert Plain.settings["place"].role == location
    assert Plain.settings["count"].rule == Between(1)


def test_defaults_have_the_type_of_values() -> None:
    class Whole(Configured):
        t: Annotated[float, Between(0)] = 1
        _private: int = 3

    assert repr(Whole.settings["t"].default) == "1.0" == repr(Whole().t)
    assert list(Whole.settings) == ["t"]
    with pytest.raises(TypeError, match="`names` of Shared must have a default that cannot change"):

        class Shared(Configured):
            names: list = []  # type: ignore[type-arg]  # noqa: RUF012


@pytest.mark.parametrize("given", [("x/y", "BLUE"), (Path("x/y"), Colour.BLUE)])
def test_paths_and_choices_are_texts_in_specs_and_themselves_in_the_plugin(
    given: tuple[Any, Any],
) -> None:
    root, colour = (Places.settings[name].typed(value) for name, value in zip(
        ("root", "colour"), given, strict=True
    ))  # fmt: skip
    assert (root, colour) == ("x/y", "BLUE")
    made = Places(root=given[0], colour=given[1])
    assert (made.root, made.colour) == (Path("x/y"), Colour.BLUE)
    assert (Places().root, Places().colour) == (Path("data"), Colour.RED)
    assert [setting.default for setting in Places.settings.values()] == ["data", "RED"]
    with pytest.raises(InputError, match=r"`colour` must be one of 'RED', 'BLUE': got 'GREEN'"):
        Places(colour="GREEN")
    with pytest.raises(InputError, match=r"`root` must be .*: got 3"):
        Places(root=3)
