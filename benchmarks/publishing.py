"""Ways to publish from Python, bare and with evfn's clients, run as a process of its own.

`python -m benchmarks.publishing WAY URL TOPIC EVENTS` publishes that many readings, each encoded from Python values,
and prints its rate and the CPU this process took for one, in microseconds.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis

from evfn import AsyncClient, Client

AT_ONCE = 1_000
IN_FLIGHT = 100


def xadd(url: str, topic: str, readings: Sequence[object]) -> None:
    """As anybody can: an entry, an answer, the next one."""
    client = redis.Redis.from_url(url)
    for reading in readings:
        client.xadd(topic, {"data": json.dumps(reading)})


def pipelined_xadd(url: str, topic: str, readings: Sequence[object]) -> None:
    """As fast as redis-py can: a thousand entries, then their answers."""
    client = redis.Redis.from_url(url)
    for begin in range(0, len(readings), AT_ONCE):
        pipeline = client.pipeline(transaction=False)
        for reading in readings[begin : begin + AT_ONCE]:
            pipeline.xadd(topic, {"data": json.dumps(reading)})
        pipeline.execute()


def emit(url: str, topic: str, readings: Sequence[object]) -> None:
    """`Client.emit`."""
    with Client(url) as client:
        for reading in readings:
            client.emit(topic, reading)


def emit_many(url: str, topic: str, readings: Sequence[object]) -> None:
    """`Client.emit_many`."""
    with Client(url) as client:
        client.emit_many(topic, readings)


def async_emit(url: str, topic: str, readings: Sequence[object]) -> None:
    """`AsyncClient.emit`, each awaited before the next."""

    async def publish(client: AsyncClient) -> None:
        for reading in readings:
            await client.emit(topic, reading)

    asyncio.run(_with_client(url, publish))


def async_emit_together(url: str, topic: str, readings: Sequence[object]) -> None:
    """`AsyncClient.emit` from a hundred tasks at once, as a web server would call it."""

    async def some(client: AsyncClient, mine: Sequence[object]) -> None:
        for reading in mine:
            await client.emit(topic, reading)

    async def publish(client: AsyncClient) -> None:
        await asyncio.gather(*(some(client, readings[task::IN_FLIGHT]) for task in range(IN_FLIGHT)))

    asyncio.run(_with_client(url, publish))


def async_emit_many(url: str, topic: str, readings: Sequence[object]) -> None:
    """`AsyncClient.emit_many`."""

    async def publish(client: AsyncClient) -> None:
        await client.emit_many(topic, readings)

    asyncio.run(_with_client(url, publish))


async def _with_client(url: str, publish: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async with AsyncClient(url) as client:
        await publish(client)


WAYS: dict[str, Callable[[str, str, Sequence[Any]], None]] = {
    each.__name__: each
    for each in (xadd, pipelined_xadd, emit, emit_many, async_emit, async_emit_together, async_emit_many)
}


if __name__ == "__main__":
    way, url, topic, count = sys.argv[1:]
    events = int(count)
    readings = [{"number": number, "celsius": number % 60 - 20, "padding": "x" * 150} for number in range(events)]
    began, spent = time.perf_counter(), time.process_time()
    WAYS[way](url, topic, readings)
    rate = events / (time.perf_counter() - began)
    print(json.dumps({"rate": rate, "cpu_us": (time.process_time() - spent) / events * 1e6}))  # noqa: T201
