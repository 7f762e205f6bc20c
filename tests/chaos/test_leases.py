"""Instances on several machines share the work, and any of them may die, hang or be cut off.

A machine of its own is a state folder of its own: file locks are not shared, beats are all there is.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen

import pytest

from sandbox import Sandbox, wait_until
from servers import RealServer

HEAD = "version: 1\nname: sandbox\nsettings: {lease: 1s}\n"


class Machines:
    """One project on several machines that share a server."""

    def __init__(self, box: Sandbox, server: RealServer) -> None:
        self.box = box
        self.server = server

    def running(self, name: str, *arguments: str) -> AbstractContextManager["Popen[bytes]"]:
        state = self.box.folder / name
        state.mkdir(exist_ok=True)
        return self.box.running("--state", str(state), *arguments)


@pytest.fixture
def machines(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    server = RealServer("valkey", tmp_path_factory.mktemp("s"), options=["--appendonly", "yes"]).start()
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    yield Machines(sandbox, server)
    server.stop()


def test_f4_what_a_killed_machine_held_runs_on_another(machines: Machines) -> None:
    """kill -9 of a whole instance: another runs its events after its lease, charged with the death, once each."""
    box = machines.box
    box.manifest(
        "slow: {topic: work, function: 'slow:run', emits: done, start: earliest, workers: {max: 2}}", head=HEAD
    )
    box.function(
        "slow",
        """
        import time

        def run(event, context):
            note(f"{event.data['n']} {context.attempt} {os.getppid()}")
            time.sleep(60 if (open(os.environ["JOURNAL"] + ".hang").read() == "yes") else 0)
            return event.data["n"]
        """,
    )
    hang = Path(f"{box.journal}.hang")
    hang.write_text("yes")
    with machines.running("one") as first:
        box.emit("work", {"n": 1}, {"n": 2}, {"n": 3})
        wait_until(lambda: len(box.notes()) == 2, description="two events run on the first")
        with machines.running("two"):
            hang.write_text("no")
            os.kill(first.pid, signal.SIGKILL)
            began = time.monotonic()
            wait_until(lambda: box.status("slow")["succeeded"] == 3, description="the other took over")
            took = time.monotonic() - began
    runs = [note.split() for note in box.notes()]
    # Two ran on the first machine; all three were in its hands, and run again, or for the first time, on the second.
    assert Counter(attempt for _, attempt, _ in runs) == {"1": 2, "2": 3}
    assert len({pid for _, attempt, pid in runs if attempt == "2"}) == 1
    assert took < 6
    status = box.status("slow")
    assert (status["emitted"], status["pending"], status["failed"]) == (3, 0, 0)
