"""The server dies, stalls, fills up or is tampered with: evfn goes on by itself, and no event is lost or doubled."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from chaos.outage import Outage
from proxy import FaultyProxy
from sandbox import Sandbox, wait_until
from servers import FLAVOURS, RealServer

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
AOF = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(params=FLAVOURS)
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server that keeps what it acknowledged, of either kind."""
    server = RealServer(request.param, tmp_path_factory.mktemp("s"), options=AOF).start()
    yield server
    server.stop()


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The same, of one kind: for faults in which they do not differ."""
    server = RealServer("valkey", tmp_path_factory.mktemp("s"), options=AOF).start()
    yield server
    server.stop()


def test_f23_the_server_is_killed_under_load(sandbox: Sandbox, any_server: RealServer) -> None:
    """Every event that it acknowledged before kill -9 has its effect, once, and so has what comes after; nobody
    restarts evfn."""
    outage = Outage(sandbox, any_server)
    with sandbox.running() as process:
        with outage.load():
            any_server.kill()
            any_server.start()
            outage.flows()
        outage.settled()
        assert process.poll() is None


def test_f25_the_server_restarts_again_and_again(sandbox: Sandbox, valkey: RealServer) -> None:
    """Ten restarts in a row, some while evfn has only just come back: events flow soon after each."""
    outage = Outage(sandbox, valkey)
    with sandbox.running() as process:
        with outage.load():
            for restart in range(10):
                valkey.kill()
                valkey.start()
                if restart % 3 == 2:
                    outage.flows()
            outage.flows()
        outage.settled()
        assert process.poll() is None


def test_f26_the_server_loses_everything_under_load(sandbox: Sandbox, any_server: RealServer) -> None:
    """After FLUSHALL, however often, all events that were accepted since then run, also those from before anybody
    noticed; what ran at that moment has no effect afterwards, and it is said."""
    outage = Outage(sandbox, any_server)
    with sandbox.running() as process:
        with outage.load():
            for _ in range(3):
                outage.lost_all()
                outage.flows()
        outage.settled()
        assert process.poll() is None
        assert "the server has lost its data, and with it what waited on work" in sandbox.log.read_text()


def test_f26_the_server_comes_back_without_its_data(sandbox: Sandbox, valkey: RealServer) -> None:
    """A restart on an empty folder is the same: all that is accepted afterwards runs."""
    outage = Outage(sandbox, valkey)
    with sandbox.running() as process:
        with outage.load():
            with outage.nobody_publishes():
                valkey.kill()
                shutil.rmtree(valkey.folder / "appendonlydir")
                valkey.start()
                outage.forget()
            outage.flows()
        outage.settled()
        assert process.poll() is None


def test_f26_streams_alone_are_deleted(sandbox: Sandbox, any_server: RealServer) -> None:
    """DEL of a topic under load takes its group along; both come back, and what is published then runs."""
    outage = Outage(sandbox, any_server)
    with sandbox.running() as process:
        with outage.load():
            for _ in range(3):
                with outage.nobody_publishes():
                    any_server.command("DEL", "work", "done")
                    outage.forget()
                outage.flows()
        outage.settled()
        assert process.poll() is None
        assert "was gone" in sandbox.log.read_text()


def test_f28_scripts_are_flushed_all_the_time(sandbox: Sandbox, any_server: RealServer) -> None:
    """SCRIPT FLUSH a hundred times a second is no error to anybody."""
    outage = Outage(sandbox, any_server)
    with sandbox.running():
        with outage.load():
            for _ in range(100):
                any_server.command("SCRIPT", "FLUSH")
                time.sleep(0.01)
        outage.settled()
        assert "NOSCRIPT" not in sandbox.log.read_text()


@pytest.mark.early(4)
def test_f35_the_server_stands_still(sandbox: Sandbox, valkey: RealServer) -> None:
    """A server that hangs for longer than any timeout costs nothing but the time, and nothing is done twice."""
    outage = Outage(sandbox, valkey)
    with sandbox.running() as process:
        with outage.load():
            os.kill(valkey.pid, signal.SIGSTOP)
            time.sleep(7)
            os.kill(valkey.pid, signal.SIGCONT)
            outage.flows()
        outage.settled()
        assert process.poll() is None


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (("CLIENT", "PAUSE", "2000", "WRITE"), b"+OK"),
        (("DEBUG", "SLEEP", "2"), b"+OK"),
        (("EVAL", "local stop = redis.call('TIME')[1] + 2 while redis.call('TIME')[1] + 0 < stop do end", "0"), b"$-1"),
    ],
    ids=["writes are paused", "it is asleep", "it is busy with a script"],
)
def test_f35_the_server_is_kept_busy(
    sandbox: Sandbox, any_server: RealServer, command: tuple[str, ...], answer: bytes
) -> None:
    """While somebody keeps it busy evfn waits; what was sent meanwhile is done once."""
    outage = Outage(sandbox, any_server)
    any_server.command("CONFIG", "SET", "lua-time-limit", "100")
    with sandbox.running() as process:
        with outage.load():
            assert any_server.command(*command) == answer
            outage.flows()
        outage.settled()
        assert process.poll() is None


def test_f36_the_server_is_full(sandbox: Sandbox, any_server: RealServer) -> None:
    """At maxmemory a publish fails and names OOM, what was accepted is finished all the same, and it goes on as soon
    as there is room."""
    outage = Outage(sandbox, any_server)
    with sandbox.running() as process:
        with outage.load():
            any_server.command("CONFIG", "SET", "maxmemory", "1")
            said = sandbox.evfn("emit", "work", '{"n": "refused"}', expect=1).stderr
            assert "OOM" in said
            accepted = set(outage.accepted)
            wait_until(lambda: accepted <= set(outage.effects()), description="what was accepted is finished")
            any_server.command("CONFIG", "SET", "maxmemory", "0")
            outage.flows()
        outage.settled()
        assert process.poll() is None
    assert "refused" not in sandbox.notes()
    assert sandbox.evfn("status").returncode == 0


def test_f36_an_instance_starts_on_a_full_server(sandbox: Sandbox, any_server: RealServer) -> None:
    """It says what it waits for, and begins as soon as there is room."""
    outage = Outage(sandbox, any_server)
    any_server.command("CONFIG", "SET", "maxmemory", "1")
    with sandbox.running(ready=False) as process:
        wait_until(lambda: "OOM" in sandbox.log.read_text(), description="it says why it cannot begin")
        assert process.poll() is None
        any_server.command("CONFIG", "SET", "maxmemory", "0")
        wait_until(lambda: "watching" in sandbox.log.read_text(), description="it begins")
        outage.flows()
        assert sandbox.log.read_text().count("OOM") == 1


def test_f38_the_servers_disk_is_full(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    """MISCONF is named, and over by itself when there is space again; nothing that was accepted is lost, nor after a
    restart of the server."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0 or subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]).returncode:
        pytest.skip("a small disk needs the right to mount one")
    server = RealServer("valkey", folder, options=("--appendonly", "yes"))
    try:
        outage = Outage(sandbox, server.start())
        filler = folder / "filler"
        with sandbox.running() as process:
            with outage.load():
                fill(filler)
                wait_until(lambda: "MISCONF" in sandbox.log.read_text(), description="it is named")
                filler.unlink()
                outage.flows()
            outage.settled()
            server.kill()
            server.start()
            outage.flows()
            outage.settled()
            assert process.poll() is None
    finally:
        server.kill()
        subprocess.run(["/bin/umount", folder], check=True)


