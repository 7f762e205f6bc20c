"""What `evfn emit --wait --json` prints: a flat object for each outcome as it is known, and one for the whole."""

from typing import Any

from evfn.trace.report import Told
from evfn.trace.trace import Trace
from evfn.trace.tree import Standing

_STATES = {Standing.WAITING: "waiting", Standing.STUCK: "broken", Standing.ABSENT: "absent"}


def of_told(told: Told) -> dict[str, Any]:
    """One outcome at one trigger. Fields are added within a version, never changed."""
    report = told.report
    error, cause = report.error, report.cause
    return {
        "version": 1,
        "event": {"topic": report.topic, "stream_id": report.stream_id, "id": report.event_id},
        "caused_by": None if cause is None else dict(zip(("topic", "stream_id", "trigger"), cause, strict=True)),
        "trigger": report.trigger,
        "project": report.project,
        "outcome": report.fate.value,
        "attempt": report.attempt,
        "attempts": report.attempts,
        "seconds": report.seconds,
        "error": None if error is None else dict(zip(("type", "message", "place"), error, strict=True)),
        "emits": [{"topic": place.topic, "stream_id": place.stream_id} for place in told.emitted],
        "reason": report.reason or None,
        "dead_letter": told.letter or None,
        "due_ms": report.due_ms or None,
    }


def of_end(trace: Trace, code: int) -> dict[str, Any]:
    """The last line; `code` is the exit code."""
    counts = trace.counts
    return {
        "version": 1,
        "done": code != 1,
        "exit": code,
        "events": sum(trace.summary.events.values()),
        "succeeded": counts.succeeded,
        "skipped": counts.skipped,
        "filter_errors": counts.filter_errors,
        "dead_lettered": counts.dead_lettered,
        "waiting": counts.waiting,
        "broken": counts.stuck,
        "absent": counts.absent,
        "open": [
            {
                "trigger": each.trigger,
                "topic": each.topic,
                "stream_id": each.stream_id or None,
                "count": each.count,
                "state": _STATES[each.standing],
                "reason": each.reason or None,
            }
            for each in trace.open()
        ],
    }
