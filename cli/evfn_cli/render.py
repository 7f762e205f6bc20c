"""How things are printed: nothing from an event or a function reaches the terminal with its control characters."""

import io
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

# C0 and C1 controls, line and paragraph separators, marks that reorder text, halves of surrogate pairs.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\x1b"}


def escape(text: str) -> str:
    """One line of text that does nothing to a terminal or a log but show itself."""
    return UNSAFE.sub(_escaped, text)


def escape_lines(text: str) -> str:
    """The same for text that has lines of its own: line feeds and tabs stay."""
    return _UNSAFE_IN_LINES.sub(_escaped, text.replace("\r\n", "\n"))


def shorten(text: str, limit: int = 200) -> str:
    """At most so many characters, with an ellipsis where something was left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fit(text: str, columns: int) -> str:
    """At most so many columns of a terminal, where some characters take two; with an ellipsis as above."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1).rstrip() + "…"


def terminal_width() -> int | None:
    """The columns of the terminal that standard output is; None where it is none, and lines may be long."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def out(text: str) -> None:
    """Data, on stdout."""
    click.echo(text)


def say(text: str) -> None:
    """A message, on stderr."""
    click.echo(text, err=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: frozenset[str] = frozenset()) -> None:
    """Print a table on stdout; columns named in `numbers` are set to the right. Cells are escaped here."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        drawn.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(escape(cell)) for cell in row))
    _console().print(drawn)


def seconds(duration: float | None) -> str:
    """A duration in seconds as people say it: 1 ms, 2.5 s, 3 min, 4 h, 5 d; nothing for None."""
    if duration is None:
        return ""
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 100:
        return f"{duration:.1f}".removesuffix(".0") + " s"
    for size, unit in ((86_400, "d"), (3_600, "h")):
        if duration >= 2 * size:
            return f"{duration / size:.0f} {unit}"
    return f"{duration / 60:.0f} min"


def _console() -> "Console":
    from rich.console import Console

    # Into a pipe or a file no line is broken: what reads it wants one row a line.
    # Started with `>&-` there is no standard output at all.
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(file=sys.stdout or io.StringIO(), width=None if terminal else 10_000, soft_wrap=not terminal)


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
