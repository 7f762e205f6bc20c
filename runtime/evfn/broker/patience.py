"""How long one publish goes on trying, and what it says when it gives up."""

import random
from datetime import timedelta

from evfn.broker.backoff import later
from evfn.broker.refusal import ReplyLost
from evfn.clock import Clock
from evfn.errors import BrokerUnavailable, PublishUnknown

_LAST_TRY = 0.1
"""Seconds that a try needs at least."""


class Patience:
    """How long one call goes on. Repeating is safe: what an earlier try stored is found by its mark."""

    def __init__(self, deadline: timedelta, clock: Clock) -> None:
        self._clock = clock
        self._end = clock.monotonic() + deadline.total_seconds()
        self._tries = 0
        self._unknown = False

    @property
    def left(self) -> float:
        """Seconds until the deadline, never so few that nothing can succeed."""
        return max(self._end - self._clock.monotonic(), _LAST_TRY)

    def pause(self, error: BrokerUnavailable) -> timedelta:
        """How long to wait before the next try. Raises where there is none left."""
        self._unknown = self._unknown or isinstance(error, ReplyLost)
        pause = later(self._tries, random.random())
        self._tries += 1
        # A try cut short would leave open what a refusal had settled.
        if self._clock.monotonic() + pause.total_seconds() + _LAST_TRY < self._end:
            return pause
        if self._unknown:
            raise PublishUnknown(f"the event may or may not be stored: {error}") from error
        raise error
