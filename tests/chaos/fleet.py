"""Three instances of one project, each with a network of its own, a producer, and all that is known of each event."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random
from subprocess import Popen
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.history import History, Run
from evfn import Client
from evfn.errors import BrokerError, PublishUnknown
from proxy import FaultyProxy, InThread
from sandbox import Sandbox, wait_until
from servers import RealServer

NAMES = ("one", "two", "three")
LEASE = timedelta(seconds=2)
HEAD = f"version: 1\nname: sandbox\nsettings: {{lease: {LEASE.total_seconds():g}s}}\n"
RETRY = "retry: {attempts: 8, initial_delay: 100ms, max_delay: 1s}"
TRIGGERS = f"""
fast: {{topic: work, function: 'work:fast', emits: done.fast, start: earliest, workers: {{max: 1}}, {RETRY}}}
slow: {{topic: work, function: 'work:slow', emits: done.slow, start: earliest, workers: {{max: 2}}, {RETRY}}}
failing: {{topic: work, function: 'work:failing', emits: done.failing, start: earliest, workers: {{max: 1}}, {RETRY}}}
crashing: {{topic: work, function: 'work:crashing', emits: done.crashing, start: earliest, timeout: 1s,
  workers: {{max: 1}}, {RETRY}}}
chained: {{topic: done.fast, function: 'work:chained', emits: done.chained, start: earliest,
  workers: {{max: 1}}, {RETRY}}}
