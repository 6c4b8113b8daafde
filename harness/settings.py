"""Declare settings once, as annotated fields: a type, a rule and a default in one line.

    class InfoNCE(SumLoss):
        temperature: Annotated[float, Between(1e-4, 1e4)] = 0.1

Everything else follows from this line: the arguments that a constructor takes and checks, the
settings that a spec may name, the listing of ``triptych list --long``, and whether a record's
key depends on the setting.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Union, dataclass_transform, get_args, get_origin

from harness.core.errors import InputError, require_choice, require_number

MAX_FLOAT = 2**1023
"""Whole numbers below this limit can be converted to a float."""

KINDS = {
    float: "a number", int: "a whole number", str: "a text", bool: "True or False",
    tuple: "a list of values",
}  # fmt: skip
"""The types of settings, as error messages name them."""


@dataclass(frozen=True)
class Between:
    """Allow the numbers from ``low`` to ``high``, both included.

    >>> Between(0, 1).check("share", 2.0)
    Traceback (most recent call last):
        ...
    harness.core.errors.InputError: `share` must be a number at least 0 and at most 1: got 2.0.
    """

    low: float = -math.inf
    high: float = math.inf

    def check(self, name: str, value: Any, *, whole: bool = False) -> None:
        """Raise :class:`InputError` unless ``value`` is in the range."""
        require_number(name, value, at_least=_end(self.low), at_most=_end(self.high), whole=whole)

    def __str__(self) -> str:
        """Return the range in words.

        >>> str(Between(0, 1)), str(Between(2))
        ('0 to 1', '2 or more')
        """
        if self.high == math.inf:
            return f"{self.low:g} or more"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Above(Between):
    """Allow the numbers above ``low``, which is excluded, up to ``high``, which is included."""

    def check(self, name: str, value: Any, *, whole: bool = False) -> None:
        """Raise :class:`InputError` unless ``value`` is in the range."""
        require_number(name, value, above=self.low, at_most=_end(self.high), whole=whole)

    def __str__(self) -> str:
        """Return the range in words.

        >>> str(Above(0)), str(Above(0, 1))
        ('above 0', 'above 0 to 1')
        """
        return f"above {self.low:g}" + ("" if self.high == math.inf else f" to {self.high:g}")


@dataclass(frozen=True)
class OneOf:
    """Allow one of some texts; ``choices`` may be a function, called whenever they are needed."""

    choices: Iterable[str] | Callable[[], Iterable[str]]

    @property
    def known(self) -> list[str]:
        """Return the choices."""
        return list(self.choices() if callable(self.choices) else self.choices)

    def check(self, name: str, value: Any, *, whole: bool = False) -> None:
        """Raise :class:`InputError` unless ``value`` is one of the choices."""
        del whole
        require_choice(name, value, self.known)

    def __str__(self) -> str:
        """Return the choices, separated by commas."""
        return ", ".join(self.known)


@dataclass(frozen=True)
class NetworkOf(OneOf):
    """Allow one of some networks, or one in a Python file: ``my_nets.py:Net(depth=3)``.

    Attributes:
        prefixes: those of further names, such as ``timm:``, which a library knows.
    """

    prefixes: tuple[str, ...] = ()

    def check(self, name: str, value: Any, *, whole: bool = False) -> None:
        """Raise :class:`InputError` unless ``value`` is a choice, or names a network elsewhere."""
        elsewhere = isinstance(value, str) and value.startswith(self.prefixes)
        if not elsewhere and not is_in_file(value):
            super().check(name, value, whole=whole)

    def __str__(self) -> str:
        """Return the choices, and how to name others."""
        others = [f"{prefix}NAME" for prefix in self.prefixes]
        return ", ".join([*self.known, *others, "my_nets.py:Net"])


@dataclass(frozen=True)
class SetsOf:
    """Mark a text that names several data sets, joined by +, some by their paths.

    In keys and labels a path is shortened to the name of its file: ``fetch`` returns its content.
    """

    def check(self, name: str, value: Any, *, whole: bool = False) -> None:
        """Leave the check of the names to the task, which knows the sets."""

    def without_paths(self, value: str) -> str:
        """Return the names with the last part of each path in its place.

        >>> SetsOf().without_paths("sts-b+../sets/pairs.csv")
        'sts-b+pairs.csv'
        """
        return "+".join(PurePath(part).name for part in value.split("+"))

    def __str__(self) -> str:
        """Return what is taken, in words."""
        return "names or paths, joined by +"


def is_in_file(value: object) -> bool:
    """Return whether a setting's value names a class in a Python file.

    >>> is_in_file("nets/mine.py:Net(depth=3)"), is_in_file("resnet18")
    (True, False)
    """
    return isinstance(value, str) and ".py:" in value


def plain(value: Any) -> Any:
    """Return NumPy's and torch's values as numbers and lists, paths as texts, choices as names.

    A choice is a member of an ``Enum``.

    Values inside lists, tuples and mappings are converted too; all others are returned unchanged.

    >>> import numpy as np
    >>> plain({"temperature": np.float64(0.5), "steps": np.arange(2), "root": PurePath("data")})
    {'temperature': 0.5, 'steps': [0, 1], 'root': 'data'}
    """
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


@dataclass(frozen=True)
class Role:
    """Name the purpose of a setting that does not change the training."""

    name: str


evaluation = Role("evaluation")
"""Marks a setting that changes how an encoder is scored, but not its training."""

location = Role("location")
"""Marks a setting that says where data lie.

