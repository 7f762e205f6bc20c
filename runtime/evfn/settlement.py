"""The core decision: what is done with a delivery after an attempt. Pure; the broker carries it out."""

from datetime import datetime, timedelta
from enum import Enum

import msgspec

from evfn.outcome import Crashed, Emit, Failed, Failure, Interrupted, Outcome, Rejected, Succeeded, TimedOut
from evfn.trigger import Trigger


class Reason(Enum):
    """Why a dead letter is one."""

    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    REJECTED = "rejected"
    INVALID_DATA = "invalid_data"
    EXPIRED = "expired"
    LOOP = "loop"
    TOO_LARGE = "too_large"


class Ack(msgspec.Struct, frozen=True):
    """Done: store the emits and take the delivery off the list."""

    emits: tuple[Emit, ...] = ()
    unemitted: bool = False


class RetryAt(msgspec.Struct, frozen=True):
    """Run it again at this instant."""

    due: datetime
    failure: Failure


class DeadLetter(msgspec.Struct, frozen=True):
    """Keep it for a person."""

    reason: Reason
    failure: Failure


class Release(msgspec.Struct, frozen=True):
    """Hand it back unburnt: any instance may start it at once."""


Settlement = Ack | RetryAt | DeadLetter | Release


def settle(
    trigger: Trigger, attempt: int, outcome: Outcome, *, first_delivered: datetime, now: datetime, random: float
) -> Settlement:
    """Decide what follows from one attempt's outcome.

    `attempt` is the run that just ended, 1 the first. `random` is drawn from [0, 1) and used for jitter only.
    """
    match outcome:
        case Succeeded(emits, unemitted):
            return Ack(emits, unemitted)
        case Interrupted():
            return Release()
        case Rejected(reason, failure):
            return DeadLetter(Reason(reason), failure)
        case Failed(failure, retry_after):
            if trigger.retry.gives_up_on(failure.bases):
                return DeadLetter(Reason.FAILED, failure)
            return _retry(trigger, attempt, Reason.FAILED, failure, retry_after, first_delivered, now, random)
        case TimedOut():
            return _retry(trigger, attempt, Reason.TIMED_OUT, describe(outcome), None, first_delivered, now, random)
        case Crashed():
            return _retry(trigger, attempt, Reason.CRASHED, describe(outcome), None, first_delivered, now, random)


def describe(outcome: TimedOut | Crashed) -> Failure:
    """A failure in words for an attempt that left no exception."""
    if isinstance(outcome, TimedOut):
        return Failure("evfn.TimedOut", f"ran longer than its timeout of {outcome.after.total_seconds():g} s")
    return Failure("evfn.Crashed", outcome.cause)


def _retry(
    trigger: Trigger,
    attempt: int,
    reason: Reason,
    failure: Failure,
    retry_after: timedelta | None,
    first_delivered: datetime,
    now: datetime,
    random: float,
) -> Settlement:
    if attempt >= trigger.retry.attempts:
        return DeadLetter(reason, failure)
    due = now + (retry_after if retry_after is not None else trigger.retry.delay(attempt, random))
    give_up_after = trigger.retry.give_up_after
    if give_up_after is not None and due - first_delivered > give_up_after:
        return DeadLetter(Reason.EXPIRED, failure)
    return RetryAt(due, failure)
