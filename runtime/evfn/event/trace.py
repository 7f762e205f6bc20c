"""Events that are followed: their first field is a trace, which their emits inherit.

That it is the first one is what makes it a trace: whoever holds raw fields tells a followed event from all others by
one comparison, and no other event pays for it.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

TRACE = "evfntrace"
"""The extension that asks for every attempt on an event, and on all it causes, to be reported."""
CAUSE = "evfncause"
"""The extension of a followed event that was emitted: the trigger, topic and stream id that caused it."""
TRACED = TRACE.encode()

_CAUSE = CAUSE.encode()
_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}").fullmatch


@dataclass(frozen=True, slots=True)
class Cause:
    """The event whose attempt emitted another one, and the trigger that made the attempt."""

    topic: str
    stream_id: str
    trigger: str


def new_trace() -> str:
    """A trace that nobody else follows."""
    return secrets.token_hex(16)


def trace_of(fields: Sequence[bytes]) -> str | None:
    """The trace that these stream fields belong to; None for an event that nobody follows."""
    if not fields or fields[0] != TRACED or _ID(fields[1]) is None:
        return None
    return fields[1].decode()


def cause_of(fields: Sequence[bytes]) -> Cause | None:
    """What caused a followed event; None for the one that began the trace."""
    if len(fields) < 4 or fields[2] != _CAUSE:
        return None
    trigger, _, place = fields[3].decode("utf-8", "replace").partition(" ")
    topic, _, stream_id = place.partition(" ")
    return Cause(topic, stream_id, trigger)


def followed(fields: Sequence[bytes], trace: str, cause: Cause | None = None) -> list[bytes]:
    """These fields as part of a trace, whichever they were part of before."""
    pairs = zip(fields[::2], fields[1::2], strict=True)
    own = [part for pair in pairs if pair[0] not in (TRACED, _CAUSE) for part in pair]
    return [*marks(trace, cause), *own]


def marks(trace: str, cause: Cause | None) -> list[bytes]:
    """The fields that stand before all others."""
    if cause is None:
        return [TRACED, trace.encode()]
    return [TRACED, trace.encode(), _CAUSE, f"{cause.trigger} {cause.topic} {cause.stream_id}".encode()]
