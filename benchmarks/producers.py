"""Producers: how fast events are published, by each way that evfn has, beside bare XADDs from redis-py.

What a bare XADD does not do is what the ways of evfn add: the attributes of a CloudEvent, and a mark by which the same
event is stored once however often it is sent.
"""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.figure import Effort, Figure
from benchmarks.footprint import process_seconds
from benchmarks.ground import Ground, body
from benchmarks.samples import Samples, Taken
from benchmarks.subject import Subject, Trigger

TITLE = "Producers"
_ROOT = Path(__file__).parent.parent
_numbers = count()


@dataclass(frozen=True)
class Published:
    """What one way came to: events a second, and CPU for one, in microseconds."""

    rate: float
    producer_us: float
    server_us: float


@dataclass(frozen=True)
class Kind:
    """Ways that can be compared, by name and as `publishing` calls them; the bare one's name and its own."""

    bare: str
    bare_way: str
    ways: dict[str, str]
    events: int


COMMAND = "evfn emit --file"
KINDS = (
    Kind(
        "XADD, one by one",
        "xadd",
        {
            "Client.emit, one by one": "emit",
            "AsyncClient.emit, one by one": "async_emit",
            "AsyncClient.emit, 100 tasks at once": "async_emit_together",
        },
        10_000,
    ),
    Kind(
        "XADD, pipelined",
        "pipelined_xadd",
        {"Client.emit_many": "emit_many", "AsyncClient.emit_many": "async_emit_many", COMMAND: COMMAND},
        100_000,
    ),
)


async def measure(effort: Effort) -> list[Figure]:
    """Rates, and ratios to the bare way of the same kind, taken within a round."""
    samples = Samples()
    async with Ground() as ground:
        for _ in range(effort.rounds):
            for kind in KINDS:
                bare: list[Published] = []
                for name, way in {kind.bare: kind.bare_way, **kind.ways}.items():
                    samples.take(name, partial(_round, ground, kind, way, effort.events(kind.events), bare))
    return [
        *(samples.figure(name, f"× {kind.bare}") for kind in KINDS for name in kind.ways),
        *(samples.figure(name, "events/s", about=True) for kind in KINDS for name in (kind.bare, *kind.ways)),
    ]


def _round(ground: Ground, kind: Kind, way: str, events: int, bare: list[Published]) -> Taken:
    """`bare` holds what the bare way came to in this round; it goes first."""
    topic = f"published-{next(_numbers)}"
    ground.rest()
    before = process_seconds(ground.server_pid)
    rate, producer_us = (_command if way == COMMAND else _python)(ground, way, topic, events)
    published = Published(rate, producer_us, (process_seconds(ground.server_pid) - before) / events * 1e6)
    if (stored := ground.client.xlen(topic)) != events:
        raise RuntimeError(f"{stored:,} of {events:,} events are stored")
    ground.client.unlink(topic, *ground.client.keys(f"evfn:{{{topic}}}:*"))
    bare.append(published)
    values = {"events/s": rate} | ({} if way == kind.bare_way else {f"× {kind.bare}": rate / bare[0].rate})
    return Taken(values, {"producer µs": published.producer_us, "server µs": published.server_us})


def _python(ground: Ground, way: str, topic: str, events: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.publishing", way, ground.url, topic, str(events)]
    done = subprocess.run(command, check=True, cwd=_ROOT, stdout=subprocess.PIPE)
    said = json.loads(done.stdout)
    return said["rate"], said["cpu_us"]


def _command(ground: Ground, way: str, topic: str, events: int) -> tuple[float, float]:
    """The whole command, its start and its look at the file included."""
    trigger = Trigger("published", topic, "measured", {})
    function = "def handle(event):\n    pass\n"
    subject = Subject(ground.folder / topic, ground.url, {"measured": function}, [trigger])
    file = subject.folder / "events.ndjson"
    file.write_bytes(b"".join(body(number)["data"] + b"\n" for number in range(events)))
    began, before = time.perf_counter(), _children_seconds()
    if (code := subject.start("emit", topic, "--file", file.name).wait()) != 0:
        raise RuntimeError(f"{way} ended with {code}")
    return events / (time.perf_counter() - began), (_children_seconds() - before) / events * 1e6


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
