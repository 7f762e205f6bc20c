"""Where triggers begin: their groups on their topics, made, moved or made again."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from evfn.broker.connection import Argument, Connection
from evfn.broker.keys import Keys
from evfn.broker.position import BEGINNING, after, text
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.failpoint import reached
from evfn.topic import Pattern
from evfn.trigger import Start

START = Script("start", "stream", "inbox", "stats")


class Action(Enum):
    """What starting did to a group."""

    CREATED = "CREATED"
    KEPT = "KEPT"
    MOVED = "MOVED"
    INEFFECTIVE = "INEFFECTIVE"
    RECREATED = "RECREATED"


@dataclass(frozen=True, slots=True)
class Started:
    """A group as it is now. `position` is the last id it will not deliver. `skipped` counts the older events it stands
    behind, None where the server cannot tell. INEFFECTIVE: the start was changed after the first delivery."""

    topic: str
    action: Action
    position: str
    skipped: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """When a trigger's start was decided, how it was written, and the topic patterns it was decided for."""

    at: datetime
    start: str
    patterns: tuple[str, ...]


class Starter:
    """Starts the triggers of one project."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    async def start(
        self,
        group: str,
        patterns: Sequence[str],
        topics: Sequence[str],
        start: Start,
        *,
        served: Collection[str] = frozenset(),
    ) -> list[Started | BrokerError]:
        """Make a trigger's groups on the topics it has now, and remember that its start is decided.

        What one topic's keys refuse stands as an error in its place (KeyTaken names the key); the others are started
        all the same. A topic that an earlier decision's patterns match, but that has no group, was not there then.
        The same holds for those that the caller has `served` before: a server that lost its data remembers neither
        group nor decision, and what it has got since then must not be left out.
        """
        decision = await self.decision(group)
        known = [] if decision is None else [Pattern.compile(each) for each in decision.patterns]
        calls = [
            _call(self._keys, topic, group, start, late=topic in served or any(each.matches(topic) for each in known))
            for topic in topics
        ]
        result: list[Started | BrokerError] = []
        for topic, reply in zip(topics, await START.run_many(self._connection, calls), strict=True):
            if isinstance(reply, BrokerUnavailable):
                raise reply
            try:
                result.append(_read(reply, topic, self._connection.server))
            except BrokerError as error:
                result.append(error)
        if decision is None or not set(patterns) <= set(decision.patterns):
            reached("before the decision")
            await self._remember(group, patterns, start, decision)
        return result

    async def decision(self, group: str) -> Decision | None:
        """What was decided for a trigger, None before its first complete discovery."""
        stored = await self._connection.call("HMGET", self._keys.trigger(group), "decided_at", "position", "patterns")
        if stored[0] is None:
            return None
        patterns = json.loads(stored[2] or b"[]")
        return Decision(
            datetime.fromtimestamp(int(stored[0]) / 1000, UTC), (stored[1] or b"").decode(), tuple(patterns)
        )

    async def _remember(self, group: str, patterns: Sequence[str], start: Start, decision: Decision | None) -> None:
        known = () if decision is None else decision.patterns
        every = json.dumps(list(dict.fromkeys([*known, *patterns])))
        now_ms = int(self._connection.clock.now().timestamp() * 1000)
        key = self._keys.trigger(group)
        replies = await self._connection.pipeline(
            [
                ("HSETNX", key, "decided_at", now_ms),
                ("HSETNX", key, "position", text(start)),
                ("HSET", key, "patterns", every),
            ]
        )
        for reply in replies:
            if isinstance(reply, BrokerError):
                raise reply


async def start_pair(
    connection: Connection, keys: Keys, topic: str, group: str, start: Start, *, late: bool
) -> Started:
    """Make one group; `late` says that the stream was found after the trigger's start was decided."""
    names, args = _call(keys, topic, group, start, late=late)
    return _read(await START.run(connection, names, args), topic, connection.server)


async def recreate_pair(
    connection: Connection,
    keys: Keys,
    topic: str,
    group: str,
    last_delivered: str,
    instance: str,
    held: Collection[bytes],
) -> Started:
    """Make a vanished group again behind the last delivered id known here ('' for none) or to the server; a stream that
    is younger than that is read from its beginning. What the instance holds (a thousand at most) is on its list at
    once, where it lies before that."""
    names = [keys.topic(topic), keys.inbox(topic, group), keys.stats(topic, group)]
    reply = await START.run(connection, names, [group, "recreate", BEGINNING, "", last_delivered, instance, *held])
    return _read(reply, topic, connection.server)


def _call(keys: Keys, topic: str, group: str, start: Start, *, late: bool) -> tuple[list[str], list[Argument]]:
    names = [keys.topic(topic), keys.inbox(topic, group), keys.stats(topic, group)]
    return names, [group, "late" if late else "start", after(start), text(start), ""]


def _read(reply: Any, topic: str, server: str) -> Started:
    if isinstance(reply, BrokerError):
        raise reply
    if reply[0] == b"BLOCKED":
        raise KeyTaken(reply[1].decode(), server)
    what, position, skipped = reply
    return Started(topic, Action(what.decode()), position.decode(), None if skipped < 0 else skipped)
