"""Which triggers of a project an event is waited for at."""

from collections.abc import Mapping
from dataclasses import dataclass

from evfn.topic import Pattern
from evfn.trigger import Project


@dataclass(frozen=True, slots=True)
class Absent:
    """A trigger that listens on a topic and does not take its events now. `broken`: it should, but cannot."""

    reason: str
    broken: bool = False


DISABLED = Absent("disabled, its events wait")


class Listeners:
    """Who listens on each topic, in the manifest's order, and who of them is absent."""

    def __init__(self, project: Project) -> None:
        self.project = project.name
        self._patterns = {each.name: [Pattern.compile(text) for text in each.topics] for each in project.triggers}
        self._disabled = frozenset(each.name for each in project.triggers if not each.enabled)
        self._on: dict[str, tuple[str, ...]] = {}
        self._absent: dict[str, Mapping[str, Absent]] = {}

    def on(self, topic: str) -> tuple[str, ...]:
        """Every trigger that listens on the topic, absent or not."""
        found = self._on.get(topic)
        if found is None:
            found = self._on[topic] = tuple(
                name for name, patterns in self._patterns.items() if any(each.matches(topic) for each in patterns)
            )
        return found

    def absent(self, topic: str, trigger: str) -> Absent | None:
        """Why this trigger does not take the topic's events; None where it does."""
        return self._absent.get(topic, {}).get(trigger) or (DISABLED if trigger in self._disabled else None)

    def learn(self, topic: str, absent: Mapping[str, Absent]) -> None:
        """Who is absent on this topic, from now on."""
        self._absent[topic] = absent
