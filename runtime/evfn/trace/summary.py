"""Many followed events, counted: per topic and trigger how many ended how, and the errors by their place."""

from collections import Counter
from dataclasses import dataclass, field

from evfn.trace.listeners import Listeners
from evfn.trace.report import Fate, Place, Report, Told
from evfn.trace.tree import Standing

MAX_ERRORS = 20
"""Kinds of errors of one trigger that are told apart; the rest is counted together."""
MAX_LETTERS = 5
"""Dead letters of one trigger that are named."""


@dataclass(slots=True)
class ErrorCount:
    """Attempts that failed with one type of error at one place; `message` is that of the first."""

    count: int
    message: str


@dataclass(slots=True)
class Tally:
    """All events of one topic at one trigger. `retrying` wait for their next attempt; the others are settled."""

    fates: Counter[Fate] = field(default_factory=Counter)
    retrying: int = 0
    errors: dict[tuple[str, str], ErrorCount] = field(default_factory=dict)
    other_errors: int = 0
    letters: list[tuple[Place, str]] = field(default_factory=list)

    @property
    def settled(self) -> int:
        return sum(count for fate, count in self.fates.items() if fate.final)

    def take(self, told: Told) -> None:
        """Count a report."""
        report = told.report
        self.fates[report.fate] += 1
        self.retrying += (0 if report.fate.final else 1) - (1 if report.again else 0)
        if report.error is not None:
            self._error(report)
        if report.fate is Fate.DEAD_LETTERED and len(self.letters) < MAX_LETTERS:
            self.letters.append((report.place, told.letter))

    def _error(self, report: Report) -> None:
        kind, message, place = report.error or ("", "", "")
        known = self.errors.get((kind, place))
        if known is not None:
            known.count += 1
        elif len(self.errors) < MAX_ERRORS:
            self.errors[kind, place] = ErrorCount(1, message)
        else:
            self.other_errors += 1


class Summary:
    """Needs no memory for a single event. Every report must be told once."""

    def __init__(self, listeners: Listeners) -> None:
        self.events: Counter[str] = Counter()
        self._listeners = listeners
        self._tallies: dict[str, dict[tuple[str, str], Tally]] = {}

    def published(self, topic: str, count: int = 1) -> None:
        """So many events more are on their way."""
        self.events[topic] += count

    def tell(self, told: Told) -> None:
        """Take in a report."""
        report = told.report
        at = self._tallies.setdefault(report.topic, {})
        at.setdefault((report.project, report.trigger), Tally()).take(told)
        for place in told.emitted:
            self.events[place.topic] += 1

    def rows(self, topic: str) -> list[tuple[str, str, Tally]]:
        """Trigger, project (empty for the own one) and tally, in the order of the tree's branches."""
        found = dict(self._tallies.get(topic, {}))
        own = self._listeners.project
        rows = [(name, "", found.pop((own, name), Tally())) for name in self._listeners.on(topic)]
        rows += [(name, "" if project == own else project, each) for (project, name), each in sorted(found.items())]
        return rows

    def open(self, topic: str, trigger: str, tally: Tally) -> tuple[Standing, int]:
        """How the events stand that are not settled at one of the project's triggers, and how many they are."""
        count = self.events[topic] - tally.settled
        if count <= 0 or trigger not in self._listeners.on(topic):
            return Standing.SETTLED, 0
        absent = self._listeners.absent(topic, trigger)
        if absent is None:
            return Standing.WAITING, count
        if absent.broken:
            return Standing.STUCK, count
        # What failed before the trigger was disabled is still to run.
        return (Standing.WAITING, tally.retrying) if tally.retrying > 0 else (Standing.ABSENT, count)
