"""Triggers whose emits lead back to themselves. Pure."""

from evfn.topic import Pattern
from evfn.trigger import Trigger


def emit_cycles(triggers: tuple[Trigger, ...]) -> list[tuple[str, ...]]:
    """The emit cycles among enabled triggers: for each group that reaches itself, one shortest cycle of names.

    A name is not repeated at the end; a trigger that emits to its own topic is a cycle of one. What filters and
    functions do with the events is not known here, so a cycle may well be meant.
    """
    enabled = [trigger for trigger in triggers if trigger.enabled]
    patterns = {trigger.name: [Pattern.compile(topic) for topic in trigger.topics] for trigger in enabled}
    follows = {
        trigger.name: [
            other.name
            for other in enabled
            if any(pattern.matches(topic) for topic in trigger.emits for pattern in patterns[other.name])
        ]
        for trigger in enabled
    }
    cycles = []
    told: set[str] = set()
    for trigger in enabled:
        if trigger.name not in told:
            cycle = _shortest(trigger.name, follows)
            if cycle is not None:
                cycles.append(cycle)
                told.update(cycle)
    return cycles


def _shortest(start: str, follows: dict[str, list[str]]) -> tuple[str, ...] | None:
    came_from: dict[str, str] = {}
    level = [start]
    while level:
        reached = []
        for name in level:
            for after in follows[name]:
                if after == start:
                    cycle = [name]
                    while cycle[-1] != start:
                        cycle.append(came_from[cycle[-1]])
                    return tuple(reversed(cycle))
                if after not in came_from:
                    came_from[after] = name
                    reached.append(after)
        level = reached
    return None
