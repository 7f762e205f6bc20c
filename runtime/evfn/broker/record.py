"""What evfn keeps of an invocation between its attempts: the event as it was stored, and what became of it so far.

Packed as msgpack in one field, so that no script ever decodes an event and no event can look like a record.
"""

from enum import Enum

import msgspec

from evfn.event import TRACED
from evfn.functions.invocation import invocation_id


class Origin(Enum):
    """Why an invocation is in its trigger's inbox."""

    RETRY = "retry"
    REDRIVE = "redrive"
    REPLAY = "replay"


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One finished attempt: its number, how it ended (a dead letter reason), when, and the error in one line."""

    number: int
    outcome: str
    ended_ms: int
    message: str


class Record(msgspec.Struct, frozen=True, array_like=True):
    """An inbox entry's or a waiting retry's content. `attempt` is the number of the run to come, 1 the first.

    `stream_id` is the event's own id on its topic; `fields` are the entry's, alternating name and value.
    `first_delivered_ms` is 0 for what was never delivered, a replayed event.
    """

    topic: str
    stream_id: str
    invocation_id: str
    attempt: int
    origin: Origin
    first_delivered_ms: int
    history: list[Attempt]
    fields: list[bytes]


def replayed(trigger: str, topic: str, stream_id: str, fields: list[bytes], replay: str) -> Record:
    """A past event on its way to one trigger again, as an invocation of its own: its id ends with the replay's."""
    # Whoever followed it back then does so no more.
    own = fields[2:] if fields[:1] == [TRACED] else fields
    return Record(
        topic, stream_id, f"{invocation_id(trigger, topic, stream_id)}:{replay}", 1, Origin.REPLAY, 0, [], own
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def pack(record: Record) -> bytes:
    return _encoder.encode(record)


def unpack(packed: bytes) -> Record:
    """Raises ValueError where the bytes are no record (something else wrote into the inbox)."""
    return _decoder.decode(packed)
