"""Storing events: once each, however often the call is repeated within the publish window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from evfn.broker import limits
from evfn.broker.connection import Argument, Connection
from evfn.broker.keys import Keys
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.errors import BrokerError

PUBLISH = Script("publish", "stream", "seen", "seen", "topics")
WINDOW = timedelta(minutes=2)
"""How long, at least, a second publish of the same topic, source and id finds the first."""

Call = tuple[list[str], list[Argument]]


@dataclass(frozen=True, slots=True)
class Publication:
    """An event to store: its stream fields, alternating, and what makes it the same event when it is sent again."""

    topic: str
    source: str
    id: str
    fields: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Published:
    """Where an event stands; `repeated` when an earlier call had stored it."""

    stream_id: str
    repeated: bool


async def publish(
    connection: Connection, keys: Keys, publication: Publication, window: timedelta = WINDOW
) -> Published:
    """Store one event. After ReplyLost it may be there or not: repeating the call within the window is safe.

    Raises KeyTaken where the topic's key holds something else, BrokerError where the server refuses for good (a stream
    at its last possible id, a missing right).
    """
    reply = await PUBLISH.run(connection, *call(keys, publication, window))
    return read(reply, connection.server)


async def publish_many(
    connection: Connection, keys: Keys, publications: Sequence[Publication], window: timedelta = WINDOW
) -> list[Published | BrokerError]:
    """Store events in order, in as few round trips as the limits allow; a refused one is an error in its place.

    ReplyLost leaves it open which were stored; repeating the whole within the window is safe.
    """
    result: list[Published | BrokerError] = []
    for chunk in chunks(publications):
        replies = await PUBLISH.run_many(connection, [call(keys, each, window) for each in chunk])
        for reply in replies:
            try:
                result.append(read(reply, connection.server))
            except BrokerError as error:
                result.append(error)
    return result


def call(keys: Keys, publication: Publication, window: timedelta) -> Call:
    """KEYS and ARGV of the script."""
    topic = publication.topic
    names = [keys.topic(topic), keys.seen(topic, 0), keys.seen(topic, 1), keys.topics]
    return names, [
        mark(publication.source, publication.id),
        int(window.total_seconds() * 1000),
        *publication.fields,
    ]


def read(reply: Any, server: str) -> Published:
    """The script's reply. Raises what it stands for."""
    if isinstance(reply, BrokerError):
        raise reply
    if reply[0] == b"BLOCKED":
        raise KeyTaken(reply[1].decode(), server)
    return Published(reply[0].decode(), reply[1] == b"1")


def chunks(publications: Sequence[Publication]) -> Iterator[Sequence[Publication]]:
    """In pieces of at most 500 events and 4 MiB, or one larger event alone."""
    start, size = 0, 0
    for index, publication in enumerate(publications):
        more = sum(map(len, publication.fields))
        if index > start and (index - start >= limits.EMITS or size + more > limits.BYTES):
            yield publications[start:index]
            start, size = index, 0
        size += more
    if start < len(publications):
        yield publications[start:]


def mark(source: str, event_id: str) -> bytes:
    """What stands for an event in the window: short, and different wherever source or id differ."""
    head = source.encode("utf-8", "surrogatepass")
    return blake2b(b"%d:%b%b" % (len(head), head, event_id.encode("utf-8", "surrogatepass")), digest_size=16).digest()
