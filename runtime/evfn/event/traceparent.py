"""Where an event stands in a distributed trace: the W3C's `traceparent` and `tracestate`, extensions of the event."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_STORED = TRACEPARENT.encode()
_STORED_STATE = TRACESTATE.encode()


@dataclass(frozen=True, slots=True)
class TraceParent:
    """One span of a trace: both ids in hexadecimal digits, and flags, whose last bit says that it is recorded."""

    trace_id: str
    span_id: str
    flags: str = "01"
    state: str = ""

    @classmethod
    def parse(cls, text: str | None, state: str = "") -> Self | None:
        """None for what is no traceparent of the version that is known."""
        found = _FORM(text) if text else None
        return None if found is None else cls(found[1], found[2], found[3], state)

    @classmethod
    def of(cls, fields: Sequence[bytes]) -> Self | None:
        """The one of a stream entry (names and values in turn); None where it has none, or is no CloudEvent."""
        if _STORED not in fields or b"specversion" not in fields:
            return None
        pairs = dict(zip(fields[::2], fields[1::2], strict=False))
        return cls.parse(
            pairs.get(_STORED, b"").decode("ascii", "replace"), pairs.get(_STORED_STATE, b"").decode("ascii", "replace")
        )

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def new_trace() -> str:
    """A new span of a new trace, as the attribute's value."""
    while True:
        try:
            return _ahead.pop()
        except IndexError:
            _ahead.extend(_new_traces())


_AHEAD = 64
_ahead: list[str] = []
"""Many at once cost a third of as many one by one."""
# What is forked must not say the same as what it was forked from.
os.register_at_fork(after_in_child=_ahead.clear)


def _new_traces() -> list[str]:
    digits = os.urandom(_AHEAD * 24).hex()
    # The last digit of both numbers is no zero: neither may be zero.
    return [f"00-{digits[at : at + 31]}1-{digits[at + 32 : at + 47]}1-01" for at in range(0, len(digits), 48)]


def onward(cause: str | None) -> TraceParent:
    """A new span of the trace that an event belongs to; of a new trace where there is none."""
    _, trace_id, span_id, flags = new_trace().split("-")
    found = TraceParent.parse(cause)
    if found is None:
        return TraceParent(trace_id, span_id, flags)
    return TraceParent(found.trace_id, span_id, found.flags)
