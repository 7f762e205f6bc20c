"""Instances on several machines share the work, and any of them may die, hang, stall or be cut off."""

import os
import signal
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from chaos.machines import FUNCTION, LEASE, Machines, let_last
from proxy import Fault, FaultyProxy
from sandbox import wait_until

LONG = timedelta(seconds=5)
"""A lease so long that what happens well before its end did not wait for it."""


def test_f4_what_a_killed_machine_held_runs_on_another(machines: Machines) -> None:
    """kill -9 of a whole instance: another runs its events after its lease, charged with the death, once each."""
    machines.hold("one")
    with machines.running("one") as one:
        machines.emit(1, 2, 3)
        machines.wait_for_runs(2)
        with machines.running("two"):
            one.send(signal.SIGKILL)
            began = time.monotonic()
            machines.wait_for_effects([1, 2, 3])
            assert time.monotonic() - began < 6
    # Two ran on the first machine; all three were in its hands, and run again, or for the first time, on the second.
    assert Counter(run.attempt for run in machines.runs("one")) == {1: 2}
    assert Counter(run.attempt for run in machines.runs("two")) == {2: 3}
    status = machines.box.status("slow")
    assert (status["succeeded"], status["emitted"], status["pending"], status["failed"]) == (3, 3, 0, 0)


def test_f10_a_stopped_instance_hands_over_at_the_next_beat(machines: Machines) -> None:
    """SIGTERM under load: what runs ends there, what was not begun runs elsewhere well before the lease is over."""
    machines.project("workers: {max: 1}", lease=LONG)
    machines.hold("one")
    with machines.running("one") as one:
        machines.emit(*range(10))
        wait_until(lambda: machines.pending() == 10, description="the first holds all of them")
        (running,) = machines.wait_for_runs(1)
        with machines.running("two"):
            one.send(signal.SIGTERM)
            stopped = time.monotonic()
            machines.wait_for_effects(set(range(10)) - {running.n})
            assert time.monotonic() - stopped < LONG.total_seconds() * 0.7
            assert one.process.poll() is None
            machines.let_go("one")
            assert one.process.wait(10) == 0
            machines.wait_for_effects(range(10))
    assert len(machines.runs()) == 10, "each ran once"
    assert {run.attempt for run in machines.runs()} == {1}


def test_f12_an_instance_that_stood_still_settles_nothing_any_more(machines: Machines) -> None:
    """SIGSTOP for three leases: another does the work; what the first did is refused, and said, and it goes on."""
    machines.hold("one")
    with machines.running("one") as one:
        machines.emit(1, 2)
        machines.wait_for_runs(2, "one")
        before = machines.leases()
        with machines.running("two"):
            one.send(signal.SIGSTOP)
            stood = time.monotonic()
            # Its workers are not stopped: they end what they run, and say so to nobody.
            machines.let_go("one")
            machines.wait_for_effects([1, 2])
            let_last(stood, 3 * LEASE)
            one.send(signal.SIGCONT)
            wait_until(lambda: one.said("lost its lease"), description="the first says that it was fenced")
            wait_until(lambda: len(machines.leases()) == 2, description="it has begun anew")
            assert not before & machines.leases(), "under another id"
        machines.emit(*range(3, 9))
        machines.wait_for_effects(range(1, 9))
    assert sorted((run.n, run.attempt) for run in machines.runs() if run.n < 3) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    status = machines.box.status("slow")
    assert (status["succeeded"], status["emitted"], status["pending"]) == (8, 8, 0)


@pytest.mark.parametrize("dies", [False, True], ids=["both live", "one dies meanwhile"])
def test_f24_an_outage_of_the_server_makes_nobody_look_dead(machines: Machines, dies: bool) -> None:
    """The server is away for three leases: no instance is taken over from, unless it died, and then after a lease."""
    with ExitStack() as running:
        one = running.enter_context(machines.running("one"))
        machines.fill(one, 1, 2, 3, 4)
        machines.hold("two")
        two = running.enter_context(machines.running("two"))
        machines.emit(*range(5, 9))
        machines.wait_for_runs(2, "two")
        before = machines.leases()
        machines.server.kill()
        away = time.monotonic()
        if dies:
            one.send(signal.SIGKILL)
        let_last(away, 3 * LEASE)
        back = time.monotonic()
        machines.server.start()
        if dies:
            machines.let_go("two")
            wait_until(lambda: any(run.attempt == 2 for run in machines.runs()), description="it is taken over from")
            assert time.monotonic() - back >= LEASE.total_seconds() * 0.8
        else:
            let_last(back, 2 * LEASE)
            assert machines.leases() == before
            assert len(machines.runs()) == 5, "nothing was taken over"
            machines.let_go("one", "two")
        machines.wait_for_effects(range(9))
        assert not one.said("lost its lease")
        assert not two.said("lost its lease")
    assert len(machines.runs()) == 9 + (2 if dies else 0), "only what ran on the dead one ran again"


