"""The guard, `make bench-quick`: what a change may not make much slower, in less than two minutes.

Ratios to the reference loops are compared with the recorded ones, for they hold on a busy machine and, roughly, on
another. One that looks fallen is measured again, with more rounds, and judged by that alone: noise seldom strikes
twice.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figure import Effort, Figure
from benchmarks.machine import machine
from benchmarks.number import text
from benchmarks.results import Results
from benchmarks.samples import say
from benchmarks.throughput import CASES, beside_loops

GUARDED = ("no-op", "1 emit per event", "filter", "typed dataclass", "10 % failing")
TOLERANCE = 0.25
FIRST_LOOK = Effort(rounds=2, share=0.5)
SECOND_LOOK = Effort(rounds=3, share=0.5)


@dataclass(frozen=True)
class Fall:
    """A ratio that is too far below the recorded one; `now` is None where it could not be measured."""

    name: str
    unit: str
    recorded: float
    now: float | None

    def __str__(self) -> str:
        now = "not to be measured" if self.now is None else text(self.now)
        return f"{self.name}: from {text(self.recorded)} to {now} {self.unit}"


def recorded(results: Results) -> dict[tuple[str, str], float]:
    """The ratios that are guarded, by name and unit."""
    section = results.get("throughput")
    return {
        (each.name, each.unit): each.value
        for each in (section.figures if section else ())
        if each.name in GUARDED and each.unit.startswith("× R") and each.samples
    }


def falls(before: Mapping[tuple[str, str], float], figures: Sequence[Figure]) -> list[Fall]:
    """Those of the figures that are more than TOLERANCE below what was recorded, or were not measured."""
    found = []
    for each in figures:
        ratio = before.get((each.name, each.unit))
        if ratio is None:
            continue
        if not each.samples:
            found.append(Fall(each.name, each.unit, ratio, None))
        elif each.value < ratio * (1 - TOLERANCE):
            found.append(Fall(each.name, each.unit, ratio, each.value))
    return found


Measure = Callable[[Collection[str], Effort], Awaitable[list[Figure]]]


async def measure(names: Collection[str], effort: Effort) -> list[Figure]:
    """The cases with these names beside the loops."""
    return await beside_loops([case for case in CASES if case.name in names], effort)


async def compare(results: Results, measure: Measure = measure) -> int:
    """Measure and compare; 1 where a ratio fell, or none is recorded, else 0."""
    before = recorded(results)
    if not before:
        say("no ratio is recorded in benchmarks/results.json: `make bench` records them")
        return 1
    if (there := results["throughput"].machine["processor"]) != (here := machine()["processor"]):
        say(f"the ratios were recorded on {there}, and this is {here}: they may differ for that alone")
    fallen = falls(before, await measure(GUARDED, FIRST_LOOK))
    if fallen:
        for each in fallen:
            say(f"looks fallen, and is measured again: {each}")
        fallen = falls(before, await measure({each.name for each in fallen}, SECOND_LOOK))
    for each in fallen:
        say(f"fell by more than {TOLERANCE:.0%}: {each}")
    if not fallen:
        say(f"none of {len(before)} ratios fell by more than {TOLERANCE:.0%} below the recorded one")
    return 1 if fallen else 0
