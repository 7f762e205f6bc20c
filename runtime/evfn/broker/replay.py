"""A replay of one topic to one trigger: its range and cursor on the server, moved piece by piece into the inbox.

A pair has at most one replay that is not finished; its id stands in the pair's stats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.record import Record, pack
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.errors import BrokerError

INBOX_LIMIT = 10_000
"""A replay waits while the inbox holds so many: they are copies, and new events should not wait behind too many."""

BEGIN = Script("begin_replay", "replay", "stats")
MOVE = Script("replay", "replay", "inbox", "stats")
END = Script("end_replay", "replay", "stats")


@dataclass(frozen=True, slots=True)
class Progress:
    """What the server keeps of an unfinished replay of one topic.

    `asked` says how it was asked for, to know the same command again; `topics` are all that it is for, one a line.
    Events from the id `first` to the id `last` belong to it; it has read up to `cursor`, empty when nothing was read.
    `total` events were there when it began, `seen` of them were read, `replayed` brought to the inbox. `condition` is
    the replay's own filter, `rate` as it was written; both may be empty.
    """

    id: str
    asked: str
    topics: str
    first: str
    last: str
    condition: str
    rate: str
    total: int
    cursor: str = ""
    seen: int = 0
    replayed: int = 0

    @property
    def done(self) -> bool:
        """Whether it has read its whole range."""
        return self.cursor == self.last

    @property
    def trimmed(self) -> int:
        """How many events of its range vanished before it came to them, of what it has read so far when `done`."""
        return max(self.total - self.seen, 0) if self.done else 0


class Moved(Enum):
    """What became of a piece: added, added by somebody else before, no room for it, or its replay was given up."""

    ADDED = "OK"
    BEFORE = "MOVED"
    FULL = "FULL"
    GONE = "GONE"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a topic keeps: its oldest and newest id, and how many events were removed of it, ever."""

    oldest: str
    newest: str
    removed: int


class Replay:
    """One pair's. Methods raise KeyTaken or BrokerError for a key that holds something else or takes nothing."""

    def __init__(self, connection: Connection, keys: Keys, topic: str, project_group: str) -> None:
        self._connection = connection
        self._keys = keys
        self.topic = topic
        self._group = project_group
        self._stream = keys.topic(topic)
        self._inbox = keys.inbox(topic, project_group)
        self._stats = keys.stats(topic, project_group)

    async def unfinished(self) -> Progress | None:
        """The one that was begun and not ended."""
        found = await self._call(self._stats, "HGET", self._stats, "replay")
        return None if found is None else await self.progress(found.decode("utf-8", "replace"))

    async def progress(self, replay: str) -> Progress | None:
        """How far this one is; None where it was ended."""
        key = self._key(replay)
        flat = await self._call(key, "HGETALL", key)
        if not flat:
            # Somebody removed the hash by hand: nothing is left to go on with, and the next one may begin.
            await self.end(replay)
            return None
        stored = {
            name.decode(): value.decode("utf-8", "replace") for name, value in zip(flat[::2], flat[1::2], strict=True)
        }
        total, seen, moved = (int(stored.get(name) or 0) for name in ("total", "seen", "replayed"))
        names = ("asked", "topics", "first", "last", "condition", "rate")
        asked, topics, first, last, condition, rate = (stored.get(name, "") for name in names)
        cursor = stored.get("cursor", "")
        return Progress(replay, asked, topics, first, last, condition, rate, total, cursor, seen, moved)

    async def begin(self, progress: Progress) -> str | None:
        """Begin it. Returns the id of the unfinished one there is now: its own, or that of another begun before.

        None where this one was ended: it never begins twice.
        """
        values = {each.name: str(getattr(progress, each.name)) for each in fields(Progress) if each.name != "id"}
        flat = [part for pair in values.items() for part in pair]
        reply = await BEGIN.run(self._connection, [self._key(progress.id), self._stats], [progress.id, *flat])
        self._refuse(reply)
        if reply[0] == b"ENDED":
            return None
        return progress.id if reply[0] == b"OK" else reply[1].decode()

    async def has_room(self) -> bool:
        """Whether the inbox takes another piece now; asked first, so that no piece is read in vain."""
        return int(await self._call(self._inbox, "XLEN", self._inbox)) < INBOX_LIMIT

    async def read(self, first: str, last: str, after: str, count: int) -> list[tuple[bytes, list[bytes]]]:
        """At most `count` events of the range behind the id `after`, empty for its beginning."""
        start = f"({after}" if after else first
        found: list[tuple[bytes, list[bytes]]] = await self._call(
            self._stream, "XRANGE", self._stream, start, last, "COUNT", count
        )
        return found

    async def move(self, progress: Progress, cursor: str, events: int, records: Sequence[Record]) -> Moved:
        """Bring these records, of so many events read behind the cursor of `progress`, into the inbox.

        May be repeated after a lost reply, and carried out by several at once: only the first one adds anything.
        """
        reply = await MOVE.run(
            self._connection,
            [self._key(progress.id), self._inbox, self._stats],
            [progress.cursor, cursor, events, INBOX_LIMIT, *map(pack, records)],
        )
        self._refuse(reply)
        return Moved(reply[0].decode())

    async def end(self, replay: str) -> bool:
        """Forget it, finished or not; what it brought stays in the inbox. Whether there was such a one."""
        return bool(await END.run(self._connection, [self._key(replay), self._stats], [replay]))

    async def kept(self) -> Kept | None:
        """What there is to replay; None for a topic without any event."""
        try:
            flat = await self._call(self._stream, "XINFO", "STREAM", self._stream)
        except BrokerError as error:
            if "no such key" in str(error):
                return None
            raise
        facts = dict(zip(flat[::2], flat[1::2], strict=True))
        if not facts[b"length"]:
            return None
        oldest, newest = (facts[name][0].decode() for name in (b"first-entry", b"last-entry"))
        return Kept(oldest, newest, max(facts[b"entries-added"] - facts[b"length"], 0))

    def _key(self, replay: str) -> str:
        return self._keys.replay(self.topic, self._group, replay)

    async def _call(self, key: str, *command: str | int) -> Any:
        try:
            return await self._connection.call(*command)
        except BrokerError as error:
            raise KeyTaken(key, self._connection.server) if "WRONGTYPE" in str(error) else error from error

    def _refuse(self, reply: list[bytes]) -> None:
        if reply[0] == b"BLOCKED":
            key, why = reply[1].decode(), reply[2].decode("utf-8", "replace")
            if why.startswith(("WRONGTYPE", "it holds")):
                raise KeyTaken(key, self._connection.server)
            raise BrokerError(f"{self._connection.server} cannot add to {key}: {why}")