def test_f33_a_machine_that_was_cut_off_settles_nothing_when_it_is_back(machines: Machines) -> None:
    """One of two instances sees no server for three leases: the other takes over, and what comes late is refused."""
    proxy = FaultyProxy(machines.server.path)
    machines.hold("one")
    with ExitStack() as running:
        running.enter_context(proxy.in_thread())
        one = running.enter_context(machines.running("one", "--redis", proxy.url))
        machines.emit(1, 2)
        machines.wait_for_runs(2, "one")
        two = running.enter_context(machines.running("two"))
        proxy.fault = Fault.BLACK_HOLE
        cut = time.monotonic()
        # It ends what it runs and sends it; the network brings that when it is healed.
        machines.let_go("one")
        machines.emit(*range(3, 8))
        machines.wait_for_effects(range(1, 8))
        let_last(cut, 3 * LEASE)
        proxy.fault = Fault.NONE
        wait_until(lambda: one.said("lost its lease"), description="the first says that it was fenced")
        wait_until(lambda: len(machines.leases()) == 2, description="it has begun anew")
        two.send(signal.SIGTERM)
        machines.emit(*range(8, 16))
        machines.wait_for_effects(range(1, 16))
    status = machines.box.status("slow")
    assert (status["succeeded"], status["emitted"], status["pending"]) == (15, 15, 0)


def test_f48_a_function_that_runs_for_five_leases_runs_once(machines: Machines) -> None:
    """While the instance beats, nobody takes over what it runs, however long that takes."""
    machines.hold("one")
    with machines.running("one"):
        machines.emit(1)
        machines.wait_for_runs(1, "one")
        with machines.running("two") as two:
            let_last(time.monotonic(), 5 * LEASE)
            machines.let_go("one")
            machines.wait_for_effects([1])
            assert not two.said("error")
    assert len(machines.runs()) == 1


def test_f48_without_beats_it_runs_again_and_has_one_effect(machines: Machines) -> None:
    """An instance whose beats alone get lost is fenced: what it ends afterwards is refused on a good connection."""
    machines.hold("one", "two")
    proxy = FaultyProxy(machines.server.path)
    with proxy.in_thread(), machines.running("one", "--redis", proxy.url) as one:
        machines.emit(1)
        machines.wait_for_runs(1, "one")
        with machines.running("two"):
            proxy.hold_up(b"evfn:instances:beaten")
            machines.wait_for_runs(1, "two")
            # Both run it now. The first ends first, and may not say so.
            machines.let_go("one")
            wait_until(lambda: one.said("lost its lease"), description="its settlement was refused")
            assert machines.effects() == []
            machines.let_go("two")
            machines.wait_for_effects([1])
            proxy.hold_up(b"")
            wait_until(lambda: len(machines.leases()) == 2, description="the first has begun anew")
    assert [(run.machine, run.attempt) for run in machines.runs()] == [("one", 1), ("two", 2)]


def test_f49_a_beat_after_the_takeover_does_not_steal_back(machines: Machines) -> None:
    """Whoever wakes after it was taken over from is told so by its first beat: its worker is killed, its id is gone."""
    machines.hold("one", "two")
    with machines.running("one") as one:
        machines.emit(1)
        (first,) = machines.wait_for_runs(1, "one")
        (before,) = machines.leases()
        with machines.running("two"):
            one.send(signal.SIGSTOP)
            machines.wait_for_runs(1, "two")
            one.send(signal.SIGCONT)
            wait_until(lambda: one.said("lost its lease"), description="it is told")
            wait_until(lambda: not running(first.pid), description="its worker is killed")
            wait_until(lambda: len(machines.leases()) == 2, description="it has begun anew")
            assert before not in machines.leases()
            machines.let_go("one", "two")
            machines.wait_for_effects([1])
            wait_until(lambda: before not in machines.consumers(), description="its consumer is cleared away")
            assert before not in machines.leases()
    assert len(machines.runs()) == 2


