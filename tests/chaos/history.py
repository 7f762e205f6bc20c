"""Judge the history of a storm: was anything lost, and was any effect committed twice?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One attempt as the function itself journalled it; `ended` is None when its process died."""

    event: str
    attempt: int
    began: float
    ended: float | None


@dataclass(frozen=True)
class History:
    """What producers, functions and the server say of one trigger's events.

    `indeterminate` are events whose emit got no answer: they may exist or not, but not twice.
    `effects` has an entry for every committed output, named by the event that caused it.
    """

    accepted: frozenset[str]
    indeterminate: frozenset[str]
    effects: tuple[str, ...]
    runs: tuple[Run, ...] = ()
    dead: Collection[str] = ()
    pending: Collection[str] = ()
    due: Collection[str] = ()
    dropped: Collection[str] = ()


@dataclass(frozen=True)
class Verdict:
    """What does not add up, by event; all of it is empty when every promise was kept."""

    lost: frozenset[str]
    duplicated: frozenset[str]
    unexpected: frozenset[str]
    overlapping: frozenset[str]

    @property
    def kept(self) -> bool:
        """Whether nothing at all is wrong."""
        return not (self.lost or self.duplicated or self.unexpected or self.overlapping)


def judge(history: History) -> Verdict:
    """Return the verdict: every accepted event must be in exactly one place."""
    places = Counter(history.effects)
    for place in (history.dead, history.pending, history.due, history.dropped):
        places.update(place)
    return Verdict(
        lost=history.accepted - places.keys(),
        duplicated=frozenset(event for event, count in places.items() if count > 1),
        unexpected=frozenset(places.keys() - history.accepted - history.indeterminate),
        overlapping=overlapping(history.runs),
    )


def overlapping(runs: Iterable[Run]) -> frozenset[str]:
    """Return the events that ran twice at once; a run that never ended is not counted."""
    previous: dict[str, float] = {}
    found: set[str] = set()
    whole = ((run.began, run.ended, run.event) for run in runs if run.ended is not None)
    for began, ended, event in sorted(whole):
        if began < previous.get(event, began):
            found.add(event)
        previous[event] = ended
    return frozenset(found)
