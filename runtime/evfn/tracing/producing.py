"""A span for each time events are published, where the program that publishes makes spans of its own.

A program that does has imported OpenTelemetry's API; where it has not, nobody looks here for more than that.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from evfn.event.traceparent import TRACEPARENT, TRACESTATE, TraceParent

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_API = "opentelemetry.trace"


class _Stored(Protocol):
    """A dataclass of what is to be stored; its fields alternate name and value."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def fields(self) -> Sequence[bytes]: ...


T = TypeVar("T", bound=_Stored)


class Sending:
    """What is being published, under a span, or under none."""

    __slots__ = ("_own", "_span")

    def __init__(self, span: "Span | None" = None) -> None:
        self._span = span
        self._own: list[bytes] = []
        place = None if span is None else span.get_span_context()
        # Without an SDK, and outside of any span, there is no place.
        if place is not None and place.is_valid:
            own = TraceParent(f"{place.trace_id:032x}", f"{place.span_id:016x}", f"{place.trace_flags:02x}")
            self._own = [TRACEPARENT.encode(), str(own).encode()]
            if state := place.trace_state.to_header():
                self._own += [TRACESTATE.encode(), state.encode()]

    def marked(self, events: Sequence[T]) -> Sequence[T]:
        """These with their place in the trace; one that says its place itself stays as it is."""
        if not self._own:
            return events
        return [
            each if TRACEPARENT.encode() in each.fields[::2] else replace(each, fields=[*each.fields, *self._own])
            for each in events
        ]

    def stored(self, stream_ids: Sequence[str]) -> None:
        """They are published, under these ids."""
        if self._span is not None and len(stream_ids) == 1:
            self._span.set_attribute("messaging.message.id", stream_ids[0])


_NOBODY = nullcontext(Sending())


def sending(topic: str, count: int) -> AbstractContextManager[Sending]:
    """Around one publishing of so many events: a span, if spans are made in this program."""
    return _spanned(topic, count) if _API in sys.modules else _NOBODY


@cache
def _version() -> str:
    # Looked up in files, for longer than everything else that an emit does.
    from importlib.metadata import version

    return version("evfn")


@contextmanager
def _spanned(topic: str, count: int) -> Iterator[Sending]:
    from opentelemetry import trace

    attributes: dict[str, str | int] = {
        "messaging.system": "redis",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    }
    if count != 1:
        attributes["messaging.batch.message_count"] = count
    tracer = trace.get_tracer("evfn", _version())
    with tracer.start_as_current_span(f"send {topic}", kind=trace.SpanKind.PRODUCER, attributes=attributes) as span:
        try:
            yield Sending(span)
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise
