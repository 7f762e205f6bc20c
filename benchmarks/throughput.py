"""Throughput: a backlog published first, one trigger on it, and how fast it is settled, beside the reference loops.

Each round of a case is R1, R2, evfn, R2, R1 on the same stream, so that all see the same machine, though it becomes
slower or faster meanwhile; ratios are taken within the round, to the mean of both times. Every function reads its
event's data, so that decoding is always part of it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean

from benchmarks import backlog, reference, sharing
from benchmarks.figure import Effort, Figure
from benchmarks.ground import Ground, body
from benchmarks.samples import Samples, Taken
from benchmarks.subject import MIDST, TO_THE_END

TITLE = "Throughput"
TOPIC = "readings"
EVENTS = 200_000
REFERENCE_EVENTS = 50_000
"""Before evfn, and as many after it: a loop has neither start nor end to it, so fewer events say the same."""

NO_OP = "def handle(event):\n    event.data\n"
DATACLASS = """\
from dataclasses import dataclass


@dataclass
class Reading:
    number: int
    celsius: float
    padding: str


def handle(reading: Reading):
    reading.celsius
"""
PYDANTIC = """\
from pydantic import BaseModel


class Reading(BaseModel):
    number: int
    celsius: float
    padding: str


def handle(reading: Reading):
    reading.celsius
"""
EMITTING = "def handle(event):\n    return {'number': event.data['number'], 'warm': event.data['celsius'] > 30}\n"
FAILING = """\
def handle(event, context):
    if event.data["number"] % 10 == 0 and context.attempt == 1:
        raise ValueError("the first attempt of every tenth event fails")
"""
ASYNC = "async def handle(event):\n    event.data\n"


def cloud_event(number: int) -> dict[str, bytes]:
    """The usual body, as a CloudEvent in the attributes that most carry."""
    return {
        "specversion": b"1.0",
        "id": b"reading-%d" % number,
        "source": b"/stations/7",
        "type": b"reading",
        "time": b"2026-01-01T00:00:00Z",
        "datacontenttype": b"application/json",
        **body(number),
    }


def readings(size: int) -> Callable[[int], dict[str, bytes]]:
    """Events whose data are a list of readings, so many bytes of JSON, more or less."""
    one = {"station": "san-francisco", "celsius": 22.5, "at": "2010-08-28T14:00:00"}
    many = [one] * (size // (len(json.dumps(one)) + 2))

    def fields(number: int) -> dict[str, bytes]:
        return {"data": json.dumps({"number": number, "readings": many}).encode()}

    return fields


ONE_KIB, SIXTY_FOUR_KIB = readings(1 << 10), readings(64 << 10)


@dataclass(frozen=True)
class Case:
    """A function, its trigger's settings, a backlog; `asked` says by loop what the ratio must reach, and aims at."""

    name: str
    function: str
    settings: Mapping[str, object] = field(default_factory=dict)
    asked: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fields: Callable[[int], dict[str, bytes]] = body
    events: int = EVENTS
    window: tuple[float, float] = MIDST


QUICK_RETRY = {"retry": {"initial_delay": "10ms", "jitter": "none"}}
CASES = (
    Case("no-op", NO_OP, asked={"R1": (1.5, 2.0), "R2": (1.0, 1.3)}),
    Case("1 emit per event", EMITTING, {"emits": "emitted"}, {"R1": (0.8, 1.0)}, events=100_000),
    Case("filter", NO_OP, {"filter": "event.data.celsius > 30"}, {"R1": (1.0, 1.3)}),
    Case("typed dataclass", DATACLASS, asked={"R1": (1.3, 1.8)}),
    Case("10 % failing", FAILING, QUICK_RETRY, {"R1": (0.8, 1.2)}, window=TO_THE_END),
    Case("pydantic model", PYDANTIC),
    Case("async function", ASYNC),
    Case("async function, concurrency 100", ASYNC, {"workers": {"concurrency": 100}}),
    Case("CloudEvents", NO_OP, fields=cloud_event),
    Case("1 KiB of data", NO_OP, fields=ONE_KIB, events=100_000),
    Case("64 KiB of data", NO_OP, fields=SIXTY_FOUR_KIB, events=4_000),
)


async def measure(effort: Effort) -> list[Figure]:
    """Every case beside the loops; then what triggers, workers and instances share."""
    return [*await beside_loops(CASES, effort), *await sharing.measure(effort)]


async def beside_loops(cases: Sequence[Case], effort: Effort) -> list[Figure]:
    """The ratios of these cases, to R1 first, and the rates behind them. Cases with the same backlog come together."""
    samples = Samples()
    for backlog_of in dict.fromkeys((case.fields, case.events) for case in cases):
        fields, usual = backlog_of
        events = effort.events(usual)
        async with Ground() as ground:
            ground.publish(TOPIC, events, fields)
            for _ in range(effort.rounds):
                for case in (case for case in cases if (case.fields, case.events) == backlog_of):
                    samples.take(case.name, partial(_round, ground, case, events))
    ratios = [
        samples.figure(case.name, f"× {loop}", *case.asked.get(loop, (None, None)))
        for loop in reference.LOOPS
        for case in cases
    ]
    return [*ratios, *(samples.figure(case.name, "events/s", about=True) for case in cases)]


def _round(ground: Ground, case: Case, events: int) -> Taken:
    looped = max(1, min(events // 2, REFERENCE_EVENTS))
    before = [reference.rate(loop, ground, TOPIC, looped) for loop in reference.LOOPS]
    run = backlog.settle(ground, TOPIC, events, case.function, case.settings, window=case.window)
    after = [reference.rate(loop, ground, TOPIC, looped) for loop in reversed(reference.LOOPS)]
    beside = {loop: mean(rates) for loop, *rates in zip(reference.LOOPS, before, reversed(after), strict=True)}
    ratios = {f"× {loop}": run.rate / rate for loop, rate in beside.items()}
    return Taken({**ratios, "events/s": run.rate}, {**beside, **run.about})
