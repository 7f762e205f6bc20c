"""What the rounds of a benchmark gave, by case and unit, and what went wrong in one: the other cases go on."""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from benchmarks.figure import Figure


@dataclass(frozen=True)
class Taken:
    """What one round of a case gave: a value for each unit, and what a reader wants to see beside them."""

    values: Mapping[str, float]
    about: Mapping[str, float] = field(default_factory=dict)


class Samples:
    """Those of one section."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._about: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._problems: dict[str, str] = {}

    def take(self, name: str, measure: Callable[[], Taken]) -> None:
        """Measure a round of this case. One that failed before is left alone: it may have taken minutes."""
        if name in self._problems:
            return
        try:
            taken = measure()
        except Exception as error:
            self._problems[name] = f"{type(error).__name__}: {error}"
            say(f"  {name}: {self._problems[name]}")
            return
        for unit, value in taken.values.items():
            self._values[name, unit].append(value)
        for what, value in taken.about.items():
            self._about[name][what].append(value)
        say(f"  {name}: " + ", ".join(f"{value:,.4g} {unit}" for unit, value in taken.values.items()))

    def figure(
        self,
        name: str,
        unit: str,
        least: float | None = None,
        aim: float | None = None,
        *,
        more_is_better: bool = True,
        about: bool = False,
    ) -> Figure:
        """What this case came to in this unit; with `about` what is to be seen beside it, as medians."""
        problem = self._problems.get(name)
        return Figure(
            name,
            unit,
            () if problem else tuple(self._values[name, unit]),
            least,
            aim,
            more_is_better,
            {what: median(values) for what, values in self._about[name].items()} if about else {},
            problem,
        )


def say(text: str) -> None:
    """Progress, for who waits."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
