"""An outcome as the message that reports it, and back."""

from datetime import timedelta

from evfn.outcome import Emit, Failed, Outcome, Rejected, Succeeded
from evfn.workers.protocol import (
    EmitData,
    FailedReply,
    RejectedReply,
    Reply,
    SucceededReply,
)


def reply(slot: int, outcome: Outcome) -> Reply:
    """Raises TypeError for the outcomes that only a dispatcher can come to."""
    match outcome:
        case Succeeded(emits, unemitted):
            return SucceededReply(slot, [EmitData(emit.topic, list(emit.fields)) for emit in emits], unemitted)
        case Failed(failure, after):
            after_ms = None if after is None else round(after.total_seconds() * 1000)
            return FailedReply(slot, failure, after_ms)
        case Rejected(reason, failure):
            return RejectedReply(slot, reason, failure)
    raise TypeError(f"a worker does not report {type(outcome).__name__}")


def outcome_of(reply: Reply) -> Outcome:
    """What a worker reports."""
    match reply:
        case SucceededReply(_, emits, unemitted):
            return Succeeded(tuple(Emit(emit.topic, tuple(emit.fields)) for emit in emits), unemitted)
        case FailedReply(_, failure, retry_after_ms):
            after = None if retry_after_ms is None else timedelta(milliseconds=retry_after_ms)
            return Failed(failure, after)
        case RejectedReply(_, reason, failure):
            return Rejected(reason, failure)
