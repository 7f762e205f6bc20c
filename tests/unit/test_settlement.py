"""The core decision, from every outcome to what is done with the delivery."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.outcome import Crashed, Emit, Failed, Failure, Interrupted, Outcome, Rejected, Succeeded, TimedOut
from evfn.retry import Jitter, RetryPolicy
from evfn.settlement import Ack, DeadLetter, Reason, Release, RetryAt, Settlement, settle
from evfn.trigger import Trigger

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILURE = Failure("builtins.ValueError", "no", ("builtins.ValueError", "builtins.Exception"))
POLICY = RetryPolicy(attempts=3, jitter=Jitter.NONE)


def decide(
    outcome: Outcome, *, attempt: int = 1, policy: RetryPolicy = POLICY, age: timedelta = timedelta()
) -> Settlement:
    trigger = Trigger("t", ("a",), "m:f", retry=policy)
    return settle(trigger, attempt, outcome, first_delivered=NOW - age, now=NOW, random=0.5)


def test_success_is_acknowledged_with_its_emits() -> None:
    """Emits travel with the ack, never apart from it."""
    emits = (Emit("b", (b"data", b"1")),)
    assert decide(Succeeded(emits)) == Ack(emits)


def test_failure_is_retried_after_its_backoff() -> None:
    """The second failure waits twice as long as the first."""
    assert decide(Failed(FAILURE), attempt=2) == RetryAt(NOW + timedelta(seconds=2), FAILURE)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Failed(FAILURE), Reason.FAILED),
        (TimedOut(timedelta(seconds=1)), Reason.TIMED_OUT),
        (Crashed("signal 11"), Reason.CRASHED),
    ],
)
def test_the_last_attempt_becomes_a_dead_letter_that_says_why(outcome: Outcome, reason: Reason) -> None:
    """Crashes and timeouts count as attempts, like any failure."""
    assert isinstance(decide(outcome, attempt=2), RetryAt)
    decision = decide(outcome, attempt=3)
    assert isinstance(decision, DeadLetter)
    assert decision.reason is reason


@given(st.integers(1, 10), st.integers(1, 12))
def test_no_attempt_above_the_limit_is_ever_scheduled(attempts: int, attempt: int) -> None:
    """A retry is only given while another run is allowed."""
    retried = isinstance(decide(Failed(FAILURE), attempt=attempt, policy=RetryPolicy(attempts=attempts)), RetryAt)
    assert retried == (attempt < attempts)


def test_retry_with_a_time_overrides_the_backoff() -> None:
    """`raise evfn.Retry(after=30)` means thirty seconds."""
    assert decide(Failed(FAILURE, timedelta(seconds=30))) == RetryAt(NOW + timedelta(seconds=30), FAILURE)


def test_give_up_on_skips_the_remaining_attempts() -> None:
    """An exception that no retry helps goes to the dead letters at once."""
    assert decide(Failed(FAILURE), policy=RetryPolicy(give_up_on=("ValueError",))) == DeadLetter(Reason.FAILED, FAILURE)


def test_give_up_after_expires_a_retry_that_would_come_too_late() -> None:
    """The next attempt would be due past the limit, so there is none."""
    policy = RetryPolicy(give_up_after=timedelta(minutes=1), jitter=Jitter.NONE)
    assert decide(Failed(FAILURE), policy=policy, age=timedelta(minutes=1)) == DeadLetter(Reason.EXPIRED, FAILURE)
    assert isinstance(decide(Failed(FAILURE), policy=policy), RetryAt)


@pytest.mark.parametrize("reason", ["rejected", "invalid_data", "loop", "too_large"])
def test_rejection_needs_no_further_attempt(reason: str) -> None:
    """What cannot get better is kept for a person on the first attempt."""
    assert decide(Rejected(reason, FAILURE)) == DeadLetter(Reason(reason), FAILURE)


def test_interruption_burns_no_attempt() -> None:
    """evfn's own stop hands the delivery back, even on the last attempt."""
    assert decide(Interrupted("drain"), attempt=3) == Release()
