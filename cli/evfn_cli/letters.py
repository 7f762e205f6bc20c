"""A trigger's dead letters, on whatever topics they are: what `evfn dlq` does with them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from evfn.broker.connection import Connection
from evfn.broker.dead_letters import DeadLetter, DeadLetters, every_newest_first
from evfn.broker.keys import Keys, Part
from evfn.errors import UsageError
from evfn.event import Subject
from evfn.filter import Filter, FilterError
from evfn.settlement import Reason
from evfn.trigger import DataMode
from evfn_cli.opened import Opened
from evfn_cli.server import again, connected

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named:
    """A dead letter, and the name that the commands take: its id, or TOPIC/ID where its trigger has that id twice.

    Ids are made per topic, so two letters that died within one millisecond may share theirs.
    """

    name: str
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command shall work on: ids by their place, None for all of that place, and the names that are nowhere."""

    there: dict[DeadLetters, list[str] | None]
    gone: list[str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters a command is about: those with this reason, and for whose event the condition is true."""

    reason: str | None = None
    condition: Filter | None = None
    modes: Mapping[str, DataMode] = field(default_factory=dict)

    @property
    def all(self) -> bool:
        """Whether it is about each."""
        return self.reason is None and self.condition is None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether it is about this one; not where the condition has an error on it."""
        if self.reason is not None and letter.reason != Reason(self.reason):
            return False
        if self.condition is None:
            return True
        if letter.record is None:
            return False
        mode = self.modes.get(letter.topic, DataMode.AUTO)
        try:
            return self.condition.matches(Subject(letter.topic, letter.record.stream_id, letter.record.fields, mode))
        except FilterError:
            return False


def newest(opened: Opened, triggers: list[str], limit: int, show: Callable[[Named], None]) -> tuple[int, int]:
    """Show the newest dead letters of these triggers together; how many were shown, and how many there are.

    Each is shown as soon as it is read: there may be more of them than fit into memory.
    """

    async def read(connection: Connection) -> tuple[int, int]:
        places = await again(lambda: _places_of(connection, opened, triggers))
        shown = 0
        alike: list[DeadLetter] = []
        async for letter in every_newest_first(places, limit):
            # They come in the order of their ids.
            if alike and alike[-1].id != letter.id:
                shown += _show(alike, show)
                alike = []
            alike.append(letter)
        shown += _show(alike, show)
        return shown, sum([await again(place.count) for place in places])

    return _with_server(opened, read, once=True)


def _show(letters: list[DeadLetter], show: Callable[[Named], None]) -> int:
    """All letters of one id."""
    alike = Counter(each.trigger for each in letters)
    for each in letters:
        show(Named(_name(each, alike[each.trigger]), each))
    return len(letters)


def find(opened: Opened, trigger: str, name: str | None) -> Named | None:
    """The one of this name, or the newest. Raises UsageError for what is no name, or that of several."""

    async def read(connection: Connection) -> Named | None:
        places = await _places(connection, opened, trigger)
        if name is None:
            found = [letter for place in places if (letter := await place.get()) is not None]
        else:
            found = [letter for _, letter in await _holders(places, trigger, name)]
        if not found:
            return None
        letter = max(found, key=lambda letter: letter.dead_ms)
        alike = [place for place in places if await place.get(letter.id) is not None]
        return Named(_name(letter, len(alike)), letter)

    return _with_server(opened, read)


def count(opened: Opened, trigger: str, names: tuple[str, ...], chosen: Chosen = Chosen()) -> int:
    """How many of these there are; without names, how many in all. Raises UsageError as `find` does."""

    async def read(connection: Connection) -> int:
        found = await wanted(connection, opened, trigger, names)
        total = 0
        for place, ids in found.there.items():
            if ids is not None:
                total += len(ids)
            elif chosen.all:
                total += await place.count()
            else:
                total += sum([chosen.takes(each) async for each in place.oldest_first()])
        return total

    return _with_server(opened, read)


def purge(opened: Opened, trigger: str, names: tuple[str, ...]) -> tuple[int, list[str]]:
    """Delete these, or all where none is named; returns how many there were, and which were not there.

    Raises UsageError as `find` does; then nothing was deleted.
    """

    async def carry_out(connection: Connection) -> tuple[int, list[str]]:
        found = await wanted(connection, opened, trigger, names)
        return sum([await place.purge(ids) for place, ids in found.there.items()]), found.gone

    return _with_server(opened, carry_out)


async def wanted(connection: Connection, opened: Opened, trigger: str, names: tuple[str, ...]) -> Wanted:
    """Find these, or every place where none is named. Raises UsageError as `find` does."""
    places = await _places(connection, opened, trigger)
    if not names:
        return Wanted(dict.fromkeys(places), [])
    ids: dict[DeadLetters, dict[str, None]] = {}
    gone = []
    for name in dict.fromkeys(names):
        holders = await _holders(places, trigger, name)
        for place, letter in holders:
            ids.setdefault(place, {})[letter.id] = None
        if not holders:
            gone.append(name)
    return Wanted({place: list(each) for place, each in ids.items()}, gone)


async def _holders(places: list[DeadLetters], trigger: str, name: str) -> list[tuple[DeadLetters, DeadLetter]]:
    """The one that this names, with its place; none where there is none. Raises UsageError where it names several."""
    # A topic may hold a slash, an id does not.
    topic, _, entry = name.rpartition("/")
    found = [
        (place, letter)
        for place in places
        if topic in ("", place.topic) and (letter := await place.get(entry)) is not None
    ]
    if len(found) > 1:
        every = [f"{place.topic}/{letter.id}" for place, letter in found]
        raise UsageError(f"{trigger} has a dead letter {entry} on {len(found)} topics; write {' or '.join(every)}")
    return found


def _name(letter: DeadLetter, alike: int) -> str:
    return letter.id if alike < 2 else f"{letter.topic}/{letter.id}"


def _with_server(opened: Opened, call: Callable[[Connection], Awaitable[T]], *, once: bool = False) -> T:
    async def carry_out() -> T:
        async with connected(opened) as connection:
            return await (call(connection) if once else again(lambda: call(connection)))

    return asyncio.run(carry_out())


async def _places(connection: Connection, opened: Opened, trigger: str) -> list[DeadLetters]:
    """The trigger's dead letters on every topic it has, or once had."""
    return await _places_of(connection, opened, [trigger])


async def _places_of(connection: Connection, opened: Opened, triggers: list[str]) -> list[DeadLetters]:
    """The same of several, in their order, found by one search."""
    keys = Keys(opened.project.settings.key_prefix)
    groups = {opened.project.group(trigger): trigger for trigger in triggers}
    only = next(iter(groups)) if len(groups) == 1 else f"{opened.project.name}/*"
    glob = f"{''.join(map(_literal, keys.prefix))}evfn:{{*}}:{only}:{Part.DEAD.value}"
    found: dict[str, set[str]] = {group: set() for group in groups}
    cursor: bytes = b"0"
    while True:
        cursor, page = await connection.call("SCAN", cursor, "MATCH", glob, "COUNT", 1_000)
        for key in page:
            pair = keys.parse_pair(key.decode("utf-8", "replace"))
            if pair is not None and pair.group in found:
                found[pair.group].add(pair.topic)
        if cursor == b"0":
            return [DeadLetters(connection, keys, topic, group) for group in groups for topic in sorted(found[group])]


def _literal(character: str) -> str:
    return f"\\{character}" if character in "*?[]\\" else character
