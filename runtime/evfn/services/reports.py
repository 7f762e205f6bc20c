"""What one trigger reports of followed events, to be told with their settlement."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from evfn.broker.group import Entry, Traced
from evfn.event import Entry as StoredEvent
from evfn.event import cause_of, trace_of
from evfn.outcome import Crashed, Failure, Outcome, TimedOut
from evfn.services.held import Held
from evfn.settlement import Ack, DeadLetter, RetryAt
from evfn.trace.report import Fate, Report, pack
from evfn.traceback import place_in
from evfn.trigger import Trigger

MESSAGE = 500
"""Characters of an error's message that are reported."""
REASON = 1_000
"""Characters of a filter's explanation that are reported."""


class Reports:
    """`folder` is the project's, to say where an error is."""

    def __init__(self, project: str, trigger: Trigger, folder: Path) -> None:
        self._project = project
        self.trigger = trigger
        self._folder = folder

    def skipped(self, topic: str, entry_id: bytes, fields: Sequence[bytes], reason: str, *, error: bool) -> Entry:
        """The filter did not let it through: it is false, or in error on this event."""
        counters = {"delivered": 1, "filtered": 1} | ({"filter_errors": 1} if error else {})
        fate = Fate.FILTER_ERROR if error else Fate.SKIPPED
        stream_id = entry_id.decode()
        origin = _origin(stream_id, fields)
        report = Report(self._project, self.trigger.name, topic, stream_id, *origin, fate, _clean(reason, REASON))
        return Entry.ack(entry_id, counters=counters, traced=_traced(fields, report))

    def ended(
        self, held: Held, outcome: Outcome, decision: Ack | RetryAt | DeadLetter, took: timedelta | None
    ) -> Traced | None:
        """An attempt ended, and this is decided. None for an event nobody follows."""
        fate, reason, due_ms = Fate.SUCCEEDED, "", 0
        emits: list[str] = []
        match decision:
            case Ack(emitted):
                emits = [emit.topic for emit in emitted]
            case RetryAt(due):
                fate, reason, due_ms = Fate.FAILED, _how(outcome), int(due.timestamp() * 1000)
            case DeadLetter(why):
                fate, reason = Fate.DEAD_LETTERED, why.value
        report = Report(
            self._project,
            self.trigger.name,
            held.topic,
            held.stream_id,
            *_origin(held.stream_id, held.fields),
            fate,
            reason,
            held.attempt,
            self.trigger.retry.attempts,
            None if took is None else took.total_seconds(),
            due_ms,
            None if isinstance(decision, Ack) else self._error(decision.failure),
            emits,
            isinstance(decision, Ack) and decision.unemitted,
            bool(held.history),
        )
        return _traced(held.fields, report)

    def _error(self, failure: Failure) -> tuple[str, str, str]:
        return failure.type, _clean(failure.message, MESSAGE), place_in(failure, self._folder)


def _traced(fields: Sequence[bytes], report: Report) -> Traced | None:
    trace = trace_of(fields)
    return None if trace is None else Traced(trace, pack(report))


def _origin(stream_id: str, fields: Sequence[bytes]) -> tuple[str, tuple[str, str, str] | None]:
    """The event's id, and what caused it."""
    cause = cause_of(fields)
    caused_by = None if cause is None else (cause.topic, cause.stream_id, cause.trigger)
    return StoredEvent("", stream_id, list(fields)).attribute("id") or stream_id, caused_by


def _clean(text: str, limit: int) -> str:
    # A report must never fail to be packed, whatever an event or an exception holds.
    return text[:limit].encode("utf-8", "backslashreplace").decode()


def _how(outcome: Outcome) -> str:
    match outcome:
        case TimedOut():
            return "timed_out"
        case Crashed():
            return "crashed"
        case _:
            return "failed"
