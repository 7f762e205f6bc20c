"""An outcome as the message that reports it, and back."""

from datetime import timedelta

from evfn.outcome import Emit, Failed, Failure, Frame, Outcome, Rejected, Succeeded
from evfn.workers.protocol import (
    EmitData,
    FailedReply,
    FailureData,
    FrameData,
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
            return FailedReply(slot, failure_data(failure), after_ms)
        case Rejected(reason, failure):
            return RejectedReply(slot, reason, failure_data(failure))
    raise TypeError(f"a worker does not report {type(outcome).__name__}")


def outcome_of(reply: Reply) -> Outcome:
    """What a worker reports."""
    match reply:
        case SucceededReply(_, emits, unemitted):
            return Succeeded(tuple(Emit(emit.topic, tuple(emit.fields)) for emit in emits), unemitted)
        case FailedReply(_, failure, retry_after_ms):
            after = None if retry_after_ms is None else timedelta(milliseconds=retry_after_ms)
            return Failed(_failure(failure), after)
        case RejectedReply(_, reason, failure):
            return Rejected(reason, _failure(failure))


def failure_data(failure: Failure) -> FailureData:
    return FailureData(
        failure.type,
        failure.message,
        list(failure.bases),
        [FrameData(frame.file, frame.line, frame.function) for frame in failure.frames],
        [failure_data(cause) for cause in failure.causes],
    )


def _failure(data: FailureData) -> Failure:
    return Failure(
        data.type,
        data.message,
        tuple(data.bases),
        tuple(Frame(frame.file, frame.line, frame.function) for frame in data.frames),
        tuple(_failure(cause) for cause in data.causes),
    )
