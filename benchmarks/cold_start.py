"""From an event to the first line of its function, where no worker runs it yet.

Measured on `evfn run` as a user starts it, with the embedded server: the time is taken just before XADD, and again by
the function itself, on the clock that all processes of a machine share. Between two samples the worker has ended.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Effort, Figure
from benchmarks.footprint import descendants, megabytes, process_name
from benchmarks.ground import Ground
from benchmarks.subject import Subject, Trigger

TITLE = "Cold start"
TRIES = 8
"""In a round, of what is measured."""
Samples = list[tuple[str, list[float]]]

STANDARD = (
    "import csv, decimal, email.message, fractions, html, http.client, json, sqlite3, statistics, urllib.request, \
uuid, zipfile"
)
"""Twelve modules of the standard library, as functions import them."""
SLOW = "import time; time.sleep(1)"
HEAP = f"{SLOW}; HEAP = [str(number) * 3 for number in range(1_150_000)]"
"""About 80 MB in small objects: what a fork has most work with."""
NOTE = """
import os, time

def note(event):
    line = f"{event.data['n']} {os.getpid()} {time.monotonic_ns()} {VERSION}\\n"
    file = os.open(event.data["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
"""
QUICK = {"workers": {"max": 1, "idle": "20ms"}}
"""Its worker ends as soon as it has nothing to do."""
PATIENCE_SECONDS = 30.0


def function(imports: str, version: int = 1, body: str = "") -> str:
    """A module whose `run` notes when it began, and in which process."""
    return f"{imports}\nVERSION = {version}\n{NOTE}\n\ndef run(event):\n    note(event)\n{body}"


@dataclass(frozen=True)
class Start:
    """One invocation's first moment: in which process, when on the monotonic clock, and on which code."""

    pid: int
    began_ns: int
    version: int


class Journal:
    """What the functions noted, by the number of the event."""

    def __init__(self, ground: Ground, name: str) -> None:
        self._ground = ground
        self._file = ground.folder / f"{name}.journal"
        self._number = 0
        self._read = 0
        self._starts: dict[int, Start] = {}

    def publish(self, topic: str) -> tuple[int, int]:
        """One event; its number, and when it was sent, in nanoseconds."""
        self._number += 1
        body = f'{{"n": {self._number}, "journal": "{self._file}"}}'
        sent = time.monotonic_ns()
        self._ground.client.xadd(topic, {"data": body})
        return self._number, sent

    def starts(self) -> dict[int, Start]:
        """All so far. Only what is new is read: looking must not take the time of what is looked at."""
        if self._file.exists():
            with self._file.open() as file:
                file.seek(self._read)
                for line in file.readlines():
                    n, pid, ns, version = map(int, line.split())
                    self._starts[n] = Start(pid, ns, version)
                self._read = file.tell()
        return self._starts

    def start(self, number: int) -> Start:
        """Of this event, sooner or later."""
        wait(lambda: number in self.starts())
        return self._starts[number]


def wait(condition: Callable[[], bool]) -> None:
    """Until it holds. Raises RuntimeError where that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {PATIENCE_SECONDS:g} s in vain")
        time.sleep(0.005)


@contextmanager
def running(subject: Subject) -> Iterator[int]:
    """`evfn run` in this project, to the end of the block; its process id."""
    process = subject.start("run")
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cold(journal: Journal, topic: str) -> float:
    """Milliseconds from an event to its function's start, where no worker is there. Returns when it has ended again."""
    number, sent = journal.publish(topic)
    start = journal.start(number)
    wait(lambda: not Path(f"/proc/{start.pid}").exists())
    return (start.began_ns - sent) / 1e6


def forget(instance: int) -> None:
    """End what this instance keeps loaded: whatever runs next starts as if for the first time."""
    for pid in descendants(instance):
        if process_name(pid) == "evfn-loaded":
            os.kill(pid, signal.SIGKILL)
            wait(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]


def from_nothing(ground: Ground, tries: int) -> Samples:
    """Cold starts of functions that nobody has loaded, and of one that has been served before."""
    functions = {
        "first": function(STANDARD),
        "before": function(STANDARD),
        "slow": function(SLOW),
        "heap": function(HEAP),
    }
    triggers = [Trigger(name, name, f"{name}:run", QUICK) for name in functions]
    first: list[float] = []
    before: dict[str, list[float]] = {}
    journal = Journal(ground, "cold")
    with running(Subject(ground.folder / "cold", ground.url, functions, triggers)) as instance:
        for name in functions:
            cold(journal, name)
        for _ in range(tries):
            forget(instance)
            first.append(cold(journal, "first"))
        for name in ("before", "slow", "heap"):
            cold(journal, name)
            before[name] = [cold(journal, name) for _ in range(tries)]
    return [
        ("cold start, 12 standard-library imports, first ever", first),
        ("cold start, 12 standard-library imports, served before", before["before"]),
        ("cold start, imports of 1 s, served before", before["slow"]),
        ("cold start, imports of 1 s and 80 MB, served before", before["heap"]),
    ]


def second_worker(ground: Ground, tries: int) -> Samples:
    """A backlog comes to a function with one worker: from the first event to the first start in another process."""
    body = "    time.sleep(0.02)\n"
    settings = {"workers": {"min": 1, "max": 2, "idle": "100ms"}}
    functions = {"busy": function(STANDARD, body=body)}
    journal = Journal(ground, "second")
    took: list[float] = []
    with running(
        Subject(ground.folder / "second", ground.url, functions, [Trigger("busy", "busy", "busy:run", settings)])
    ):
        for _ in range(tries):
            there = journal.start(journal.publish("busy")[0]).pid
            numbers = [journal.publish("busy") for _ in range(24)]
            for number, _ in numbers:
                journal.start(number)
            began = [start.began_ns for number, _ in numbers if (start := journal.starts()[number]).pid != there]
            if began:
                took.append((min(began) - numbers[0][1]) / 1e6)
            pids = {journal.starts()[number].pid for number, _ in numbers}
            wait(lambda pids=pids: sum(Path(f"/proc/{pid}").exists() for pid in pids) <= 1)  # type: ignore[misc]
    return [("second worker of a running function", took)]


def reload(ground: Ground, tries: int) -> Samples:
    """From the saving of an edit to the first start on the new code, while events come."""
    settings = {"workers": {"min": 1, "max": 1}}
    subject = Subject(
        ground.folder / "reload",
        ground.url,
        {"edited": function(STANDARD)},
        [Trigger("edited", "edited", "edited:run", settings)],
    )
    journal = Journal(ground, "reload")
    took: list[float] = []
    with running(subject):
        journal.start(journal.publish("edited")[0])
        for version in range(2, tries + 2):
            saved = time.monotonic_ns()
            (subject.folder / "functions" / "edited.py").write_text(function(STANDARD, version))
            while True:
                start = journal.start(journal.publish("edited")[0])
                if start.version == version:
                    break
            took.append((start.began_ns - saved) / 1e6)
    return [("reload to the first invocation with the new code", took)]


def memory(ground: Ground) -> Samples:
    """A worker that has served a few events and waits for the next."""
    settings = {"workers": {"min": 1, "max": 1}}
    functions = {"plain": function(""), "standard": function(STANDARD)}
    triggers = [Trigger(name, name, f"{name}:run", settings) for name in functions]
    journal = Journal(ground, "memory")
    used: Samples = []
    with running(Subject(ground.folder / "memory", ground.url, functions, triggers)):
        for name in functions:
            pids = {journal.start(journal.publish(name)[0]).pid for _ in range(10)}
            time.sleep(0.5)
            used.append((f"private memory of an idle worker, {name}", [megabytes(pid, "Private_") for pid in pids]))
    return used


ASKED = {
    "cold start, 12 standard-library imports, first ever": (25.0, 10.0),
    "cold start, 12 standard-library imports, served before": (10.0, 4.0),
    "cold start, imports of 1 s, served before": (15.0, 6.0),
    "cold start, imports of 1 s and 80 MB, served before": (15.0, 6.0),
    "private memory of an idle worker, plain": (4.0, 2.0),
    "private memory of an idle worker, standard": (4.0, 2.0),
}
"""What must not be exceeded, and what is aimed at, by figure; in its unit."""


async def measure(effort: Effort) -> list[Figure]:
    """Milliseconds from an event to its function, and megabytes of an idle worker."""
    tries = effort.events(TRIES * effort.rounds)
    samples: Samples = []
    async with Ground() as ground:
        for part in (
            lambda: from_nothing(ground, tries),
            lambda: second_worker(ground, max(3, tries // 3)),
            lambda: reload(ground, max(3, tries // 3)),
            lambda: memory(ground),
        ):
            samples += await asyncio.to_thread(part)
    figures = []
    for name, values in samples:
        least, aim = ASKED.get(name, (None, None))
        unit = "MB" if "memory" in name else "ms"
        figures.append(Figure(name, unit, tuple(values), least, aim, more_is_better=False))
    return figures
