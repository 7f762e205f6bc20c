"""An outcome as the message that reports it."""

from evfn.outcome import Failed, Failure, Outcome, Rejected, Succeeded
from evfn.workers.protocol import (
    EmitData,
    FailedReply,
    FailureData,
    FrameData,
    RejectedReply,
    SucceededReply,
)


def reply(slot: int, outcome: Outcome) -> SucceededReply | FailedReply | RejectedReply:
    """Raises TypeError for the outcomes that only a dispatcher can come to."""
    match outcome:
        case Succeeded(emits, unemitted):
            return SucceededReply(slot, [EmitData(emit.topic, list(emit.fields)) for emit in emits], unemitted)
        case Failed(failure, after):
            after_ms = None if after is None else round(after.total_seconds() * 1000)
            return FailedReply(slot, failure_data(failure), after_ms)
        case Rejected(reason, failure):
            return RejectedReply(slot, reason, failure_data(failure))
    raise TypeError(f"a worker does not report {type(outcome).__name__}")


def failure_data(failure: Failure) -> FailureData:
    return FailureData(
        failure.type,
        failure.message,
        list(failure.bases),
        [FrameData(frame.file, frame.line, frame.function) for frame in failure.frames],
        [failure_data(cause) for cause in failure.causes],
    )
