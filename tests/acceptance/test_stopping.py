"""Ctrl-C, SIGTERM, SIGHUP and kill -9: nothing lost, nothing left behind."""

import os
import signal
import time

import pytest

from sandbox import Sandbox, wait_until

MANIFEST = """
    slow:
      topic: work
      function: slow:run
      workers: {max: 1}
"""
SLOW = """
    import time

    def run(event, context):
        note(f"start {event.data['n']} {context.attempt}")
        time.sleep(event.data["seconds"])
        note(f"end {event.data['n']}")
"""


@pytest.fixture
def slow(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest(MANIFEST)
    sandbox.function("slow", SLOW)
    return sandbox


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_first_signal_finishes_what_runs_and_gives_back_the_rest(slow: Sandbox, name: str) -> None:
    """The running call ends, exit code 0, no traceback; the second event is delivered at once by the next start."""
    slow.emit("work", {"n": 1, "seconds": 1}, {"n": 2, "seconds": 0})
    with slow.running() as process:
        wait_until(slow.notes, description="the first event runs")
        process.send_signal(getattr(signal, name))
        assert process.wait(20) == 0
    assert slow.notes() == ["start 1 1", "end 1"]
    assert "Traceback" not in slow.log.read_text()
    began = time.monotonic()
    slow.run()
    assert time.monotonic() - began < 8
    assert slow.notes()[2:] == ["start 2 1", "end 2"]


def test_f11_second_signal_aborts_without_burning_an_attempt(slow: Sandbox) -> None:
    """The process ends at once by that signal; the interrupted event runs again as attempt 1."""
    slow.emit("work", {"n": 1, "seconds": 30}, *({"n": n, "seconds": 30} for n in range(2, 12)))
    with slow.running() as process:
        wait_until(slow.notes, description="the event runs")
        process.send_signal(signal.SIGINT)
        wait_until(lambda: b"again" in slow.log.read_bytes(), description="it says how to abort")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
        assert time.monotonic() - began < 5
    assert "Traceback" not in slow.log.read_text()
    assert slow.notes() == ["start 1 1"], "nothing new begins on the way out"
    with slow.running():
        wait_until(lambda: len(slow.notes()) == 2, description="one of them runs again")
        assert slow.notes()[1].endswith(" 1"), "as attempt 1"
        for pid in slow.processes():
            os.kill(pid, signal.SIGKILL)


def test_f15_kill_minus_nine_leaves_nothing_running_and_loses_nothing(slow: Sandbox) -> None:
    """After SIGKILL, workers and server are gone; the next start has all events, the one that ran is charged."""
    slow.emit("work", {"n": 1, "seconds": 30}, *({"n": n, "seconds": 0} for n in range(2, 50)))
    with slow.running() as process:
        wait_until(slow.notes, description="the first event runs")
        process.kill()
        process.wait()
        wait_until(lambda: not slow.processes(), description="nothing is left running")
    slow.function("slow", SLOW.replace('event.data["seconds"]', "0"))
    slow.run()
    ends = [line for line in slow.notes() if line.startswith("end")]
    assert sorted(ends) == sorted(f"end {n}" for n in range(1, 50))
    assert "start 1 2" in slow.notes()
    assert slow.status("slow")["succeeded"] == 49


def test_f1_kill_of_one_worker_charges_only_what_it_ran(slow: Sandbox) -> None:
    """The event that ran counts a crash and runs again; those that waited behind it run once."""
    slow.function(
        "slow",
        """
        import time

        def run(event, context):
            note(f"{event.data['n']} {context.attempt} {os.getpid()}")
            if event.data["n"] == 1 and context.attempt == 1:
                time.sleep(30)
        """,
    )
    slow.emit("work", *({"n": n} for n in range(1, 30)))
    with slow.running():
        wait_until(slow.notes, description="the first event runs")
        os.kill(int(slow.notes()[0].split()[2]), signal.SIGKILL)
        wait_until(lambda: len(slow.notes()) == 30, description="all ran")
        wait_until(lambda: slow.status("slow")["succeeded"] == 29, description="all are settled")
    runs = [line.rsplit(" ", 1)[0] for line in slow.notes()]
    assert sorted(runs) == sorted(["1 1", "1 2", *(f"{n} 1" for n in range(2, 30))])
    assert slow.status("slow")["failed"] == 1
