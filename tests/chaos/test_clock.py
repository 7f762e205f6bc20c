"""The server's clock jumps, and time passes while nobody is there."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from chaos.outage import HEAD, Outage
from sandbox import Sandbox, wait_until
from servers import FLAVOURS, RealServer

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.fixture(params=FLAVOURS)
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server for one test, of either kind."""
    server = RealServer(request.param, tmp_path_factory.mktemp("s")).start()
    yield server
    server.stop()


def test_f52_a_retry_falls_due_while_nobody_is_there(sandbox: Sandbox, any_server: RealServer) -> None:
    """It runs once, soon after the next start, as the attempt it was."""
    failing(sandbox, any_server, delay=3)
    sandbox.emit("work", {"n": 1})
    with sandbox.running():
        # Asked without a command in between, which on a busy machine may take as long as the retry is away.
        wait_until(lambda: retries(any_server) == 1, description="the second attempt is due in three seconds")
        due = time.monotonic() + 3
    assert sandbox.notes() == ["1"]
    wait_until(lambda: time.monotonic() > due, description="it is due")
    with sandbox.running():
        wait_until(lambda: sandbox.notes() == ["1", "2"], description="it runs")
        wait_until(lambda: sandbox.status("late")["succeeded"] == 1, description="it is settled")
    assert sandbox.notes() == ["1", "2"]


def failing(box: Sandbox, server: RealServer, *, delay: int = 1) -> None:
    """A project with a function that fails at its first attempt and notes each; `delay` is the second's, in seconds."""
    box.environment["EVFN_REDIS_URL"] = server.url
    box.manifest(
        "late: {topic: work, function: 'late:run', start: earliest, emits: done, workers: {max: 1},"
        f" retry: {{attempts: 2, initial_delay: {delay}s, jitter: none}}}}",
        head=HEAD,
    )
    box.function(
        "late",
        """
        def run(event, context):
            note(context.attempt)
            if context.attempt == 1:
                raise ValueError("not yet")
            return event.data["n"]
        """,
    )


class ServerClock:
    """The clock of one server, which a test may set."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, hours: int) -> None:
        """So many hours from the real time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{hours * 3600:+d}\n")
        new.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> ServerClock:
    if not FAKETIME.exists():
        if os.environ.get("EVFN_REQUIRE_FAKETIME") == "1":
            pytest.fail(f"{FAKETIME} is required, but missing")
        pytest.skip("libfaketime is not installed")
    return ServerClock(tmp_path / "clock")


@pytest.fixture
def timed(clock: ServerClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server that goes by that clock; Debian's Redis does not start under libfaketime."""
    server = RealServer("valkey", tmp_path_factory.mktemp("s"), environment=clock.environment).start()
    yield server
    server.stop()


def test_f41_the_servers_clock_jumps_under_load(sandbox: Sandbox, timed: RealServer, clock: ServerClock) -> None:
    """An hour ahead, two back: every effect is recorded once, and nobody loses the lease."""
    outage = Outage(sandbox, timed)
    with sandbox.running():
        with outage.load():
            for hours in (1, -1, 0):
                clock.set(hours)
                outage.flows()
        outage.settled()
        assert "lease" not in sandbox.log.read_text()


@pytest.mark.parametrize("hours", [-2, 1])
def test_f41_a_retry_waits_for_no_clock(sandbox: Sandbox, timed: RealServer, clock: ServerClock, hours: int) -> None:
    """A retry due in two seconds is due in two seconds, though the server's clock was set back by hours meanwhile."""
    failing(sandbox, timed, delay=2)
    sandbox.emit("work", {"n": 1})
    with sandbox.running():
        wait_until(lambda: retries(timed) == 1, description="the second attempt is due in two seconds")
        clock.set(hours)
        wait_until(lambda: sandbox.notes() == ["1", "2"], description="it runs", patience=10)


def retries(server: RealServer) -> int:
    return int(server.command("ZCARD", "evfn:{work}:sandbox/late:retry")[1:])


def test_f41_a_dead_instance_is_taken_over_from(sandbox: Sandbox, timed: RealServer, clock: ServerClock) -> None:
    """An instance on another machine is killed, and the server's clock set back: its event runs after the lease."""
    outage = Outage(sandbox, timed)
    sandbox.function("work", HOLDING)
    hold = Path(f"{sandbox.journal}.hold")
    hold.touch()
    with machine(sandbox, "one") as first:
        number = outage.emit(10)
        wait_until(lambda: sandbox.notes().count(number) == 2, description="it is running")
        with machine(sandbox, "two"):
            os.kill(first.pid, signal.SIGKILL)
            clock.set(-2)
            hold.unlink()
            wait_until(lambda: number in outage.effects(), description="its effect is there", patience=10)
            outage.flows()
            outage.settled()


HOLDING = """
import time

def echo(event):
    plain(event)
    return event.data["n"]

def plain(event):
    note(event.data["n"])
    while os.path.exists(os.environ["JOURNAL"] + ".hold"):
        time.sleep(0.01)
"""


def machine(box: Sandbox, name: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """An instance on a machine of its own: one that shares no locks with the others."""
    (box.folder / name).mkdir()
    return box.running("--state", str(box.folder / name))
