"""Judge the history of a storm: was anything lost, and was any effect committed twice?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields


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
    `effects` has an entry for every committed output, named by the event that caused it. `recorded` are the same with
    the attempt that caused them, `partial` the events of which an attempt's outputs were committed in part.
    """

    accepted: frozenset[str]
    indeterminate: frozenset[str]
    effects: tuple[str, ...]
    runs: tuple[Run, ...] = ()
    dead: Collection[str] = ()
    pending: Collection[str] = ()
    due: Collection[str] = ()
    dropped: Collection[str] = ()
    recorded: Collection[tuple[str, int]] = ()
    partial: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """What does not add up, by event; all of it is empty when every promise was kept.

    `stale` effects are those of an attempt after which another began: whoever recorded it had lost its lease.
    """

    lost: frozenset[str]
    duplicated: frozenset[str]
    unexpected: frozenset[str]
    overlapping: frozenset[str]
    stale: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()

    @property
    def kept(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.promised and not self.overlapping

    def __or__(self, other: Verdict) -> Verdict:
        """What does not add up in one history or the other."""
        return Verdict(*(getattr(self, each.name) | getattr(other, each.name) for each in dataclass_fields(Verdict)))

    @property
    def promised(self) -> bool:
        """The same, but that an event may run twice at once, as where the first run's instance was cut off."""
        return not (self.lost or self.duplicated or self.unexpected or self.stale or self.partial)


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
        stale=stale(history.runs, history.recorded),
        partial=history.partial,
    )


def stale(runs: Iterable[Run], recorded: Iterable[tuple[str, int]]) -> frozenset[str]:
    """Return the events with an effect of an attempt that was not their last."""
    last: dict[str, int] = {}
    for run in runs:
        last[run.event] = max(run.attempt, last.get(run.event, 0))
    return frozenset(event for event, attempt in recorded if attempt < last.get(event, 0))


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
