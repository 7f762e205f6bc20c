"""What is left on the server of a trigger that no manifest has any more, as it is shown."""

from typing import Any

from evfn.broker.leftovers import Remains
from evfn.trigger import Project


def of_project(found: list[Remains], project: Project) -> list[Remains]:
    """What is left of this project's triggers that are no longer in its manifest."""
    known = {trigger.name for trigger in project.triggers}
    return [each for each in found if each.project == project.name and each.trigger not in known]


def as_object(remains: Remains) -> dict[str, Any]:
    """One of `leftovers` in `evfn status --json`."""
    return {
        "trigger": remains.trigger,
        "group": remains.group,
        "project": remains.project,
        "topics": list(remains.topics),
        "lag": remains.lag,
        "pending": remains.pending,
        "due": remains.due,
        "dead": remains.dead,
    }


def as_text(facts: dict[str, Any]) -> str:
    """The same on a line."""
    lag = "an unknown number not delivered" if facts["lag"] is None else f"{facts['lag']:,} not delivered"
    counts = [lag, *(f"{facts[name]:,} {word}" for name, word in _WORDS.items() if facts[name])]
    topics = ", ".join(facts["topics"])
    return f"{facts['group']}{' on ' if topics else ''}{topics}: {', '.join(counts)}"


_WORDS = {"pending": "not finished", "due": "waiting for a retry", "dead": "dead letters"}
