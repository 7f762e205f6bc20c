"""Backoff: bounded, growing, and drawn evenly under full jitter."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.retry import Backoff, Jitter, RetryPolicy

policies = st.builds(
    RetryPolicy,
    backoff=st.sampled_from(Backoff),
    initial_delay=st.timedeltas(timedelta(milliseconds=1), timedelta(hours=1)),
    max_delay=st.timedeltas(timedelta(hours=1), timedelta(days=30)),
    jitter=st.just(Jitter.NONE),
)


@given(policies, st.integers(1, 2000))
def test_delay_never_passes_its_bound_and_never_shrinks(policy: RetryPolicy, attempt: int) -> None:
    """Whatever the attempt, even the two-thousandth, the delay grows towards max_delay and stops there."""
    delay = policy.delay(attempt, 0.5)
    assert timedelta() < delay <= policy.max_delay
    assert delay <= policy.delay(attempt + 1, 0.5)


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [(Backoff.EXPONENTIAL, [1, 2, 4, 8]), (Backoff.LINEAR, [1, 2, 3, 4]), (Backoff.CONSTANT, [1, 1, 1, 1])],
)
def test_each_backoff_has_its_own_shape(backoff: Backoff, expected: list[int]) -> None:
    """1 2 4 8, 1 2 3 4 and 1 1 1 1 times the initial delay."""
    policy = RetryPolicy(backoff=backoff, jitter=Jitter.NONE)
    assert [policy.delay(attempt, 0.9).total_seconds() for attempt in (1, 2, 3, 4)] == expected


@given(st.floats(0, 1, exclude_max=True))
def test_full_jitter_scales_the_whole_delay(random: float) -> None:
    """Full jitter draws from zero up to the delay, not from around it."""
    assert RetryPolicy().delay(3, random) == timedelta(seconds=4 * random)


@pytest.mark.parametrize("name", ["ValueError", "builtins.ValueError", "LookupError", "requests.HTTPError"])
def test_give_up_on_matches_the_class_its_bases_and_its_re_exports(name: str) -> None:
    """A bare name, a full name, a base class and the place a package re-exports it at all match."""
    policy = RetryPolicy(give_up_on=(name,))
    assert policy.gives_up_on(("builtins.ValueError", "builtins.LookupError", "requests.exceptions.HTTPError"))


def test_give_up_on_leaves_other_errors_alone() -> None:
    """A name that is merely part of another does not match."""
    assert not RetryPolicy(give_up_on=("Error", "value")).gives_up_on(("builtins.ValueError",))
