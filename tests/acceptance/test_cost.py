"""What evfn costs when nothing happens, and that it comes back from nothing."""

import os
import time
from pathlib import Path

from sandbox import Sandbox, wait_until

MEASURED_SECONDS = 10.0
SETTLED_SECONDS = 3.0
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(processes: list[int]) -> float:
    """User and system time of these processes so far: fields 14 and 15 of proc(5) stat."""
    total = 0
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def test_idle_instance_with_fifty_triggers_takes_less_than_a_hundredth_of_a_core(sandbox: Sandbox) -> None:
    """Dispatcher, template, workers and embedded server together, over ten seconds, and nobody measuring coverage."""
    for name in [name for name in sandbox.environment if name.startswith("COVERAGE")]:
        del sandbox.environment[name]
    sandbox.manifest("\n".join(f"t{n}: {{topic: topic.{n}, function: 'idle:run'}}" for n in range(50)))
    sandbox.function("idle", "\ndef run(event):\n    note('ran')\n")
    with sandbox.running():
        wait_until(lambda: sandbox.log.read_text().count("ready") >= 50, description="all functions are loaded")
        time.sleep(SETTLED_SECONDS)  # the first look at every group belongs to the start
        processes = sandbox.processes()
        before = cpu_seconds(processes)
        time.sleep(MEASURED_SECONDS)  # idleness is what is measured
        share = (cpu_seconds(processes) - before) / MEASURED_SECONDS
    print(f"idle with 50 triggers: {share:.2%} of one core")  # noqa: T201 - the figure is of interest
    assert share < 0.01


def test_scale_to_zero_and_back(sandbox: Sandbox) -> None:
    """Idle workers end; the next event starts one, in well under a second."""
    sandbox.manifest("rare: {topic: work, function: 'rare:run', workers: {idle: 1s}}")
    sandbox.function("rare", "\ndef run(event):\n    note(os.getpid())\n")
    with sandbox.running():
        sandbox.emit("work", {"n": 1})
        wait_until(lambda: len(sandbox.notes()) == 1, description="the first event ran")
        first = int(sandbox.notes()[0])
        wait_until(lambda: not Path(f"/proc/{first}").exists(), description="the idle worker ended")
        sandbox.emit("work", {"n": 2})
        wait_until(lambda: len(sandbox.notes()) == 2, description="the second event ran")
        assert int(sandbox.notes()[1]) != first
