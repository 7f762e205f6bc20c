"""Who lives: the instances with a right to settle, their beats, and what they say of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.scripts import Script
from evfn.clock import ServerClock
from evfn.errors import Fenced
from evfn.failpoint import reached

REGISTER = Script("register", "instances")
BEAT = Script("beat", "instances", "beaten")
BURY = Script("bury", "instances", "about", "beaten")
RELEASED = ":released"
"""The field that moves with every release; no instance has this name."""


class About(msgspec.Struct, frozen=True):
    """What an instance says of itself: where it runs, its lease, and which function each trigger has there."""

    host: str
    pid: int
    started_ms: int
    project: str
    lease_ms: int
    functions: dict[str, str]

    @property
    def lease(self) -> timedelta:
        return timedelta(milliseconds=self.lease_ms)

    @property
    def started(self) -> datetime:
        return datetime.fromtimestamp(self.started_ms / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Beats:
    """Every instance with a lease and its beats. `releases` counts hand-overs of deliveries by anybody."""

    counters: Mapping[str, int]
    releases: int = 0


@dataclass(frozen=True, slots=True)
class Present:
    """One instance with a lease, for people. `about` and `silent_for` (since its last beat) are None where unknown."""

    beats: int
    about: About | None
    silent_for: timedelta | None

    def is_silent(self, lease: timedelta) -> bool:
        """Whether it missed its beats for longer than a lease: stopped, cut off or dead, until another finds out."""
        longest = max(lease, self.about.lease) if self.about is not None else lease
        return self.silent_for is not None and self.silent_for > longest


class Instances:
    """The hash whose fields are the leases: no field, no right to settle. Nothing in it expires by itself.

    `clock`, where there is one, learns the server's time from what the server replies.
    """

    def __init__(self, connection: Connection, keys: Keys, clock: ServerClock | None = None) -> None:
        self._connection = connection
        self._keys = keys
        self._clock = clock

    async def register(self, instance: str) -> None:
        """Begin a lease. `instance` must be fresh: a fenced id never comes back."""
        sent = self._connection.clock.monotonic()
        self._learn(await REGISTER.run(self._connection, [self._keys.instances], [instance]), sent)

    async def deregister(self, instance: str) -> None:
        """End a lease, after the last settle was answered; others may take over what is left at once."""
        reached("before deregister")
        await self._connection.call("HDEL", self._keys.instances, instance)
        reached("after deregister")
        await self.clear([instance])

    async def all(self) -> dict[str, int]:
        """Every instance with a lease and its beats."""
        return dict(_read(await self._connection.call("HGETALL", self._keys.instances)).counters)

    async def beat(self, instance: str) -> Beats:
        """One beat; returns everyone's. Raises Fenced where the lease is gone."""
        sent = self._connection.clock.monotonic()
        reply = await BEAT.run(self._connection, [self._keys.instances, self._keys.beaten], [instance])
        if reply[0] == b"FENCED":
            raise Fenced(f"instance {instance} has lost its lease")
        self._learn(reply[2], sent)
        return _read(reply[1])

    async def tell(self, instance: str, about: About) -> None:
        """Say what there is to know of an instance; it decides nothing."""
        await self._connection.call("HSET", self._keys.about, instance, msgspec.json.encode(about))

    async def told(self) -> dict[str, About]:
        """What the instances say of themselves; without those that say nothing this version understands."""
        flat = await self._connection.call("HGETALL", self._keys.about)
        return dict(_understood(flat))

    async def mentioned(self) -> set[str]:
        """Every instance of which something is kept beside its lease; one that was killed early left only a part."""
        replies = await self._connection.pipeline([("HKEYS", self._keys.about), ("HKEYS", self._keys.beaten)])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return {name.decode("utf-8", "replace") for names in replies for name in names}

    async def present(self) -> dict[str, Present]:
        """Every instance with a lease, as a person wants to see it."""
        commands = [("HGETALL", key) for key in (self._keys.instances, self._keys.about, self._keys.beaten)]
        replies = await self._connection.pipeline([*commands, ("TIME",)])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        leases, about, beaten, (seconds, micros) = replies
        told = dict(_understood(about))
        last = {name: int(ms) for name, ms in _pairs(beaten) if ms.isdigit()}
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        return {
            name: Present(
                beats,
                told.get(name),
                timedelta(milliseconds=max(0, now_ms - last[name])) if name in last else None,
            )
            for name, beats in _read(leases).counters.items()
        }

    async def bury(self, instance: str, beats: int) -> None:
        """Remove a dead instance that nobody had anything to take over from, unless it beat again."""
        await BURY.run(self._connection, [self._keys.instances, self._keys.about, self._keys.beaten], [instance, beats])

    async def clear(self, instances: list[str]) -> None:
        """Forget what was said of instances that are gone."""
        for key in (self._keys.about, self._keys.beaten) if instances else ():
            await self._connection.call("HDEL", key, *instances)

    def _learn(self, server_ms: int, sent: float) -> None:
        if self._clock is not None:
            received = self._connection.clock.monotonic()
            self._clock.saw(datetime.fromtimestamp(server_ms / 1000, UTC), sent=sent, received=received)


def _pairs(flat: list[bytes]) -> list[tuple[str, bytes]]:
    return [(name.decode("utf-8", "replace"), value) for name, value in zip(flat[::2], flat[1::2], strict=True)]


def _read(flat: list[bytes]) -> Beats:
    numbers = {name: int(value) for name, value in _pairs(flat) if value.isdigit()}
    releases = numbers.pop(RELEASED, 0)
    return Beats(numbers, releases)


def _understood(flat: list[bytes]) -> list[tuple[str, About]]:
    result = []
    for name, text in _pairs(flat):
        try:
            result.append((name, msgspec.json.decode(text, type=About)))
        except msgspec.MsgspecError:
            continue
    return result
