"""Who is dead, as one instance concludes from the beats of the others. No clock is asked: it counts its own beats.

Beats are counters in the server, so neither a step of its clock nor an outage makes anybody look dead: while the server
is away nobody's beat succeeds, and what an observer concluded before is forgotten with its own first failed beat.
"""

import math
from collections.abc import Mapping
from datetime import timedelta

BEATS = 5
"""Beats in a lease."""
STILL = 4
"""So many own beats in a row without one of the other's, and its lease has lapsed: 80 to 100 % of the lease."""

BURIED = 10
"""So many times as long without a beat, and nobody expects it back: what is left of its lease is removed."""
PUT_BACK = 15
"""After so many leases every instance has put back what it holds of a consumer group that was made again: it looks at
all its groups every sixth lease, and acts on what two looks agree on."""


def interval(lease: timedelta) -> timedelta:
    """How long to wait between two beats."""
    return lease / BEATS


class Observation:
    """What one instance saw of all others. `lease` is its own; an instance with a longer one is waited for longer."""

    def __init__(self, me: str, lease: timedelta) -> None:
        self._me = me
        self._lease = lease
        self._still: dict[str, tuple[int, int]] = {}

    def saw(self, beats: Mapping[str, int], leases: Mapping[str, timedelta]) -> dict[str, int]:
        """Take in what one own successful beat returned; the dead, with the beat each stopped at."""
        self._still = {
            name: (counter, self._times(name, counter)) for name, counter in beats.items() if name != self._me
        }
        return self._still_for(1, leases)

    def long_gone(self, leases: Mapping[str, timedelta]) -> dict[str, int]:
        """Those of the dead that need not be kept in mind any more."""
        return self._still_for(BURIED, leases)

    def interrupted(self) -> None:
        """An own beat failed, or went over a new connection: what was seen before counts no more."""
        self._still = {}

    def _still_for(self, times_over: int, leases: Mapping[str, timedelta]) -> dict[str, int]:
        return {
            name: counter
            for name, (counter, times) in self._still.items()
            if times >= times_over * self._patience(leases.get(name, self._lease))
        }

    def _times(self, name: str, counter: int) -> int:
        before, times = self._still.get(name, (counter, -1))
        return times + 1 if before == counter else 0

    def _patience(self, lease: timedelta) -> int:
        return math.ceil(STILL * max(lease / self._lease, 1.0))