No key, seed or label depends on its value. They depend on the content that
:meth:`harness.task.Task.fetch` returns for it.
"""


@dataclass(frozen=True)
class Setting:
    """Declare one setting of a plugin.

    Attributes:
        name: the setting's name in a spec.
        default: its value if a spec does not set it.
        kinds: the types that it takes; empty if its declaration leaves them open.
        rule: which values of these types are allowed; None: all.
        role: its purpose, if it does not change the training; else None.
        annotation: its declared type, for signatures.
    """

    name: str
    default: Any
    kinds: tuple[type, ...]
    rule: Between | OneOf | SetsOf | None = None
    role: Role | None = None
    annotation: Any = None

    def typed(self, value: Any, of: str = "") -> Any:
        """Check the type of ``value`` and return it: an int as a float if the setting takes floats.

        Args:
            value: the value to check.
            of: the setting's owner, for the message, such as ``" of the loss 'hcl'"``.

        Raises:
            InputError: if the setting does not take values of this type.
        """
        value = plain(value)
        if float in self.kinds and type(value) is int and abs(value) < MAX_FLOAT:
            return float(value)  # 1 and 1.0 must give the same spec and record.
        if tuple in self.kinds and isinstance(value, list):  # As TOML writes them.
            return tuple(value)
        if isinstance(value, str) and any(issubclass(kind, PurePath) for kind in self.kinds):
            return value
        for kind in self.kinds:
            if issubclass(kind, Enum):
                require_choice(self.name, value, kind.__members__)
                return value
        if not self.kinds or any(_is(value, kind) for kind in self.kinds):
            return value
        words = [KINDS.get(kind, f"a {kind.__name__}") for kind in self.kinds if kind != NoneType]
        example = "" if self.default is None else f", such as {self.default!r}"
        raise InputError(f"`{self.name}`{of} must be {' or '.join(words)}{example}: got {value!r}.")

    def made(self, value: Any) -> Any:
        """Return a text as the path or the member of an ``Enum`` that the plugin takes."""
        for kind in self.kinds:
            if isinstance(value, str) and issubclass(kind, PurePath):
                return kind(value)
            if isinstance(value, str) and issubclass(kind, Enum):
                return kind[value]
        return value

    def checked(self, value: Any) -> Any:
        """Check the type and rule of ``value`` and return it as the setting takes it.

        Raises:
            InputError: if its type or its rule does not allow it.
        """
        value = plain(value)
        if value is None and NoneType in self.kinds:
            return None
        if self.rule is not None:  # Check it before the type: its message names type and range.
            self.rule.check(self.name, value, whole=float not in self.kinds)
        return self.made(self.typed(value))

    def described(self) -> str:
        """Return the setting as ``name=default``, with its rule and its role in brackets."""
        notes = [str(self.rule)] if self.rule is not None else []
        notes += [self.role.name] if self.role is not None else []
        return f"{self.name}={self.default!r}" + (f" ({'; '.join(notes)})" if notes else "")


@dataclass_transform(kw_only_default=True)
class Configured:
    """Turn annotated fields with a default into settings, as a base class.

    A setting is ``name: Annotated[type, rule, role] = default``; rule and role can be left
    out. A sub-class changes a default by declaring the field again, such as
    ``temperature: float = 0.5``; if the new line has no rule, the base's rule stays. To fix a
    setting, write ``class Debiased(HCL, fixed={"beta": 0.0})``: the constructor then no longer
    takes it. The settings of a class come before those of its base. A field that is not a setting
    is a ``ClassVar``, or has no annotation.

    The constructor takes settings by keyword, checks each by its rule, keeps each as an
    attribute, and calls :meth:`setup`. If a class defines ``__init__``, its settings are the
    parameters of that signature.

    Raises:
        InputError: if a value breaks its setting's rule.
    """

    settings: ClassVar[Mapping[str, Setting]] = {}
    """{name: setting} of the settings that the constructor takes."""

    _declared: ClassVar[Mapping[str, Setting]] = {}
    _fixed: ClassVar[Mapping[str, Any]] = {}
    _fields: ClassVar[Mapping[str, Setting]] = {}

    def __init_subclass__(cls, *, fixed: Mapping[str, Any] | None = None, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls._fixed = fixed or {}
        cls._declared = dict(_declarations(cls))
        _require_annotated(cls)
        cls._fields = _merged(cls)
        for name, value in cls._fixed.items():
            setattr(cls, name, value)
        # The nearest __init__ is the generic one below, unless a class of the line defines one.
        init = next(vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base))
        if init is Configured.__init__:
            cls.settings = cls._fields
            parameters = [
                inspect.Parameter(
                    each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default,
                    annotation=each.annotation,
                )
                for each in cls.settings.values()
            ]  # fmt: skip
        else:
            if cls._declared and "__init__" not in vars(cls):
                raise TypeError(
                    f"{cls.__name__} inherits a constructor that does not take its settings, "
                    f"{', '.join(cls._declared)}. Write an `__init__` that takes them."
                )
            parameters = list(_signature(init).parameters.values())[1:]  # Without `self`.
            cls.settings = {
                each.name: _inherit(_of_parameter(each), cls._fields.get(each.name))
                for each in parameters
            }
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        _require_arguments(cls)

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self._initialised = True
        for name in given.keys() - self._fields.keys():
            near = get_close_matches(name, self._fields, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(
                f"{type(self).__name__} got an unexpected setting {name!r}.{hint} It takes: "
                f"{', '.join(self._fields) or 'none'}."
            )
        for name, setting in self._fields.items():
            setattr(self, name, setting.checked(given.get(name, setting.default)))
        self.setup()

    def setup(self) -> None:
        """Check rules between several settings, and make parameters; called once."""


def require_initialised(plugin: Configured) -> None:
    """Raise :class:`InputError` if the plugin's own constructor left out that of its base."""
    name = type(plugin).__name__
    if not vars(plugin).get("_initialised", False):
        raise InputError(
            f"`__init__` of {name} must call the constructor of its base: it does not. Write "
            "super().__init__() as its first line, or declare settings as fields, such as "
            "`margin: float = 0.2`, and no `__init__`."
        )


