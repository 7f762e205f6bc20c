"""What came of one attempt on a followed event, or of its filter: packed in the step that settles it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import msgspec


class Fate(Enum):
    """What came of an event at a trigger. FAILED will run again, everything else is the end of it there."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    FILTER_ERROR = "filter_error"
    FAILED = "failed"
    DEAD_LETTERED = "dead_lettered"

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self is not Fate.FAILED


class Place(NamedTuple):
    """Where an event is stored."""

    topic: str
    stream_id: str


class Report(msgspec.Struct, frozen=True, array_like=True):
    """`reason` is that of a skip or a dead letter, of FAILED how the attempt ended (failed, timed_out, crashed).

    `cause` is topic, stream id and trigger of the attempt that emitted the event, None for the first one. `attempt` is
    0 where nothing ran. `due_ms` is when a failed one runs again, in milliseconds since the epoch. `error` is type,
    message and `file:line` of the project. `emits` are the emits' topics in their order; `unemitted` says that a value
    was dropped for lack of a topic; `again` that an earlier attempt has been reported.
    """

    project: str
    trigger: str
    topic: str
    stream_id: str
    event_id: str
    cause: tuple[str, str, str] | None
    fate: Fate
    reason: str = ""
    attempt: int = 0
    attempts: int = 0
    seconds: float | None = None
    due_ms: int = 0
    error: tuple[str, str, str] | None = None
    emits: list[str] = []
    unemitted: bool = False
    again: bool = False

    @property
    def place(self) -> Place:
        return Place(self.topic, self.stream_id)


@dataclass(frozen=True, slots=True)
class Told:
    """A report as it stands in the trace. `order` grows with the time of the settlement.

    `emitted` are the emits where they were stored, `letter` is the dead letter's id.
    """

    order: tuple[int, int]
    report: Report
    emitted: tuple[Place, ...] = ()
    letter: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Report)


def pack(report: Report) -> bytes:
    return _encoder.encode(report)


def read(entry_id: bytes, fields: Sequence[bytes]) -> Told | None:
    """An entry of a trace; None for one that evfn did not write."""
    stored = dict(zip(fields[::2], fields[1::2], strict=False))
    try:
        milliseconds, number = entry_id.split(b"-")
        report = _decoder.decode(stored[b"report"])
        ids = stored.get(b"emits", b"").decode().split()
        emitted = tuple(Place(topic, each) for topic, each in zip(report.emits, ids, strict=True))
        return Told((int(milliseconds), int(number)), report, emitted, stored.get(b"dead", b"").decode())
    except (KeyError, ValueError):
        return None