def test_f20_an_event_that_kills_its_instance_kills_no_more_than_its_attempts(machines: Machines) -> None:
    """Poison: exactly as many starts as `attempts`, over all instances, then a dead letter; all other events run."""
    machines.project("retry: {attempts: 3}, workers: {max: 1}")
    with ExitStack() as running:
        names = ["one", "two", "three", "four"]
        all_of_them = [running.enter_context(machines.running(name)) for name in names]
        machines.emit(1, kills=True)
        machines.emit(*range(2, 8))
        machines.wait_for_effects(range(2, 8))
        wait_until(lambda: machines.client.xlen("evfn:{work}:sandbox/slow:dead") == 1, description="a dead letter")
        (letter,) = machines.box.dead("slow")
        alive = [each for each in all_of_them if each.process.poll() is None]
        assert len(alive) == 1
        poison = machines.runs(n=1)
        assert [run.attempt for run in poison] == [1, 2, 3]
        assert len({run.machine for run in poison}) == 3
        assert (letter["reason"], letter["attempts"]) == ("crashed", 3)
        assert "its instance died" in letter["error"]["message"]


@pytest.mark.parametrize("fast", [0, 1], ids=["the first is fast", "the second is fast"])
def test_f42_a_retry_on_another_machine_does_not_expire(machines: Machines, fast: int) -> None:
    """`give_up_after` counts from the first attempt, wherever that was."""
    machines.project("workers: {max: 1}, retry: {attempts: 3, initial_delay: 500ms, jitter: none, give_up_after: 10m}")
    clocks: list[dict[str, str]] = [{}, {}]
    clocks[fast] = an_hour_ahead()
    with machines.running("one", **clocks[0]) as one:
        machines.emit(1, fails=2)
        wait_until(lambda: machines.client.zcard("evfn:{work}:sandbox/slow:retry") == 1, description="a retry is due")
        one.send(signal.SIGKILL)
        with machines.running("two", **clocks[1]):
            machines.wait_for_effects([1])
    assert [(run.machine, run.attempt) for run in machines.runs()] == [("one", 1), ("two", 2), ("two", 3)]


@pytest.mark.parametrize("behind", [False, True], ids=["from the fast clock to the right one", "and the other way"])
def test_f42_clocks_that_differ_by_an_hour_change_nothing(machines: Machines, behind: bool) -> None:
    """Leases, retries and `give_up_after` follow the server's clock alone, whichever instance runs which attempt."""
    machines.project("workers: {max: 1}, retry: {attempts: 3, initial_delay: 500ms, jitter: none, give_up_after: 10m}")
    first, second = {}, an_hour_ahead()
    if not behind:
        first, second = second, first
    with ExitStack() as running:
        one = running.enter_context(machines.running("one", **first))
        before = time.monotonic()
        machines.emit(1, fails=1)
        machines.wait_for_effects([1])
        assert time.monotonic() - before >= 0.5
        machines.hold("one", "two")
        machines.emit(2, fails=2)
        machines.wait_for_runs(1, n=2)
        running.enter_context(machines.running("two", **second))
        leases = machines.leases()
        let_last(time.monotonic(), 2 * LEASE)
        assert machines.leases() == leases, "neither takes over from the other"
        one.send(signal.SIGKILL)
        machines.wait_for_runs(2, n=2)
        before = time.monotonic()
        machines.let_go("two")
        machines.wait_for_effects([1, 2])
        assert time.monotonic() - before >= 0.5
    assert [(run.machine, run.attempt) for run in machines.runs(n=2)] == [("one", 1), ("two", 2), ("two", 3)]


def test_f46_what_a_dead_instance_left_is_found_behind_what_the_living_hold(machines: Machines) -> None:
    """Ten thousand older deliveries of one that lives do not hide the one of an instance without a lease."""
    machines.project(lease=LONG)
    machines.box.run()
    machines.emit(*range(10_001))
    machines.client.xreadgroup("sandbox/slow", "alive", {"work": ">"}, count=10_000)
    machines.client.xreadgroup("sandbox/slow", "dead", {"work": ">"}, count=1)
    machines.client.hset("evfn:instances", "alive", "1")
    with machines.running("one"):
        began = time.monotonic()
        machines.wait_for_effects([10_000])
        assert time.monotonic() - began < LONG.total_seconds() / 2
        assert machines.pending() == 10_000
    assert [run.attempt for run in machines.runs()] == [2]


