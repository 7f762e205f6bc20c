"""How many events a second a trivial function passes, with everything on: `python benchmarks/throughput.py [EVENTS]`.

The embedded server with its append-only file, one worker, events of 200 bytes of JSON, the backlog published first. A
hand-written loop (XREADGROUP COUNT 1000, json.loads, one variadic XACK) reads the same stream in the same run: only the
ratio of the two means anything on another machine. Loopback only; it ends by itself and removes what it made.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import redis

from evfn.embedded import EmbeddedServer
from evfn.listener import Happening
from evfn.project import OpenedProject
from evfn.runtime import Place, Runtime
from evfn.trigger import Project, StartAt, Trigger, Workers

TOPIC = "readings"
PADDING = "x" * 150


class Counter:
    """Notes when the first and the last success was told."""

    def __init__(self) -> None:
        self.first = 0.0
        self.last = 0.0

    def tell(self, happening: Happening) -> None:
        if type(happening).__name__ in ("SucceededMany", "Invoked"):
            self.last = time.perf_counter()
            self.first = self.first or self.last


def publish(client: "redis.Redis", events: int) -> None:
    for begin in range(0, events, 1000):
        pipeline = client.pipeline(transaction=False)
        for number in range(begin, min(begin + 1000, events)):
            pipeline.xadd(TOPIC, {"data": json.dumps({"number": number, "padding": PADDING})})
        pipeline.execute()


def reference(client: "redis.Redis", events: int) -> float:
    """Events a second of the hand-written loop."""
    client.xgroup_create(TOPIC, "reference", "0")
    began, seen = time.perf_counter(), 0
    while seen < events:
        reply: list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]] = client.xreadgroup(  # type: ignore[assignment]
            "reference", "one", {TOPIC: ">"}, count=1000
        )
        entries = reply[0][1]
        for _, fields in entries:
            json.loads(fields[b"data"])
        client.xack(TOPIC, "reference", *(entry for entry, _ in entries))
        seen += len(entries)
    return seen / (time.perf_counter() - began)


async def measured(folder: Path, url: str, events: int) -> float:
    """Events a second from the first success told to the last."""
    trigger = Trigger("trivial", (TOPIC,), "trivial:run", start=StartAt.EARLIEST, workers=Workers(max=1))
    counter = Counter()
    place = Place(folder, folder / "functions", folder / "state", url)
    opened = OpenedProject(Project("benchmark", (trigger,)), {})
    await Runtime(opened, place, counter).run(until_idle=True)
    return events / (counter.last - counter.first)


async def main(events: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="evfn-benchmark-"))
    (folder / "functions").mkdir()
    (folder / "state").mkdir()
    (folder / "functions" / "trivial.py").write_text("def run(event):\n    event.data\n")
    server = EmbeddedServer(folder / "state")
    await server.start()
    try:
        client = redis.Redis.from_url(server.url)
        publish(client, events)
        loop = reference(client, events)
        ours = await measured(folder, server.url, events)
        client.close()
        print(f"hand-written loop {loop:,.0f}/s   evfn {ours:,.0f}/s   ratio {ours / loop:.2f}")  # noqa: T201
    finally:
        await server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000))
