"""What two looks at a project say that one does not: each trigger's rate, its errors, how both went on. Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

WINDOW_SECONDS = 60.0
_DONE = ("succeeded", "filtered", "dead_lettered", "dropped")
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Trend:
    """`rate` is the events done with per second since the last look, None at the first; `rates` are those of the
    window, the newest last; `errors` the failed attempts within the window, those that left a dead letter included."""

    rate: float | None = None
    rates: tuple[float, ...] = ()
    errors: int = 0


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    done: int
    failed: int


@dataclass
class Trends:
    """The trends of all triggers. Instants are seconds on any clock that never steps."""

    _readings: dict[str, deque[_Reading]] = field(default_factory=dict)

    def add(self, triggers: dict[str, dict[str, Any]], at: float) -> dict[str, Trend]:
        """Take in the `triggers` of a status object; returns how each of them is doing."""
        self._readings = {name: self._readings.get(name, deque()) for name in triggers}
        return {name: self._add(name, facts, at) for name, facts in triggers.items()}

    def _add(self, name: str, facts: dict[str, Any], at: float) -> Trend:
        readings = self._readings[name]
        new = _Reading(at, sum(facts[part] for part in _DONE), facts["failed"])
        # Counters only ever grow: the server has lost its data, and what it counted before says nothing any more.
        if readings and (new.done < readings[-1].done or new.failed < readings[-1].failed):
            readings.clear()
        readings.append(new)
        while at - readings[0].at > WINDOW_SECONDS:
            readings.popleft()
        pairs = zip(readings, list(readings)[1:], strict=False)
        rates = tuple((later.done - former.done) / max(later.at - former.at, 1e-3) for former, later in pairs)
        return Trend(rates[-1] if rates else None, rates, new.failed - readings[0].failed)


def sparkline(rates: tuple[float, ...], width: int) -> str:
    """The newest rates as bars, one a column, the highest of them full; the lowest bar is none at all."""
    shown = rates[-width:] if width > 0 else ()
    most = max(shown, default=0.0)
    if most <= 0:
        return _BARS[0] * len(shown)
    # What is not nothing must be seen, however little it is.
    return "".join(_BARS[0 if rate <= 0 else max(1, round(rate / most * (len(_BARS) - 1)))] for rate in shown)
