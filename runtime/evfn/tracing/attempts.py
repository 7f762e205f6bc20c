"""A span for every attempt: its ids are there before the attempt, for the function's own spans, all else afterwards.

Names and attributes are those of OpenTelemetry's semantic conventions for messaging, and evfn's own below `evfn.`.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from evfn.clock import Clock
from evfn.event.traceparent import TraceParent
from evfn.outcome import Crashed, Failed, Failure, Interrupted, Outcome, Rejected, Succeeded, TimedOut
from evfn.settlement import Ack, DeadLetter, Release, RetryAt, Settlement, describe
from evfn.traceback import format_failure
from evfn.tracing.current import span_context
from evfn.tracing.pipeline import SCOPE, Pipeline
from evfn.tracing.tracer import Attempt, Begun
from evfn.trigger import Trigger

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

_PATIENCE = timedelta(seconds=5)
"""How long the end of an instance waits for the last spans to be exported."""
_STEP_NS = 10_000_000
_MESSAGE = 500
"""How much of an error's message a span's status keeps; the whole is in its event."""


class Attempts:
    """Makes the spans of one instance's attempts. `clock` is the machine's: the producers' spans go by theirs, too.

    `mask` takes secrets out of what functions raise.
    """

    def __init__(
        self, pipeline: Pipeline, project: str, clock: Clock, mask: Callable[[str], str] = lambda text: text
    ) -> None:
        self._pipeline = pipeline
        self._project = project
        self._clock = clock
        self._mask = mask
        self._ahead_ns = 0

    def begin(self, trigger: Trigger, attempt: Attempt) -> Begun:
        """Let the sampler decide, and the ids be made; the producer's span is the parent."""
        producer = TraceParent.of(attempt.fields)
        parent = None if producer is None else span_context(producer)
        around = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
        trace_id = self._pipeline.ids.generate_trace_id() if parent is None else parent.trace_id
        decided = self._pipeline.sampler.should_sample(
            around, trace_id, _name(attempt), SpanKind.CONSUMER, self._attributes(trigger, attempt), _links(parent)
        )
        recorded = decided.decision is Decision.RECORD_AND_SAMPLE
        # The flags' other bits are the producer's; the last says whether whoever follows should record.
        flags = (0 if parent is None else parent.trace_flags & ~TraceFlags.SAMPLED) | recorded
        own = TraceParent(
            format_trace_id(trace_id),
            format_span_id(self._pipeline.ids.generate_span_id()),
            f"{flags:02x}",
            "" if decided.trace_state is None else decided.trace_state.to_header(),
        )
        return Begun(own, producer, recorded, dict(decided.attributes or {}))

    def end(self, begun: Begun, trigger: Trigger, attempt: Attempt, outcome: Outcome, what: Settlement | None) -> None:
        """Export it, if it is one that is recorded."""
        if not begun.recorded:
            return
        ahead_ns = self._ahead()
        now_ns = round(self._clock.monotonic() * 1e9)
        started_ns, ended_ns = attempt.ran_ns or (now_ns, now_ns)
        parent = None if begun.producer is None else span_context(begun.producer)
        failure = _failure(outcome)
        attributes = self._attributes(trigger, attempt) | dict(begun.attributes)
        attributes["evfn.outcome"] = _snake(outcome)
        attributes |= _settled(what)
        status = Status()
        events: tuple[SpanEvent, ...] = ()
        if failure is not None:
            attributes["error.type"] = failure.type if isinstance(outcome, Failed | Rejected) else _snake(outcome)
            told = {name: self._mask(text) for name, text in _exception(failure, outcome).items()}
            first_line = f"{failure.type}: {told['exception.message']}".partition("\n")[0]
            status = Status(StatusCode.ERROR, first_line[:_MESSAGE])
            events = (SpanEvent("exception", told, ended_ns + ahead_ns),)
        self._pipeline.export(
            ReadableSpan(
                _name(attempt),
                span_context(begun.own),
                parent,
                self._pipeline.resource,
                attributes,
                events,
                _links(parent),
                SpanKind.CONSUMER,
                status=status,
                start_time=started_ns + ahead_ns,
                end_time=ended_ns + ahead_ns,
                instrumentation_scope=SCOPE,
            )
        )

    def close(self) -> bool:
        """Export what is left."""
        return self._pipeline.close(_PATIENCE)

    def _ahead(self) -> int:
        """How far the wall's clock is ahead of the monotonic one, which is a worker's as well.

        The same from span to span, so that they keep their order, until somebody sets the clock.
        """
        ahead_ns = round((self._clock.now().timestamp() - self._clock.monotonic()) * 1e9)
        if abs(ahead_ns - self._ahead_ns) > _STEP_NS:
            self._ahead_ns = ahead_ns
        return self._ahead_ns

    def _attributes(self, trigger: Trigger, attempt: Attempt) -> "dict[str, AttributeValue]":
        return {
            "messaging.system": "redis",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": attempt.topic,
            "messaging.consumer.group.name": f"{self._project}/{trigger.name}",
            "messaging.message.id": attempt.stream_id,
            "code.function.name": trigger.function,
            "evfn.trigger": trigger.name,
            "evfn.invocation.id": attempt.invocation_id,
            "evfn.attempt": attempt.attempt,
        }


def _name(attempt: Attempt) -> str:
    return f"process {attempt.topic}"


def _links(parent: SpanContext | None) -> tuple[Link, ...]:
    return () if parent is None else (Link(parent),)


def _snake(outcome: Outcome) -> str:
    match outcome:
        case Succeeded():
            return "succeeded"
        case Failed():
            return "failed"
        case Rejected():
            return "rejected"
        case TimedOut():
            return "timed_out"
        case Crashed():
            return "crashed"
        case Interrupted():
            return "interrupted"


def _failure(outcome: Outcome) -> Failure | None:
    match outcome:
        case Failed(failure) | Rejected(_, failure):
            return failure
        case TimedOut() | Crashed():
            return describe(outcome)
    return None


def _exception(failure: Failure, outcome: Outcome) -> dict[str, str]:
    stack = outcome.stack if isinstance(outcome, TimedOut | Crashed) else format_failure(failure)
    return {
        "exception.type": failure.type,
        "exception.message": failure.message,
        "exception.stacktrace": stack,
    }


def _settled(what: Settlement | None) -> "dict[str, AttributeValue]":
    """What is done about it: a retry, a dead letter and its reason, or nothing more."""
    match what:
        case Ack(emits):
            return {"evfn.settlement": "ack", "evfn.emits": len(emits)}
        case RetryAt(due):
            return {"evfn.settlement": "retry", "evfn.retry.due": due.isoformat(timespec="milliseconds")}
        case DeadLetter(reason):
            return {"evfn.settlement": "dead_letter", "evfn.dead_letter.reason": reason.value}
        case Release() | None:
            return {}
