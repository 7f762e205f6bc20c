"""The network between evfn and its server loses, delays and cuts: no event is lost or doubled, and evfn goes on."""

import random
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest
import redis

from chaos.outage import Outage
from evfn.broker.settle import SETTLE
from own_time import without_core
from proxy import Fault, FaultyProxy, InThread
from sandbox import Sandbox, wait_until
from servers import FLAVOURS, RealServer, free_port


@pytest.fixture(params=FLAVOURS)
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server for one test, of either kind."""
    server = RealServer(request.param, tmp_path_factory.mktemp("s"), tcp=True).start()
    yield server
    server.stop()


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The same, of one kind: for faults of which the server notices nothing."""
    server = RealServer("valkey", tmp_path_factory.mktemp("s")).start()
    yield server
    server.stop()


@pytest.fixture
def network(valkey: RealServer) -> Iterator[InThread]:
    """The way of the instances to the server; the producer has one of its own."""
    with FaultyProxy(valkey.path, tcp=True).in_thread() as network:
        yield network


def test_f31_replies_to_settlements_are_lost(sandbox: Sandbox, valkey: RealServer, network: InThread) -> None:
    """Whether a settlement was carried out is found out by sending it again; nothing has its effect twice."""
    outage = Outage(sandbox, valkey)
    with sandbox.running("--redis", network.proxy.url):
        with outage.load():
            for lost in range(1, 11):
                network.proxy.lose_reply_to(SETTLE.sha.encode())
                wait_until(partial(cut, network, lost), description="a reply was lost")
            outage.flows()
        outage.settled()


def cut(network: InThread, times: int) -> bool:
    return network.proxy.cuts == times


def test_f32_connections_break_in_every_way(sandbox: Sandbox, valkey: RealServer, network: InThread) -> None:
    """Cut by RST or FIN, refused, or held up for a while: events flow soon after each."""
    outage = Outage(sandbox, valkey)
    with sandbox.running("--redis", network.proxy.url) as process:
        with outage.load():
            for fault in (Fault.BLACK_HOLE, Fault.REFUSE, Fault.DEAF):
                network.hang_up(reset=True)
                network.proxy.fault = fault
                time.sleep(0.7)
                network.hang_up(reset=False)
                time.sleep(0.1)
                network.proxy.fault = Fault.NONE
                outage.flows()
        outage.settled()
        assert process.poll() is None


def test_f32_a_connection_falls_silent(sandbox: Sandbox, valkey: RealServer, network: InThread) -> None:
    """A network that swallows everything without a word is found out by time alone, and left as soon as another way
    is open."""
    outage = Outage(sandbox, valkey)
    with sandbox.running("--redis", network.proxy.url) as process:
        with outage.load():
            network.proxy.fault = Fault.BLACK_HOLE
            wait_until(
                lambda: "did not answer in time" in sandbox.log.read_text(), description="it is noticed", patience=8
            )
            network.hang_up(reset=True)
            network.proxy.fault = Fault.NONE
            outage.flows()
        outage.settled()
        assert process.poll() is None


@pytest.mark.storm
def test_f32_a_minute_of_it(sandbox: Sandbox, valkey: RealServer, network: InThread) -> None:
    """All of it at random."""
    outage = Outage(sandbox, valkey)
    draw = random.Random(32)
    with sandbox.running("--redis", network.proxy.url) as process:
        with outage.load():
            end = time.monotonic() + 60
            while time.monotonic() < end:
                network.proxy.fault = draw.choice(list(Fault))
                if draw.random() < 0.5:
                    network.hang_up(reset=draw.random() < 0.5)
                time.sleep(draw.expovariate(1.0))
                network.proxy.fault = Fault.NONE
                if draw.random() < 0.3:
                    outage.flows(within=15)
            outage.flows(within=15)
        outage.settled(within=60)
        assert process.poll() is None


@pytest.mark.early(2)
def test_f34_a_slow_network_costs_no_lease(sandbox: Sandbox, valkey: RealServer, network: InThread) -> None:
    """200 ms each way and 10 kB a second: slower, and that is all."""
    outage = Outage(sandbox, valkey, head="version: 1\nname: sandbox\n")
    network.proxy.delay = 0.2
    network.proxy.rate = 10_000
    with sandbox.running("--redis", network.proxy.url):
        for _ in range(3):
            outage.flows()
        outage.settled()
        said = sandbox.log.read_text()
    assert "lost its lease" not in said
    assert "blocked" not in said


def test_f60_connections_are_killed_all_the_time(sandbox: Sandbox, any_server: RealServer) -> None:
    """CLIENT KILL every 200 ms: events flow meanwhile, and no connection is opened in vain."""
    outage = Outage(sandbox, any_server)
    kills = 15
    with sandbox.running() as process:
        with outage.load():
            before = connections_so_far(any_server)
            for _ in range(kills):
                any_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                time.sleep(0.2)
            opened = connections_so_far(any_server) - before
            outage.flows()
        outage.settled()
        assert process.poll() is None
    assert opened < 30 * kills


def connections_so_far(server: RealServer) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("stats")["total_connections_received"])


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["closed", "silent", "unknown"])
def test_i29_a_server_that_cannot_be_reached_is_said_soon(sandbox: Sandbox, silent: str, kind: str) -> None:
    """A command says within two seconds what it waits for, and gives up after three, with one line and no traceback."""
    sandbox.manifest("any: {topic: work, function: 'any:run'}")
    sandbox.function("any", "def run(event):\n    pass\n")
    urls = {"closed": f"redis://127.0.0.1:{free_port()}", "silent": silent, "unknown": "redis://no-such-host.invalid"}
    sandbox.environment["EVFN_REDIS_URL"] = urls[kind]
    words = {"closed": "nothing listens at", "silent": "does not answer", "unknown": "is not known"}
    began = time.monotonic()
    said = sandbox.evfn("status", expect=1).stderr.splitlines()
    assert time.monotonic() - began < 6
    assert words[kind] in said[-1]
    assert words[kind] in said[-2]
    assert "trying again" in said[-2]
    with sandbox.running(ready=False) as process:
        began = time.monotonic()
        wait_until(lambda: words[kind] in sandbox.log.read_text(), description="run says what it waits for")
        assert time.monotonic() - began - without_core(process.pid) < 4
        assert process.poll() is None


def test_a_server_that_comes_after_run_is_used(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`run` waits for a server that is not up yet, and begins when it is."""
    server = RealServer("valkey", tmp_path_factory.mktemp("s"))
    outage = Outage(sandbox, server)
    with sandbox.running(ready=False) as process:
        wait_until(lambda: "there is no socket" in sandbox.log.read_text(), description="it says what it waits for")
        server.start()
        try:
            wait_until(lambda: "watching" in sandbox.log.read_text(), description="it begins")
            outage.flows()
            outage.settled()
            assert process.poll() is None
        finally:
            server.stop()
