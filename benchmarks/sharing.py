"""What shares: triggers a topic, workers the cores, instances a topic."""

import os
from functools import partial
from statistics import mean

from benchmarks import backlog
from benchmarks.figure import Effort, Figure
from benchmarks.ground import Ground
from benchmarks.samples import Samples, Taken

TRIGGERS = {1: 200_000, 2: 100_000, 10: 40_000}
"""How many triggers are on a topic of how many events."""
MANY = (2, 10)
WORKERS = (1, 2, 4)
WORKED_SECONDS = 2.0
INSTANCE_EVENTS = 800
NO_OP = "def handle(event):\n    event.data\n"
COMPUTING = """\
import time


def handle(event):
    enough = time.thread_time_ns() + 1_000_000
    while time.thread_time_ns() < enough:
        pass
"""
SLEEPING = "import time\n\n\ndef handle(event):\n    time.sleep(0.01)\n"
CPU_COST, TIME_COST = "× CPU of one trigger", "× time of one trigger"


async def measure(effort: Effort) -> list[Figure]:
    """Costs against one trigger; rates by workers; two instances against one."""
    return [*await _triggers(effort), *await _instances(effort), *await _workers(effort)]


async def _triggers(effort: Effort) -> list[Figure]:
    samples = Samples()
    async with Ground() as ground:
        for number, usual in TRIGGERS.items():
            ground.publish(f"of-{number}", effort.events(usual))
        for _ in range(effort.rounds):
            for number in MANY:
                samples.take(_on_one(number), partial(_cost, ground, number, effort))
    most = max(MANY)
    return [
        *(
            samples.figure(_on_one(number), unit, *((1.1, 1.0) if number == most else ()), more_is_better=False)
            for unit in (CPU_COST, TIME_COST)
            for number in MANY
        ),
        *(samples.figure(_on_one(number), "deliveries/s", about=True) for number in MANY),
    ]


def _on_one(triggers: int) -> str:
    return f"{triggers} triggers on one topic"


def _cost(ground: Ground, triggers: int, effort: Effort) -> Taken:
    """Of a delivery, to that of one trigger before and after it."""
    before, many, after = (
        backlog.settle(ground, f"of-{number}", effort.events(TRIGGERS[number]), NO_OP, {}, triggers=number)
        for number in (1, triggers, 1)
    )
    cpu = mean([sum(one.cpu_us.values()) for one in (before, after)])
    seconds = mean([1 / one.rate for one in (before, after)])
    cost = {CPU_COST: sum(many.cpu_us.values()) / cpu, TIME_COST: 1 / many.rate / seconds}
    return Taken({**cost, "deliveries/s": many.rate}, {"one trigger, deliveries/s": 1 / seconds, **many.about})


async def _workers(effort: Effort) -> list[Figure]:
    """Rates, and beside them which part it is of what so many workers could do at most."""
    samples = Samples()
    cores = os.cpu_count() or 1
    cases = [
        (f"{what}, {workers} {'worker' if workers == 1 else 'workers'}", function, workers, most)
        for what, function, most_of_one, enough in (
            ("1 ms of CPU", COMPUTING, 1_000, cores),
            ("10 ms of sleep", SLEEPING, 100, max(WORKERS)),
        )
        for workers in WORKERS
        for most in [most_of_one * min(workers, enough)]
    ]
    async with Ground() as ground:
        for _, _, _, most in cases:
            topic = f"for-{most}"
            if not ground.client.exists(topic):
                ground.publish(topic, effort.events(int(most * WORKED_SECONDS)))
        for _ in range(effort.rounds):
            for name, function, workers, most in cases:
                samples.take(name, partial(_worked, ground, function, workers, most, effort))
    return [samples.figure(name, "events/s", about=True) for name, *_ in cases]


def _worked(ground: Ground, function: str, workers: int, most: int, effort: Effort) -> Taken:
    settings = {"workers": {"max": workers}}
    run = backlog.settle(ground, f"for-{most}", effort.events(int(most * WORKED_SECONDS)), function, settings)
    return Taken({"events/s": run.rate}, {"of the possible": run.rate / most, **run.about})


async def _instances(effort: Effort) -> list[Figure]:
    samples = Samples()
    name = "two instances on one topic, 10 ms of sleep"
    events = effort.events(INSTANCE_EVENTS)
    async with Ground() as ground:
        ground.publish("slept", events)
        for _ in range(effort.rounds):
            samples.take(name, partial(_beside_one, ground, events))
    return [samples.figure(name, "× one instance", 1.9, about=True)]


def _beside_one(ground: Ground, events: int) -> Taken:
    one, two = (backlog.settle(ground, "slept", events, SLEEPING, {}, instances=number) for number in (1, 2))
    return Taken({"× one instance": two.rate / one.rate}, {"one, events/s": one.rate, "two, events/s": two.rate})