def fill(path: Path) -> None:
    """Write until the disk takes no more."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(b"x"):
            pass


def test_f43_a_replica_that_lags_takes_over(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the old master alone knew is gone, with its effects: on the new one every event has its effect once."""
    master = RealServer("valkey", tmp_path_factory.mktemp("m"), tcp=True, options=["--repl-diskless-sync-delay", "0"])
    replica = RealServer("valkey", tmp_path_factory.mktemp("r"), tcp=True)
    try:
        outage = Outage(sandbox, master.start())
        replica.start()
        replica.command("REPLICAOF", "127.0.0.1", master.port)
        with (
            FaultyProxy(master.path).in_thread() as network,
            sandbox.running("--redis", network.proxy.url) as process,
        ):
            with outage.load():
                wait_until(lambda: replicated(replica) > 0, description="the replica follows")
                # From here on it knows nothing more of what happens.
                replica.command("REPLICAOF", "NO", "ONE")
                outage.flows()
            before = set(outage.accepted)
            network.proxy.lead_to(replica.path)
            master.kill()
            network.hang_up(reset=True)
            outage.move_to(replica)
            assert before - outage.accepted
            with outage.load():
                outage.flows()
            outage.settled()
            assert process.poll() is None
    finally:
        master.stop()
        replica.stop()


def replicated(replica: RealServer) -> int:
    """How many effects the replica has copied."""
    with redis.Redis.from_url(replica.url) as client:
        return int(client.xlen("done"))
