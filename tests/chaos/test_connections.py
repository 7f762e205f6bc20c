"""Servers that move, hide behind TLS or are set up so that promises cannot be kept."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from evfn import Client
from evfn.broker.acl import PLACEHOLDER
from evfn.broker.connection import Connection
from evfn.broker.watch import Watch
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from sandbox import Sandbox
from sandbox import wait_until as wait_for
from servers import RealServer, binary, free_port
from waiting import wait_until


@dataclass(frozen=True)
class Watched:
    """A master, its replica, and the sentinel that watches them."""

    master: RealServer
    replica: RealServer
    sentinel: "Sentinel"

    @property
    def url(self) -> str:
        # The first sentinel is down, as one of three may be.
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}"
        return f"redis+sentinel://{hosts}/main/1?sentinel_password=knock"


class Sentinel:
    """One sentinel with a quorum of its own, which finds a dead master within a second."""

    def __init__(self, flavour: str, folder: Path, master: int) -> None:
        self.port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\nrequirepass knock\nsentinel sentinel-pass knock\n"
            f"sentinel monitor main 127.0.0.1 {master} 1\nsentinel down-after-milliseconds main 500\n"
            "sentinel failover-timeout main 3000\n"
        )
        with (folder / "sentinel.log").open("wb") as log:
            self._process = subprocess.Popen([binary(flavour), config, "--sentinel"], stdout=log, stderr=log)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def watched(running_server: RealServer) -> Iterator[Watched]:
    """Three processes that agree on who is the master."""
    folder = Path(tempfile.mkdtemp(prefix="evfn-"))
    flavour = running_server.flavour
    master = RealServer(flavour, folder / "m", tcp=True, options=["--repl-diskless-sync-delay", "0"])
    replica = RealServer(flavour, folder / "r", tcp=True)
    sentinel = None
    try:
        master.start()
        replica.start()
        replica.command("REPLICAOF", "127.0.0.1", master.port)
        sentinel = Sentinel(flavour, folder, master.port)
        yield Watched(master, replica, sentinel)
    finally:
        if sentinel is not None:
            sentinel.stop()
        replica.stop()
        master.stop()


async def replicated(watched: Watched) -> None:
    """Wait until the replica follows and the sentinel knows it, so that a failover is possible."""
    config = watched.replica.folder.parent / "sentinel.conf"
    await wait_until(
        lambda: b"known-replica" in config.read_bytes() or b"known-slave" in config.read_bytes(),
        "the sentinel knows the replica",
    )
    connection = await Connection.open(watched.master.url, clock=SystemClock())
    await copied(connection)
    await connection.close()


async def copied(connection: Connection) -> None:
    """Wait until the replica has all that was written so far."""
    # WAIT looks at the writes of its own socket, so there must be one.
    while (await connection.pipeline([("SET", "mark", 1), ("WAIT", 1, 100)]))[1] != 1:
        pass


async def test_f45_a_failover_is_followed(watched: Watched) -> None:
    """When the master dies, every kind of connection goes on with the one that the sentinels name next."""
    await replicated(watched)
    connection = await Connection.open(watched.url, clock=SystemClock())
    await connection.wait_ready(timedelta(seconds=5))
    client = Client(watched.url, deadline=timedelta(seconds=20))
    woken: list[str] = []
    watch = Watch(connection)
    watch.on_wake = woken.append
    watch.on_reset = lambda: woken.append("reset")
    watch.arm("readings")
    watching = asyncio.create_task(watch.run())
    await wait_until(lambda: watch.armed, "the watch is set")
    await asyncio.to_thread(client.emit, "readings", 1)
    await wait_until(lambda: "readings" in woken, "the first event wakes")
    await copied(connection)
    woken.clear()
    watched.master.kill()
    # A program that publishes meanwhile waits for the failover, and its event is stored once.
    await asyncio.to_thread(client.emit, "readings", 2)
    await connection.wait_ready(timedelta(seconds=10))
    assert await connection.call("XLEN", "readings") == 2
    assert (await connection.call("ROLE"))[0] == b"master"
    await wait_until(lambda: "reset" in woken, "the watch is on the new master")
    await wait_until(lambda: watch.armed, "it is armed there")
    woken.clear()
    watch.arm("readings")
    await wait_until(lambda: watch.armed, "armed again")
    await asyncio.to_thread(client.emit, "readings", 3)
    await wait_until(lambda: "readings" in woken, "an event on the new master wakes")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    client.close()
    await connection.close()


async def test_f45_a_master_that_became_a_replica_is_left(watched: Watched) -> None:
    """A server that answers READONLY costs its socket, and is taken again only when it is a master."""
    await replicated(watched)
    connection = await Connection.open(watched.url, clock=SystemClock())
    await connection.wait_ready(timedelta(seconds=5))
    client = Client(watched.url, deadline=timedelta(seconds=1))
    client.emit("readings", 1)
    watched.master.command("REPLICAOF", "127.0.0.1", watched.replica.port)
    with pytest.raises(BrokerUnavailable, match="READONLY"):
        await connection.call("SET", "a", "b")
    with pytest.raises(BrokerUnavailable, match="is no master"):
        await connection.call("SET", "a", "b")
    with pytest.raises(BrokerUnavailable, match="is no master"):
        client.emit("readings", 2)
    watched.master.command("REPLICAOF", "NO", "ONE")
    await connection.call("SET", "a", "b")
    client.emit("readings", 2)
    client.close()
    await connection.close()


async def test_f45_what_is_wrong_with_sentinels_is_named(watched: Watched) -> None:
    """A name they do not know and a wrong password are for a person to mend; sentinels that are away may come back."""
    place = f"127.0.0.1:{watched.sentinel.port}"

    async def said(url: str) -> BrokerError:
        connection = await Connection.open(url, clock=SystemClock())
        with pytest.raises(BrokerError) as raised:
            await connection.probe()
        await connection.close()
        with pytest.raises(BrokerError) as blocking:
            Client(url, deadline=timedelta(seconds=1)).emit("t", 1)
        assert type(blocking.value) is type(raised.value)
        assert "secret" not in str(raised.value) + str(blocking.value)
        return raised.value

    direct = await Connection.open(f"redis://:knock@{place}", clock=SystemClock())
    await direct.wait_ready(timedelta(seconds=10))
    await direct.close()
    unknown = await said(f"redis+sentinel://u:secret@{place}/mian?sentinel_password=knock")
    assert not isinstance(unknown, BrokerUnavailable)
    refused = await said(f"redis+sentinel://{place}/main?sentinel_password=secret")
    assert not isinstance(refused, BrokerUnavailable)
    assert f"sentinel {place}" in str(refused)
    assert "user or password" in str(refused)
    gone = await said(f"redis+sentinel://127.0.0.1:{free_port()}/main")
    assert isinstance(gone, BrokerUnavailable)
    assert "nothing listens at sentinel 127.0.0.1" in str(gone)


HELLO = "hello: {topic: greetings, function: 'hello:note_it'}"
NOTE = "def note_it(event):\n    note(event.data)\n"


def greeting(box: Sandbox, server: RealServer) -> None:
    box.manifest(HELLO)
    box.function("hello", NOTE)
    box.environment["EVFN_REDIS_URL"] = server.url


def test_f37_eviction_is_warned_of(sandbox: Sandbox, server: RealServer) -> None:
    """Where a full server would throw events away, doctor ends with 1 and `run` says so in one line."""
    greeting(sandbox, server)
    server.command("CONFIG", "SET", "maxmemory", "200mb")
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = json.loads(sandbox.evfn("doctor", "--json", expect=1).stdout)["findings"]
        eviction = next(each for each in found if each["subject"] == "eviction")
        assert eviction["gravity"] == "grave"
        assert "throws streams away" in eviction["means"]
        assert "noeviction" in eviction["remedy"]
        warned = [line for line in sandbox.run().stderr.splitlines() if line.startswith("warning: ")]
        assert any("allkeys-lru" in line for line in warned)
    finally:
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_server_without_persistence_is_warned_of(sandbox: Sandbox, server: RealServer) -> None:
    """It is grave, in doctor and at a start; the embedded server gives no warning at all."""
    greeting(sandbox, server)
    said = sandbox.evfn("doctor", expect=1).stdout
    assert said.startswith("grave    persistence: nothing is written to disk\n")
    assert "do: CONFIG SET appendonly yes" in said
    del sandbox.environment["EVFN_REDIS_URL"]
    assert "grave" not in sandbox.evfn("doctor").stdout
    assert "warning: " not in sandbox.run().stderr


def test_a_user_with_the_rights_that_doctor_names_runs_everything(sandbox: Sandbox, server: RealServer) -> None:
    """Doctor names what a weak user lacks and the line to write; with it a project runs, dead letters too."""
    sandbox.manifest(
        "hello: {topic: greetings, function: 'hello:work', emits: done, retry: {attempts: 2, initial_delay: 0s}}"
    )
    sandbox.function("hello", "def work(event):\n    note(event.data)\n    return 1 / event.data\n")
    server.command("ACL", "SETUSER", "evfn", "on", ">right", "~*", "+@all", "-xack")
    sandbox.environment["EVFN_REDIS_URL"] = f"unix://evfn:right@{server.path}"
    try:
        found = json.loads(sandbox.evfn("doctor", "--json", expect=1).stdout)["findings"]
        rights = next(each for each in found if each["subject"] == "rights")
        assert "xack on greetings" in rights["what"]
        server.command(*rights["remedy"].replace(f"#{PLACEHOLDER}", ">right").split())
        sandbox.emit("greetings", 0, 1)
        with sandbox.running():
            sandbox.emit("greetings", 0, 1)
            wait_for(lambda: sandbox.notes().count("0") == 2 and "1" in sandbox.notes(), description="both ran")
        assert sandbox.status("hello")["state"] == "ok"
        assert len(sandbox.dead("hello")) == 1
        assert "rights: this user may do all" in sandbox.evfn("doctor", expect=None).stdout
    finally:
        server.command("ACL", "DELUSER", "evfn")
