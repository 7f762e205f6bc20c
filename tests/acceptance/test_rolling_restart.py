"""A whole fleet is restarted under load, one part after the other, as a rollout of new code does it."""

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from subprocess import Popen
from typing import cast

import pytest
import redis

from sandbox import Sandbox, wait_until
from servers import RealServer

EVENTS = 10_000
JOBS = 50
PACE = 0.02
"""Seconds between two handfuls of events: all of it takes as long as the restarts do."""
LAST = 1_000
"""So many events wait for the end of the restarts, and come one by one until then: there is load all the time."""
LONGEST_MS = 15_000
Process = AbstractContextManager["Popen[bytes]"]


class Part:
    """One process of the fleet, which can be started again."""

    def __init__(self, start: Callable[[], Process]) -> None:
        self._start = start
        self.begin()

    def begin(self) -> None:
        self._context = self._start()
        self.process = self._context.__enter__()

    def end(self) -> None:
        """As a service manager does it."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(40) == 0
        self._context.__exit__(None, None, None)


class Producer(threading.Thread):
    """Anything that can XADD; some events are for jobs."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._client = redis.Redis.from_url(url)
        self.sent = 0
        self.restarted = threading.Event()

    def run(self) -> None:
        while self.sent < EVENTS:
            with self._client.pipeline(transaction=False) as pipeline:
                handful = 12 if self.restarted.is_set() or self.sent < EVENTS - LAST else 1
                for n in range(self.sent, min(self.sent + handful, EVENTS)):
                    topic = "heavy" if n % (EVENTS // JOBS) == 0 else "work"
                    pipeline.xadd(topic, {"data": json.dumps({"n": n})})
                    self.sent += 1
                pipeline.execute()
            time.sleep(PACE)
        self._client.close()


@pytest.fixture
def server(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> RealServer:
    server = RealServer("valkey", tmp_path_factory.mktemp("s"), options=["--appendonly", "yes"]).start()
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    return server


def stamps(client: "redis.Redis", topic: str) -> dict[int, list[int]]:
    """By the event's number, when it, or what came of it, was stored: milliseconds of the server's clock."""
    found: dict[int, list[int]] = {}
    entries = cast("list[tuple[str, dict[str, str]]]", client.xrange(topic))
    for entry, fields in entries:
        found.setdefault(json.loads(fields["data"])["n"], []).append(int(entry.partition("-")[0]))
    return found


def test_a_rollout_under_load_loses_nothing_and_delays_little(sandbox: Sandbox, server: RealServer) -> None:
    """Two instances and two machines for jobs, each restarted in turn while 10,000 events arrive: every effect is there
    once, nothing is dead, and no event has waited longer than 15 s."""
    sandbox.manifest(
        """
        light: {topic: work, function: 'work:handle', emits: done, workers: {max: 2}}
        heavy: {topic: heavy, function: 'work:handle', emits: done, isolation: job}
        """,
        head="version: 1\nname: sandbox\nsettings: {lease: 2s}\n",
    )
    sandbox.function("work", "def handle(event):\n    return {'n': event.data['n']}\n")
    serve = partial(sandbox.running, command="serve", says=b'"started"')
    starts: list[Callable[[], Process]] = [
        *(partial(serve, "--state", str(sandbox.folder / name)) for name in "ab"),
        *(partial(sandbox.rq_worker, "--count", "2") for _ in range(2)),
    ]
    fleet = [Part(start) for start in starts]
    client = redis.Redis.from_url(server.url, decode_responses=True)
    producer = Producer(server.url)
    producer.start()
    try:
        for part in fleet:
            part.end()
            part.begin()
        restarted_after = producer.sent
        assert restarted_after < EVENTS, "the last restarts were without load"
        producer.restarted.set()
        producer.join()
        wait_until(lambda: client.xlen("done") >= EVENTS, description="every effect", patience=60)
        status = {name: sandbox.status(name) for name in ("light", "heavy")}
    finally:
        for part in fleet:
            part.end()
        client.close()
    _judge(server, status)
    sys.stdout.write(f"restarted within the first {restarted_after:,} events\n")


def _judge(server: RealServer, status: dict[str, dict[str, int]]) -> None:
    client = redis.Redis.from_url(server.url, decode_responses=True)
    sent, done = {**stamps(client, "work"), **stamps(client, "heavy")}, stamps(client, "done")
    client.close()
    server.stop()
    assert sent.keys() == set(range(EVENTS))
    assert Counter({n: len(times) for n, times in done.items()}) == Counter(range(EVENTS))
    waits = {n: done[n][0] - times[0] for n, times in sent.items()}
    slowest = max(waits, key=lambda n: waits[n])
    slowest_job = max(waits[n] for n in range(0, EVENTS, EVENTS // JOBS))
    sys.stdout.write(f"longest wait {waits[slowest]} ms (event {slowest}), of a job {slowest_job} ms\n")
    assert waits[slowest] < LONGEST_MS
    for each in status.values():
        assert (each["pending"], each["lag"], each["due"], each["dead"], each["dropped"]) == (0, 0, 0, 0, 0)
