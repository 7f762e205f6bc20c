"""A replay as it was asked for: where it begins and ends, on which topics, which events, how fast."""

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from evfn.broker import position
from evfn.broker.replay import Kept
from evfn.errors import UsageError
from evfn.filter import Filter, FilterSyntaxError
from evfn.services.replayer import Rate
from evfn.trigger import Start, StartAt
from evfn_cli import place
from evfn_cli.render import escape

PERIODS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_RATE = re.compile(r"([0-9]{1,9})/([smhd])")
_LAST_SEQUENCE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says, as it was written."""

    since: str | None
    until: str | None
    topics: tuple[str, ...]
    condition: str | None
    rate: str | None

    @property
    def text(self) -> str:
        """What makes two commands the same; how fast they go does not."""
        return json.dumps([self.since, self.until, sorted(set(self.topics)), self.condition])


class Range:
    """From where to where, on the server's clock. Raises UsageError for what is no place or ends before it begins."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._since = place.parse("--from", asked.since or "earliest")
        self._until = None if asked.until in (None, "now") else place.parse("--to", asked.until or "")
        if self._since is StartAt.NEW:
            raise UsageError("--from new would replay nothing; write how long ago, a time, a stream id, or earliest")
        if isinstance(self._until, StartAt):
            raise UsageError(f"--to {self._until.value} is no end; write how long ago, a time, a stream id, or now")

    def of(self, kept: Kept, now: datetime) -> tuple[str, str]:
        """The first and the last id of a topic that keeps this. What is published after `now` is new, and no part."""
        first, last = self.ids(now)
        newest = max(f"{_milliseconds(now)}-{_LAST_SEQUENCE}", kept.newest, key=position.numbers)
        return first, newest if last is None else min(last, newest, key=position.numbers)

    def ids(self, now: datetime) -> tuple[str, str | None]:
        """The same without a topic; None for an end that is now."""
        first = _first(place.start(self._since, now))
        if self._until is None:
            return first, None
        last = _last(place.start(self._until, now))
        if position.numbers(last) < position.numbers(first):
            raise UsageError(
                f"--to {escape(self._asked.until or '')} is before --from {escape(self._asked.since or '')}"
            )
        return first, last


def rate(text: str) -> Rate:
    """`100/s`, `10/m`. Raises UsageError for what is none."""
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        hint = f" (did you mean {text}/s?)" if text.isdigit() and int(text) else ""
        raise UsageError(f"--rate {escape(text)!r} is no rate{hint}; write such as 100/s, 10/m, 500/h")
    return Rate(int(match[1]), PERIODS[match[2]])


def condition(text: str) -> Filter:
    """`--filter`. Raises UsageError for what CEL cannot read."""
    try:
        return Filter.compile(text)
    except FilterSyntaxError as error:
        raise UsageError(f"--filter {error}") from error


def _first(start: Start) -> str:
    if start is StartAt.EARLIEST:
        return "0-1"
    return f"{_milliseconds(start)}-0" if isinstance(start, datetime) else str(start)


def _last(end: Start) -> str:
    """A time is not within what ends there, so that the next day begins where this one ends; an id is."""
    if end is StartAt.EARLIEST:
        return position.BEGINNING
    return position.before(f"{_milliseconds(end)}-0") if isinstance(end, datetime) else str(end)


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
