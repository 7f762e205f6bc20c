"""What the server knows of one trigger on one topic, for people and for scaling."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.position import numbers
from evfn.errors import BrokerError, BrokerUnavailable, UsageError


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """What is where of one pair's events.

    `lag`: not delivered yet, None where the server cannot know. `pending`: delivered, not settled (topic and inbox).
    `due`: waiting for a retry. `inbox`: in the inbox, not delivered. `oldest`: age of the oldest unsettled event on the
    topic or in the inbox. `exists`: whether the group does. `counters`: the numbers kept in its stats. `replay`: the id
    of its replay that is not finished.
    """

    exists: bool
    lag: int | None
    pending: int
    due: int
    dead: int
    inbox: int
    oldest: timedelta | None
    counters: Mapping[str, int]
    problem: str | None = None
    replay: str | None = None


async def status(connection: Connection, keys: Keys, topic: str, group: str) -> GroupStatus:
    """Read it. A key that holds something else shows in `problem`, the rest is told all the same."""
    stream, inbox = keys.topic(topic), keys.inbox(topic, group)
    replies = await connection.pipeline(
        [
            ("XINFO", "GROUPS", stream),
            ("XINFO", "GROUPS", inbox),
            ("XLEN", stream),
            ("XLEN", inbox),
            ("ZCARD", keys.retry(topic, group)),
            ("XLEN", keys.dead(topic, group)),
            ("HGETALL", keys.stats(topic, group)),
            ("TIME",),
        ]
    )
    problem = next((str(each) for each in replies if _refused(each)), None)
    groups, inbox_groups, length, inbox_length, due, dead, stats, time = (
        None if isinstance(each, BrokerError) else each for each in replies
    )
    ours, inbox_ours = group_facts(groups, group), group_facts(inbox_groups, group)
    now_ms = int(time[0]) * 1000 + int(time[1]) // 1000 if time else 0
    lag, oldest_ms = await _unread(connection, stream, group, ours, length or 0)
    inbox_pending = inbox_ours["pending"] if inbox_ours else 0
    if inbox_length:
        # What is settled leaves the inbox, so its first entry is the oldest that is not.
        oldest_ms = _least(oldest_ms, await _first(connection, inbox, "-"))
    return GroupStatus(
        exists=ours is not None,
        lag=lag,
        pending=(ours["pending"] if ours else 0) + inbox_pending,
        due=due or 0,
        dead=dead or 0,
        inbox=max((inbox_length or 0) - inbox_pending, 0),
        oldest=None if oldest_ms is None else timedelta(milliseconds=max(now_ms - oldest_ms, 0)),
        counters=_counters(stats or []),
        problem=problem,
        replay=_replay(stats or []),
    )


def _refused(reply: Any) -> bool:
    if isinstance(reply, BrokerUnavailable):
        raise reply
    # A stream that is not there yet is no problem.
    return isinstance(reply, BrokerError) and "no such key" not in str(reply)


async def _unread(
    connection: Connection, stream: str, group: str, ours: dict[str, Any] | None, length: int
) -> tuple[int | None, int | None]:
    if ours is None:
        return None, None
    oldest_ms = None
    if ours["pending"]:
        summary = await connection.call("XPENDING", stream, group)
        oldest_ms = _ms(summary[1]) if summary[1] else None
    unread_ms = await _first(connection, stream, b"(" + ours["last-delivered-id"])
    if unread_ms is None:
        return 0, oldest_ms
    lag = ours.get("lag")
    # Redis 7 counts wrongly after deletions; what cannot be is not told.
    if lag is not None and not 0 < lag <= length:
        lag = None
    return lag, _least(oldest_ms, unread_ms)


async def _first(connection: Connection, stream: str, start: str | bytes) -> int | None:
    entries = await connection.call("XRANGE", stream, start, "+", "COUNT", 1)
    return _ms(entries[0][0]) if entries else None


def _least(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _ms(entry_id: bytes) -> int | None:
    try:
        return numbers(entry_id.decode())[0]
    except UsageError:
        return None


def group_facts(groups: list[list[Any]] | None, group: str) -> dict[str, Any] | None:
    for flat in groups or []:
        facts = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
        if facts["name"] == group.encode():
            return facts
    return None


_NO_COUNTERS = {b"clock", b"made_again"}
"""What else stands with the counters, and is a number."""


def _counters(flat: list[bytes]) -> dict[str, int]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {
        name.decode("utf-8", "replace"): int(value)
        for name, value in pairs
        if value.lstrip(b"-").isdigit() and name not in _NO_COUNTERS
    }


def _replay(flat: list[bytes]) -> str | None:
    replays = [value for name, value in zip(flat[::2], flat[1::2], strict=True) if name == b"replay"]
    return replays[0].decode("utf-8", "replace") if replays else None
