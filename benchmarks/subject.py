"""evfn as a user runs it: a project folder and `evfn run`, watched from the outside.

Progress is read from the triggers' own counters on the server every 10 ms. The rate is the slope between two readings
in the midst: neither the start of processes counts, nor the first calls that tell evfn how long the function takes, nor
the end, where a worker more has less and less to do. The reference loops have no such ends.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks.footprint import descendants, process_seconds, reaped_seconds

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 120.0
MIDST = (0.2, 0.9)
"""Which parts of all deliveries are settled at the first and at the last reading that counts."""
TO_THE_END = (0.05, 1.0)
"""For what has its cost at the end, as retries have."""
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

    @property
    def about(self) -> dict[str, float]:
        """The CPU, as what stands beside a figure: of each for one delivery, and how many cores were busy in all."""
        busy = self.rate * sum(self.cpu_us.values()) / 1e6
        return {**{f"{name} µs": spent for name, spent in self.cpu_us.items()}, "cores busy": busy}


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

    def drain(
        self,
        client: "redis.Redis",
        server_pid: int,
        deliveries: int,
        *,
        window: tuple[float, float] = MIDST,
        instances: int = 1,
    ) -> Run:
        """Run until all of these are settled. Raises RuntimeError where that does not happen."""
        processes = [self.start("run", "--until-idle") for _ in range(instances)]
        try:
            begin, end = (
                self._reading(client, server_pid, processes, int(deliveries * part), deliveries) for part in window
            )
            self._reading(client, server_pid, processes, deliveries, deliveries)
            for process in processes:
                process.wait(PATIENCE_SECONDS)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if begin.settled == end.settled:
            raise RuntimeError(f"{deliveries:,} deliveries are settled too soon to be measured")
        return end.since(begin)

    def _reading(
        self,
        client: "redis.Redis",
        server_pid: int,
        processes: Sequence["subprocess.Popen[bytes]"],
        enough: int,
        deliveries: int,
    ) -> "_Reading":
        """The first one at which so many deliveries are settled."""
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while True:
            running = any(process.poll() is None for process in processes)
            settled, now = self.done(client), time.perf_counter()
            if settled >= enough:
                instances = [processor_seconds(process.pid) for process in processes]
                cpu = {name: sum(each[name] for each in instances) for name in instances[0]}
                return _Reading(now, settled, {**cpu, "server": process_seconds(server_pid)})
            if now > deadline or not running:
                raise RuntimeError(f"{settled:,} of {deliveries:,} deliveries settled")
            time.sleep(LOOK_SECONDS)


@dataclass(frozen=True)
class _Reading:
    at: float
    settled: int
    cpu: Mapping[str, float]

    def since(self, begin: "_Reading") -> Run:
        settled = self.settled - begin.settled
        spent = {name: (seconds - begin.cpu[name]) / settled * 1e6 for name, seconds in self.cpu.items()}
        return Run(settled / (self.at - begin.at), spent)


def processor_seconds(pid: int) -> dict[str, float]:
    """CPU that an instance has taken so far: its dispatcher, and its template with all its workers, gone ones too."""
    processes = descendants(pid)
    return {
        "dispatcher": process_seconds(pid),
        "workers": sum(process_seconds(each) + reaped_seconds(each) for each in processes),
    }
