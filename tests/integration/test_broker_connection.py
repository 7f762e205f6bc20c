"""The connection: what went wrong in one line, what may pass later and what will not, nothing sent twice."""

import asyncio
import gc
import os
import random
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from evfn.broker import link
from evfn.broker.connection import LANES, LINKS, Connection, GroupGone, ReplyLost
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, publish
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable, UsageError
from own_time import without_core
from proxy import Fault, FaultyProxy
from servers import RealServer, free_port
from waiting import wait_until


async def open_to(url: str) -> Connection:
    return await Connection.open(url, clock=SystemClock())


async def failure(url: str) -> BrokerError:
    """What a user is told who gives this URL."""
    connection = await open_to(url)
    with pytest.raises(BrokerError) as raised:
        await connection.probe()
    await connection.close()
    text = str(raised.value)
    assert "\n" not in text
    assert "secret" not in text
    return raised.value


@pytest.fixture
def own_server(running_server: RealServer) -> Iterator[RealServer]:
    """A server of one's own, to kill."""
    server = RealServer(running_server.flavour, Path(tempfile.mkdtemp(prefix="evfn-")), tcp=True)
    try:
        yield server.start()
    finally:
        server.stop()


async def test_the_server_is_known(server: RealServer, connection: Connection) -> None:
    found = await connection.wait_ready()
    assert found.name == server.flavour
    assert found.version >= (7, 0)


@pytest.mark.parametrize("tcp", [False, True])
async def test_replies_come_as_they_are(server: RealServer, tcp: bool) -> None:
    connection = await open_to(server.tcp_url if tcp else server.url)
    big = bytes(range(256)) * 20_000
    assert await connection.call("SET", "a b", big) == b"OK"
    assert await connection.call("GET", "a b") == big
    assert await connection.call("GET", "none") is None
    replies = await connection.pipeline([("INCR", "n"), ("LPUSH", "n", "x"), ("INCR", "n")])
    assert replies[0] + 1 == replies[2]
    assert isinstance(replies[1], BrokerError)
    assert await connection.pipeline([]) == []
    await connection.close()


async def test_calls_may_overlap(connection: Connection) -> None:
    replies = await asyncio.gather(*(connection.call("ECHO", str(number)) for number in range(200)))
    assert replies == [str(number).encode() for number in range(200)]


async def test_a_cancelled_call_leaves_no_reply_behind(server: RealServer, connection: Connection) -> None:
    call = asyncio.create_task(connection.call("BLPOP", "nothing", 0))
    await wait_until(lambda: b"blocked_clients:1" in _info(server), "the call is under way")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await connection.call("ECHO", "mine") == b"mine"


async def test_calls_on_a_lane_keep_their_order_though_they_overlap(connection: Connection) -> None:
    """They go out on one socket, beside the calls of others."""
    async with connection.lane() as lane:
        assert lane is not None
        assert await asyncio.gather(*(lane.call("INCR", "n") for _ in range(50))) == list(range(1, 51))
        with pytest.raises(BrokerError, match="unknown command"):
            await lane.call("NO-SUCH-COMMAND")
        assert await connection.call("PING") == b"PONG"
        assert not lane.broken
    opened = connection.opened
    await connection.call("PING")
    assert connection.opened == opened, "its link serves others afterwards"


