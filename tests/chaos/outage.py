"""A project under load while its server misbehaves, and the judgement of what came of every event."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.history import History, Verdict, judge
from evfn import Client
from evfn.errors import BrokerError, PublishUnknown
from sandbox import Sandbox, wait_until
from servers import RealServer

HEAD = "version: 1\nname: sandbox\nsettings: {lease: 1s}\n"
TRIGGERS = """\
echo: {topic: work, function: 'work:echo', emits: done, workers: {max: 1}}
plain: {topic: work, function: 'work:plain', workers: {max: 1}}
"""
FUNCTIONS = """
def echo(event):
    return event.data["n"]

def plain(event):
    note(event.data["n"])
"""
PAUSE = 0.004
"""Seconds between two events: many enough that every fault meets some on their way, and few enough to count them."""


class Outage:
    """One project on one server: what was accepted from the producer, and what became of it.

    `echo` has an effect for each event, `plain` leaves a note and is only acked.
    """

    def __init__(self, box: Sandbox, server: RealServer, *, head: str = HEAD) -> None:
        self.box = box
        self.server = server
        self.accepted: set[str] = set()
        self.doubtful: set[str] = set()
        self._numbers = count()
        self._publishing = threading.Lock()
        box.environment["EVFN_REDIS_URL"] = server.url
        box.manifest(TRIGGERS, head=head)
        box.function("work", FUNCTIONS)

    @contextmanager
    def load(self) -> Iterator[None]:
        """A producer, from the first event that has had its effect to the end of the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self._produce, args=(stop,), daemon=True)
        thread.start()
        try:
            self.flows()
            yield
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()

    def flows(self, *, within: float = 10.0) -> None:
        """Wait until an event that is published from now on has had its effect: everybody is at work again."""
        number = self.emit(within)
        wait_until(lambda: number in self._noted(), description="a new event is run", patience=within)
        wait_until(lambda: number in self.effects(), description="a new event has its effect", patience=within)

    def noted(self, *, within: float = 10.0) -> None:
        """Wait until an event published from now on has been run by `plain`, at least."""
        number = self.emit(within)
        wait_until(lambda: number in self._noted(), description="a new event is run", patience=within)

    def emit(self, within: float) -> str:
        """Publish one event that is accepted for certain."""
        number = str(next(self._numbers))
        with Client(self.server.url, deadline=timedelta(seconds=within)) as client:
            client.emit("work", {"n": number}, id=number)
        self.accepted.add(number)
        return number

    def lost_all(self) -> None:
        """FLUSHALL between two events."""
        with self.nobody_publishes():
            self.server.command("FLUSHALL")
            self.forget()

    def move_to(self, server: RealServer) -> None:
        """Publish there from now on; what it knows is all that was ever accepted."""
        self.server = server
        self.box.environment["EVFN_REDIS_URL"] = server.url
        self.forget()
        with redis.Redis.from_url(server.url) as client:
            entries = client.xrange("work")
        self.accepted.update(json.loads(fields[b"data"])["n"] for _, fields in entries)

    def nobody_publishes(self) -> threading.Lock:
        """While this is held, no event is on its way to the server."""
        return self._publishing

    def forget(self) -> None:
        """The server lost its data: what was accepted before is gone, and must have no effect any more."""
        self.accepted.clear()
        self.doubtful.clear()

    def effects(self) -> list[str]:
        """What `echo` emitted, in order; nothing while the server is away."""
        with redis.Redis.from_url(self.server.url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            try:
                entries = client.xrange("done")
            except redis.RedisError:
                return []
        return [str(json.loads(fields[b"data"])) for _, fields in entries]

    def settled(self, *, within: float = 20.0) -> None:
        """Wait until every accepted event has been run by both; then nothing may be lost, doubled or left over."""
        wait_until(
            lambda: self.accepted <= set(self.effects()), description="every event has its effect", patience=within
        )
        wait_until(lambda: self.accepted <= self._noted(), description="every event is noted", patience=within)
        wait_until(lambda: self._idle("echo"), description="echo has nothing left", patience=within)
        wait_until(lambda: self._idle("plain"), description="plain has nothing left", patience=within)
        verdict = self.judge()
        assert verdict.kept, verdict

    def judge(self) -> Verdict:
        """What does not add up in the effects."""
        history = History(frozenset(self.accepted), frozenset(self.doubtful), tuple(self.effects()))
        return judge(history)

    def _noted(self) -> set[str]:
        return set(self.box.notes())

    def _idle(self, trigger: str) -> bool:
        status = self.box.status(trigger)
        return not (status["pending"] or status["due"] or status["lag"]) and status["state"] == "ok"

    def _produce(self, stop: threading.Event) -> None:
        with Client(self.server.url, deadline=timedelta(milliseconds=300)) as client:
            while not stop.wait(PAUSE):
                number = str(next(self._numbers))
                with self._publishing:
                    try:
                        client.emit("work", {"n": number}, id=number)
                    except PublishUnknown:
                        self.doubtful.add(number)
                    except BrokerError:
                        continue
                    else:
                        self.accepted.add(number)
