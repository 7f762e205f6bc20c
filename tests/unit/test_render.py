"""What is printed does nothing to a terminal but show itself."""

import pytest

from evfn_cli.render import escape, escape_lines, seconds, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 🙂", "plain é 漢 🙂"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text: str, shown: str) -> None:
    """Escapes, carriage returns, separators and reordering marks from payloads stay text (I26)."""
    assert escape(text) == shown


def test_text_with_lines_keeps_its_lines_only() -> None:
    """A traceback stays readable, and cannot overwrite what stands before it."""
    assert escape_lines("a\r\n\tb\rc\x1b[0m\u2028") == "a\n\tb\\rc\\x1b[0m\\u2028"


def test_long_text_is_cut_visibly() -> None:
    """With an ellipsis, within the limit."""
    assert shorten("x" * 10, 10) == "x" * 10
    assert shorten("x" * 11, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("duration", "said"),
    [
        (None, ""),
        (0.0014, "1 ms"),
        (1, "1 s"),
        (2.54, "2.5 s"),
        (99, "99 s"),
        (300, "5 min"),
        (7200, "2 h"),
        (2e5, "2 d"),
    ],
)
def test_durations_are_said_as_people_do(duration: float | None, said: str) -> None:
    """One unit, no more digits than anybody needs."""
    assert seconds(duration) == said
