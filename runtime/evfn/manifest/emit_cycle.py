"""Triggers whose emits lead back to themselves. Pure."""

from evfn.topic import Pattern, is_pattern
from evfn.trigger import Trigger


def emit_cycles(triggers: tuple[Trigger, ...]) -> list[tuple[str, ...]]:
    """The emit cycles among enabled triggers: for each group that reaches itself, one shortest cycle of names.

    A name is not repeated at the end; a trigger that emits to its own topic is a cycle of one. What filters and
    functions do with the events is not known here, so a cycle may well be meant.
    """
    enabled = [trigger for trigger in triggers if trigger.enabled]
    exact: dict[str, list[str]] = {}
    patterns: list[tuple[Pattern, str]] = []
    for trigger in enabled:
        for topic in trigger.topics:
            if is_pattern(topic):
                patterns.append((Pattern.compile(topic), trigger.name))
            else:
                exact.setdefault(topic, []).append(trigger.name)
    follows = {trigger.name: _takers(trigger, exact, patterns) for trigger in enabled}
    cycles = []
    told: set[str] = set()
    for trigger in enabled:
        if trigger.name not in told:
            cycle = _shortest(trigger.name, follows)
            if cycle is not None:
                cycles.append(cycle)
                told.update(cycle)
    return cycles


def _takers(trigger: Trigger, exact: dict[str, list[str]], patterns: list[tuple[Pattern, str]]) -> list[str]:
    """Who takes what a trigger emits."""
    names: dict[str, None] = {}
    for topic in trigger.emits:
        names.update(dict.fromkeys(exact.get(topic, ())))
        names.update(dict.fromkeys(name for pattern, name in patterns if pattern.matches(topic)))
    return list(names)


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