@pytest.mark.early(5)
def test_f50_instances_come_and_go_and_leave_nothing_behind(machines: Machines) -> None:
    """Twenty restarts, by SIGTERM and kill -9, with new code each time: every event has its effect, and the server
    knows of no more consumers and leases than instances live."""
    machines.project("workers: {max: 1}")
    with machines.running("last"):
        for turn in range(20):
            machines.box.function("slow", FUNCTION + f"\n    REVISION = {turn}\n")
            with machines.running(f"m{turn % 2}", "--no-reload") as one:
                machines.emit(*range(turn * 10, turn * 10 + 10), seconds=0.01)
                one.send(signal.SIGKILL if turn % 3 else signal.SIGTERM)
                one.process.wait(10)
        machines.wait_for_effects(range(200))
        wait_until(lambda: machines.pending() == 0, description="all is settled")
        wait_until(
            lambda: len(machines.leases()) == 1 and machines.consumers() - {"-"} <= machines.leases(),
            description="the dead are cleared away",
        )
        for what in ("about", "beaten"):
            wait_until(partial(machines.one_left_of, what), description=f"what the dead left as {what} too")
    assert machines.box.status("slow")["emitted"] == 200


def test_b19_an_instance_beats_as_long_as_it_drains(machines: Machines) -> None:
    """After SIGTERM what runs may take many leases to end: nobody takes it over meanwhile."""
    machines.hold("one")
    with machines.running("one") as one:
        machines.emit(1)
        machines.wait_for_runs(1)
        with machines.running("two"):
            one.send(signal.SIGTERM)
            wait_until(lambda: one.said("again"), description="it drains")
            let_last(time.monotonic(), 3 * LEASE)
            machines.let_go("one")
            assert one.process.wait(10) == 0
            machines.wait_for_effects([1])
    assert [(run.machine, run.attempt) for run in machines.runs()] == [("one", 1)]


def test_a_lease_that_is_lost_in_a_drain_is_no_completed_drain(machines: Machines) -> None:
    """What still runs is killed, and the exit code says that it was not finished."""
    machines.hold("one")
    with machines.running("one") as one:
        machines.emit(1)
        machines.wait_for_runs(1)
        one.send(signal.SIGTERM)
        wait_until(lambda: one.said("SIGTERM"), description="it drains")
        machines.client.hdel("evfn:instances", *machines.leases())
        assert one.process.wait(10) == 1
    machines.let_go("one")
    with machines.running("two"):
        machines.wait_for_effects([1])


def test_b20_a_second_signal_ends_the_drain_and_hands_over(machines: Machines) -> None:
    """The second SIGTERM, and any after it, aborts: what ran begins elsewhere as the same attempt, before the lease."""
    machines.project("workers: {max: 1}", lease=LONG)
    machines.hold("one")
    with machines.running("one") as one:
        machines.emit(1, 2, 3)
        (running,) = machines.wait_for_runs(1)
        with machines.running("two"):
            one.send(signal.SIGTERM)
            machines.wait_for_effects({1, 2, 3} - {running.n})
            second = time.monotonic()
            for _ in range(3):
                one.send(signal.SIGTERM)
            assert one.process.wait(10) == -signal.SIGTERM
            machines.wait_for_effects([1, 2, 3])
            assert time.monotonic() - second < LONG.total_seconds() * 0.7
    assert [(run.machine, run.attempt) for run in machines.runs(n=running.n)] == [("one", 1), ("two", 1)]
    assert not one.said("Traceback")


def test_a_read_that_arrives_late_is_taken_over(machines: Machines) -> None:
    """Events that the server gave to a consumer without a lease, long after it was fenced, run all the same."""
    with machines.running("one"):
        machines.emit(1)
        machines.wait_for_effects([1])
        with machines.client.pipeline(transaction=True) as at_once:
            at_once.xadd("work", {"data": '{"n": 2}'})
            at_once.xreadgroup("sandbox/slow", "fenced", {"work": ">"})
            at_once.execute()
        machines.wait_for_effects([1, 2])
    assert [run.attempt for run in machines.runs(n=2)] == [2]


def an_hour_ahead() -> dict[str, str]:
    """The environment of a process whose clock is wrong. Skips the test where that cannot be had."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        if os.environ.get("EVFN_REQUIRE_FAKETIME") == "1":
            pytest.fail("libfaketime is required, but missing")
        pytest.skip("libfaketime is not installed")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": "+1h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def running(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/stat").open() as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
