"""One project on several machines that share a server, and a journal of who ran what.

A machine of its own is a state folder of its own: file locks are not shared, beats are all there is.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import cast

import redis

from sandbox import Sandbox, wait_until
from servers import RealServer

LEASE = timedelta(seconds=1)
"""The shortest that a manifest may say."""
FUNCTION = """
    import select
    import signal
    import time

    def pause(seconds):
        # time.sleep fails under libfaketime.
        select.select([], [], [], seconds)

    def kill_instance():
        pid = os.getpid()
        while "evfn_cli" not in open(f"/proc/{pid}/cmdline").read():
            pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
        os.kill(pid, signal.SIGKILL)
        time.sleep(60)

    def run(event, context):
        machine = os.environ["MACHINE"]
        note(f"{event.data['n']} {context.attempt} {machine} {os.getpid()}")
        while os.path.exists(f"{os.environ['JOURNAL']}.hold-{machine}"):
            pause(0.01)
        pause(event.data.get("seconds", 0))
        if event.data.get("kills"):
            kill_instance()
        if context.attempt <= event.data.get("fails", 0):
            raise RuntimeError("as told")
        return event.data["n"]
    """


@dataclass(frozen=True)
class Run:
    """One attempt, as the function noted it when it began."""

    n: int
    attempt: int
    machine: str
    pid: int


@dataclass(frozen=True)
class Machine:
    """One machine with its one instance."""

    name: str
    process: "Popen[bytes]"
    log: Path

    def send(self, number: signal.Signals) -> None:
        """To the instance alone, not to its workers."""
        os.kill(self.process.pid, number)

    def said(self, text: str) -> bool:
        return text in self.log.read_text()


class Machines:
    """`client` looks at the server past everything evfn does."""

    def __init__(self, box: Sandbox, server: RealServer) -> None:
        self.box = box
        self.server = server
        self.client = redis.Redis.from_url(server.url, decode_responses=True)

    def project(self, settings: str = "", *, lease: timedelta = LEASE) -> None:
        """One trigger `slow` on the topic `work`, with `settings` of its own; what a run returns goes to `done`."""
        more = f", {settings}" if settings else ", workers: {max: 2}"
        self.box.manifest(
            f"slow: {{topic: work, function: 'slow:run', emits: done, start: earliest{more}}}",
            head=f"version: 1\nname: sandbox\nsettings: {{lease: {lease.total_seconds():g}s}}\n",
        )
        self.box.function("slow", FUNCTION)

    def running(self, name: str, *arguments: str, **environment: str) -> AbstractContextManager[Machine]:
        """An instance on this machine, ready when the block begins."""
        return self._running(self.box.running, name, arguments, environment)

    def rq_worker(self, name: str, *arguments: str, **environment: str) -> AbstractContextManager[Machine]:
        """`evfn rq-worker` on this machine."""
        return self._running(self.box.rq_worker, name, arguments, environment)

    @contextmanager
    def _running(
        self,
        start: Callable[..., AbstractContextManager["Popen[bytes]"]],
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> Iterator[Machine]:
        state = self.box.folder / name
        state.mkdir(exist_ok=True)
        before = self.box.environment
        self.box.environment = {**before, "MACHINE": name, **environment}
        try:
            with start("--state", str(state), *arguments) as process:
                self.box.environment = before
                try:
                    yield Machine(name, process, self.box.log)
                finally:
                    if process.poll() is None:
                        process.send_signal(signal.SIGCONT)  # One that stands still does not end.
        finally:
            self.box.environment = before

    def hold(self, *names: str) -> None:
        """What begins on these machines does not end before it is let go."""
        for name in names:
            self._holding(name).touch()

    def let_go(self, *names: str) -> None:
        for name in names:
            self._holding(name).unlink()

    def emit(self, *numbers: int, **more: object) -> None:
        """Anything that can XADD is a producer, and this one takes no time."""
        with self.client.pipeline(transaction=False) as pipeline:
            for n in numbers:
                pipeline.xadd("work", {"data": json.dumps({"n": n, **more})})
            pipeline.execute()

    def fill(self, machine: Machine, *numbers: int) -> None:
        """Let this machine, the only one that runs, learn that the function is slow, and then hold these four: as many
        as its two workers can make use of. What comes later goes to others."""
        self.emit(0, seconds=0.1)
        self.wait_for_effects([0])
        self.hold(machine.name)
        self.emit(*numbers)
        wait_until(lambda: self.pending() == 4 and len(self.runs()) == 3, description=f"{machine.name} holds them")

    def kill_worker(self, run: Run) -> None:
        """kill -9 of the process that ran this."""
        os.kill(run.pid, signal.SIGKILL)

    def runs(self, machine: str | None = None, n: int | None = None) -> list[Run]:
        """All that began, in that order; of one machine, or of one event."""
        runs = [Run(int(n), int(attempt), name, int(pid)) for n, attempt, name, pid in map(str.split, self.box.notes())]
        return [run for run in runs if machine in (None, run.machine) and n in (None, run.n)]

    def wait_for_runs(self, count: int, machine: str | None = None, n: int | None = None) -> list[Run]:
        """As `runs`, once there are so many."""
        what = f"{count} runs of {'all' if n is None else n} on {machine or 'all machines'}"
        wait_until(lambda: len(self.runs(machine, n)) >= count, description=what)
        return self.runs(machine, n)

    def effects(self) -> list[int]:
        """What was recorded as emitted, sorted: an event that is in it twice had its effect twice."""
        entries = cast("list[tuple[str, dict[str, str]]]", self.client.xrange("done"))
        return sorted(json.loads(fields["data"]) for _, fields in entries)

    def wait_for_effects(self, numbers: Iterable[int]) -> None:
        """Until exactly these have their effect."""
        expected = sorted(numbers)
        wait_until(lambda: len(self.effects()) >= len(expected), description=f"the effects of {expected}")
        assert self.effects() == expected

    def leases(self) -> set[str]:
        """The instances with a right to settle."""
        names = cast("list[str]", self.client.hkeys("evfn:instances"))
        return {name for name in names if not name.startswith(":")}

    def one_left_of(self, what: str) -> bool:
        """Whether that is kept of no more than one instance."""
        return self.client.hlen(f"evfn:instances:{what}") == 1

    def consumers(self) -> set[str]:
        """Whom the trigger's group knows."""
        return {each["name"] for each in self.client.xinfo_consumers("work", "sandbox/slow")}

    def pending(self) -> int:
        """How many deliveries nobody has settled."""
        return int(self.client.xpending("work", "sandbox/slow")["pending"])

    def _holding(self, name: str) -> Path:
        return Path(f"{self.box.journal}.hold-{name}")


def let_last(since: float, duration: timedelta) -> None:
    """Until the fault that began then (on the monotonic clock) has lasted so long. Here time itself is what is tested,
    there is no condition to wait for."""
    time.sleep(max(0.0, since + duration.total_seconds() - time.monotonic()))
