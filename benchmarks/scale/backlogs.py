"""10 thousand, 100 thousand and 1 million events that wait: how fast they go, and what the dispatcher takes."""

import time
from itertools import count

from benchmarks.figure import Effort, Figure
from benchmarks.footprint import megabytes
from benchmarks.ground import Ground
from benchmarks.subject import Subject, Trigger

EVENTS = (10_000, 100_000, 1_000_000)
MOST_ROUNDS = 2
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 180.0
TOPIC = "backlog"
PART = (0.1, 0.9)
"""The rate is that between the first and the last look at which these parts were settled."""

_numbers = count()


async def measure(ground: Ground, effort: Effort) -> list[Figure]:
    rates: dict[int, list[float]] = {each: [] for each in EVENTS}
    memory: dict[int, list[float]] = {each: [] for each in EVENTS}
    for events in EVENTS:
        there = int(ground.client.xlen(TOPIC))
        wanted = effort.events(events)
        ground.publish(TOPIC, wanted - there, first=there)
        for _ in range(min(effort.rounds, MOST_ROUNDS)):
            rate, most = _settled(ground, wanted)
            rates[events].append(rate)
            memory[events].append(most)
    ground.client.unlink(TOPIC)
    few, many = EVENTS[-2:]
    return [
        *(
            Figure(f"{events:,} events of backlog", "events/s", tuple(rates[events]), about={"MB": max(memory[events])})
            for events in EVENTS
        ),
        Figure(
            f"{many:,} events of backlog against {few:,}: rate",
            "×",
            tuple(one / other for one, other in zip(rates[many], rates[few], strict=True)),
            least=0.9,
            aim=0.97,
        ),
        Figure(
            f"{many:,} events of backlog against {few:,}: memory of the dispatcher",
            "MB more",
            tuple(one - other for one, other in zip(memory[many], memory[few], strict=True)),
            least=20.0,
            more_is_better=False,
        ),
    ]


def _settled(ground: Ground, events: int) -> tuple[float, float]:
    """Events a second, and the most memory the dispatcher had, in MB."""
    number = next(_numbers)
    bound = [Trigger(f"backlog-{number}", TOPIC, "measured", {})]
    functions = {"measured": "def handle(event):\n    event.data\n"}
    subject = Subject(ground.folder / f"backlog-{number}", ground.url, functions, bound)
    process = subject.start("run", "--until-idle")
    readings: list[tuple[float, int]] = []
    most = 0.0
    deadline = time.perf_counter() + PATIENCE_SECONDS
    try:
        while not readings or readings[-1][1] < events:
            time.sleep(LOOK_SECONDS)
            readings.append((time.perf_counter(), subject.done(ground.client)))
            most = max(most, megabytes(process.pid))
            if readings[-1][0] > deadline or (process.poll() is not None and readings[-1][1] < events):
                raise RuntimeError(f"{readings[-1][1]:,} of {events:,} events settled")
        process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
        ground.client.xgroup_destroy(TOPIC, f"bench/backlog-{number}")
    begin, end = (next(each for each in readings if each[1] >= part * events) for part in PART)
    if begin == end:
        begin = next((each for each in reversed(readings) if each[1] < end[1]), begin)
    return (end[1] - begin[1]) / (end[0] - begin[0]), most
