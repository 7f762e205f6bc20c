"""Somebody trims a topic while events are on their way: what never ran is counted, and said."""

from collections.abc import Iterator

import pytest
import redis

from chaos.outage import Outage
from evfn import Client
from proxy import FaultyProxy
from sandbox import Sandbox, wait_until
from servers import FLAVOURS, RealServer


@pytest.fixture(params=FLAVOURS)
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server for one test, of either kind."""
    server = RealServer(request.param, tmp_path_factory.mktemp("s")).start()
    yield server
    server.stop()


def test_f47_what_somebody_trims_is_counted_and_named(sandbox: Sandbox, any_server: RealServer) -> None:
    """Delivered and not run when its stream was trimmed: dropped, with the ids in the log."""
    outage = Outage(sandbox, any_server)
    with FaultyProxy(any_server.path).in_thread() as network, sandbox.running("--redis", network.proxy.url):
        outage.flows()
        network.proxy.lose_reply_to(b"sandbox/echo\r\n")
        with Client(any_server.url) as client:
            stream_id = client.emit("work", {"n": "trimmed"})
        wait_until(lambda: network.proxy.cuts == 1, description="its delivery is lost")
        any_server.command("XTRIM", "work", "MAXLEN", "0")
        wait_until(lambda: sandbox.status("echo")["dropped"] == 1, description="it is dropped")
        assert (
            f"1 event of work had been trimmed by somebody before they ran: dropped ({stream_id})"
            in sandbox.log.read_text()
        )
        outage.flows()
        status = sandbox.status("echo")
        assert status["delivered"] == status["succeeded"] + status["dropped"]


def test_f47_an_event_that_is_trimmed_while_it_runs_has_its_effect(sandbox: Sandbox, any_server: RealServer) -> None:
    """What an instance holds needs its stream no more."""
    outage = Outage(sandbox, any_server)
    with sandbox.running(), outage.load():
        for _ in range(50):
            any_server.command("XTRIM", "work", "MAXLEN", "0")
    with redis.Redis.from_url(any_server.url) as client:
        stats = client.hgetall("evfn:{work}:sandbox/echo:stats")
    assert len(outage.effects()) == len(set(outage.effects()))
    assert int(stats[b"succeeded"]) == len(outage.effects())


def test_f47_what_was_trimmed_unread_is_counted(sandbox: Sandbox, any_server: RealServer) -> None:
    """Trimmed while no instance ran: the next one says how many are gone, and between which ids."""
    outage = Outage(sandbox, any_server)
    with sandbox.running():
        outage.flows()
        outage.settled()
    with Client(any_server.url) as client:
        ids = client.emit_many("work", [{"n": str(n)} for n in range(100, 110)])
    any_server.command("XTRIM", "work", "MAXLEN", "3")
    with sandbox.running():
        wait_until(lambda: {"107", "108", "109"} <= set(outage.effects()), description="what is left runs")
        outage.flows()
        said = sandbox.log.read_text()
        assert "7 events of work had been trimmed by somebody before they were delivered: dropped" in said
        assert f"before {ids[7]}" in said
    for trigger in ("echo", "plain"):
        status = sandbox.status(trigger)
        assert status["dropped"] == 7
        assert status["delivered"] == status["succeeded"] + 7
