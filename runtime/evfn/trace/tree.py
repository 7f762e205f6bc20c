"""An event, what became of it at each trigger, the events emitted there, and so on to the end."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from evfn.trace.listeners import Absent, Listeners
from evfn.trace.report import Place, Told


class Standing(Enum):
    """How far an event is at a trigger. ABSENT is not waited for; STUCK would be, but the trigger is broken."""

    SETTLED = "settled"
    WAITING = "waiting"
    STUCK = "stuck"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Branch:
    """An event at one trigger. `project` is empty for the own one; `told` is the latest report, None before any."""

    place: Place
    trigger: str
    project: str
    told: Told | None
    absent: Absent | None

    @property
    def standing(self) -> Standing:
        if self.told is not None and (self.told.report.fate.final or self.project):
            return Standing.SETTLED
        if self.absent is not None:
            if self.absent.broken:
                return Standing.STUCK
            if self.told is None:
                return Standing.ABSENT
        return Standing.WAITING


class Tree:
    """What follows from one event. Reports may come in any order: of several on one branch the latest counts."""

    def __init__(self, listeners: Listeners) -> None:
        self.root: Place | None = None
        self.size = 0
        self._listeners = listeners
        self._told: dict[Place, dict[tuple[str, str], Told]] = {}

    def tell(self, told: Told) -> None:
        """Take in a report."""
        report = told.report
        at = self._told.setdefault(report.place, {})
        branch = (report.project, report.trigger)
        before = at.get(branch)
        if before is None or before.order < told.order:
            at[branch] = told
        self.size += 1 + len(told.emitted)

    def branches(self, place: Place) -> list[Branch]:
        """An event at every trigger it concerns: the project's, as they stand in its manifest, then all others."""
        told = dict(self._told.get(place, {}))
        own = self._listeners.project
        result = [
            Branch(place, name, "", told.pop((own, name), None), self._listeners.absent(place.topic, name))
            for name in self._listeners.on(place.topic)
        ]
        for (project, name), each in sorted(told.items()):
            result.append(Branch(place, name, "" if project == own else project, each, None))
        return result

    def __iter__(self) -> Iterator[Branch]:
        """Every branch of the events known, each before what was emitted on it."""
        waiting = [] if self.root is None else [self.root]
        while waiting:
            branches = self.branches(waiting.pop())
            yield from branches
            emitted = [place for branch in branches if branch.told is not None for place in branch.told.emitted]
            waiting.extend(reversed(emitted))
