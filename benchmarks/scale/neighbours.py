"""Ten instances more on one busy topic: each hears of every event, and one of all gets it."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from benchmarks.figure import Effort, Figure
from benchmarks.footprint import descendants, megabytes, process_seconds
from benchmarks.ground import PADDING, Ground
from benchmarks.scale.triggers import standing
from benchmarks.subject import Subject, Trigger

MORE = 10
EVENTS = 100_000
BUSY_SECONDS = 8.0
A_SECOND = 200
TOPIC = "busy"
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Busy:
    """What one event takes of all dispatchers and of the server, in ms of CPU, and how fast a backlog goes."""

    dispatchers: float
    server: float
    rate: float
    memory: float


async def measure(ground: Ground, effort: Effort) -> list[Figure]:
    alone = await _busy(ground, 1, effort.events(EVENTS))
    many = await _busy(ground, 1 + MORE, effort.events(EVENTS))
    name = f"{MORE} instances beside one, {A_SECOND} events/s"
    return [
        Figure(
            f"{name}: CPU of all dispatchers and the server for one event",
            "× alone",
            ((many.dispatchers + many.server) / (alone.dispatchers + alone.server),),
            more_is_better=False,
            about={
                "dispatchers ms": many.dispatchers,
                "server ms": many.server,
                "alone, dispatcher ms": alone.dispatchers,
                "alone, server ms": alone.server,
                "MB each": many.memory,
            },
        ),
        Figure(
            f"{MORE} instances beside one, a backlog: rate",
            "× alone",
            (many.rate / alone.rate,),
            about={"events/s": many.rate, "alone, events/s": alone.rate},
        ),
    ]


async def _busy(ground: Ground, instances: int, events: int) -> Busy:
    bound = [Trigger("busy", TOPIC, "busy", {"start": "new"})]
    subject = Subject(
        ground.folder / f"busy-{instances}", ground.url, {"busy": "def handle(event):\n    event.data\n"}, bound
    )
    async with AsyncExitStack() as stack:
        # One after the other: what is told of each is kept in one folder.
        stood = [await stack.enter_async_context(standing(subject, "serve", 1)) for _ in range(instances)]
        pids = [each.process.pid for each in stood]
        await _all_there(ground, instances, pids)
        dispatchers, server = await _trickle(ground, subject, pids)
        rate = await _backlog(ground, subject, events)
        memory = sum(map(megabytes, pids)) / instances
    ground.client.unlink(TOPIC, f"evfn:{{{TOPIC}}}:bench/busy:stats", "evfn:trigger:bench/busy")
    return Busy(dispatchers, server, rate, memory)


async def _all_there(ground: Ground, instances: int, pids: list[int]) -> None:
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while ground.client.hlen("evfn:instances") < instances or not all(map(descendants, pids)):
        if time.perf_counter() > deadline:
            raise RuntimeError("not every instance began")
        await asyncio.sleep(0.05)
    await asyncio.sleep(2)


async def _trickle(ground: Ground, subject: Subject, pids: list[int]) -> tuple[float, float]:
    """One event after the other; milliseconds of CPU for each, of all dispatchers and of the server."""
    body = json.dumps({"padding": PADDING})
    done = subject.done(ground.client)
    before = sum(map(process_seconds, pids)), process_seconds(ground.server_pid)
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < BUSY_SECONDS:
        while sent < now * A_SECOND:
            ground.client.xadd(TOPIC, {"data": body})
            sent += 1
        await asyncio.sleep(1 / A_SECOND)
    await _settled(ground, subject, done + sent)
    after = sum(map(process_seconds, pids)), process_seconds(ground.server_pid)
    return (after[0] - before[0]) / sent * 1000, (after[1] - before[1]) / sent * 1000


async def _backlog(ground: Ground, subject: Subject, events: int) -> float:
    """Published while they watch, as fast as can be; events a second until the last is settled."""
    done = subject.done(ground.client)
    began = time.perf_counter()
    await asyncio.to_thread(ground.publish, TOPIC, events)
    await _settled(ground, subject, done + events)
    return events / (time.perf_counter() - began)


async def _settled(ground: Ground, subject: Subject, deliveries: int) -> None:
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while (done := subject.done(ground.client)) < deliveries:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{done:,} of {deliveries:,} deliveries settled")
        await asyncio.sleep(0.01)
