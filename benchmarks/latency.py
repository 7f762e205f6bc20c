"""Latency: from sending an event until its function starts, and until it is settled, beside a bare blocking loop.

A producer of its own sends at a steady rate, by turns for a second or so to the bare loop (`waiting_loop`) and to evfn,
so that both see the same machine. Both take the time first of all when they have the event. evfn serves all topics by
one trigger with a pattern; the loop always has one topic, which is the fastest it can be.
"""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path
from statistics import median
from struct import Struct
from typing import TypeVar

from benchmarks import settlements, waiting_loop
from benchmarks.figure import Effort, Figure
from benchmarks.ground import Ground
from benchmarks.subject import Subject, Trigger

Found = TypeVar("Found", bound=Sized)
TITLE = "Latency"
TOPICS = (1, 100, 1_000)
EVENTS = {10: 30, 200: 900, 2_000: 3_000}
"""How many events at which rate, a second."""
TURNS = 3
"""In how many turns with the bare loop they are sent."""
COLD_RATE = 5
COLD_EVENTS = 40
PERCENTILES = (50, 99)
STEPS = ("started", "settled")
ASKED = {(200, 1): ((2.0, 1.4), (3.0, 2.0)), (200, 1_000): ((2.5, 1.5), (4.0, 2.5))}
"""By rate and topics: what p50 and p99 of the start, over the bare loop's, must reach, and aim at."""
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.05
_ROOT = Path(__file__).parent.parent
_numbers = count()
FUNCTION = """\
import os, struct, time

RECORDS = os.open({file!r}, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
RECORD = struct.Struct("<qqq")


def handle(event):
    began = time.monotonic_ns()
    data = event.data
    os.write(RECORDS, RECORD.pack(data["number"], data["sent_ns"], began))
"""


@dataclass
class Times:
    """Milliseconds from sending: until the function started, and until the event was settled."""

    started: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)

    def add(self, other: "Times") -> None:
        """Take in more of the same."""
        self.started += other.started
        self.settled += other.settled

    def until(self, step: str) -> list[float]:
        """The times of one of STEPS."""
        return self.started if step == "started" else self.settled


class Evfn:
    """`evfn run` on so many topics, its function taking the time; `workers` as in the manifest."""

    def __init__(self, ground: Ground, topics: int, workers: Mapping[str, object]) -> None:
        self.topics = topics
        self.topic = f"evfn{next(_numbers)}"
        self.sent = 0
        self._url = ground.url
        self._folder = ground.folder / self.topic
        self._starts = self._folder / "starts"
        self._settlements = self._folder / "settlements"
        trigger = Trigger("bench", f"{self.topic}.*", "latency", {"workers": dict(workers)})
        text = FUNCTION.format(file=str(self._starts))
        self._subject = Subject(self._folder, ground.url, {"latency": text}, [trigger])

    @contextmanager
    def running(self) -> Iterator["Evfn"]:
        """Started, and warm: every topic has had an event."""
        _produce(self._url, self.topic, self.topics, 2_000, self.sent, self.topics)
        self.sent = self.topics
        instance = self._subject.start("run", "--no-reload")
        keys = [f"evfn:{{{self.topic}.{number}}}:bench/bench:stats" for number in range(self.topics)]
        path = self._url.removeprefix("unix://")
        observer = _python("benchmarks.settlements", path, str(self._settlements), *keys)
        try:
            self._wait()
            yield self
        finally:
            for process in (observer, instance):
                process.terminate()
                process.wait()

    def take(self, rate: int, events: int) -> Times:
        """Send so many, and wait until all are settled."""
        first = self.sent
        _produce(self._url, self.topic, self.topics, rate, first, events)
        self.sent += events
        settled = self._wait()
        began = {number: (sent, start) for number, sent, start in _records(self._starts, settlements.RECORD)}
        times = Times()
        for number in range(first, first + events):
            sent, start = began[number]
            times.started.append((start - sent) / 1e6)
            times.settled.append((settled[number] - sent) / 1e6)
        return times

    def _wait(self) -> dict[int, int]:
        """Until all that was sent is settled; when each was."""
        return _until(self._settled, lambda found: len(found) >= self.sent)

    def _settled(self) -> dict[int, int]:
        settled: dict[int, int] = {}
        before = [0] * self.topics
        for place, total, told in _records(self._settlements, settlements.RECORD):
            # Events of a topic are settled in their order, and the numbers go over the topics in turn.
            for turn in range(before[place], total):
                settled[turn * self.topics + place] = told
            before[place] = max(before[place], total)
        return settled


