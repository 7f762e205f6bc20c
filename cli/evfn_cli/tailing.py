"""Shows the events of topics, those there are and those that come: what `evfn tail` does."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from evfn.broker import position
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.stream import Streams
from evfn.broker.topics import discover
from evfn.errors import BrokerError, BrokerUnavailable, UsageError
from evfn.event import Entry
from evfn.nearest import did_you_mean
from evfn.services.discovery import Discovery
from evfn.topic import Pattern, is_pattern
from evfn.trigger import StartAt
from evfn_cli import place, stored_event
from evfn_cli.log import BURST, MOMENT_SECONDS
from evfn_cli.opened import Opened
from evfn_cli.render import escape, out, say, terminal_width
from evfn_cli.search_pace import SearchPace
from evfn_cli.server import again, connected

WAIT = timedelta(seconds=1)
"""How long one call waits at the server for the next event."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`topic` is a name, a pattern, or None for all of the project's; `since` where to begin, or None for the last
    `count`."""

    topic: str | None
    count: int
    since: str | None
    follow: bool
    as_json: bool


class Tailing:
    """One `evfn tail`. Raises UsageError for a topic that neither exists nor is named by anybody, or a wrong place."""

    def __init__(self, opened: Opened, wanted: Wanted) -> None:
        self._opened = opened
        self._wanted = wanted
        self._pattern = _pattern(wanted.topic)
        self._since = None if wanted.since is None else place.parse("--from", wanted.since)
        self._keys = Keys(opened.project.settings.key_prefix)
        self._printer = _Printer(opened, as_json=wanted.as_json)
        self._bad: set[str] = set()
        self._pace = SearchPace()

    async def run(self) -> None:
        """Until cancelled, or until what there is has been shown where nothing is to be followed."""
        async with connected(self._opened) as connection:
            streams = Streams(connection, self._keys)
            positions = await self._begin(connection, streams)
            if self._wanted.follow:
                await self._follow(connection, streams, positions)

    async def _begin(self, connection: Connection, streams: Streams) -> dict[str, str]:
        """Show what there is; afterwards every topic's position."""
        topics = await again(lambda: self._pace.search(lambda: self._find(connection)))
        await again(lambda: self._check(connection, streams, topics))
        count = self._wanted.count if self._since is None else 0
        newest, last = await again(lambda: streams.newest(sorted(topics - self._bad), count))
        if all(id_ == position.BEGINNING for id_ in last.values()):
            say(f"there is no event on {escape(self._wanted.topic or 'the topics of this project')} yet")
        if self._since is None:
            self._printer.show(newest)
            return last
        after = await again(lambda: self._after(streams))
        positions = {topic: id_ if after == position.NEWEST else after for topic, id_ in last.items()}
        # Up to what is there now and not one further: those who write may be quicker than those who read.
        ends = {topic: position.numbers(id_) for topic, id_ in last.items()}
        while rest := {topic: id_ for topic, id_ in positions.items() if position.numbers(id_) < ends[topic]}:
            entries = await again(partial(streams.after, rest))
            if not entries:
                break
            there = [each for each in entries if position.numbers(each.stream_id) <= ends[each.topic]]
            self._printer.show(there)
            # Where a topic was passed over, everything up to its end has been shown.
            positions |= {each.topic: each.stream_id for each in there}
            positions |= {each.topic: last[each.topic] for each in entries if each not in there}
        return positions

    async def _follow(self, connection: Connection, streams: Streams, positions: dict[str, str]) -> None:
        doubtful = False
        while True:
            try:
                if doubtful:
                    await self._check(connection, streams, positions)
                    positions = {topic: id_ for topic, id_ in positions.items() if topic not in self._bad}
                    doubtful = False
                if self._may_grow and self._pace.due:
                    found = await self._pace.search(lambda: self._find(connection))
                    positions |= dict.fromkeys(found - positions.keys() - self._bad, position.BEGINNING)
                if not positions:
                    await asyncio.sleep(WAIT.total_seconds())
                entries = await streams.after(positions, WAIT)
            except BrokerUnavailable as error:
                self._printer.flush()
                say(f"{escape(str(error))}; going on as soon as it is back")
                await connection.wait_ready()
                say("the server is back")
                continue
            except BrokerError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                # A stream was deleted and its key taken by something else.
                doubtful = True
                continue
            self._printer.show(entries, paced=True)
            positions |= {each.topic: each.stream_id for each in entries}

    @property
    def _may_grow(self) -> bool:
        if self._pattern is not None:
            return is_pattern(self._pattern.text)
        return any(is_pattern(text) for trigger in self._opened.project.triggers for text in trigger.topics)

    async def _find(self, connection: Connection) -> set[str]:
        """The topics that are meant and exist, or are named in the manifest."""
        if self._pattern is None:
            found = await Discovery(connection, self._opened.project).topics()
            emits = {topic for trigger in self._opened.project.triggers for topic in trigger.emits}
            return emits.union(*found.values())
        if is_pattern(self._pattern.text):
            return await discover(connection, self._keys, [self._pattern])
        return {self._pattern.text}

    async def _check(self, connection: Connection, streams: Streams, topics: Iterable[str]) -> None:
        """Leave out keys that are no streams, and say so; be content with an absent topic only where it may come."""
        names = sorted(topics)
        there = await streams.are(names)
        for topic in (name for name, is_stream in there.items() if not is_stream):
            if self._wanted.topic == topic:
                raise UsageError(f"the key {topic} on {connection.server} is no stream of events")
            say(f"the key {escape(topic)} is no stream of events and is left out")
            self._bad.add(topic)
        exact = self._wanted.topic if self._pattern is not None and not is_pattern(self._pattern.text) else None
        if exact is not None and not there and not any(Pattern.compile(text).matches(exact) for text in self._named()):
            known = {*self._named(), *await discover(connection, self._keys, [Pattern.compile("**")])}
            hint = did_you_mean(exact, known) or f"; topics of this project: {', '.join(self._named())}"
            raise UsageError(f"there is no topic {exact}{hint}")

    def _named(self) -> list[str]:
        triggers = self._opened.project.triggers
        return sorted({topic for trigger in triggers for topic in (*trigger.topics, *trigger.emits)})

    async def _after(self, streams: Streams) -> str:
        since = self._since or StartAt.NEW
        now = await streams.now() if isinstance(since, timedelta) else None
        return position.after(place.start(since, now))


