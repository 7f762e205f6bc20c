"""Where triggers begin: their groups on their topics, made, moved or made again."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from evfn.broker.connection import Argument, Connection
from evfn.broker.keys import Keys
from evfn.broker.position import BEGINNING, after, text
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.broker.source import Source
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.failpoint import reached
from evfn.topic import Pattern
from evfn.trigger import Start

START = Script("start", "stream", "inbox", "stats")
_AT_ONCE = 200
"""So many triggers begin in one go, which takes the server some milliseconds."""


class Action(Enum):
    """What starting did to a group."""

    CREATED = "CREATED"
    KEPT = "KEPT"
    MOVED = "MOVED"
    INEFFECTIVE = "INEFFECTIVE"
    RECREATED = "RECREATED"


@dataclass(frozen=True, slots=True)
class End:
    """The id of a stream's newest entry, empty for none, and whether its group may be given more."""

    newest: bytes
    unread: bool


@dataclass(frozen=True, slots=True)
class Started:
    """A group as it is now. `position` is the last id it will not deliver. `skipped` counts the older events it stands
    behind, None where the server cannot tell. INEFFECTIVE: the start was changed after the first delivery. `ends` are
    those of its two streams at that moment."""

    topic: str
    action: Action
    position: str
    skipped: int | None
    ends: Mapping[Source, End] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Beginning:
    """A trigger's group, the topic patterns it is written for, the topics it has now and where it starts; `served` are
    those that the caller has served before."""

    group: str
    patterns: Sequence[str]
    topics: Sequence[str]
    start: Start
    served: Collection[str] = frozenset()


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
        """Make a trigger's groups on the topics it has now, and remember that its start is decided; see `start_all`."""
        return (await self.start_all([Beginning(group, patterns, topics, start, served)]))[0]

    async def start_all(self, beginnings: Sequence[Beginning]) -> list[list[Started | BrokerError]]:
        """Make the groups of each trigger on the topics it has now, and remember that its start is decided.

        What one topic's keys refuse stands as an error in its place (KeyTaken names the key); the others are started
        all the same. A topic that an earlier decision's patterns match, but that has no group, was not there then.
        The same holds for those that the caller has `served` before: a server that lost its data remembers neither
        group nor decision, and what it has got since then must not be left out.
        """
        result: list[list[Started | BrokerError]] = []
        for at in range(0, len(beginnings), _AT_ONCE):
            result += await self._start(beginnings[at : at + _AT_ONCE])
        return result

    async def _start(self, beginnings: Sequence[Beginning]) -> list[list[Started | BrokerError]]:
        decisions = await self._decisions([each.group for each in beginnings])
        calls = []
        for each, decision in zip(beginnings, decisions, strict=True):
            known = [] if decision is None else [Pattern.compile(text) for text in decision.patterns]
            for topic in each.topics:
                late = topic in each.served or any(pattern.matches(topic) for pattern in known)
                calls.append(_call(self._keys, topic, each.group, each.start, late=late))
        replies = iter(await START.run_many(self._connection, calls))
        result: list[list[Started | BrokerError]] = []
        for each in beginnings:
            started: list[Started | BrokerError] = []
            for topic in each.topics:
                reply = next(replies)
                if isinstance(reply, BrokerUnavailable):
                    raise reply
                try:
                    started.append(_read(reply, topic, self._connection.server))
                except BrokerError as error:
                    started.append(error)
            result.append(started)
        new = [
            (each, decision)
            for each, decision in zip(beginnings, decisions, strict=True)
            if decision is None or not set(each.patterns) <= set(decision.patterns)
        ]
        if new:
            reached("before the decision")
            await self._remember(new)
        return result

    async def decision(self, group: str) -> Decision | None:
        """What was decided for a trigger, None before its first complete discovery."""
        return (await self._decisions([group]))[0]

    async def _decisions(self, groups: Sequence[str]) -> list[Decision | None]:
        replies = await self._connection.pipeline(
            [("HMGET", self._keys.trigger(group), "decided_at", "position", "patterns") for group in groups]
        )
        found: list[Decision | None] = []
        for reply in replies:
            if isinstance(reply, BrokerError):
                raise reply
            at, start, patterns = reply
            decided = at and datetime.fromtimestamp(int(at) / 1000, UTC)
            found.append(
                Decision(decided, (start or b"").decode(), tuple(json.loads(patterns or b"[]"))) if decided else None
            )
        return found

    async def _remember(self, new: Sequence[tuple[Beginning, Decision | None]]) -> None:
        now_ms = int(self._connection.clock.now().timestamp() * 1000)
        commands: list[tuple[Argument, ...]] = []
        for each, decision in new:
            known = () if decision is None else decision.patterns
            every = json.dumps(list(dict.fromkeys([*known, *each.patterns])))
            key = self._keys.trigger(each.group)
            commands += [
                ("HSETNX", key, "decided_at", now_ms),
                ("HSETNX", key, "position", text(each.start)),
                ("HSET", key, "patterns", every),
            ]
        for reply in await self._connection.pipeline(commands):
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
    what, position, skipped, newest, inbox_newest, inbox_last = reply
    ends = {
        Source.TOPIC: End(newest, newest not in (b"", position)),
        Source.INBOX: End(inbox_newest, inbox_newest not in (b"", inbox_last)),
    }
    return Started(topic, Action(what.decode()), position.decode(), None if skipped < 0 else skipped, ends)
