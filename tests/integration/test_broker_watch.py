"""Watching: pushes for what grew, a fresh look after every loss, polling where pushes are refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from evfn.broker import link
from evfn.broker import watch as watch_module
from evfn.broker.connection import Connection
from evfn.broker.group import Answer, Batch, Group, GroupGone, Source
from evfn.broker.keys import Keys
from evfn.broker.link import pack
from evfn.broker.refusal import ReplyLost
from evfn.broker.watch import Watch
from evfn.clock import SystemClock
from evfn.services.dispatcher import Dispatcher
from evfn.services.subscription import Subscription
from evfn.services.watcher import Watcher
from evfn.trigger import StartAt
from proxy import Fault, FaultyProxy
from servers import RealServer
from waiting import wait_until


class Seen:
    """Runs a watch and notes what it says."""

    def __init__(self, connection: Connection) -> None:
        self.woken: list[str] = []
        self.resets = 0
        self.warnings: list[str] = []
        self.watch = Watch(connection, on_warning=self.warnings.append)
        self.watch.on_wake = self.woken.append
        self.watch.on_reset = self._reset

    def _reset(self) -> None:
        self.resets += 1

    async def until(self, *keys: str) -> None:
        await wait_until(lambda: set(keys) <= set(self.woken), f"{keys} are woken")
        self.woken.clear()


@asynccontextmanager
async def watching(connection: Connection, *keys: str) -> AsyncIterator[Seen]:
    seen = Seen(connection)
    for key in keys:
        seen.watch.arm(key)
    task = asyncio.create_task(seen.watch.run())
    try:
        await wait_until(lambda: seen.resets == 1, "the watch is up")
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_grows_wakes_once_until_armed_again(connection: Connection) -> None:
    await connection.call("XADD", "a", "*", "n", "1")
    async with watching(connection, "a", "absent") as seen:
        await connection.call("XADD", "a", "*", "n", "1")
        await seen.until("a")
        await connection.call("XADD", "a", "*", "n", "1")
        await connection.call("XADD", "absent", "*", "n", "1")
        await seen.until("absent")
        assert seen.woken == []
        seen.watch.arm("a")
        seen.watch.arm("absent")
        await wait_until(lambda: seen.watch.armed, "both are armed")
        await connection.call("XADD", "a", "*", "n", "1")
        await connection.call("XADD", "absent", "*", "n", "1")
        await seen.until("a", "absent")


async def test_what_came_before_the_watch_began_is_found_by_its_first_look(connection: Connection) -> None:
    """Between the start of a group and the watch of its stream nothing is lost, and nobody is woken for nothing."""
    ids = {key: await connection.call("XADD", key, "*", "n", "1") for key in ("grown", "same")}
    seen = Seen(connection)
    for key, newest in {**ids, "absent": b""}.items():
        seen.watch.knows(key, newest)
        seen.watch.arm(key)
    await connection.call("XADD", "grown", "*", "n", "2")
    await seen.watch.look()
    assert (seen.woken, seen.resets) == (["grown"], 0)


async def test_reading_and_acking_wake_nobody(connection: Connection, group: Group) -> None:
    stream = group.key(Source.TOPIC)
    await connection.call("XADD", stream, "*", "n", "1")
    async with watching(connection, stream, "last") as seen:
        entries = await group.fetch(Source.TOPIC, 10)
        await group.settle(Source.TOPIC, Batch(acks=[entry for entry, _ in entries]))
        await connection.call("XADD", "last", "*", "n", "1")
        await wait_until(lambda: "last" in seen.woken, "the last key is woken")
        assert seen.woken == ["last"]


async def test_thousands_of_keys_on_one_connection(connection: Connection) -> None:
    keys = [f"k{number}" for number in range(3000)]
    async with watching(connection, *keys) as seen:
        await connection.pipeline([("XADD", key, "*", "n", "1") for key in keys])
        await seen.until(*keys)


async def test_forgotten_keys_wake_nobody(connection: Connection) -> None:
    async with watching(connection, "a", "b") as seen:
        seen.watch.forget("a")
        await connection.call("XADD", "a", "*", "n", "1")
        await connection.call("XADD", "b", "*", "n", "1")
        await wait_until(lambda: "b" in seen.woken, "b is woken")
        assert seen.woken == ["b"]


async def test_a_flushed_server_resets(server: RealServer, connection: Connection) -> None:
    async with watching(connection, "a") as seen:
        server.command("FLUSHALL")
        await wait_until(lambda: seen.resets >= 2, "the watch was reset")
        await connection.call("XADD", "a", "*", "n", "1")
        await seen.until("a")


async def test_a_lost_connection_resets(server: RealServer, connection: Connection) -> None:
    async with watching(connection, "a") as seen:
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await wait_until(lambda: seen.resets >= 2, "the watch is up again")
        await connection.call("XADD", "a", "*", "n", "1")
        await seen.until("a")


async def test_a_silent_connection_is_given_up(
    server: RealServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "CHECK", watch_module.POLL / 2)
    monkeypatch.setattr(link, "REPLY_SECONDS", 0.2)
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        async with watching(through, "a") as seen:
            proxy.fault = Fault.SILENT
            await wait_until(lambda: not seen.watch.connected, "the link was given up")
            monkeypatch.undo()
            proxy.fault = Fault.NONE
            await wait_until(lambda: seen.resets >= 2, "the watch is up again")
            await connection.call("XADD", "a", "*", "n", "1")
            await seen.until("a")
        await through.close()


async def test_an_idle_watch_stays_up(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "CHECK", watch_module.POLL / 10)
    async with watching(connection, "a") as seen:
        checks = 0
        calls = int(_calls(await connection.call("INFO", "commandstats"), b"cmdstat_ping"))
        while checks < 3:
            checks = int(_calls(await connection.call("INFO", "commandstats"), b"cmdstat_ping")) - calls
        assert seen.resets == 1


def _calls(stats: bytes, name: bytes) -> bytes:
    line = next((line for line in stats.splitlines() if line.startswith(name + b":")), b"calls=0,")
    return line.partition(b"calls=")[2].partition(b",")[0]


async def test_one_bad_key_does_not_stop_the_others(connection: Connection) -> None:
    await connection.call("SET", "text", "x")
    async with watching(connection, "text", "a") as seen:
        await connection.call("XADD", "a", "*", "n", "1")
        await seen.until("a")
        assert len(seen.warnings) == 1
        assert "text" in seen.warnings[0]


async def test_refused_pushes_are_replaced_by_polling(server: RealServer, connection: Connection, keys: Keys) -> None:
    await connection.call("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+@all", "-client|tracking")
    weak = await Connection.open(f"unix://weak:pw@{server.path}", clock=SystemClock())
    await connection.call("XADD", "a", "*", "n", "1")
    async with watching(weak, "a", "absent") as seen:
        assert seen.watch.polling
        assert len(seen.warnings) == 1
        assert "polled every 100 ms" in seen.warnings[0]
        for _ in range(2):
            await connection.call("XADD", "a", "*", "n", "1")
            await connection.call("XADD", "absent", "*", "n", "1")
            await seen.until("a", "absent")
        # A stream that is trimmed as it grows keeps its length, but is seen.
        await connection.call("XADD", "a", "MAXLEN", "1", "*", "n", "1")
        await seen.until("a")
    await weak.close()
    await connection.call("ACL", "DELUSER", "weak")


async def test_a_server_that_comes_late_is_watched(server: RealServer, connection: Connection) -> None:
    async with FaultyProxy(server.path) as proxy:
        proxy.fault = Fault.REFUSE
        through = await Connection.open(proxy.url, clock=SystemClock())
        seen = Seen(through)
        seen.watch.arm("a")
        task = asyncio.create_task(seen.watch.run())
        await wait_until(lambda: proxy.refused >= 2, "it was tried and tried again")
        proxy.fault = Fault.NONE
        await wait_until(lambda: seen.resets == 1, "the watch is up")
        assert not seen.watch.polling
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await through.close()


async def test_a_stream_this_user_may_not_read_does_not_stop_polling_the_others(
    server: RealServer, connection: Connection
) -> None:
    await connection.call("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+@all", "-client|tracking")
    weak = await Connection.open(f"unix://weak:pw@{server.path}", clock=SystemClock())
    await connection.call("ACL", "SETUSER", "weak", "resetkeys", "~a")
    async with watching(weak, "secret", "a") as seen:
        assert seen.watch.polling
        await connection.call("XADD", "a", "*", "n", "1")
        await seen.until("a")
        await connection.call("XADD", "a", "*", "n", "1")
        await seen.until("a")
    await weak.close()
    await connection.call("ACL", "DELUSER", "weak")


async def test_a_password_that_is_changed_for_a_while_is_no_reason_to_poll(
    server: RealServer, connection: Connection
) -> None:
    await connection.call("ACL", "SETUSER", "some", "reset", "on", ">pw", "~*", "+@all")
    some = await Connection.open(f"unix://some:pw@{server.path}", clock=SystemClock())
    async with watching(some, "a") as seen:
        await connection.call("ACL", "SETUSER", "some", "resetpass", ">other")
        server.command("CLIENT", "KILL", "USER", "some")
        await wait_until(lambda: not seen.watch.connected, "the watch lost its connection")
        assert not seen.watch.polling
        await connection.call("ACL", "SETUSER", "some", "resetpass", ">pw")
        await wait_until(lambda: seen.resets >= 2, "the watch is up again")
        await connection.call("XADD", "a", "*", "n", "1")
        await seen.until("a")
        assert not seen.warnings
    await some.close()
    await connection.call("ACL", "DELUSER", "some")


async def test_the_right_to_pushes_is_asked_for_again(
    server: RealServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "ASK_AGAIN", watch_module.POLL)
    await connection.call("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+@all", "-client|tracking")
    weak = await Connection.open(f"unix://weak:pw@{server.path}", clock=SystemClock())
    async with watching(weak, "a") as seen:
        assert seen.watch.polling
        await connection.call("ACL", "SETUSER", "weak", "+client|tracking")
        await wait_until(lambda: seen.watch.connected, "the server pushes")
        assert not seen.watch.polling
        assert len(seen.warnings) == 1
    await weak.close()
    await connection.call("ACL", "DELUSER", "weak")


async def test_what_a_push_tells_of_is_read_behind_the_arming(connection: Connection, group: Group) -> None:
    """A fetch that begins within the wake-up brings what was added, and what is added after it wakes again."""
    stream = group.key(Source.TOPIC)
    asked: list[Answer] = []
    async with watching(connection, stream) as seen:

        def wake(key: str) -> None:
            seen.watch.arm(key)
            answer = group.begin(seen.watch.ask, Source.TOPIC, 10)
            assert answer is not None
            asked.append(answer)

        seen.watch.on_wake = wake
        for number in range(1, 4):
            await connection.call("XADD", stream, "*", "n", number)
            await wait_until(lambda: bool(asked), "it is woken")
            entries = await group.read(Source.TOPIC, asked.pop())
            assert [fields for _, fields in entries] == [[b"n", str(number).encode()]]
        assert await group.fetch(Source.TOPIC, 10) == []


async def test_a_refused_fetch_of_the_watch_raises_as_any_other(connection: Connection, group: Group) -> None:
    """A vanished group, say, is found by whichever way it is asked."""
    async with watching(connection, group.key(Source.TOPIC)) as seen:
        await connection.call("DEL", group.key(Source.TOPIC))
        answer = group.begin(seen.watch.ask, Source.TOPIC, 10)
        assert answer is not None
        with pytest.raises(GroupGone):
            await group.read(Source.TOPIC, answer)
        assert seen.resets == 1


async def test_what_a_lost_watch_was_asked_is_lost_and_said(server: RealServer, connection: Connection) -> None:
    """Nobody waits for ever for a reply that the server cannot give any more."""
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        async with watching(through, "a") as seen:
            await wait_until(lambda: seen.watch.armed, "the key is armed")
            proxy.fault = Fault.CUT_AFTER_REQUEST
            answer = seen.watch.ask(pack(("XLEN", "a")))
            assert answer is not None
            with pytest.raises(ReplyLost):
                await answer
            assert seen.watch.ask(pack(("XLEN", "a"))) is None
        await through.close()


async def test_a_watch_that_is_always_waiting_for_a_reply_stays_up(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load some arming is under way whenever the watch looks for a sign of life; each answer is one."""
    monkeypatch.setattr(watch_module, "CHECK", watch_module.POLL / 10)
    async with watching(connection, "a") as seen:
        looks = 0

        async def load() -> None:
            nonlocal looks
            while True:
                answer = seen.watch.ask(pack(("XLEN", "a")))
                assert answer is not None
                answer.add_done_callback(lambda _: seen.watch.arm("a"))
                await answer
                looks += 1

        task = asyncio.create_task(load())
        began = SystemClock().monotonic()
        await wait_until(lambda: SystemClock().monotonic() - began > 0.3 or seen.resets > 1, "many looks for life")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert seen.resets == 1
        assert looks


async def test_a_sweep_wakes_only_who_has_not_fetched_that_far(connection: Connection, keys: Keys) -> None:
    """Sweeps catch what was missed; what a push told of, and was fetched, is not fetched for once more."""
    groups = [Group(connection, keys, topic, "climate/alert", "one") for topic in ("fetched", "missed")]
    fetched, missed = (Subscription(group.topic, group, {}) for group in groups)
    woken: list[tuple[str, Source]] = []

    class Woken:
        def wake(self, subscription: Subscription, source: Source, ask: object = None) -> None:
            woken.append((subscription.topic, source))

    watch = Watch(connection)
    watcher = Watcher(watch, lambda: (), SystemClock())
    for group, subscription in zip(groups, (fetched, missed), strict=True):
        await group.start(StartAt.NEW, False)
        watcher.add(cast("Dispatcher", Woken()), subscription, dict.fromkeys(Source, b""))
    await watcher.run_once()
    assert woken == []
    ids = [await connection.call("XADD", group.key(Source.TOPIC), "*", "n", "1") for group in groups]
    fetched.newest[Source.TOPIC] = ids[0]
    await watcher.run_once()
    assert woken == [("missed", Source.TOPIC)]
