"""Read a plugin's docstring, and turn its markup and equations into plain text."""

# ruff: noqa: RUF001  # Equations have Greek letters.
import inspect
import re
from dataclasses import dataclass, field
from typing import Any

_HEADINGS = ("Args", "Attributes", "Raises", "References")
_ROLE = re.compile(r":(?!math:)\w+(?::\w+)?:`([^`]*)`")
_MATH_ROLE = re.compile(r":math:`([^`]*)`")

_SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ",
    "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "ell": "ℓ",
    "sum": "Σ", "prod": "Π", "int": "∫", "nabla": "∇", "partial": "∂", "infty": "∞",
    "cdot": "·", "times": "×", "pm": "±", "ne": "≠", "neq": "≠", "le": "≤", "leq": "≤",
    "ge": "≥", "geq": "≥", "approx": "≈", "propto": "∝", "in": "∈", "sim": "~",
    "leftarrow": "←", "rightarrow": "→", "to": "→", "lVert": "‖", "rVert": "‖", "lvert": "|",
    "rvert": "|", "langle": "⟨", "rangle": "⟩", "top": "T", "dots": "...", "ldots": "...",
    "quad": " ", "qquad": "\n", "{": "{", "}": "}", ",": " ", ";": " ", ":": " ", "!": "",
    "big": "", "Big": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "left": "",
    "right": "", "\\": "\n",
}  # fmt: skip
"""{command of TeX: the text that replaces it}; ``\\qquad`` begins a new equation."""

_ACCENTS = {"hat": "\u0302", "tilde": "\u0303", "bar": "\u0304"}
_COMMAND = re.compile(r"\\([A-Za-z]+\s*|.)", re.DOTALL)


@dataclass(frozen=True)
class Docstring:
    """Hold the parts of a docstring as plain text.

    Attributes:
        summary: its first sentence.
        blocks: the paragraphs, items of lists and equations that follow; an equation starts
            with four spaces, an item with ``- ``.
        arguments: {argument: what it says of it}.
        references: the papers.
    """

    summary: str = ""
    blocks: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    references: str = ""


def read(plugin: Any) -> Docstring:
    r"""Return the docstring of ``plugin``, without its examples and what it raises.

    >>> class Margin:
    ...     '''Keep :class:`~a.Gap` above tau.
    ...
    ...     .. math:: \\ell = -s^+
    ...
    ...     Args:
    ...         tau: the margin.
    ...     '''
    >>> found = read(Margin)
    >>> found.summary, found.blocks, found.arguments
    ('Keep Gap above tau.', ['    ℓ = -s^+'], {'tau': 'the margin.'})
    """
    parts = _parts(inspect.getdoc(plugin) or "")
    summary, *blocks = _blocks(parts[""]) or [""]
    return Docstring(summary, blocks, _arguments(plugin), _flowing(parts.get("References", "")))


def _parts(text: str) -> dict[str, str]:
    """Return {heading: text}; the text above the first heading has the key ''."""
    pieces = re.split(rf"^({'|'.join(_HEADINGS)}):\n", text, flags=re.MULTILINE)
    parts = {"": pieces[0]} | dict(zip(pieces[1::2], pieces[2::2], strict=True))
    # A section ends at the first line without an indent, such as an example.
    return {
        name: part if name == "" else re.split(r"^(?=\S)", part, flags=re.MULTILINE)[0]
        for name, part in parts.items()
    }


def _blocks(text: str) -> list[str]:
    """Return paragraphs, items and equations as plain text; an example is left out."""
    found = []
    equation = False
    for paragraph in re.split(r"\n\s*\n|\n(?=\.\. math::)", text.strip("\n")):
        head, marker, rest = paragraph.strip().partition(".. math::")
        equation = not head and (bool(marker) or (equation and paragraph.startswith(" ")))
        if equation:
            found += ["    " + line for line in tex(rest or head).splitlines()]
        elif not head.startswith(">>>"):
            found += [_flowing(item) for item in re.split(r"\n(?=- )", paragraph.strip("\n"))]
    return [block for block in found if block.strip()]