def settings_of(plugin: Callable[..., Any]) -> Mapping[str, Setting]:
    """Return {name: setting} of a class or function, in the order of its signature.

    Raises:
        InputError: if a parameter has no default or cannot be given by keyword.
    """
    parameters = _signature(plugin).parameters.values()
    for parameter in parameters:
        by_name = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if not by_name or parameter.default is parameter.empty:
            raise InputError(
                f"Every setting must be a keyword argument with a default: got `{parameter}`. "
                f"Write `{parameter.name}=...` in the signature."
            )
    if isinstance(plugin, type) and issubclass(plugin, Configured):
        return plugin.settings
    return {each.name: _of_parameter(each) for each in parameters}


def _signature(plugin: Callable[..., Any]) -> inspect.Signature:
    """Return the signature with evaluated annotations, as far as they can be evaluated."""
    try:
        return inspect.signature(plugin, eval_str=True)
    except NameError:  # Annotations may name types that only type checkers import.
        plain = inspect.signature(plugin)
    # One unknown name fails the whole signature, so evaluate each annotation by itself.
    names = getattr(inspect.unwrap(plugin), "__globals__", {})
    return plain.replace(
        parameters=[
            each.replace(annotation=_evaluated(each.annotation, names))
            for each in plain.parameters.values()
        ]
    )


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    """Evaluate an annotation written as a text; return the text if it names something unknown."""
    if not isinstance(annotation, str):
        return annotation
    # `inspect` evaluates only the annotations of an object, so make a class that has this one.
    holder = type("Holder", (), {"__annotations__": {"it": annotation}})
    try:
        return inspect.get_annotations(holder, globals=names, eval_str=True)["it"]
    except NameError:
        return annotation


def _of_parameter(parameter: inspect.Parameter) -> Setting:
    return _setting(parameter.name, parameter.annotation, parameter.default)


def _declarations(cls: type) -> Iterable[tuple[str, Setting]]:
    """Yield the settings that a class's own body declares."""
    for name, annotation in _annotations(cls).items():
        is_class_variable = annotation is ClassVar or get_origin(annotation) is ClassVar
        if is_class_variable or name not in vars(cls) or name.startswith("_"):
            continue
        default = vars(cls)[name]
        if isinstance(default, list | dict | set):
            raise TypeError(
                f"`{name}` of {cls.__name__} must have a default that cannot change: got "
                f"{default!r}. All instances would share it. Use None, or make it a ClassVar."
            )
        yield name, _setting(name, annotation, default)


