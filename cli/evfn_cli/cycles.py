"""Which triggers can call each other for ever: their emits, followed along topics. Pure."""

from collections.abc import Callable

from evfn.topic import Pattern
from evfn.trigger import Trigger


def cycles(triggers: tuple[Trigger, ...]) -> list[list[str]]:
    """Each way round once, as alternating trigger and topic, ending with the trigger it began with."""
    patterns = {each.name: [Pattern.compile(text) for text in each.topics] for each in triggers}
    emits = {each.name: each.emits for each in triggers}

    def next_of(name: str) -> list[tuple[str, str]]:
        return [
            (topic, other)
            for topic in emits[name]
            for other, theirs in patterns.items()
            if any(pattern.matches(topic) for pattern in theirs)
        ]

    found: list[list[str]] = []
    seen: set[str] = set()
    for start in emits:
        # The shortest way back to each trigger names every cycle somebody has to look at.
        way = _way_back(start, next_of, seen)
        if way is not None:
            found.append(way)
            seen |= set(way[::2])
    return found


def _way_back(start: str, next_of: Callable[[str], list[tuple[str, str]]], closed: set[str]) -> list[str] | None:
    if start in closed:
        return None
    ways = [[start]]
    visited: set[str] = set()
    while ways:
        way = ways.pop(0)
        for topic, other in next_of(way[-1]):
            if other == start:
                return [*way, topic, other]
            if other not in visited:
                visited.add(other)
                ways.append([*way, topic, other])
    return None
