"""Texts from outside: nothing in them acts, a reason is one short line, and both rooms agree."""

import sys
import types
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.core.telling import CUT, MAX_KEPT, MAX_REASON, one_line, told, visible
from harness.run.attempt import outcome_of
from harness.training.loop import Diverged
from leaderboards.analysis.visible import MAX_CELL, anchor_of, brief
from leaderboards.analysis.visible import visible as visible_on_boards

NAMED = (
    "\x00\x07\x1b\x7f\x85\r\n\t\u061c\u200b\u200c\u200d\u200e\u200f"
    "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff\ud800\udfff"
)
ANY = st.characters(exclude_categories=())  # Halves of characters too, which text() leaves out.
TEXTS = st.text(ANY | st.sampled_from(NAMED), max_size=400)


@given(TEXTS)
@example(NAMED)
def test_no_character_acts_and_every_one_can_be_written(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable() and not set(shown) & set(NAMED)
    shown.encode()
    assert visible(shown) == shown
    assert "".join(visible(each) for each in text) == shown
    assert set(visible(text, keep="\n")) <= {*shown, "\n"}
    assert visible(text, keep="\n").count("\n") == text.count("\n")


def test_both_rooms_show_every_character_alike() -> None:
    """Boards import nothing of the harness's; only this test holds both to one rule."""
    for code in range(sys.maxunicode + 1):
        assert visible(chr(code)) == visible_on_boards(chr(code)), hex(code)
        assert visible(chr(code)) in (chr(code), ascii(chr(code))[1:-1]), hex(code)


@given(TEXTS, st.integers(1, 3000), st.integers(40, 400))
def test_a_line_is_one_line_of_a_length_and_says_what_is_left_out(
    text: str, times: int, most: int
) -> None:
    line = one_line(text * times, most)
    assert line.isprintable() and len(line) <= most
    assert one_line(line, most) == line
    whole = visible(" ".join((text * times).split()))
    if line != whole:
        kept, _, rest = line.rpartition("… (")
        assert whole.startswith(kept)
        assert rest == f"{len(whole) - len(kept):,}{CUT}"


@given(TEXTS, st.integers(1, 3000), st.integers(2, 400))
def test_a_brief_text_and_a_key_are_of_a_length(text: str, times: int, most: int) -> None:
    shown = brief(text * times, most)
    assert shown.isprintable() and len(shown) <= most and brief(shown, most) == shown
    assert len(anchor_of(text * times)) <= MAX_CELL
    long = f"{text}{'x' * MAX_CELL}"
    assert len({anchor_of(f"{long}{end}") for end in "abc"}) == 3, "cut, and yet another"


class Unspeakable(Exception):
    """An error whose message cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


class Sentence(InputError):
    """Input that is wrong in a way that cannot be said."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


ERRORS: list[Callable[[str], BaseException]] = [
    ValueError, KeyError, OSError, SystemExit, InputError, Diverged, Unspeakable, Sentence,
    lambda text: UnicodeDecodeError("utf-8", b"\xff", 0, 1, text),
    lambda text: SyntaxError(text, (text, 1, 1, text)),
    lambda text: type(f"Type{text[:50]}".replace("\0", "").encode("ascii", "replace").decode(),
                      (Exception,), {})(text),
    lambda text: ExceptionGroup(text or "x", [ValueError(text)]),
]  # fmt: skip


@pytest.mark.parametrize("make", range(len(ERRORS)))
@given(TEXTS, st.sampled_from([1, 1000]))
def test_the_reason_of_any_error_is_one_short_line(make: int, text: str, times: int) -> None:
    kind, reason = outcome_of(ERRORS[make](text * times))
    assert kind == ("diverged" if ERRORS[make] is Diverged else "failed")
    limit = MAX_KEPT if ERRORS[make] in (InputError, Diverged) else MAX_REASON
    assert reason.isprintable() and len(reason) <= limit


def test_a_long_message_leaves_room_for_the_line_of_the_plugins_code() -> None:
    """A message of 300 KB, of a function with a name of 300 KB, in a file of another folder."""
    for name, size in (("forward", 300_000), ("f" * 300_000, 10)):
        module = types.ModuleType("own")
        code = f"def {name}():\n    raise ValueError('x' * {size})\nact = {name}"
        exec(compile(code, "/elsewhere/my_loss.py", "exec"), module.__dict__)
        with pytest.raises(ValueError) as caught:
            module.act()
        reason = outcome_of(caught.value)[1]
        assert reason.startswith("ValueError: x") and len(reason) <= MAX_REASON
        assert reason.endswith(", my_loss.py, line 2)."), reason
        assert CUT in reason
        assert told(caught.value) + "." == reason
