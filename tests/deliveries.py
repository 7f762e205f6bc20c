"""Deliveries on a real server, and what is looked at after they are settled."""

from evfn.broker.connection import Connection
from evfn.broker.group import Entry, Group, Source
from evfn.broker.record import Origin, Record, pack

EVERY_BYTE = bytes(range(256))
LAST_ID = "18446744073709551615-18446744073709551615"


def record(stream_id: bytes = b"1-0", fields: list[bytes] | None = None) -> Record:
    return Record(
        topic="orders.new",
        stream_id=stream_id.decode(),
        invocation_id=f"pack:orders.new:{stream_id.decode()}",
        attempt=1,
        origin=Origin.REDRIVE,
        first_delivered_ms=1,
        history=[],
        fields=fields if fields is not None else [b"data", b"x"],
    )


def retry(entry: bytes, due_ms: int = 0, *, deliveries: int = 1) -> Entry:
    invocation = f"pack:orders.new:{entry.decode()}"
    return Entry.retry(entry, invocation, due_ms, pack(record(entry)), counters={"retried": 1}, deliveries=deliveries)


async def deliver(connection: Connection, group: Group, count: int = 1) -> list[bytes]:
    """Put events on the topic and fetch them."""
    await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", number) for number in range(count)])
    entries = await group.fetch(Source.TOPIC, count)
    assert len(entries) == count
    return [entry for entry, _ in entries]


async def pending(connection: Connection, group: Group, source: Source = Source.TOPIC) -> int:
    return int((await connection.call("XPENDING", group.key(source), group.group))[0])


async def values(connection: Connection, key: str) -> list[list[bytes]]:
    return [fields for _, fields in await connection.call("XRANGE", key, "-", "+")]
