"""All that is known of a trace: as a tree while that can be shown, else as counts."""

from collections import Counter
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
    """Events at triggers. `waiting` are not settled yet, of which `retrying` have failed; `stuck` never will be while
    their trigger is broken; `absent` are not taken at all."""

    succeeded: int
    skipped: int
    filter_errors: int
    dead_lettered: int
    waiting: int
    retrying: int
    stuck: int
    absent: int


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

    @property
    def counts(self) -> Counts:
        fates: Counter[Fate] = Counter()
        standings: Counter[Standing] = Counter()
        retrying = 0
        if self.tree is not None:
            for branch in self.tree:
                standings[branch.standing] += 1
                if branch.told is not None:
                    fates[branch.told.report.fate] += 1
                    retrying += branch.standing is Standing.WAITING
        else:
            for topic in self.topics:
                for trigger, project, tally in self.summary.rows(topic):
                    fates.update(tally.fates)
                    if not project:
                        standing, count = self.summary.open(topic, trigger, tally)
                        standings[standing] += count
                        retrying += tally.retrying if standing is Standing.WAITING else 0
        return Counts(
            fates[Fate.SUCCEEDED],
            fates[Fate.SKIPPED],
            fates[Fate.FILTER_ERROR],
            fates[Fate.DEAD_LETTERED],
            standings[Standing.WAITING],
            retrying,
            standings[Standing.STUCK],
            standings[Standing.ABSENT],
        )