class _Printer:
    """Prints events, each one line. On a terminal only as many a moment as a person may follow; the rest is counted."""

    def __init__(self, opened: Opened, *, as_json: bool) -> None:
        self._opened = opened
        self._as_json = as_json
        self._terminal = terminal_width() is not None
        self._topics = 0
        self._moment = time.monotonic()
        self._lines = 0
        self._counted: Counter[str] = Counter()

    def show(self, entries: Sequence[Entry], *, paced: bool = False) -> None:
        if time.monotonic() - self._moment >= MOMENT_SECONDS:
            self.flush()
        for entry in entries:
            if paced and self._terminal and self._lines >= BURST:
                self._counted[entry.topic] += 1
                continue
            self._lines += 1
            out(self._line(entry))

    def flush(self) -> None:
        """Say how many were only counted in this moment, and begin the next."""
        if self._counted:
            said = ", ".join(f"{count:,} on {escape(topic)}" for topic, count in sorted(self._counted.items()))
            say(f"… and {said}, not shown")
        self._counted.clear()
        self._lines = 0
        self._moment = time.monotonic()

    def _line(self, entry: Entry) -> str:
        event = stored_event.read(entry, self._opened.project)
        if self._as_json:
            return json.dumps(stored_event.as_object(event))
        self._topics = max(self._topics, len(entry.topic))
        return stored_event.as_line(event, topics=self._topics, now=datetime.now(UTC), width=terminal_width())


def _pattern(text: str | None) -> Pattern | None:
    try:
        return None if text is None else Pattern.compile(text)
    except ValueError as error:
        raise UsageError(str(error)) from error
