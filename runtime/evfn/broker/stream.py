"""Reading topics as anybody may: nothing is taken from a trigger, no group is made, nothing is changed."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.position import BEGINNING, numbers
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.event import Entry

PAGE = 200
"""Most entries that one reading asks the server for, all topics together: a hot topic comes in many small pieces."""


class Streams:
    """Several topics read as one, in the order of their stream ids."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    async def newest(self, topics: Iterable[str], count: int) -> tuple[list[Entry], dict[str, str]]:
        """The newest events of all topics together, oldest first, and each topic's newest id.

        Raises BrokerError for a key that is no stream.
        """
        names = list(topics)
        # One at least, for its id.
        commands = [("XREVRANGE", self._keys.topic(name), "+", "-", "COUNT", max(count, 1)) for name in names]
        found: list[Entry] = []
        last: dict[str, str] = {}
        for name, reply in zip(names, await self._connection.pipeline(commands), strict=True):
            if isinstance(reply, BrokerError):
                raise reply
            entries = [_entry(name, each) for each in reply]
            last[name] = entries[0].stream_id if entries else BEGINNING
            found += entries
        found.sort(key=order)
        return found[-count:] if count else [], last

    async def after(self, positions: Mapping[str, str], patience: timedelta = timedelta()) -> list[Entry]:
        """The next events of each topic behind its position, at most a page; none may follow between two of them.

        Where there is none, wait for one this long. Raises BrokerError where one of the topics is no stream.
        """
        if not positions:
            return []
        count = max(PAGE // len(positions), 1)
        wait = ("BLOCK", patience // timedelta(milliseconds=1)) if patience else ()
        streams = [self._keys.topic(name) for name in positions]
        reply = await self._connection.call("XREAD", "COUNT", count, *wait, "STREAMS", *streams, *positions.values())
        names = {key.encode(): name for key, name in zip(streams, positions, strict=True)}
        pages = [[_entry(names[key], each) for each in entries] for key, entries in reply or []]
        # A topic whose page is full has more: what is newer than its last one on the others has to wait its turn.
        end = min((order(page[-1]) for page in pages if len(page) == count), default=None)
        found = [entry for page in pages for entry in page if end is None or order(entry) <= end]
        return sorted(found, key=order)

    async def are(self, topics: Iterable[str]) -> dict[str, bool]:
        """Which of these keys exist: True for a stream, False for one that holds something else."""
        names = list(topics)
        kinds = await self._connection.pipeline([("TYPE", self._keys.topic(name)) for name in names])
        for kind in kinds:
            if isinstance(kind, BrokerUnavailable):
                raise kind
        return {name: kind == b"stream" for name, kind in zip(names, kinds, strict=True) if kind != b"none"}

    async def now(self) -> datetime:
        """The server's own time, by which the ids of its streams are made."""
        seconds, microseconds = await self._connection.call("TIME")
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))


def order(entry: Entry) -> tuple[tuple[int, int], str]:
    """What events of several topics are sorted by."""
    return numbers(entry.stream_id), entry.topic


def _entry(topic: str, reply: Any) -> Entry:
    return Entry(topic, reply[0].decode(), reply[1])