def _annotations(cls: type) -> Mapping[str, Any]:
    """Return the annotations of a class's own body; evaluate those written as texts."""
    try:
        return inspect.get_annotations(cls, eval_str=True)
    except NameError as error:
        if "__init__" in vars(cls):  # Its signature declares the settings.
            return {}
        raise TypeError(
            f"The settings of {cls.__name__} cannot be read: {error}. Import the types in its "
            "annotations outside of `if TYPE_CHECKING`, or write an `__init__`."
        ) from error


def _setting(name: str, annotation: Any, default: Any) -> Setting:
    """Return the setting that an annotation and a default declare."""
    marks: tuple[Any, ...] = ()
    declared = annotation
    if get_origin(annotation) is Annotated:
        declared, *found = get_args(annotation)
        marks = tuple(found)
    rule = next((mark for mark in marks if isinstance(mark, Between | OneOf | SetsOf)), None)
    role = next((mark for mark in marks if isinstance(mark, Role)), None)
    kinds = _kinds(declared, default)
    if float in kinds and type(default) is int:  # `Setting.typed` converts values alike.
        default = float(default)
    if isinstance(default, PurePath | Enum):
        default = plain(default)
    return Setting(name, default, kinds, rule, role, annotation)


def _kinds(annotation: Any, default: Any) -> tuple[type, ...]:
    """Return the types that a setting takes: those of its annotation, or its default's."""
    # `X | Y` is a UnionType, `Optional[X]` a typing.Union.
    united = isinstance(annotation, UnionType) or get_origin(annotation) is Union
    named = get_args(annotation) if united else (annotation,)
    if all(kind in (*KINDS, NoneType) for kind in named):
        return named
    return () if default is None or default is inspect.Parameter.empty else (type(default),)


def _merged(cls: type) -> dict[str, Setting]:
    """Return the settings of a class and its bases, its own first, without the fixed ones."""
    merged: dict[str, Setting] = {}
    for base in reversed(cls.__mro__):
        declared: Mapping[str, Setting] = vars(base).get("_declared", {})
        own = {name: _inherit(each, merged.get(name)) for name, each in declared.items()}
        # A setting that is declared again keeps its position; new ones come first.
        new = {name: each for name, each in own.items() if name not in merged}
        merged = new | {name: own.get(name, each) for name, each in merged.items()}
        fixed = vars(base).get("_fixed", {})
        unknown = fixed.keys() - merged.keys()
        if unknown:
            raise TypeError(
                f"`fixed` of {base.__name__} must name settings of its bases: "
                f"got {sorted(unknown)}."
            )
        merged = {name: each for name, each in merged.items() if name not in fixed}
    return merged


def _require_annotated(cls: type) -> None:
    """Raise if a class assigns to a setting of its bases without an annotation.

    The assignment would look like another default, and the constructor would not see it.
    """
    inherited: Mapping[str, Setting] = getattr(cls, "_fields", {})
    own = vars(cls)
    for name in inherited.keys() & own.keys() - own["_declared"].keys() - own["_fixed"].keys():
        kind = inherited[name].kinds[0].__name__ if inherited[name].kinds else "..."
        raise TypeError(
            f"`{name}` is a setting of {cls.__name__}'s base: write `{name}: {kind} = ...` for "
            f'another default, or `class {cls.__name__}(Base, fixed={{"{name}": ...}})` to fix it.'
        )


def _require_arguments(cls: type) -> None:
    """Raise if a method of a class does not take the arguments that its base's method gets."""
    for name, own in vars(cls).items():
        bases = (base for base in cls.__mro__[1:] if issubclass(base, Configured))
        base = next((vars(each)[name] for each in bases if name in vars(each)), None)
        if name.startswith("_") or not (inspect.isfunction(own) and inspect.isfunction(base)):
            continue
        given = [p for p in inspect.signature(base).parameters.values() if p.default is p.empty]
        by_name = {p.name: None for p in given if p.kind is p.KEYWORD_ONLY}
        by_place = [None for p in given if p.kind is p.POSITIONAL_OR_KEYWORD]
        try:
            inspect.signature(own).bind(*by_place, **by_name)
        except TypeError:
            wanted = ", ".join(inspect.signature(base).parameters)
            taken = ", ".join(inspect.signature(own).parameters)
            raise TypeError(
                f"`{name}` of {cls.__name__} must take ({wanted}): it takes ({taken}). Write "
                f"`def {name}({wanted})`."
            ) from None


def _inherit(own: Setting, base: Setting | None) -> Setting:
    """Return a redeclared setting; without a rule or role, it takes those of its base."""
    if base is None:
        return own
    return Setting(
        own.name, own.default, own.kinds, own.rule or base.rule, own.role or base.role,
        own.annotation,
    )  # fmt: skip


def _end(bound: float) -> float | None:
    """Return a bound for :func:`require_number`: None if that end of the range is open."""
    return None if math.isinf(bound) else bound


def _is(value: Any, kind: type) -> bool:
    """Return whether ``value`` is of type ``kind``; True and False do not count as numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
