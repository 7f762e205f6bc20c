"""Where `evfn emit --wait` shows what it learns: redrawn on a terminal, once at the end in a pipe, as lines of JSON."""

import asyncio
import json
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from evfn.trace.report import Told
from evfn.trace.trace import Trace
from evfn_cli import trace_counts, trace_tree
from evfn_cli.outcome_lines import of_told
from evfn_cli.render import out

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

TICK_SECONDS = 0.1


class Screen:
    """A context to show a trace in. On a terminal it is drawn anew while the context lasts; at its end it stays."""

    def __init__(self, trace: Trace, total: int, *, as_json: bool) -> None:
        self.published = 0
        self._trace = trace
        self._total = total
        self._as_json = as_json
        self._live: Live | None = None
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._as_json and sys.stdout is not None and sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(), auto_refresh=False, transient=True)
            self._live.start()
            self._drawing = asyncio.create_task(self._draw(self._live))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawing is not None and self._live is not None:
            self._drawing.cancel()
            await asyncio.gather(self._drawing, return_exceptions=True)
            self._live.stop()
        if not self._as_json:
            for line in self._lines():
                out(line)

    def told(self, told: Told) -> None:
        """An outcome became known."""
        if self._as_json:
            out(json.dumps(of_told(told)))

    async def _draw(self, live: "Live") -> None:
        shown: list[str] = []
        while True:
            lines = self._lines()
            if self.published < self._total:
                lines.append(f"published {self.published:,} of {self._total:,}")
            if lines != shown:
                # Over a slow line, what did not change is not sent again.
                live.update(_text(lines), refresh=True)
                shown = lines
            await asyncio.sleep(TICK_SECONDS)

    def _lines(self) -> list[str]:
        tree = self._trace.tree
        return trace_counts.lines(self._trace) if tree is None else trace_tree.lines(tree, trace_tree.present_ms())


def _text(lines: list[str]) -> "Text":
    from rich.text import Text

    return Text("\n", no_wrap=True, overflow="ellipsis").join(map(Text.from_ansi, lines))
