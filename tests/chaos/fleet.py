"""Instances of one project, each with a network of its own, a producer, and all that is known of each event."""

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

LEASE = timedelta(seconds=2)
HEAD = f"version: 1\nname: sandbox\nsettings: {{lease: {LEASE.total_seconds():g}s}}\n"
ATTEMPTS = 8
RETRY = f"retry: {{attempts: {ATTEMPTS}, initial_delay: 100ms, max_delay: 1s}}"
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


@dataclass(frozen=True)
class Load:
    """What is run, and on which machines: the arguments of `evfn` for each by name. `effects` says how many events each
    trigger emits for one; between two events are `pause` seconds: machines under attack must be able to keep up.
    After a fault events flow again within `recovery` seconds."""

    triggers: str
    effects: Mapping[str, int]
    machines: Mapping[str, Sequence[str]]
    pause: float
    recovery: float


INSTANCE = ("run", "--no-reload")
PROCESSES = Load(
    f"""
fast: {{topic: work, function: 'work:fast', emits: done.fast, start: earliest, workers: {{max: 1}}, {RETRY}}}
slow: {{topic: work, function: 'work:slow', emits: done.slow, start: earliest, workers: {{max: 2}}, {RETRY}}}
failing: {{topic: work, function: 'work:failing', emits: done.failing, start: earliest, workers: {{max: 1}}, {RETRY}}}
crashing: {{topic: work, function: 'work:crashing', emits: done.crashing, start: earliest, timeout: 1s,
  workers: {{max: 1}}, {RETRY}}}
chained: {{topic: done.fast, function: 'work:chained', emits: done.chained, start: earliest,
  workers: {{max: 1}}, {RETRY}}}
""",
    {"fast": 1, "slow": 1, "failing": 1, "crashing": 1, "chained": 2},
    {"one": INSTANCE, "two": INSTANCE, "three": INSTANCE},
    pause=0.02,
    recovery=10.0 + LEASE.total_seconds(),
)
"""Three instances that run all themselves; evfn's promise is 10 s and the lease."""
_RQ_WORKER = ("rq-worker", "--count", "2", "--drain-timeout", "2s")
JOBS = Load(
    "".join(
        f"{name}: {{topic: work, function: 'work:{name}', emits: done.{name}, start: earliest, timeout: 2s,"
        f" isolation: job, {RETRY}}}\n"
        for name in ("fast", "failing", "crashing")
    ),
    {"fast": 1, "failing": 1, "crashing": 1},
    {"one": INSTANCE, "two": INSTANCE, "jobs-one": _RQ_WORKER, "jobs-two": _RQ_WORKER},
    pause=1.5,
    recovery=40.0,
)
"""Two instances, and two machines that run their jobs. Who is cut off with a job loses a lease more, and processes of
their own for each job take their time to work off what has waited."""


@dataclass
class Member:
    """One machine: its way to the server, its state, and its instance (or what runs jobs), which is started again
    whenever it ends."""

    name: str
    arguments: Sequence[str]
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

    def __init__(self, box: Sandbox, server: RealServer, draw: Random, command: Sequence[str], load: Load) -> None:
        self.box = box
        self.server = server
        self.known = Known()
        self.publishing = threading.Lock()
        self.members: list[Member] = []
        self.past: list[dict[str, History]] = []
        self.has_jobs = load is JOBS
        self.events: set[int] = set()
        self._draw = draw
        self._command = command
        self._load = load
        self._numbers = count()
        self._stop = threading.Event()
        self._log = box.folder / "instances.log"
        box.manifest(load.triggers, head=HEAD)
        box.function("work", FUNCTIONS)
        self.lead_to(server)

    @contextmanager
    def running(self) -> Iterator[None]:
        """All machines, and the producer."""
        with ExitStack() as stack:
            for name, arguments in self._load.machines.items():
                network = stack.enter_context(FaultyProxy(self.server.path, tcp=True).in_thread())
                state = self.box.folder / name
                state.mkdir()
                self.members.append(Member(name, arguments, network, state))
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

    def left_of_jobs(self) -> list[str]:
        """Keys that should have gone with the last settlement, or by themselves once RQ has worked off its queue."""
        with self.client() as client, contextlib.suppress(AssertionError):
            wait_until(lambda: not _left(client), description="nothing is left")
            return []
        with self.client() as client:
            return _left(client)

    def histories(self) -> dict[str, History]:
        """What is to be judged, by trigger."""
        runs = self._runs()
        result: dict[str, History] = {}
        for trigger, times in self._load.effects.items():
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
                    [*self._command, *member.arguments, "--state", str(member.state), "--redis", member.proxy.url],
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
                while self.server is server and not self._stop.wait(self._load.pause):
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


def _left(client: redis.Redis) -> list[str]:
    """RQ itself sees to the jobs that it lists as started: of one that was cut off from it, it learns after a while."""
    mailboxes = [name.decode() for name in client.scan_iter("evfn:*:jobs")]
    kept = {name.decode() for name in client.scan_iter("rq:job:*") if client.ttl(name) == -1}
    started = cast("list[bytes]", client.zrange("rq:wip:evfn:sandbox", 0, -1))
    return mailboxes + sorted(kept - {f"rq:job:{each.decode().partition(':')[0]}" for each in started})


def evfn() -> list[str]:
    """The command of the build that is here."""
    return [sys.executable, "-m", "evfn_cli"]


def send(pid: int, number: signal.Signals) -> None:
    """To a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
