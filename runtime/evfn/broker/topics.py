"""Which topics there are, and what is on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.position import instant
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.topic import Pattern, is_pattern, scan_glob

SCANNED = 1_000
"""Keys the server looks at per SCAN call."""
SLOW_KEYS = 100_000
"""Above so many keys in the database, discovery is slow enough to be told."""


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """`last_at` is the instant in the newest id, None for a topic that never had an event; `oldest_at` that of the
    oldest event left. `problem` names a key that is no stream."""

    events: int
    last_at: datetime | None
    oldest_at: datetime | None = None
    problem: str | None = None


async def discover(connection: Connection, keys: Keys, patterns: Sequence[Pattern]) -> set[str]:
    """The topics that exist and match at least one pattern."""
    found: set[str] = set()

    def take(stream: bytes) -> None:
        topic = keys.topic_name(stream.decode("utf-8", "replace"))
        if topic is not None and topic not in found and any(pattern.matches(topic) for pattern in patterns):
            found.add(topic)

    names = [pattern.text for pattern in patterns if not is_pattern(pattern.text)]
    for name, kind in zip(
        names, await connection.pipeline([("TYPE", keys.topic(name)) for name in names]), strict=True
    ):
        if isinstance(kind, BrokerError):
            raise kind
        if kind == b"stream":
            found.add(name)
    globs = {scan_glob(pattern.text, prefix=keys.prefix) for pattern in patterns if is_pattern(pattern.text)}
    if not globs:
        return found
    # One pattern is matched by the server; several would each cost a scan of all keys, so then only evfn matches.
    glob = globs.pop() if len(globs) == 1 else scan_glob("**", prefix=keys.prefix)
    cursor: bytes = b"0"
    while True:
        cursor, page = await connection.call("SCAN", cursor, "MATCH", glob, "COUNT", SCANNED, "TYPE", "stream")
        for stream in page:
            take(stream)
        if cursor == b"0":
            break
    for stream in await connection.call("SMEMBERS", keys.topics):
        take(stream)
    return found


async def is_slow(connection: Connection) -> bool:
    """Whether the database holds so many keys that discovery takes noticeably long."""
    return int(await connection.call("DBSIZE")) > SLOW_KEYS


async def info(connection: Connection, keys: Keys, topics: Iterable[str]) -> dict[str, TopicInfo]:
    """What is on each of these topics."""
    names = list(topics)
    replies = await connection.pipeline([("XINFO", "STREAM", keys.topic(name)) for name in names])
    return {name: _read(reply) for name, reply in zip(names, replies, strict=True)}


def _read(reply: Any) -> TopicInfo:
    if isinstance(reply, BrokerUnavailable):
        raise reply
    if isinstance(reply, BrokerError):
        return TopicInfo(0, None, problem=None if "no such key" in str(reply) else str(reply))
    facts = dict(zip(reply[::2], reply[1::2], strict=True))
    first = facts[b"first-entry"]
    return TopicInfo(facts[b"length"], instant(facts[b"last-generated-id"]), instant(first[0]) if first else None)
