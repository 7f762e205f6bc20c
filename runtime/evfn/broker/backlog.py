"""How much one trigger has to do on one topic, counted on the server: what an autoscaler goes by."""

from dataclasses import dataclass
from datetime import timedelta

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.status import group_facts, status
from evfn.errors import BrokerError

_READ_BYTES = 256 * 1024
"""What counting may cost; beyond that an upper bound has to do."""
_READ_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """`lag`: delivered to nobody yet, on the topic and in the inbox. `pending`: delivered, not settled. `due`: retries
    that fall due soon. Not `exact` is a lag that may be less: the server does not know it, and it is too much to count.
    """

    lag: int = 0
    pending: int = 0
    due: int = 0
    exact: bool = True

    @property
    def value(self) -> int:
        """All of it."""
        return self.lag + self.pending + self.due

    def __add__(self, other: "Backlog") -> "Backlog":
        return Backlog(
            self.lag + other.lag, self.pending + other.pending, self.due + other.due, self.exact and other.exact
        )


async def backlog(
    connection: Connection, keys: Keys, topic: str, group: str, *, soon: timedelta, from_beginning: bool
) -> Backlog:
    """Count it. A group that does not exist will begin at the topic's beginning, or at its end.

    Raises BrokerError, also where a key holds something else.
    """
    found = await status(connection, keys, topic, group)
    if found.problem is not None:
        raise BrokerError(found.problem)
    stream = keys.topic(topic)
    lag, exact = found.lag, True
    if not found.exists:
        lag = await connection.call("XLEN", stream) if from_beginning else 0
    elif lag is None:
        lag, exact = await _unread(connection, stream, group)
    seconds, microseconds = await connection.call("TIME")
    latest = int(seconds) * 1000 + int(microseconds) // 1000 + int(soon.total_seconds() * 1000)
    due = await connection.call("ZCOUNT", keys.retry(topic, group), "-inf", latest)
    return Backlog(int(lag) + found.inbox, found.pending, int(due), exact)


async def _unread(connection: Connection, stream: str, group: str) -> tuple[int, bool]:
    """Where the server has lost count: few are counted, of many all that the stream holds are taken for unread."""
    ours = group_facts(await connection.call("XINFO", "GROUPS", stream), group)
    if ours is None:
        return 0, True
    first = await connection.call("XRANGE", stream, b"(" + ours["last-delivered-id"], "+", "COUNT", 1)
    if not first:
        return 0, True
    size = sum(map(len, first[0][1] or [b""]))
    most = max(1, min(_READ_ENTRIES, _READ_BYTES // max(size, 1)))
    entries = await connection.call("XRANGE", stream, b"(" + ours["last-delivered-id"], "+", "COUNT", most + 1)
    if len(entries) <= most:
        return len(entries), True
    return int(await connection.call("XLEN", stream)), False
