"""A project's status as it is drawn on a terminal: fitted to its size, columns left out rather than lines broken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from evfn_cli.render import escape, fit, seconds
from evfn_cli.trend import Trend, sparkline

_COLORS = {"ok": "green", "broken": "red", "blocked": "red", "loading": "yellow", "disabled": "yellow"}
_SPARED = ("due", "pending", "errors", "state", "per s", "dead")
"""What a narrow terminal goes without, in this order."""
LEAST_NAME = 10
LEAST_SPARK = 6
GAP = 2


@dataclass(frozen=True)
class Screen:
    """`found` is a status object, `at` when it was read; `away` says why it is no newer, `bars` whether the terminal
    has the characters of a sparkline."""

    found: dict[str, Any]
    trends: dict[str, Trend]
    at: datetime
    every: float
    away: str = ""
    bars: bool = True
    now: datetime = field(default_factory=lambda: datetime.now().astimezone())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Drawn anew for whatever size the terminal has now."""
        height = options.height or console.height
        yield Text("\n").join(self.lines(options.max_width, height))

    def lines(self, width: int, height: int) -> list[Text]:
        """At most `height` lines of at most `width` columns."""
        head, tail = self._head(width), self._tail(width)
        triggers, topics = self._triggers(width), self._topics(width)
        room = height - len(head) - len(tail)
        # The triggers are what people look for; the topics get what room is left, heading and empty line included.
        triggers = _cut(triggers, room, "triggers", width)
        topics = _cut(topics, room - len(triggers) - 1, "topics", width)
        middle = [*triggers, Text(), *topics] if len(topics) > 1 else triggers
        return [*head, *middle, *tail][:height]

    def _head(self, width: int) -> list[Text]:
        title = f"evfn {self.found['project']}  {self.at:%H:%M:%S}, every {seconds(self.every)}  {self.found['server']}"
        lines = [Text(fit(escape(title), width), style="bold")]
        if self.away:
            lines.append(Text(fit(escape(f"{self.away}; the numbers are of {self.at:%H:%M:%S}"), width), style="red"))
        return [*lines, Text()]

    def _triggers(self, width: int) -> list[Text]:
        triggers: dict[str, dict[str, Any]] = self.found["triggers"]
        columns = {
            "trigger": list(triggers),
            "state": [each["state"] for each in triggers.values()],
            "per s": [_rate(self.trends[name].rate) for name in triggers],
            **{
                column: [_number(each[column]) for each in triggers.values()]
                for column in ("lag", "pending", "due", "dead")
            },
            "errors": [_number(self.trends[name].errors) for name in triggers],
        }
        lines = _table(columns, width)
        left = width - max(line.cell_len for line in lines) - GAP
        for line, name in zip(lines[1:], triggers, strict=True):
            facts, trend = triggers[name], self.trends[name]
            _paint(line, facts["state"], _COLORS.get(facts["state"], ""))
            if facts["dead"] or trend.errors:
                line.stylize("bold", 0, len(name))
            if self.bars and left >= LEAST_SPARK:
                line.append(" " * (width - left - line.cell_len) + sparkline(trend.rates, left), style="cyan")
        for name, facts in triggers.items():
            if facts["problem"]:
                text = f"{name} is {facts['state']}: {facts['problem'].partition(chr(10))[0]}"
                lines.append(Text(fit(escape(text), width), style="red"))
        return lines

    def _topics(self, width: int) -> list[Text]:
        topics: dict[str, dict[str, Any]] = self.found["topics"]
        ages = [_age(facts["last_at"], self.now) for facts in topics.values()]
        columns = {
            "topic": list(topics),
            "events": [_number(facts["events"]) for facts in topics.values()],
            "last": ages,
        }
        return _table(columns, width)

    def _tail(self, width: int) -> list[Text]:
        lines = [Text(), *(Text(fit(escape(line), width)) for line in instances(self.found))]
        names = ", ".join(each["trigger"] for each in self.found["leftovers"])
        if names:
            lines.append(Text(fit(escape(f"no longer in the manifest, but still on the server: {names}"), width)))
        return lines


def instances(found: dict[str, Any]) -> list[str]:
    """Who runs, in a line each for those of this folder, and one for all others."""
    running: dict[str, dict[str, Any]] = found["instances"]
    if not running:
        return ["no instance is running: start one with evfn run or evfn serve"]
    lines = []
    for each in running.values():
        if each["pid"] is not None:
            workers: list[int] | None = each["workers"]
            pids = f" ({', '.join(map(str, workers))})" if workers else ""
            count = "" if workers is None else f", {len(workers)} worker{'' if len(workers) == 1 else 's'}{pids}"
            lines.append(f"running here: pid {each['pid']}{count}")
    elsewhere = [each for each in running.values() if each["pid"] is None]
    silent = sum(each["silent"] for each in elsewhere)
    if elsewhere:
        hosts = sorted({each["host"] for each in elsewhere if each["host"] is not None})
        on = f" ({', '.join(hosts)})" if hosts else ""
        lines.append(f"running elsewhere: {len(elsewhere)}{on}{f', {silent} of them silent' if silent else ''}")
    return lines


def _table(columns: dict[str, list[str]], width: int) -> list[Text]:
    """The first column is a name, shortened where it must be; the others stand to the right but for the state."""
    columns = dict(columns)
    names = next(iter(columns))
    wide = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
    for spared in (None, *_SPARED):
        columns.pop(spared or "", None)
        rest = sum(wide[name] + GAP for name in columns if name != names)
        if rest + min(wide[names], LEAST_NAME) <= width:
            break
    wide[names] = max(1, min(wide[names], width - rest))
    lines = []
    for row in zip(*([name, *cells] for name, cells in columns.items()), strict=True):
        cells = [
            f"{fit(escape(cell), wide[name]):{'<' if name in (names, 'state') else '>'}{wide[name]}}"
            for name, cell in zip(columns, row, strict=True)
        ]
        lines.append(Text(fit((" " * GAP).join(cells), width)))
    lines[0].stylize("bold")
    return lines


def _paint(line: Text, word: str, style: str) -> None:
    at = line.plain.find(f"  {word}  ")
    if at >= 0:
        line.stylize(style, at, at + len(word) + GAP)


def _cut(lines: Sequence[Text], room: int, what: str, width: int) -> list[Text]:
    if len(lines) <= room:
        return list(lines)
    if room < 2:
        return []
    more = Text(fit(f"… {len(lines) - room + 1} more {what}: a taller terminal shows them", width), style="dim")
    return [*lines[: room - 1], more]


def _number(value: int | None) -> str:
    if value is None:
        return "?"
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 100 * size or (value >= size and size > 10**3):
            return f"{value / size:.1f}{unit}" if value < 100 * size else f"{value // size}{unit}"
    return f"{value:,}"


def _rate(rate: float | None) -> str:
    if rate is None:
        return ""
    return f"{rate:.1f}".removesuffix(".0") if rate < 10 else _number(math.floor(rate + 0.5))


def _age(last_at: str | None, now: datetime) -> str:
    if last_at is None:
        return ""
    return f"{seconds(max((now - datetime.fromisoformat(last_at)).total_seconds(), 0))} ago"
