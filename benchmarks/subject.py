"""evfn as a user runs it: a project folder and `evfn run`, watched from the outside.

Progress is read from the trigger's own counters on the server every 20 ms. The rate is the slope between the first
reading above nothing and the last one below the whole, so that neither start nor end of the process counts.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 120.0
DONE = ("succeeded", "filtered", "dead_lettered", "dropped")


@dataclass(frozen=True)
class Trigger:
    """One trigger of a project: what stands in the manifest, as YAML reads it."""

    name: str
    topic: str
    function: str
    settings: Mapping[str, object]


@dataclass(frozen=True)
class Run:
    """What one run came to: deliveries a second, and the CPU each process took for one, in microseconds."""

    rate: float
    cpu_us: Mapping[str, float]


class Subject:
    """A project with these functions (module name to text) and triggers in `folder`, on the server at `url`."""

    def __init__(self, folder: Path, url: str, functions: Mapping[str, str], triggers: Sequence[Trigger]) -> None:
        self.folder = folder
        self.url = url
        self.triggers = triggers
        (folder / "functions").mkdir(parents=True)
        for module, text in functions.items():
            (folder / "functions" / f"{module}.py").write_text(text)
        entries = {
            each.name: {"topic": each.topic, "function": each.function, "start": "earliest", **each.settings}
            for each in triggers
        }
        # JSON is YAML; nobody reads this one.
        (folder / "triggers.yaml").write_text(json.dumps({"version": 1, "name": "bench", "triggers": entries}))

    def command(self, *arguments: str) -> list[str]:
        """How `evfn` is called in this project."""
        return [sys.executable, "-m", "evfn_cli", *arguments, "--redis", self.url]

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Begin a command of evfn here; its output is thrown away."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVFN_")}
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def done(self, client: "redis.Redis") -> int:
        """Deliveries that are settled for good, all triggers together."""
        pipeline = client.pipeline(transaction=False)
        for each in self.triggers:
            pipeline.hmget(f"evfn:{{{each.topic}}}:bench/{each.name}:stats", list(DONE))
        return sum(int(value or 0) for counters in pipeline.execute() for value in counters)

    def drain(self, client: "redis.Redis", server_pid: int, deliveries: int) -> Run:
        """Run until all of these are settled. Raises RuntimeError where that does not happen."""
        process = self.start("run", "--until-idle")
        readings: list[tuple[float, int]] = []
        cpu: list[dict[str, float]] = []
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while not readings or readings[-1][1] < deliveries:
            time.sleep(LOOK_SECONDS)
            count, now = self.done(client), time.perf_counter()
            if count or cpu:
                readings.append((now, count))
                cpu.append(processor_seconds(process.pid) | {"server": _seconds(server_pid)})
            if now > deadline or (process.poll() is not None and count < deliveries):
                process.kill()
                process.wait()
                raise RuntimeError(f"{count:,} of {deliveries:,} deliveries settled")
        process.wait()
        # The last reading may have been long after the last event: it counts only where nothing else is there.
        last = -2 if len(readings) > 2 else -1
        (began, first), (ended, final) = readings[0], readings[last]
        spent = {
            name: (seconds - cpu[0].get(name, 0.0)) / max(final - first, 1) * 1e6 for name, seconds in cpu[last].items()
        }
        return Run((final - first) / max(ended - began, 1e-9), spent)


def processor_seconds(pid: int) -> dict[str, float]:
    """CPU that an instance has taken so far: its dispatcher, and its template with all its workers, gone ones too."""
    processes = _descendants(pid)
    return {"dispatcher": _seconds(pid), "workers": sum(_seconds(each) + _reaped_seconds(each) for each in processes)}


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(each for child in children for each in _descendants(child))]


def _seconds(pid: int) -> float:
    """CPU of one process. Source: the first field of schedstat, nanoseconds."""
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            nanoseconds += int(thread.read_text().split()[0])
    return nanoseconds / 1e9


def _reaped_seconds(pid: int) -> float:
    """CPU of the children that it has waited for. Source: fields 16 and 17 of proc(5) stat, in ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
