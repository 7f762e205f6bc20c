"""Trimming a topic by its rules: only what every consumer group has finished, whoever made the group."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from evfn.broker.connection import Argument, Connection
from evfn.broker.keys import Keys
from evfn.broker.position import BEGINNING, instant
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.errors import BrokerError
from evfn.lease import PUT_BACK
from evfn.trigger import TopicRules

TRIM = Script("trim", "stream", "...")
MOST = 1_000
"""Entries that one call trims, so that the server is never busy with it for long."""


_ID = re.compile(r"\d+-\d+")


class Hold(Enum):
    """Why a group has events yet to finish. MISSING: it is expected and not there, so nothing is finished. MADE_AGAIN:
    it vanished, and instances may hold deliveries of it that they have yet to put back."""

    UNFINISHED = "unfinished"
    MISSING = "missing"
    REPLAY = "replay"
    MADE_AGAIN = "made again"


_HOLDS = {-1: Hold.MISSING, -2: Hold.REPLAY, -3: Hold.MADE_AGAIN}


@dataclass(frozen=True, slots=True)
class Holder:
    """A group whose unfinished events begin first: `pending` of them were delivered, `lag` not; None: nobody knows."""

    group: str
    why: Hold = Hold.UNFINISHED
    pending: int | None = None
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class Trimmed:
    """`oldest` is the instant in the oldest id left. `held_by`: a rule would trim more, but these have not finished."""

    trimmed: int
    events: int
    oldest: datetime | None
    held_by: tuple[Holder, ...] = ()


async def trim(
    connection: Connection,
    keys: Keys,
    topic: str,
    rules: TopicRules,
    groups: Iterable[str],
    lease: timedelta,
) -> Trimmed:
    """Trim all that the rules and the groups allow; may be repeated, and by anyone at the same time.

    `groups` must be there, others may; `lease` is that of their instances.

    Raises KeyTaken where the key is no stream, BrokerError where the server does not permit it.
    """
    [found] = await _found(connection, keys, [topic])
    names, arguments = _call(keys, topic, rules, groups, found, lease)
    trimmed = 0
    while True:
        reply = await TRIM.run(connection, names, [MOST, *arguments])
        trimmed += 0 if reply[0] == b"BLOCKED" else reply[1]
        if reply[0] == b"BLOCKED" or not reply[2]:
            return _read(reply, names[0], connection.server, trimmed)


async def look(
    connection: Connection, keys: Keys, wanted: Iterable[tuple[str, TopicRules, Iterable[str]]], lease: timedelta
) -> list[Trimmed | BrokerError]:
    """The same of several topics in one go, trimming nothing; what cannot be looked at stands in its place."""
    every = list(wanted)
    calls: list[tuple[list[str], list[Argument]]] = []
    for (topic, rules, groups), found in zip(
        every, await _found(connection, keys, [topic for topic, _, _ in every]), strict=True
    ):
        names, arguments = _call(keys, topic, rules, groups, found, lease)
        calls.append((names, [0, *arguments]))
    result: list[Trimmed | BrokerError] = []
    for (names, _), reply in zip(calls, await TRIM.run_many(connection, calls, read_only=True), strict=True):
        try:
            result.append(_read(reply, names[0], connection.server, 0))
        except BrokerError as error:
            result.append(error)
    return result


@dataclass(frozen=True, slots=True)
class _Found:
    """A topic's groups, and of those that have a replay under way the id that it has yet to read beyond."""

    groups: list[str] = field(default_factory=list)
    replays: dict[str, str] = field(default_factory=dict)


async def _found(connection: Connection, keys: Keys, topics: list[str]) -> list[_Found]:
    """One for each topic."""
    found = [_Found() for _ in topics]
    listed = await connection.pipeline([("XINFO", "GROUPS", keys.topic(topic)) for topic in topics])
    pairs = [
        (place, topics[place], dict(zip(flat[::2], flat[1::2], strict=True))[b"name"].decode("utf-8", "replace"))
        for place, groups in enumerate(listed)
        if not isinstance(groups, BrokerError)
        for flat in groups
    ]
    for place, _, group in pairs:
        found[place].groups.append(group)
    ids = await connection.pipeline([("HGET", keys.stats(topic, group), "replay") for _, topic, group in pairs])
    under_way = [
        (pair, replay.decode("utf-8", "replace"))
        for pair, replay in zip(pairs, ids, strict=True)
        if isinstance(replay, bytes)
    ]
    places = await connection.pipeline(
        [("HMGET", keys.replay(topic, group, replay), "cursor", "first") for (_, topic, group), replay in under_way]
    )
    for ((place, _, group), _), reply in zip(under_way, places, strict=True):
        if isinstance(reply, BrokerError) or reply == [None, None]:
            continue  # Its hash was removed by hand: there is nothing to go on with.
        text = (reply[0] or reply[1] or b"").decode("utf-8", "replace")
        found[place].replays[group] = text if _ID.fullmatch(text) else BEGINNING
    return found


def _call(
    keys: Keys, topic: str, rules: TopicRules, groups: Iterable[str], found: _Found, lease: timedelta
) -> tuple[list[str], list[Argument]]:
    retention = "" if rules.retention is None else rules.retention // timedelta(milliseconds=1)
    most = "" if rules.max_events is None else rules.max_events
    expected = list(dict.fromkeys(groups))
    every = list(dict.fromkeys([*expected, *found.groups]))
    names = [keys.topic(topic), *(keys.stats(topic, group) for group in every)]
    seconds = int((PUT_BACK * lease).total_seconds()) + 1
    replays = [part for pair in found.replays.items() for part in pair]
    return names, [retention, most, seconds, len(every), len(expected), *every, *replays]


def _read(reply: Any, stream: str, server: str, trimmed: int) -> Trimmed:
    if isinstance(reply, BrokerError):
        raise reply
    if reply[0] == b"BLOCKED":
        raise KeyTaken(stream, server)
    _, _, _, events, oldest, held, flat = reply
    holders = [_holder(*each) for each in zip(flat[::3], flat[1::3], flat[2::3], strict=True)]
    return Trimmed(trimmed, events, instant(oldest) if oldest else None, tuple(holders) if held else ())


def _holder(name: bytes, pending: int, lag: int) -> Holder:
    group = name.decode("utf-8", "replace")
    if pending < 0:
        return Holder(group, _HOLDS[pending])
    return Holder(group, Hold.UNFINISHED, pending, None if lag < 0 else lag)
