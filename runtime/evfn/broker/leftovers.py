"""What the server holds of triggers, found by the names of its keys alone; and forgetting it.

Groups are not looked for: a stream may be that of a project with another key prefix, which alone may say what is left.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys, Part
from evfn.broker.scripts import Script
from evfn.broker.status import status
from evfn.broker.topics import SCANNED
from evfn.name import is_name

FORGET = Script("forget", "stream", "inbox", "retry", "bodies", "dead", "stats", "jobs", "...")


@dataclass(frozen=True, slots=True)
class Remains:
    """What there is of one trigger, on all topics together; the counts mean what they do in GroupStatus.

    `replays` are (topic, id). `lag` is None where the server cannot know it.
    """

    group: str
    topics: tuple[str, ...] = ()
    replays: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    lag: int | None = 0
    pending: int = 0
    due: int = 0
    dead: int = 0

    @property
    def project(self) -> str:
        """The name of the project that made it."""
        return self.group.partition("/")[0]

    @property
    def trigger(self) -> str:
        return self.group.partition("/")[2]


class Leftovers:
    """Methods raise BrokerError; each may be repeated."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    async def find(self) -> list[Remains]:
        """Everything there is of any trigger of any project, in the order of their names, without counts."""
        found: dict[str, set[str]] = {}
        replays: dict[str, set[tuple[str, str]]] = {}
        async for key in self._scan():
            pair = self._keys.parse_pair(key)
            if pair is not None:
                found.setdefault(pair.group, set()).add(pair.topic)
                if pair.part is Part.REPLAY and pair.replay is not None:
                    replays.setdefault(pair.group, set()).add((pair.topic, pair.replay))
            elif (group := self._keys.parse_trigger(key)) is not None and _is_group(group):
                found.setdefault(group, set())
        return [
            Remains(group, tuple(sorted(topics)), tuple(sorted(replays.get(group, ()))))
            for group, topics in sorted(found.items())
        ]

    async def counted(self, remains: Remains) -> Remains:
        """The same with its counts."""
        lags: list[int | None] = []
        pending = due = dead = 0
        for topic in remains.topics:
            found = await status(self._connection, self._keys, topic, remains.group)
            if found.exists:
                lags.append(None if found.lag is None else found.lag + found.inbox)
            pending += found.pending
            due += found.due
            dead += found.dead
        lag = None if None in lags else sum(each or 0 for each in lags)
        return replace(remains, lag=lag, pending=pending, due=due, dead=dead)

    async def forget(self, remains: Remains) -> None:
        """Delete it, topic by topic and its start last: what a kill leaves over is found and deleted the next time."""
        keys, group = self._keys, remains.group
        calls = [
            (
                [
                    keys.topic(topic),
                    keys.inbox(topic, group),
                    keys.retry(topic, group),
                    keys.bodies(topic, group),
                    keys.dead(topic, group),
                    keys.stats(topic, group),
                    keys.jobs(topic, group),
                    *(keys.replay(topic, group, replay) for place, replay in remains.replays if place == topic),
                ],
                [group],
            )
            for topic in remains.topics
        ]
        for call in calls:
            await FORGET.run(self._connection, *call)
        await self._connection.call("UNLINK", keys.trigger(group))

    async def _scan(self) -> AsyncIterator[str]:
        cursor: bytes = b"0"
        while True:
            cursor, page = await self._connection.call("SCAN", cursor, "MATCH", self._keys.own_glob, "COUNT", SCANNED)
            for key in page:
                yield key.decode("utf-8", "replace")
            if cursor == b"0":
                return


def _is_group(name: str) -> bool:
    project, _, trigger = name.partition("/")
    return is_name(project) and is_name(trigger)
