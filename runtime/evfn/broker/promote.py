"""Due retries on their way from the retry set to the inbox."""

from collections.abc import Sequence
from dataclasses import dataclass

from evfn.broker import limits
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.errors import BrokerError

PROMOTE = Script("promote", "retry", "bodies", "inbox", "stats")
_AT_ONCE = 100
"""Sets looked at in one go: neither the server nor this process does anything else meanwhile."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """`dropped` are invocations whose record was gone: counted, and to be told. `next_due_ms` and `now_ms` are the
    server's time; the next one may be due already, when more were due than one call moves."""

    moved: int
    dropped: list[str]
    next_due_ms: int | None
    now_ms: int


async def any_waiting(connection: Connection, keys: Keys, pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """For each (topic, group), whether retries wait, due or not; in a few goes, for sweeps over many triggers.

    A key that cannot be looked at counts as one that has some: promoting it says what is wrong.
    """
    waiting: list[bool] = []
    for at in range(0, len(pairs), _AT_ONCE):
        chunk = pairs[at : at + _AT_ONCE]
        replies = await connection.pipeline([("ZCARD", keys.retry(topic, group)) for topic, group in chunk])
        waiting += [isinstance(reply, BrokerError) or reply > 0 for reply in replies]
    return waiting


async def promote(connection: Connection, keys: Keys, topic: str, group: str, limit: int) -> Promotion:
    """Move at most `limit` due retries of one pair. Raises KeyTaken or BrokerError where one cannot be moved; it, and
    those after it, stay in the set."""
    reply = await PROMOTE.run(
        connection,
        [keys.retry(topic, group), keys.bodies(topic, group), keys.inbox(topic, group), keys.stats(topic, group)],
        [limit, limits.BYTES],
    )
    if reply[0] == b"BLOCKED":
        key, why = reply[1].decode(), reply[2].decode("utf-8", "replace")
        if why.startswith(("WRONGTYPE", "it holds")):
            raise KeyTaken(key, connection.server)
        raise BrokerError(f"{connection.server} cannot add to {key}: {why}")
    _, moved, dropped, next_due, now = reply
    return Promotion(
        moved,
        [each.decode("utf-8", "replace") for each in dropped],
        int(float(next_due)) if next_due else None,
        int(now),
    )
