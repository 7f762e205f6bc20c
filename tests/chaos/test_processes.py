"""evfn's own processes die, hang and run out of what they need: what they held is run, and settled once."""

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from chaos.machines import Machines
from sandbox import wait_until


@pytest.fixture
def machines(machines: Machines) -> Machines:
    """With one worker each, and little patience."""
    machines.project("workers: {max: 1}, retry: {attempts: 3, initial_delay: 100ms, jitter: none}, timeout: 1s")
    return machines


def test_f2_a_worker_that_dies_behind_an_emit_has_emitted_nothing(machines: Machines) -> None:
    """What an attempt emits is there when it is settled, and then only."""
    machines.box.function(
        "slow",
        """
        import signal

        def run(event, context):
            note(context.attempt)
            context.emit("done", event.data["n"])
            if context.attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    machines.emit(1)
    with machines.running("one"):
        machines.wait_for_effects([1])
        wait_until(lambda: machines.pending() == 0, description="it is settled")
    assert machines.box.notes() == ["1", "2"]
    assert machines.effects() == [1]


@pytest.mark.parametrize(
    ("gap", "attempts"), [("before settle", [1, 2]), ("after settle", [1])], ids=["f5 before", "f6 behind"]
)
def test_f5_f6_killed_around_the_settlement(machines: Machines, gap: str, attempts: list[int]) -> None:
    """Before it the event runs again; once the server has it, it does not."""
    machines.emit(1)
    with machines.running("one", EVFN_FAILPOINTS=f"{gap}=kill") as one:
        wait_until(lambda: one.process.poll() is not None, description="it is killed there")
    with machines.running("two"):
        machines.wait_for_effects([1])
        machines.emit(2)
        machines.wait_for_effects([1, 2])
        wait_until(lambda: machines.pending() == 0, description="nothing is left")
    assert [run.attempt for run in machines.runs(n=1)] == attempts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["hiredis", "pydantic_core", "a template"])
def test_f11_a_signal_while_it_starts(machines: Machines, number: signal.Signals, when: str) -> None:
    """Whenever it comes, evfn ends soon and without a traceback, and leaves nothing running."""
    machines.emit(*range(5))
    with machines.box.running("--state", str(machines.box.folder / "one"), ready=False) as process:
        if when == "a template":
            wait_until(lambda: len(machines.box.processes()) > 1, description="it has a process of its own")
        else:
            wait_until(lambda: when in mapped(process.pid), description="it is importing")
        os.killpg(process.pid, number)
        process.wait(20)
    assert "Traceback" not in machines.box.log.read_text()
    wait_until(lambda: not machines.box.processes(), description="nothing is left running")
    with machines.running("two"):
        machines.wait_for_effects(range(5))


def test_f11_ctrl_c_on_a_terminal_reaches_every_process(machines: Machines) -> None:
    """What runs is finished all the same: workers leave that to their dispatcher."""
    machines.emit(1, seconds=0.5)
    with machines.running("one") as one:
        machines.wait_for_runs(1)
        os.killpg(one.process.pid, signal.SIGINT)
        assert one.process.wait(10) == 0
    assert machines.effects() == [1]
    assert [run.attempt for run in machines.runs()] == [1]


def test_f13_a_worker_that_stands_still_is_killed_at_its_timeout(machines: Machines) -> None:
    """SIGSTOP of a worker: the event is timed out as if it ran, and tried again by another."""
    machines.hold("one")
    machines.emit(1)
    with machines.running("one"):
        (run,) = machines.wait_for_runs(1)
        os.kill(run.pid, signal.SIGSTOP)
        machines.let_go("one")
        stopped = time.monotonic()
        machines.wait_for_effects([1])
        assert time.monotonic() - stopped < 5
    assert [run.attempt for run in machines.runs()] == [1, 2]


def test_f16_a_process_that_a_function_leaves_holds_up_nothing(machines: Machines) -> None:
    """It has inherited the worker's pipes; the worker's end is seen by other means than their end."""
    machines.box.function(
        "slow",
        """
        import os
        import subprocess

        def run(event, context):
            note(context.attempt)
            subprocess.Popen(["sleep", "60"], close_fds=False)
            if event.data["n"] == 1 and context.attempt == 1:
                os._exit(3)
            return event.data["n"]
        """,
    )
    machines.emit(1, 2)
    with machines.running("one"):
        began = time.monotonic()
        machines.wait_for_effects([1, 2])
        assert time.monotonic() - began < 8
    assert machines.box.notes() == ["1", "1", "2"]


def test_f56_too_few_descriptors(machines: Machines) -> None:
    """Where a process may open no more files, what cannot begin waits, and it is said which limit that is."""
    machines.project("workers: {max: 8}")
    machines.hold("one")
    machines.emit(*range(8))
    with limited(resource.RLIMIT_NOFILE, 56), machines.running("one") as one:
        wait_until(lambda: one.said("too many open files"), description="the limit is named")
        machines.let_go("one")
        machines.wait_for_effects(range(8))
        assert one.process.poll() is None
        assert "Traceback" not in one.log.read_text()


def mapped(pid: int) -> str:
    """The libraries a process has loaded; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


@contextlib.contextmanager
def limited(what: int, most: int) -> Iterator[None]:
    """Processes that are started meanwhile have this limit."""
    before = resource.getrlimit(what)
    set_limit: Callable[[tuple[int, int]], None] = partial(resource.setrlimit, what)
    set_limit((most, before[1]))
    try:
        yield
    finally:
        set_limit(before)


def test_f57_a_template_that_is_killed_is_started_again(machines: Machines) -> None:
    """kill -9 of the process that makes the workers: what ran is charged with it, and all goes on."""
    machines.hold("one")
    machines.emit(1)
    with machines.running("one") as one:
        (run,) = machines.wait_for_runs(1)
        os.kill(parent(run.pid), signal.SIGKILL)
        machines.let_go("one")
        machines.wait_for_effects([1])
        machines.emit(2)
        machines.wait_for_effects([1, 2])
        assert one.process.poll() is None


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
