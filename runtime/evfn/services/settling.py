"""What a decision becomes for the broker: the entry to settle, with its record or its dead letter."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from evfn.broker.dead_letter import DeadLetter as StoredLetter
from evfn.broker.dead_letter import StoredError
from evfn.broker.group import Entry, Traced
from evfn.broker.record import Attempt, Origin, Record, pack
from evfn.listener import Listener, Warned
from evfn.outcome import Crashed, Emit, Failure, Outcome, Succeeded, TimedOut
from evfn.services.held import Held
from evfn.settlement import DeadLetter, RetryAt
from evfn.traceback import format_failure

NAMED = 20
"""How many ids of trimmed events one warning names."""
LOG_LINES = 1000
"""How many captured lines of the last attempt a dead letter keeps."""
SUCCEEDED = Succeeded()
_MESSAGE = 500


def acked(held: Held, emits: tuple[Emit, ...], counters: Mapping[str, int], traced: Traced | None) -> Entry:
    """Done, with these emits; what is `traced` is told with it."""
    return Entry.ack(held.entry_id, emits, counters=counters, deliveries=held.deliveries, traced=traced)


def retried(
    held: Held,
    outcome: Outcome,
    decision: RetryAt,
    now: datetime,
    counters: Mapping[str, int],
    traced: Traced | None,
) -> Entry:
    """Waiting for its next attempt."""
    record = Record(
        topic=held.topic,
        stream_id=held.stream_id,
        invocation_id=held.invocation_id,
        attempt=held.attempt + 1,
        origin=Origin.RETRY,
        first_delivered_ms=held.first_delivered_ms,
        history=[*held.history, _attempt(held, outcome, decision.failure, now)],
        fields=held.fields,
    )
    due_ms = int(decision.due.timestamp() * 1000)
    return Entry.retry(
        held.entry_id,
        held.invocation_id,
        due_ms,
        pack(record),
        counters=counters,
        deliveries=held.deliveries,
        traced=traced,
    )


def dead(
    held: Held,
    trigger: str,
    outcome: Outcome,
    decision: DeadLetter,
    now: datetime,
    by: tuple[str, str],
    counters: Mapping[str, int],
    traced: Traced | None,
) -> Entry:
    """For a person to look at, with all they need, and the record that takes it back; `by` is instance and revision."""
    stack = outcome.stack if isinstance(outcome, TimedOut | Crashed) else ""
    letter = StoredLetter(
        trigger=trigger,
        topic=held.topic,
        invocation_id=held.invocation_id,
        reason=decision.reason,
        error=StoredError(decision.failure.type, decision.failure.message, stack or format_failure(decision.failure)),
        attempts=held.attempt,
        history=[*held.history, _attempt(held, outcome, decision.failure, now)],
        first_delivered_ms=held.first_delivered_ms,
        dead_ms=int(now.timestamp() * 1000),
        instance=by[0],
        revision=by[1],
        log="\n".join(held.output or ()),
        record=Record(
            topic=held.topic,
            stream_id=held.stream_id,
            invocation_id=held.invocation_id,
            attempt=1,
            origin=Origin.REDRIVE,
            first_delivered_ms=held.first_delivered_ms,
            history=[],
            fields=held.fields,
        ),
    )
    return Entry.dead(held.entry_id, letter, counters=counters, deliveries=held.deliveries, traced=traced)


def warn(listener: Listener, trigger: str, text: str) -> None:
    """One line for the person who watches."""
    listener.tell(Warned(text, trigger))


def warn_trimmed(listener: Listener, trigger: str, topic: str, ids: Sequence[bytes]) -> None:
    """These were given to the trigger, and are gone from the stream before they ran."""
    named = ", ".join(each.decode() for each in ids[:NAMED]) + (", …" if len(ids) > NAMED else "")
    events = "1 event" if len(ids) == 1 else f"{len(ids):,} events"
    warn(listener, trigger, f"{events} of {topic} had been trimmed by somebody before they ran: dropped ({named})")


def _attempt(held: Held, outcome: Outcome, failure: Failure, now: datetime) -> Attempt:
    kind = {"TimedOut": "timed_out", "Crashed": "crashed", "Rejected": "rejected"}.get(type(outcome).__name__, "failed")
    first_line = f"{failure.type}: {failure.message}".partition("\n")[0]
    return Attempt(held.attempt, kind, int(now.timestamp() * 1000), first_line[:_MESSAGE])