"""
FUNCTIONS = """
    import contextlib
    import os
    import signal
    import time

    @contextlib.contextmanager
    def journal(name, n, context):
        note(f"{name} {n} {context.attempt} {time.monotonic()} -")
        began = time.monotonic()
        yield {"n": n, "attempt": context.attempt}
        note(f"{name} {n} {context.attempt} {began} {time.monotonic()}")

    def fast(event, context):
        with journal("fast", event.data["n"], context) as result:
            return result

    def slow(event, context):
        with journal("slow", event.data["n"], context) as result:
            time.sleep(1.5 if event.data["n"] % 41 == 0 else 0.03)
            return result

    def failing(event, context):
        with journal("failing", event.data["n"], context) as result:
            if event.data["n"] % 3 == 0 and context.attempt == 1:
                raise RuntimeError("the first attempt")
            if event.data["n"] % 31 == 0:
                raise ValueError("always")
            return result

    def crashing(event, context):
        with journal("crashing", event.data["n"], context) as result:
            if event.data["n"] % 13 == 0 and context.attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if event.data["n"] % 29 == 0 and context.attempt == 1:
                time.sleep(60)
            return result

    async def chained(event, context):
        with journal("chained", event.data["n"], context) as result:
            yield result
            yield result
    """
EFFECTS = {"fast": 1, "slow": 1, "failing": 1, "crashing": 1, "chained": 2}
"""How many events each of the five emits for one."""
PAUSE = 0.02
"""Seconds between two events: a machine under attack must be able to keep up."""


@dataclass
class Member:
    """One machine: its way to the server, its state, and its instance, which is started again whenever it ends."""

    name: str
    network: InThread
    state: Path
    process: "Popen[bytes] | None" = None
    starts: int = 0

    @property
    def proxy(self) -> FaultyProxy:
        return self.network.proxy


@dataclass
class Known:
    """What producers know since the server was last without its data."""

    accepted: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    since: float = 0.0
    seen: set[int] = field(default_factory=set)
    last_seen: bytes = b"-"


class Fleet:
    """`command` starts evfn: another one for a build that is wrong. `draw` decides how long a machine is down.

    While `publishing` is held, no event is on its way to the server.
    """

    def __init__(self, box: Sandbox, server: RealServer, draw: Random, command: Sequence[str]) -> None:
        self.box = box
        self.server = server
        self.known = Known()
        self.publishing = threading.Lock()
        self.members: list[Member] = []
        self.past: list[dict[str, History]] = []
        self.events: set[int] = set()
        self._draw = draw
        self._command = command
        self._numbers = count()
        self._stop = threading.Event()
        self._log = box.folder / "instances.log"
        box.manifest(TRIGGERS, head=HEAD)
        box.function("work", FUNCTIONS)
        self.lead_to(server)

    @contextmanager
    def running(self) -> Iterator[None]:
        """All machines, and the producer."""
        with ExitStack() as stack:
            for name in NAMES:
                network = stack.enter_context(FaultyProxy(self.server.path, tcp=True).in_thread())
                state = self.box.folder / name
                state.mkdir()
                self.members.append(Member(name, network, state))
            threads = [threading.Thread(target=self._keep, args=(member,), daemon=True) for member in self.members]
            threads.append(threading.Thread(target=self._produce, daemon=True))
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join(30)

    def lead_to(self, server: RealServer) -> None:
        """Everybody's server from now on."""
        self.server = server
        self.box.environment["EVFN_REDIS_URL"] = server.url
        for member in self.members:
            member.proxy.lead_to(server.path)
            member.network.hang_up(reset=True)

    def begin_anew(self) -> None:
        """The server's data are others than they were: what it has now is all that was ever accepted.

        To be called while nobody publishes, behind `set_aside`.
        """
        with self.client() as client:
            entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange("work"))
        accepted = {int(json.loads(fields[b"data"])["n"]) for _, fields in entries}
        self.known = Known(accepted, self.known.doubtful - accepted, time.monotonic())

    def set_aside(self) -> None:
        """The server is about to lose what it has: what is there now is kept to be judged, but for what is on its way.

        To be called while nobody publishes.
        """
        self.events |= self.known.accepted
        self.past.append(
            {
                trigger: replace(each, accepted=frozenset(), indeterminate=each.accepted | each.indeterminate)
                for trigger, each in self.histories().items()
            }
        )

    def client(self) -> redis.Redis:
        """A way to the server past everything."""
        return redis.Redis.from_url(self.server.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def probe(self) -> int:
        """Publish one event that is accepted for certain; its number."""
        number = next(self._numbers)
        with Client(self.server.url, deadline=timedelta(seconds=20)) as client:
            client.emit("work", {"n": number}, id=str(number))
        self.known.accepted.add(number)
        return number

    def has_effects(self, numbers: set[int]) -> bool:
        """Whether `fast` has emitted for all of these."""
        known = self.known
        with contextlib.suppress(redis.RedisError), self.client() as client:
            while True:
                entries = cast(
                    "list[tuple[bytes, dict[bytes, bytes]]]", client.xrange("done.fast", known.last_seen, count=5_000)
                )
                known.seen.update(json.loads(fields[b"data"])["n"] for _, fields in entries)
                if not entries:
                    break
                known.last_seen = b"(" + entries[-1][0]
        return numbers <= known.seen

    def _is_idle(self) -> bool:
        with contextlib.suppress(AssertionError, ValueError):
            triggers = json.loads(self.box.evfn("status", "--json").stdout)["triggers"].values()
            return not any(each["pending"] or each["due"] or each["lag"] for each in triggers)
        return False

    def settled(self, patience: float) -> bool:
        """Whether nothing waits, runs or is due any more before the patience ends."""
        try:
            wait_until(self._is_idle, description="everything is settled", patience=patience)
        except AssertionError:
            return False
        return True

    def dropped(self) -> int:
        """How many events evfn counted as dropped."""
        triggers = json.loads(self.box.evfn("status", "--json").stdout)["triggers"].values()
        return sum(each["dropped"] for each in triggers)

    def histories(self) -> dict[str, History]:
        """What is to be judged, by trigger."""
        runs = self._runs()
        result: dict[str, History] = {}
        for trigger, times in EFFECTS.items():
            effects = self._effects(trigger)
            accepted, doubtful = self.known.accepted, self.known.doubtful
            if trigger == "chained":
                # What the first emitted is what the second was given.
                accepted, doubtful = {number for number, _ in self._effects("fast")}, set()
            counted = Counter(number for number, _ in effects)
            result[trigger] = History(
                frozenset(map(str, accepted)),
                frozenset(map(str, doubtful)),
                # An attempt's effects come together: all of them are one effect, and a part of them is none.
                tuple(str(number) for number, by in counted.items() for _ in range(-(-by // times))),
                tuple(runs[trigger]),
                dead=self._dead(trigger),
                recorded=tuple((str(number), attempt) for number, attempt in effects),
                partial=frozenset(str(number) for number, by in counted.items() if by % times),
            )
        return result

    def _effects(self, trigger: str) -> list[tuple[int, int]]:
        with self.client() as client:
            entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(f"done.{trigger}"))
        found = [json.loads(fields[b"data"]) for _, fields in entries]
        return [(each["n"], each["attempt"]) for each in found]

    def _dead(self, trigger: str) -> list[str]:
        lines = self.box.evfn("dlq", "ls", trigger, "--json", "-n", "100000").stdout.splitlines()
        return [str(json.loads(line)["event"]["data"]["n"]) for line in lines]

    def _runs(self) -> Mapping[str, list[Run]]:
        """One for each attempt that began since the server last lost data; its end is in a line of its own."""
        found: dict[tuple[str, str, int, float], float | None] = {}
        for line in self.box.notes():
            trigger, number, attempt, began, ended = line.split()
            if float(began) >= self.known.since:
                key = (trigger, number, int(attempt), round(float(began), 3))
                found[key] = found.get(key) if ended == "-" else float(ended)
        runs: dict[str, list[Run]] = defaultdict(list)
        for (trigger, number, times, start), end in found.items():
            runs[trigger].append(Run(number, times, start, end))
        return runs

    def _keep(self, member: Member) -> None:
        with self._log.open("ab") as log:
            while not self._stop.is_set():
                member.process = Popen(
                    [*self._command, "run", "--no-reload", "--state", str(member.state), "--redis", member.proxy.url],
                    cwd=self.box.folder,
                    env=self.box.environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                member.starts += 1
                while member.process.poll() is None and not self._stop.wait(0.05):
                    pass
                self._stop.wait(self._draw.uniform(0.0, 0.5))
            process = cast("Popen[bytes]", member.process)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _produce(self) -> None:
        while not self._stop.is_set():
            server = self.server
            with Client(server.url, deadline=timedelta(milliseconds=300)) as client:
                while self.server is server and not self._stop.wait(PAUSE):
                    with self.publishing:
                        if self.server is server:
                            self._publish(client)

    def _publish(self, client: Client) -> None:
        number = next(self._numbers)
        try:
            client.emit("work", {"n": number}, id=str(number))
        except PublishUnknown:
            self.known.doubtful.add(number)
        except BrokerError:
            pass
        else:
            self.known.accepted.add(number)

    def recovered(self, patience: float) -> float:
        """Seconds until all events that were accepted up to now have their effect, or `patience`."""
        began = time.monotonic()
        self.probe()
        numbers = set(self.known.accepted)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.has_effects(numbers), description="what was accepted is run", patience=patience)
        return time.monotonic() - began

    def processes(self) -> list[int]:
        """Every process of every instance: dispatchers, templates, workers."""
        return self.box.processes()


def evfn() -> list[str]:
    """The command of the build that is here."""
    return [sys.executable, "-m", "evfn_cli"]


def send(pid: int, number: signal.Signals) -> None:
    """To a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
