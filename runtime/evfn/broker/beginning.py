"""Where triggers begin on a topic, or would begin if their groups were made now. Only looks; see `start` for making."""

import json
from collections.abc import Sequence
from typing import Any

from evfn.broker.connection import Connection, KeyTaken
from evfn.broker.keys import Keys
from evfn.broker.position import BEGINNING, after, numbers
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.topic import Pattern
from evfn.trigger import Start


async def beginnings(
    connection: Connection, keys: Keys, topic: str, groups: Sequence[tuple[str, Start]]
) -> list[str | KeyTaken]:
    """For each group the last id of the topic that it does not deliver, `$` where a group that is not there yet would
    begin behind the newest. Where one of a group's keys holds something else, an error that names it."""
    stream = keys.topic(topic)
    commands: list[list[str]] = [["XINFO", "GROUPS", stream], ["XINFO", "STREAM", stream]]
    for group, _ in groups:
        commands += [
            ["HMGET", keys.stats(topic, group), "start_id", "last_delivered"],
            ["HMGET", keys.trigger(group), "patterns"],
        ]
    replies = await connection.pipeline(commands)
    for reply in replies:
        if isinstance(reply, BrokerUnavailable):
            raise reply
    there = [] if _is_missing(replies[0]) else _checked(replies[0])
    names = {dict(zip(each[::2], each[1::2], strict=True))[b"name"].decode() for each in there}
    newest = BEGINNING if _is_missing(replies[1]) else _newest(_checked(replies[1]))
    found: list[str | KeyTaken] = []
    for (group, start), stats, decided in zip(groups, replies[2::2], replies[3::2], strict=True):
        if isinstance(stats, BrokerError) and "WRONGTYPE" in str(stats):
            found.append(KeyTaken(keys.stats(topic, group), connection.server))
        elif group in names:
            # One made by hand does not say where it began.
            found.append(_text(_checked(stats)[0]) or BEGINNING)
        else:
            started, delivered = map(_text, _checked(stats))
            patterns = json.loads(_checked(decided)[0] or b"[]")
            found.append(_of_missing(topic, start, delivered or started, patterns, newest))
    return found


def _of_missing(topic: str, start: Start, last: str, patterns: list[str], newest: str) -> str:
    # As the start script decides: a group that vanished goes on, in a stream younger than it all is unread, and a
    # stream that was not there when the start was decided is read from its beginning.
    if last:
        return BEGINNING if numbers(newest) < numbers(last) else last
    if any(Pattern.compile(each).matches(topic) for each in patterns):
        return BEGINNING
    return after(start)


def _newest(flat: list[Any]) -> str:
    facts: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))
    return facts[b"last-generated-id"].decode()


def _is_missing(reply: Any) -> bool:
    return isinstance(reply, BrokerError) and "no such key" in str(reply)


def _checked(reply: Any) -> Any:
    if isinstance(reply, BrokerError):
        raise reply
    return reply


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()
