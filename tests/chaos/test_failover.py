"""A replica takes over that lacks the newest events, and gives their ids to others: no event is taken for another."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from chaos.machines import Machines
from proxy import FaultyProxy, InThread
from sandbox import Sandbox, wait_until
from servers import RealServer

AHEAD = "99999999999999-0"
"""As after a clock that was set back: every id follows the one before, whatever the time."""


@dataclass
class Pair:
    """A master and its replica, and the way of one machine to whoever is the master."""

    master: RealServer
    replica: RealServer
    network: InThread

    def part(self) -> None:
        """From here on the replica copies nothing more."""
        self.replica.command("WAIT", 0, 0)
        self.replica.command("REPLICAOF", "NO", "ONE")


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    master = RealServer("valkey", tmp_path_factory.mktemp("m"), tcp=True, options=["--repl-diskless-sync-delay", "0"])
    replica = RealServer("valkey", tmp_path_factory.mktemp("r"), tcp=True)
    try:
        master.start()
        replica.start()
        with FaultyProxy(master.path).in_thread() as network:
            yield Pair(master, replica, network)
    finally:
        master.stop()
        replica.stop()


@pytest.mark.parametrize("whose", ["another's", "its own"])
def test_f43_an_id_that_is_given_out_again_is_another_event(sandbox: Sandbox, pair: Pair, whose: str) -> None:
    """What runs when the master is lost is not settled in the place of what the new one calls by the same id."""
    sandbox.environment["EVFN_REDIS_URL"] = pair.network.proxy.url
    machines = Machines(sandbox, pair.master)
    machines.project("workers: {max: 2}")
    pair.master.command("XGROUP", "CREATE", "work", "sandbox/slow", "0", "MKSTREAM")
    pair.master.command("XSETID", "work", AHEAD)
    machines.hold("one")
    with ExitStack() as running:
        one = running.enter_context(machines.running("one"))
        pair.replica.command("REPLICAOF", "127.0.0.1", pair.master.port)
        with Machines(sandbox, pair.replica).client as copy:
            wait_until(lambda: copy.hlen("evfn:instances") == 1, description="the replica has a copy")
        pair.part()
        machines.emit(1)
        machines.wait_for_runs(1)
        machines.client.close()
        after = Machines(sandbox, pair.replica)
        pair.network.proxy.lead_to(pair.replica.path)
        if whose == "another's":
            # One that has no worker free, so that the same id goes to the other machine.
            after.emit(2)
            after.client.xreadgroup("sandbox/slow", "other", {"work": ">"})
            after.client.hset("evfn:instances", "other", 1)
            pair.master.kill()
            pair.network.hang_up(reset=True)
            machines.let_go("one")
            wait_until(lambda: len(after.consumers()) == 2, description="the first is there again")
            assert after.effects() == []
            after.client.hdel("evfn:instances", "other")
        else:
            pair.master.kill()
            pair.network.hang_up(reset=True)
            after.emit(2)
            wait_until(lambda: one.said("gives their ids to others"), description="it notices")
            machines.let_go("one")
        after.wait_for_effects([2])
        after.emit(3)
        after.wait_for_effects([2, 3])
        wait_until(lambda: after.pending() == 0, description="nothing is left")
        after.client.close()