def _arguments(plugin: Any) -> dict[str, str]:
    """Return {argument: text} of a class and its bases; the nearest text counts."""
    found: dict[str, str] = {}
    for each in getattr(plugin, "__mro__", (plugin,)):
        section = _parts(inspect.cleandoc(each.__doc__ or "")).get("Args", "")
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE):
            found.setdefault(name, _flowing(text))
    return found


def _flowing(text: str) -> str:
    return plain(" ".join(text.split()))


def plain(text: str) -> str:
    r"""Return ``text`` without the markup of reStructuredText.

    >>> plain(r"see :func:`~harness.plugins.load`, ``mu=1`` and :math:`\tau^+`")
    'see load, `mu=1` and τ^+'
    """
    text = _MATH_ROLE.sub(lambda found: tex(found[1]), text)
    text = _ROLE.sub(lambda found: found[1].rpartition(".")[2].lstrip("~"), text)
    return text.replace("``", "`")


def tex(text: str) -> str:
    r"""Return an equation of TeX as plain text, a line for each equation.

    >>> print(tex(r"\ell = -\log \frac{e^{s^+/\tau}}{N + 1}, \qquad N = \sum_{j \ne i} n_{ij}^2"))
    ℓ = -log (e^(s^+/τ) / (N + 1)),
    N = Σ_(j ≠ i) n_ij^2
    """
    lines = _Reader(text).until("").split("\n")
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


class _Reader:
    """Read TeX from left to right, one group in braces after another."""

    def __init__(self, text: str) -> None:
        self.rest = " ".join(text.split())

    def until(self, end: str) -> str:
        """Return all up to ``end``, a closing brace, or the end of the text."""
        found = ""
        while self.rest and not (end and self.rest.startswith(end)):
            piece = self._next()
            # Brackets show that the log is of the whole fraction, not of its numerator alone.
            of_all = " / " in piece and found.rstrip().endswith(("log", "exp"))
            found += f"({piece})" if of_all else piece
        self.rest = self.rest[len(end) :]
        return found

    def _next(self) -> str:
        """Return the next group, command or letter; nothing at the end."""
        letter = self.rest[:1]
        if letter == "\\":
            return self._command()
        self.rest = self.rest[1:]
        if letter == "{":
            return self.until("}")
        if letter in ("^", "_"):
            script = self._next()
            space = " " if script.endswith(" ") else ""
            script = script.strip()
            simple = re.fullmatch(r"\w+|[+*]", script)
            return letter + (script if simple else f"({script})") + space
        return letter

    def _argument(self) -> str:
        """Return the group, command or letter that a command takes."""
        self.rest = self.rest.lstrip()
        return self._next().strip()

    def _command(self) -> str:
        found = _COMMAND.match(self.rest)
        if found is None:  # A lone backslash at the end.
            self.rest = ""
            return ""
        self.rest = self.rest[found.end() :]
        name = found[1].strip() or " "
        # TeX drops the space that ends a command's name. Plain text needs it after a function,
        # as in `log x`, and may keep it after a symbol.
        space = " " if found[1][-1:].isspace() else ""
        if name in ("frac", "tfrac", "dfrac"):
            above, below = self._argument(), self._argument()
            slash = "/" if _is_short(above) and _is_short(below) else " / "
            return f"{_in_brackets(above)}{slash}{_in_brackets(below)}"
        if name == "sqrt":
            inside = self._argument()
            return "√" + (inside if len(inside) == 1 else f"({inside})")
        if name in _ACCENTS:
            return self._argument() + _ACCENTS[name]
        if name in ("operatorname", "mathrm", "mathbf", "mathcal", "texttt", "text"):
            return self._argument()
        return _SYMBOLS.get(name, name) + space


def _is_short(text: str) -> bool:
    return re.fullmatch(r"\w+", text) is not None


def _in_brackets(text: str) -> str:
    """Return ``text``, in brackets if it is a sum, a product or a fraction.

    >>> _in_brackets("a + b"), _in_brackets("e^(a + b)"), _in_brackets("s^+")
    ('(a + b)', 'e^(a + b)', 's^+')
    """
    depth = 0
    for letter in re.sub(r"[\^_][+*]", "", text.strip()):  # The sign of s^+ adds nothing.
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and letter in " /+-":
            return f"({text})"
    return text
