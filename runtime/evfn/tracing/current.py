"""The current span of whoever makes spans with OpenTelemetry's API in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from evfn.event.traceparent import TraceParent


def span_context(place: TraceParent) -> SpanContext:
    """The same, as OpenTelemetry's libraries take it."""
    return SpanContext(
        int(place.trace_id, 16),
        int(place.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(place.flags, 16)),
        trace_state=TraceState.from_header([place.state]) if place.state else None,
    )


@contextmanager
def within(place: TraceParent) -> Iterator[None]:
    """Spans made in this block are children of the one at this place, which somebody else exports."""
    token = context.attach(set_span_in_context(NonRecordingSpan(span_context(place))))
    try:
        yield
    finally:
        context.detach(token)
