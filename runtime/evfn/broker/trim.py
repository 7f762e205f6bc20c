"""Trimming a topic by its rules: only what every consumer group has finished, whoever made the group."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from evfn.broker.connection import Argument, Connection
from evfn.broker.keys import Keys
from evfn.broker.position import instant
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.errors import BrokerError
from evfn.trigger import TopicRules

TRIM = Script("trim", "stream")
MOST = 1_000
"""Entries that one call trims, so that the server is never busy with it for long."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A group whose unfinished events begin first. `group` is '' for what is read outside of groups, as by a replay.

    `lag` counts the events not delivered to it, None where the server does not know. `missing`: the group is expected,
    but not there (yet), so nothing is finished.
    """

    group: str
    pending: int
    lag: int | None
    missing: bool = False


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
    marks: Iterable[str] = (),
) -> Trimmed:
    """Trim all that the rules and the groups allow; may be repeated, and by anyone at the same time.

    `groups` must be there, others may; nothing at or above one of the ids `marks` is trimmed. Raises KeyTaken where the
    key is no stream, BrokerError where the server does not permit it.
    """
    stream, arguments = [keys.topic(topic)], _arguments(rules, groups, marks)
    trimmed = 0
    while True:
        reply = await TRIM.run(connection, stream, [MOST, *arguments])
        trimmed += 0 if reply[0] == b"BLOCKED" else reply[1]
        if reply[0] == b"BLOCKED" or not reply[2]:
            return _read(reply, stream[0], connection.server, trimmed)


async def look(
    connection: Connection, keys: Keys, wanted: Iterable[tuple[str, TopicRules, Iterable[str]]]
) -> list[Trimmed | BrokerError]:
    """The same of several topics in one go, trimming nothing; what cannot be looked at stands in its place."""
    calls = [([keys.topic(topic)], [0, *_arguments(rules, groups, ())]) for topic, rules, groups in wanted]
    result: list[Trimmed | BrokerError] = []
    for (stream, _), reply in zip(calls, await TRIM.run_many(connection, calls), strict=True):
        try:
            result.append(_read(reply, stream[0], connection.server, 0))
        except BrokerError as error:
            result.append(error)
    return result


def _arguments(rules: TopicRules, groups: Iterable[str], marks: Iterable[str]) -> list[Argument]:
    retention = "" if rules.retention is None else rules.retention // timedelta(milliseconds=1)
    expected = list(groups)
    return [retention, "" if rules.max_events is None else rules.max_events, len(expected), *expected, *marks]


def _read(reply: Any, stream: str, server: str, trimmed: int) -> Trimmed:
    if isinstance(reply, BrokerError):
        raise reply
    if reply[0] == b"BLOCKED":
        raise KeyTaken(stream, server)
    _, _, _, events, oldest, held, holders = reply
    return Trimmed(
        trimmed,
        events,
        instant(oldest) if oldest else None,
        tuple(
            Holder(name.decode("utf-8", "replace"), max(pending, 0), None if lag < 0 else lag, pending < 0)
            for name, pending, lag in zip(holders[::3], holders[1::3], holders[2::3], strict=True)
            if held
        ),
    )