async def test_a_lane_that_is_lost_says_so_and_is_used_no_more(connection: Connection) -> None:
    """Whatever was asked on it may have been done; other calls go on."""
    async with connection.lane() as lane:
        assert lane is not None
        number = await lane.call("CLIENT", "ID")
        await connection.call("CLIENT", "KILL", "ID", number)
        ended = await asyncio.gather(*(lane.call("INCR", "n") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(each, BrokerUnavailable) for each in ended)
        assert lane.broken
        assert await connection.call("PING") == b"PONG"
    assert await connection.call("PING") == b"PONG"


async def test_a_lane_left_with_replies_to_come_gives_none_of_them_to_others(connection: Connection) -> None:
    """As after a call that was cancelled."""
    async with connection.lane() as lane:
        assert lane is not None
        asked = [asyncio.create_task(lane.call("ECHO", "old")) for _ in range(3)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*(connection.call("ECHO", "new") for _ in range(20))) == [b"new"] * 20
    await asyncio.gather(*asked, return_exceptions=True)


async def test_lanes_leave_links_to_calls(connection: Connection) -> None:
    """Whoever has one may need another to get on."""
    async with AsyncExitStack() as held:
        lanes = [await held.enter_async_context(connection.lane()) for _ in range(LINKS)]
        assert [lane is not None for lane in lanes] == [True] * LANES + [False] * (LINKS - LANES)
        assert await asyncio.gather(*(connection.call("PING") for _ in range(20))) == [b"PONG"] * 20
    async with connection.lane() as lane:
        assert lane is not None


async def test_without_a_server_there_is_no_lane(own_server: RealServer) -> None:
    """The calls that are made instead say what is wrong."""
    connection = await open_to(own_server.tcp_url)
    own_server.stop()
    async with connection.lane() as lane:
        assert lane is None
    await connection.close()


async def test_a_lost_pipeline_is_told_once(own_server: RealServer) -> None:
    """To whoever called; the loop has nothing more to say of the other replies, cancelled or lost."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    connection = await open_to(own_server.url)
    cancelled = asyncio.create_task(connection.pipeline([("BLPOP", "nothing", 0), ("PING",), ("PING",)]))
    lost = asyncio.create_task(connection.pipeline([("BLPOP", "nothing", 0), ("PING",), ("PING",)]))
    await wait_until(lambda: b"blocked_clients:2" in _info(own_server), "both are under way")
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    own_server.stop()
    with pytest.raises(ReplyLost):
        await lost
    await connection.close()
    del cancelled, lost
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints


async def test_each_reply_of_a_pipeline_may_take_its_time(server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers goes on being waited for, however many answers there are."""
    monkeypatch.setattr(link, "REPLY_SECONDS", 0.6)
    patient = await open_to(server.url)
    naps = [("BLPOP", "nothing", "0.25")] * 3
    assert await patient.pipeline(naps) == [None] * 3
    await patient.close()


async def test_a_call_can_be_cancelled_at_any_instant(server: RealServer) -> None:
    """Thousands of them, new sockets and old ones: each ends at once, none takes another's reply."""
    connection = await open_to(server.tcp_url)

    async def talk(number: int) -> None:
        for step in range(3):
            said = f"{number}.{step}".encode()
            assert await connection.call("ECHO", said) == said
            assert await connection.pipeline([("ECHO", said)] * 3) == [said] * 3

    draw = random.Random(3)
    for _ in range(150):
        calls = [asyncio.create_task(talk(number)) for number in range(20)]
        for call in calls:
            asyncio.get_running_loop().call_later(draw.random() * 0.006, call.cancel)
        _, left = await asyncio.wait(calls, timeout=5)
        assert not left
        assert all(call.cancelled() or call.exception() is None for call in calls)
    assert await connection.call("ECHO", "mine") == b"mine"
    await connection.close()


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_call_to_a_server_that_stands_still_can_be_cancelled(own_server: RealServer, tcp: bool) -> None:
    """Whether it connects, writes more than the socket takes, or waits for its reply; closing does not wait either."""
    connection = await open_to(own_server.tcp_url if tcp else own_server.url)
    await connection.ping()
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        waiting = [asyncio.create_task(connection.call("ECHO", "x")) for _ in range(20)]
        writing = [asyncio.create_task(connection.call("ECHO", b"x" * 20_000_000)) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        began, before = time.monotonic(), without_core(os.getpid())
        for call in (*waiting, *writing):
            call.cancel()
        await asyncio.wait([*waiting, *writing], timeout=4)
        assert all(call.cancelled() for call in (*waiting, *writing))
        await connection.close()
        assert time.monotonic() - began - (without_core(os.getpid()) - before) < 1
    finally:
        os.kill(own_server.pid, signal.SIGCONT)


def _info(server: RealServer) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.sendall(b"INFO clients\r\n")
        return client.recv(65536)


async def test_nothing_is_sent_twice_after_a_lost_reply(server: RealServer, connection: Connection) -> None:
    async with FaultyProxy(server.path) as proxy:
        through = await open_to(proxy.url)
        await through.ping()
        proxy.lose_next_reply()
        with pytest.raises(ReplyLost):
            await through.call("XADD", "s", "*", "a", "1")
        await through.close()
    assert await connection.call("XLEN", "s") == 1


async def test_a_silent_server_is_given_up(server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "REPLY_SECONDS", 0.2)
    async with FaultyProxy(server.path) as proxy:
        through = await open_to(proxy.url)
        await through.ping()
        proxy.fault = Fault.SILENT
        with pytest.raises(ReplyLost, match="did not answer in time"):
            await through.call("PING")
        proxy.fault = Fault.NONE
        await through.ping()
        await through.close()


async def test_a_restart_begins_another_epoch_and_a_lost_socket_does_not(own_server: RealServer) -> None:
    connection = await Connection.open(own_server.url, clock=SystemClock())
    await connection.ping()
    await asyncio.gather(*(connection.ping() for _ in range(4)))
    assert connection.epoch == 0
    own_server.command("CLIENT", "KILL", "TYPE", "normal")
    await connection.wait_ready()
    assert connection.epoch == 0
    own_server.kill()
    own_server.start()
    await connection.wait_ready()
    assert connection.epoch == 1
    await connection.close()


async def test_a_restarted_server_is_used_again(own_server: RealServer) -> None:
    connection = await open_to(own_server.url)
    await asyncio.gather(*(connection.ping() for _ in range(5)))
    own_server.kill()
    with pytest.raises(BrokerUnavailable):
        await connection.ping()
    own_server.start()
    # Links that died while they were idle are noticed before anything is sent on them.
    await asyncio.gather(*(connection.ping() for _ in range(5)))
    await connection.close()


async def test_waiting_for_a_server_that_comes(own_server: RealServer) -> None:
    own_server.kill()
    own_server.path.unlink(missing_ok=True)
    connection = await open_to(own_server.url)
    with pytest.raises(BrokerUnavailable, match="no socket"):
        await connection.wait_ready(timedelta(0))
    waiting = asyncio.create_task(connection.wait_ready())
    await asyncio.sleep(0)
    own_server.start()
    assert (await waiting).name == own_server.flavour
    await connection.close()


async def test_a_closed_connection_says_so(server: RealServer) -> None:
    connection = await open_to(server.url)
    await connection.ping()
    await connection.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await connection.ping()


async def test_missing_groups_are_told_apart(connection: Connection) -> None:
    await connection.call("XADD", "s", "*", "a", "1")
    with pytest.raises(GroupGone):
        await connection.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [("maxmemory", "1", "OOM"), ("min-replicas-to-write", "3", "NOREPLICAS")],
)
async def test_what_may_pass_later(
    server: RealServer, connection: Connection, setting: str, value: str, says: str
) -> None:
    server.command("CONFIG", "SET", setting, value)
    with pytest.raises(BrokerUnavailable, match=says):
        await connection.call("SET", "a", "b")
    server.command("CONFIG", "SET", setting, "0")


async def test_a_replica_is_waited_for(own_server: RealServer) -> None:
    own_server.command("REPLICAOF", "127.0.0.1", str(free_port()))
    connection = await open_to(own_server.url)
    with pytest.raises(BrokerUnavailable, match="READONLY"):
        await connection.call("SET", "a", "b")
    await connection.close()


async def test_a_busy_script_is_waited_for(server: RealServer, connection: Connection) -> None:
    server.command("CONFIG", "SET", "busy-reply-threshold", "1")
    busy = asyncio.create_task(connection.call("EVAL", "while true do end", 0))
    other = await open_to(server.url)

    async def told() -> str:
        while True:
            try:
                await other.ping()
            except BrokerUnavailable as error:
                return str(error)

    assert "BUSY" in await asyncio.wait_for(told(), 10)
    await other.call("SCRIPT", "KILL")
    with pytest.raises(BrokerError):
        await busy
    server.command("CONFIG", "SET", "busy-reply-threshold", "5000")
    await other.close()


async def test_wrong_places_are_named(server: RealServer) -> None:
    closed = await failure(f"redis://:secret@127.0.0.1:{free_port()}")
    assert isinstance(closed, BrokerUnavailable)
    assert "nothing listens" in str(closed)
    assert "***" in str(closed)
    missing = await failure("unix:///nonexistent/evfn.sock?password=secret")
    assert isinstance(missing, BrokerUnavailable)
    assert "no socket" in str(missing)
    unknown = await failure("redis://user:secret@no-such-host.invalid")
    assert "not known" in str(unknown)
    database = await failure(f"unix://{server.path}?db=99")
    assert not isinstance(database, BrokerUnavailable)
    assert "database" in str(database)


async def test_wrong_credentials_are_named(own_server: RealServer) -> None:
    own_server.command("CONFIG", "SET", "requirepass", "right")
    for url in (own_server.url, f"unix://:secret@{own_server.path}", f"unix://nobody:secret@{own_server.path}"):
        refused = await failure(url)
        assert not isinstance(refused, BrokerUnavailable)
        assert "user or password" in str(refused)
    connection = await open_to(f"redis://:right@127.0.0.1:{own_server.port}")
    await connection.probe()
    await connection.close()


async def test_missing_rights_are_named(server: RealServer, connection: Connection) -> None:
    await connection.call("ACL", "SETUSER", "weak", "reset", "on", ">secret", "~*", "+@all", "-xadd", "-info")
    weak = await open_to(f"unix://weak:secret@{server.path}")
    # A user who may not ask for the version is believed.
    assert (await weak.probe()).name == "unknown"
    with pytest.raises(BrokerError, match="NOPERM") as raised:
        await weak.call("XADD", "s", "*", "a", "1")
    assert not isinstance(raised.value, BrokerUnavailable)
    assert "secret" not in str(raised.value)
    with pytest.raises(BrokerError, match=r"xadd|can't run this command"):
        await publish(weak, Keys(), Publication("t", "s", "1", [b"a", b"1"]))
    await weak.close()
    await connection.call("ACL", "DELUSER", "weak")


async def test_a_plain_server_does_not_speak_tls(server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes the greeting for the beginning of a command, and waits for the rest of it.
    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.3)
    refused = await failure(f"rediss://:secret@127.0.0.1:{server.port}")
    assert "TLS" in str(refused)


async def fake(reply: bytes) -> tuple[asyncio.Server, str]:
    """A service that answers everything with the same bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                writer.write(reply)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    return service, f"redis://127.0.0.1:{service.sockets[0].getsockname()[1]}"


async def test_another_service_is_recognised() -> None:
    service, url = await fake(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    refused = await failure(url)
    assert not isinstance(refused, BrokerUnavailable)
    assert "another protocol" in str(refused)
    service.close()


async def test_an_old_server_is_refused() -> None:
    info = b"# Server\r\nredis_version:6.2.14\r\n"
    service, url = await fake(b"$%d\r\n%b\r\n" % (len(info), info))
    refused = await failure(url)
    assert not isinstance(refused, BrokerUnavailable)
    assert "Redis 6.2.14" in str(refused)
    assert "Valkey 8.0" in str(refused)
    service.close()


async def test_a_loading_server_is_waited_for() -> None:
    service, url = await fake(b"-LOADING Redis is loading the dataset in memory\r\n")
    assert isinstance(await failure(url), BrokerUnavailable)
    service.close()


async def test_urls_that_mean_no_server() -> None:
    with pytest.raises(UsageError):
        await open_to("localhost:6379")


async def test_a_script_that_lacks_a_right_says_so_in_a_line(server: RealServer, connection: Connection) -> None:
    """Who reads it cares for the command, not for the place in a script of evfn's."""
    await connection.call("ACL", "SETUSER", "weak", "reset", "on", ">secret", "~*", "+@all", "-xack")
    weak = await open_to(f"unix://weak:secret@{server.path}")
    with pytest.raises(BrokerError, match="NOPERM") as raised:
        await weak.call("EVAL", "return redis.call('XACK', KEYS[1], 'group', '1-1')", 1, "s")
    assert "user_script" not in str(raised.value)
    await weak.close()
    await connection.call("ACL", "DELUSER", "weak")


async def test_waiting_for_a_silent_server_ends_in_time() -> None:
    """A server that accepts and says nothing counts as unavailable when the patience is over, not when a reply is."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waiting = await open_to(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            await waiting.wait_ready(timedelta(seconds=0.2))
        assert time.monotonic() - began < 2
        await waiting.close()
