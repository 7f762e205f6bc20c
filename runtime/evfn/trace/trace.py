"""All that is known of a trace: as a tree while that can be shown, else as counts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from evfn.trace.listeners import Listeners
from evfn.trace.report import Fate, Place, Told
from evfn.trace.summary import Summary
from evfn.trace.tree import Standing, Tree
from evfn.trigger import Project

LARGEST_TREE = 1_000
"""Reports and emits of a tree; what grows larger is only counted."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Events at triggers. `waiting` are not settled yet; `stuck` will not be while their trigger is broken; `absent`
    are not taken at all."""

    succeeded: int
    skipped: int
    filter_errors: int
    dead_lettered: int
    waiting: int
    stuck: int
    absent: int


@dataclass(frozen=True, slots=True)
class Open:
    """Events of a topic that are not settled at a trigger: one that `stream_id` names, or `count` where it is empty.

    `reason` says why the trigger does not take them; `told` is the last report on a single one.
    """

    topic: str
    stream_id: str
    trigger: str
    standing: Standing
    count: int
    reason: str
    told: Told | None = None


class Trace:
    """Feed it the events that were published and the reports. `tree` is None for many events, or once it grew large."""

    def __init__(self, project: Project, *, many: bool = False) -> None:
        self.listeners = Listeners(project)
        self.summary = Summary(self.listeners)
        self.tree = None if many else Tree(self.listeners)

    def published(self, place: Place) -> None:
        """An event that the trace begins with."""
        self.summary.published(place.topic)
        if self.tree is not None:
            self.tree.root = place

    def tell(self, told: Told) -> None:
        """Take in a report."""
        self.summary.tell(told)
        if self.tree is not None:
            self.tree.tell(told)
            if self.tree.size > LARGEST_TREE:
                self.tree = None

    @property
    def topics(self) -> list[str]:
        """Every topic on which there are events of this trace."""
        return list(self.summary.events)

    def open(self) -> Iterator[Open]:
        """All that is not settled, in the order in which it is shown."""
        if self.tree is not None:
            for branch in self.tree:
                if branch.standing is not Standing.SETTLED:
                    reason = "" if branch.absent is None else branch.absent.reason
                    yield Open(*branch.place, branch.trigger, branch.standing, 1, reason, branch.told)
            return
        for topic in self.topics:
            for trigger, project, tally in self.summary.rows(topic):
                standing, count = self.summary.open(topic, trigger, tally)
                if count and not project:
                    absent = self.listeners.absent(topic, trigger)
                    yield Open(topic, "", trigger, standing, count, "" if absent is None else absent.reason)

    @property
    def counts(self) -> Counts:
        standings: Counter[Standing] = Counter()
        for each in self.open():
            standings[each.standing] += each.count
        fates = self._fates()
        return Counts(
            fates[Fate.SUCCEEDED],
            fates[Fate.SKIPPED],
            fates[Fate.FILTER_ERROR],
            fates[Fate.DEAD_LETTERED],
            standings[Standing.WAITING],
            standings[Standing.STUCK],
            standings[Standing.ABSENT],
        )

    def _fates(self) -> Counter[Fate]:
        if self.tree is not None:
            return Counter(branch.told.report.fate for branch in self.tree if branch.told is not None)
        fates: Counter[Fate] = Counter()
        for topic in self.topics:
            for _, _, tally in self.summary.rows(topic):
                fates.update(tally.fates)
        return fates
