"""A trigger's dead letters, on whatever topics they are: what `evfn dlq` does with them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from evfn.broker.connection import Connection
from evfn.broker.dead_letters import DeadLetter, DeadLetters, Redriven, newest_first
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys, Part
from evfn_cli.opened import Opened
from evfn_cli.server import again, connected

T = TypeVar("T")


def newest(opened: Opened, triggers: list[str], limit: int) -> tuple[list[DeadLetter], int]:
    """The newest dead letters of these triggers together, and how many there are."""

    async def read(connection: Connection) -> tuple[list[DeadLetter], int]:
        places = [place for name in triggers for place in await _places(connection, opened, name)]
        return await newest_first(places, limit), sum([await place.count() for place in places])

    return _with_server(opened, read)


def find(opened: Opened, trigger: str, name: str | None) -> DeadLetter | None:
    """The one with this id, or the newest. Raises UsageError for what is no id."""

    async def read(connection: Connection) -> DeadLetter | None:
        letters = [letter for place in await _places(connection, opened, trigger) if (letter := await place.get(name))]
        return max(letters, key=lambda letter: letter.dead_ms, default=None)

    return _with_server(opened, read)


def count(opened: Opened, trigger: str, names: tuple[str, ...]) -> int:
    """How many of these there are; without names, how many in all."""

    async def read(connection: Connection) -> int:
        places = await _places(connection, opened, trigger)
        if not names:
            return sum([await place.count() for place in places])
        return sum([await place.get(each) is not None for place in places for each in names])

    return _with_server(opened, read)


def redrive(opened: Opened, trigger: str, names: tuple[str, ...]) -> tuple[Redriven, bool]:
    """Send these back, or all where none is named; and whether an instance runs that will take them."""
    total = Redriven()

    async def carry_out(connection: Connection) -> bool:
        for place in await _places(connection, opened, trigger):
            done = await place.redrive(names) if names else await place.redrive_all()
            total.redriven.extend(done.redriven)
            total.foreign.extend(done.foreign)
        return bool(await Instances(connection, Keys(opened.project.settings.key_prefix)).all())

    running = _with_server(opened, carry_out)
    total.gone.extend(each for each in names if each not in {*total.redriven, *total.foreign})
    return total, running


def purge(opened: Opened, trigger: str, names: tuple[str, ...]) -> int:
    """Delete these, or all where none is named; returns how many there were."""

    async def carry_out(connection: Connection) -> int:
        places = await _places(connection, opened, trigger)
        return sum([await place.purge(names or None) for place in places])

    return _with_server(opened, carry_out)


def _with_server(opened: Opened, call: Callable[[Connection], Awaitable[T]]) -> T:
    async def carry_out() -> T:
        async with connected(opened) as connection:
            return await again(lambda: call(connection))

    return asyncio.run(carry_out())


async def _places(connection: Connection, opened: Opened, trigger: str) -> list[DeadLetters]:
    """The trigger's dead letters on every topic it has, or once had."""
    keys = Keys(opened.project.settings.key_prefix)
    group = opened.project.group(trigger)
    topics: set[str] = set()
    cursor: bytes = b"0"
    while True:
        glob = f"{''.join(map(_literal, keys.prefix))}evfn:{{*}}:{group}:{Part.DEAD.value}"
        cursor, page = await connection.call("SCAN", cursor, "MATCH", glob, "COUNT", 1_000)
        for key in page:
            pair = keys.parse_pair(key.decode("utf-8", "replace"))
            if pair is not None and pair.group == group:
                topics.add(pair.topic)
        if cursor == b"0":
            return [DeadLetters(connection, keys, topic, group) for topic in sorted(topics)]


def _literal(character: str) -> str:
    return f"\\{character}" if character in "*?[]\\" else character