class BareLoop:
    """The process that `waiting_loop` is."""

    def __init__(self, ground: Ground) -> None:
        self._url = ground.url
        self._topic = f"bare{next(_numbers)}"
        self._file = ground.folder / self._topic
        self._sent = 0

    @contextmanager
    def running(self) -> Iterator["BareLoop"]:
        """Started, and waiting."""
        process = _python("benchmarks.waiting_loop", self._url, f"{self._topic}.0", str(self._file))
        try:
            self.take(100, 10)
            yield self
        finally:
            process.terminate()
            process.wait()

    def take(self, rate: int, events: int) -> Times:
        """As of `Evfn`."""
        first = self._sent
        _produce(self._url, self._topic, 1, rate, first, events)
        self._sent += events
        found = _until(lambda: _records(self._file, waiting_loop.RECORD), lambda found: len(found) >= self._sent)
        times = Times()
        for _, sent, start, settled in found[first:]:
            times.started.append((start - sent) / 1e6)
            times.settled.append((settled - sent) / 1e6)
        return times


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def measure(effort: Effort) -> list[Figure]:
    """Every rate with every number of topics, warm, and from zero workers."""
    samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
    cold: dict[str, list[float]] = defaultdict(list)
    for _ in range(effort.rounds):
        async with Ground() as ground:
            for topics in TOPICS:
                for rate, (loop, evfn) in _warm(ground, topics, effort).items():
                    for what, percent in product(STEPS, PERCENTILES):
                        pair = percentile(evfn.until(what), percent), percentile(loop.until(what), percent)
                        samples[_name(what, percent, rate, topics)].append(pair)
            times = _from_zero(ground, effort)
            for what, percent in product(STEPS, PERCENTILES):
                cold[f"until {what}, from zero workers, p{percent}"].append(percentile(times.until(what), percent))
    asked = {
        _name("started", percent, rate, topics): figures
        for (rate, topics), pair in ASKED.items()
        for percent, figures in zip(PERCENTILES, pair, strict=True)
    }
    return [
        *(_ratio(name, pairs, asked.get(name, (None, None))) for name, pairs in samples.items()),
        *(Figure(name, "ms", tuple(values), more_is_better=False) for name, values in cold.items()),
    ]


def _warm(ground: Ground, topics: int, effort: Effort) -> dict[int, tuple[Times, Times]]:
    """By rate: what the bare loop took, and what evfn did."""
    found = {rate: (Times(), Times()) for rate in EVENTS}
    with BareLoop(ground).running() as loop, Evfn(ground, topics, {"min": 1}).running() as evfn:
        for (rate, events), _ in product(EVENTS.items(), range(TURNS)):
            some = max(effort.events(events) // TURNS, 1)
            found[rate][0].add(loop.take(rate, some))
            found[rate][1].add(evfn.take(rate, some))
    return found


def _from_zero(ground: Ground, effort: Effort) -> Times:
    """Each event finds no worker: the one before has retired."""
    with Evfn(ground, 1, {"min": 0, "idle": "50ms"}).running() as evfn:
        return evfn.take(COLD_RATE, effort.events(COLD_EVENTS))


def _ratio(name: str, pairs: list[tuple[float, float]], asked: tuple[float | None, float | None]) -> Figure:
    about = {"evfn, ms": median(evfn for evfn, _ in pairs), "bare loop, ms": median(loop for _, loop in pairs)}
    ratios = tuple(evfn / loop for evfn, loop in pairs)
    return Figure(name, "× bare loop", ratios, *asked, more_is_better=False, about=about)


def _name(what: str, percent: int, rate: int, topics: int) -> str:
    return f"until {what}, {rate:,} events/s on {topics:,} {'topic' if topics == 1 else 'topics'}, p{percent}"


def _produce(url: str, topic: str, topics: int, rate: int, first: int, events: int) -> None:
    """Returns when all are sent. Raises where the producer fails."""
    arguments = [url, topic, *map(str, (topics, rate, first, events))]
    subprocess.run([sys.executable, "-m", "benchmarks.producer", *arguments], cwd=_ROOT, check=True)


def _python(module: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=_ROOT)


def _records(file: Path, record: Struct) -> list[tuple[int, ...]]:
    return list(record.iter_unpack(file.read_bytes())) if file.exists() else []


def _until(look: Callable[[], Found], enough: Callable[[Found], bool]) -> Found:
    """Look until it is enough. Raises RuntimeError where it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not enough(found := look()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {len(found):,} events came through")
        time.sleep(LOOK_SECONDS)
    return found
