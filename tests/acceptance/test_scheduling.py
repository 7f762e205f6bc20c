"""Under which of the kernel's policies the processes of an instance run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evfn.scheduling import give_way
from sandbox import Sandbox, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the policies are Linux's")
FUNCTION = """
import os

def run(event):
    note(os.sched_getscheduler(0))
"""


def policies(sandbox: Sandbox, pid: int) -> tuple[int, int]:
    """Of the dispatcher, and of a worker."""
    sandbox.emit("work", {})
    wait_until(sandbox.notes, description="the event ran")
    return os.sched_getscheduler(pid), int(sandbox.notes()[0])


def test_an_instance_and_its_workers_interrupt_nobody_and_the_server_stays_as_it_is(sandbox: Sandbox) -> None:
    """`evfn run` starts its server under the ordinary policy; who waits for that server must not run before it."""
    sandbox.manifest("policy: {topic: work, function: 'policy:run'}")
    sandbox.function("policy", FUNCTION)
    with sandbox.running() as process:
        assert policies(sandbox, process.pid) == (os.SCHED_BATCH, os.SCHED_BATCH)
        found = {os.sched_getscheduler(pid) for pid in sandbox.processes() if b"valkey" in title(pid)}
        assert found == {os.SCHED_OTHER}


def test_a_policy_that_was_chosen_for_it_stays() -> None:
    """Whoever starts an instance as idle work knows why."""
    script = (
        "import os; from evfn.scheduling import give_way; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0));"
        " give_way(); print(os.sched_getscheduler(0))"
    )
    said = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout
    assert int(said) == os.SCHED_IDLE


def test_where_the_system_refuses_it_goes_on_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes forbid the call."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    give_way()


def title(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
