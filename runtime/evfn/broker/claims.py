"""Deliveries changing hands: taken over from instances that are gone, handed over by those that will not run them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.scripts import Script
from evfn.broker.settle import Place
from evfn.errors import BrokerError, Fenced

CLAIM = Script("claim", "stream", "instances", "stats")
RELEASE = Script("release", "stream", "instances", "stats")
RESTORE = Script("restore", "stream", "instances", "stats")
DELETE_CONSUMER = Script("delete_consumer", "stream", "instances")

RELEASED = "-"
"""The consumer that holds what was handed over. It never has a field, so anyone may claim from it at once."""
_CHUNK = 1_000
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery taken over. `fields` is None where the entry was trimmed: it is off the list and counted as dropped,
    there is nothing left to settle. `delivery_count` is 1 plus the instances that died holding it."""

    id: bytes
    fields: list[bytes] | None
    delivery_count: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """One consumer of a group: an instance, or the one that holds what was released."""

    name: str
    pending: int
    idle_ms: int


@dataclass(frozen=True, slots=True)
class Released:
    """How many deliveries were handed over, and how many were found trimmed and counted as dropped."""

    released: int
    dropped: int


async def claim(
    connection: Connection, keys: Keys, place: Place, owner: str, *, dead: bool, count: int, beats_seen: int | None
) -> list[Claimed]:
    """Take over at most `count` deliveries of `owner`.

    A living owner loses its lease only with `dead`, and only if its beats still are `beats_seen` (None: whatever they
    are); otherwise nothing is claimed. Raises Fenced where this instance itself has no lease.
    """
    uncharged = owner == RELEASED
    reply = await CLAIM.run(
        connection,
        [place.stream, keys.instances, keys.stats(place.topic, place.group)],
        [
            place.instance,
            place.group,
            owner,
            count,
            int(dead),
            "" if beats_seen is None else beats_seen,
            int(uncharged),
            int(place.inbox),
        ],
    )
    if reply[0] == b"ALIVE":
        return []
    flat = _unless_fenced(reply, place)[1]
    return [Claimed(*flat[at : at + 3]) for at in range(0, len(flat), 3)]


async def release(connection: Connection, keys: Keys, place: Place, ids: list[bytes]) -> Released:
    """Hand these over, as far as they are this instance's. Raises Fenced where it has no lease."""
    released = dropped = 0
    for at in range(0, len(ids), _CHUNK):
        reply = await RELEASE.run(
            connection,
            [place.stream, keys.instances, keys.stats(place.topic, place.group)],
            [place.instance, place.group, int(place.inbox), *ids[at : at + _CHUNK]],
        )
        _, more, gone = _unless_fenced(reply, place)
        released, dropped = released + more, dropped + gone
    return Released(released, dropped)


async def restore(connection: Connection, keys: Keys, place: Place, ids: list[bytes]) -> list[bytes]:
    """Put deliveries that a vanished group gave back on the list of the one made again; those that are this instance's
    now. What the new one delivers itself is left to it."""
    mine: list[bytes] = []
    for at in range(0, len(ids), _CHUNK):
        reply = await RESTORE.run(
            connection,
            [place.stream, keys.instances, keys.stats(place.topic, place.group)],
            [place.instance, place.group, *ids[at : at + _CHUNK]],
        )
        mine += _unless_fenced(reply, place)[1]
    return mine


async def consumers(connection: Connection, places: Sequence[Place]) -> list[list[Consumer]]:
    """Every consumer of each group, in one go for fifty groups. Raises the first error there is."""
    result: list[list[Consumer]] = []
    for at in range(0, len(places), _AT_ONCE):
        chunk = places[at : at + _AT_ONCE]
        for reply in await connection.pipeline([("XINFO", "CONSUMERS", each.stream, each.group) for each in chunk]):
            if isinstance(reply, BrokerError):
                raise reply
            result.append([_consumer(flat) for flat in reply])
    return result


def _consumer(flat: list[Any]) -> Consumer:
    facts = dict(zip(flat[::2], flat[1::2], strict=True))
    return Consumer(facts[b"name"].decode("utf-8", "replace"), facts[b"pending"], facts[b"idle"])


async def delete_consumer_if_idle(connection: Connection, keys: Keys, place: Place, name: str) -> bool:
    """Delete a consumer with nothing pending and no living instance."""
    reply = await DELETE_CONSUMER.run(connection, [place.stream, keys.instances], [place.group, name])
    return bool(reply == 1)


async def pending(connection: Connection, place: Place, after: bytes | None, count: int) -> list[tuple[bytes, int]]:
    """A page of what the server holds as this instance's: ids above `after` with their delivery counts."""
    start = "-" if after is None else b"(" + after
    page = await connection.call("XPENDING", place.stream, place.group, start, "+", count, place.instance)
    return [(each[0], each[3]) for each in page]


async def holding(connection: Connection, places: Sequence[Place]) -> list[int | None]:
    """For each place whether anything is pending for its instance: 1 or 0, None where the server does not say."""
    replies = await connection.pipeline(
        [("XPENDING", each.stream, each.group, "-", "+", 1, each.instance) for each in places]
    )
    return [None if isinstance(reply, BrokerError) else len(reply) for reply in replies]


async def bodies(connection: Connection, place: Place, ids: list[bytes]) -> list[list[bytes] | None]:
    """The fields of these entries, None where one was trimmed. Does not touch their delivery counts."""
    replies = await connection.pipeline([("XRANGE", place.stream, each, each) for each in ids])
    result: list[list[bytes] | None] = []
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
        result.append(reply[0][1] if reply else None)
    return result


def _unless_fenced(reply: list[Any], place: Place) -> list[Any]:
    if reply[0] == b"FENCED":
        raise Fenced(f"instance {place.instance} has lost its lease")
    return reply
