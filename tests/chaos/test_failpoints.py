"""F7: evfn is killed in every gap between two of its steps, and every event still has its effect once.

The gaps are read from the code: one before and one behind each atomic step, and those that it names itself.
"""

import ast
import asyncio
import importlib
import pkgutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import pytest

import evfn.broker
import evfn_cli
from chaos.machines import Machines
from evfn.broker.connection import Connection
from evfn.broker.group import Group
from evfn.broker.keys import Keys
from evfn.broker.scripts import scripts
from evfn.clock import SystemClock
from sandbox import wait_until

HEAD = "version: 1\nname: sandbox\nsettings: {lease: 1s}\ntopics: {work: {max_events: 5}}\n"
TRIGGER = """
slow: {topic: work, function: 'slow:run', emits: done, start: earliest, workers: {max: 1},
  retry: {attempts: 2, initial_delay: 100ms, jitter: none}}
"""


def gaps() -> list[str]:
    """Every failpoint there is."""
    for module in pkgutil.iter_modules(evfn.broker.__path__):
        importlib.import_module(f"evfn.broker.{module.name}")
    found = {place for script in scripts() for place in (script.before, script.after)}
    for package in (evfn, evfn_cli):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reached":
                    (place,) = node.args
                    if isinstance(place, ast.Constant):
                        found.add(str(place.value))
    return sorted(found)


class Scene:
    """A project whose victim dies at one failpoint."""

    def __init__(self, machines: Machines, gap: str) -> None:
        self.machines = machines
        self.box = machines.box
        self.gap = gap
        self.expected: Counter[int] = Counter()
        self.arming = {"EVFN_FAILPOINTS": f"{gap}=kill"}
        self.runs_jobs = False

    def emit(self, *numbers: int, **more: object) -> None:
        self.machines.emit(*numbers, **more)
        self.expected.update(numbers)

    def dies(self, process: "Popen[bytes]") -> None:
        """The victim ends by the failpoint, and by nothing else."""
        wait_until(lambda: process.poll() is not None, description=f"it comes to {self.gap}")
        assert process.returncode == -signal.SIGKILL

    def command_dies(self, *arguments: str) -> None:
        """The same of a command."""
        before = self.box.environment
        self.box.environment = {**before, **self.arming}
        try:
            self.box.evfn(*arguments, expect=-signal.SIGKILL)
        finally:
            self.box.environment = before

    def completed(self) -> None:
        """Another instance does what is left: every effect is there once, and nothing else is."""
        with ExitStack() as stack:
            stack.enter_context(self.machines.running("other"))
            if self.runs_jobs:
                stack.enter_context(self.machines.rq_worker("jobs"))
            wait_until(lambda: len(self.machines.effects()) >= self.expected.total(), description="all effects")
            wait_until(self._idle, description="nothing is left")
        assert Counter(self.machines.effects()) == self.expected

    def _idle(self) -> bool:
        status = self.box.status("slow")
        return not (status["pending"] or status["due"] or status["lag"] or status["dead"])


def under_load(scene: Scene) -> None:
    """It fetches, runs, settles, retries, trims."""
    scene.emit(*range(12))
    scene.emit(12, 13, fails=1)
    with scene.machines.running("victim", **scene.arming) as victim:
        scene.dies(victim.process)


def promoting(scene: Scene) -> None:
    """Under load; what it promotes it may hold already as it dies, and then it is charged with that."""
    scene.box.manifest(TRIGGER.replace("attempts: 2", "attempts: 3"), head=HEAD)
    under_load(scene)


def taking_over(scene: Scene) -> None:
    """Another died before it, which held deliveries; so each may be charged with two deaths."""
    scene.box.manifest(TRIGGER.replace("attempts: 2", "attempts: 3"), head=HEAD)
    scene.machines.hold("first")
    with scene.machines.running("first") as first:
        scene.emit(*range(3))
        scene.machines.wait_for_runs(1)
        first.send(signal.SIGKILL)
        first.process.wait(10)
    with scene.machines.running("victim", **scene.arming) as victim:
        scene.dies(victim.process)


def handing_over(scene: Scene) -> None:
    """It is told to end, while it runs one and holds more."""
    scene.machines.hold("victim")
    with scene.machines.running("victim", **scene.arming) as victim:
        scene.emit(*range(10))
        scene.machines.wait_for_runs(1)
        victim.send(signal.SIGTERM)
        wait_until(lambda: victim.said("SIGTERM") or victim.process.poll() is not None, description="it ends")
        scene.machines.let_go("victim")
        scene.dies(victim.process)


def group_vanished(scene: Scene) -> None:
    """The group is destroyed under it, and another instance makes it again, which knows nothing of what it holds."""
    scene.machines.hold("victim")
    with scene.machines.running("victim", **scene.arming) as victim:
        scene.emit(0)
        scene.machines.wait_for_runs(1)
        scene.machines.client.xgroup_destroy("work", "sandbox/slow")
        asyncio.run(made_again(scene.machines))
        scene.machines.let_go("victim")
        scene.emit(1)
        scene.dies(victim.process)
    if scene.gap == "before restore":
        # A destroyed group and a dead instance at once: nobody is left who knew that it was given out.
        del scene.expected[0]


async def made_again(machines: Machines) -> None:
    """As another instance does it."""
    connection = await Connection.open(machines.server.url, clock=SystemClock())
    newest = str(machines.client.xinfo_stream("work")["last-generated-id"])
    await Group(connection, Keys(""), "work", "sandbox/slow", "another").recreate(newest)
    await connection.close()


def burying(scene: Scene) -> None:
    """One died long ago and left nothing but its lease."""
    scene.machines.client.hset("evfn:instances", "ghost", "1")
    scene.emit(0)
    with scene.machines.running("victim", **scene.arming) as victim:
        scene.dies(victim.process)


def publishing(scene: Scene) -> None:
    """The producer knows nothing, and says it again."""
    emit = ("emit", "work", '{"n": 1}', "--id", "one")
    scene.command_dies(*emit)
    scene.box.evfn(*emit)
    scene.expected.update([1])


def redriving(scene: Scene) -> None:
    """Dead letters go back to their trigger."""
    scene.emit(1, 2, 3, fails=2)
    with scene.machines.running("before"):
        wait_until(lambda: scene.box.status("slow")["dead"] == 3, description="all are dead")
    scene.box.function("slow", "def run(event):\n    return event.data['n']\n")
    redrive = ("dlq", "redrive", "slow", "--all", "--no-wait")
    scene.command_dies(*redrive)
    scene.box.evfn(*redrive)


def replaying(scene: Scene) -> None:
    """Past events come to it once more."""
    scene.box.manifest(TRIGGER, head=HEAD.replace("max_events: 5", "max_events: 100"))
    scene.emit(1, 2, 3)
    with scene.machines.running("before"):
        scene.machines.wait_for_effects([1, 2, 3])
    replay = ("replay", "slow", "--from", "1h")
    scene.command_dies(*replay)
    resumed = scene.box.evfn("replay", "slow", "--resume", expect=None)
    if scene.gap == "before begin_replay":
        assert resumed.returncode != 0
        scene.box.evfn(*replay)
    scene.expected.update([1, 2, 3])


def forgetting(scene: Scene) -> None:
    """A trigger is gone, and what it left is deleted."""
    scene.emit(1)
    with scene.machines.running("before"):
        scene.machines.wait_for_effects([1])
    scene.box.manifest(TRIGGER.replace("slow:", "next:", 1), head=HEAD)
    scene.command_dies("forget", "slow", "--yes")
    scene.box.evfn("forget", "--all", "--yes")
    client = scene.machines.client
    assert [group["name"] for group in client.xinfo_groups("work")] == []
    assert list(client.scan_iter("*sandbox/slow*")) == []
    scene.box.manifest(TRIGGER, head=HEAD)
    scene.expected.update([1])  # Its group is new, and begins at the earliest event again.


def as_a_job(scene: Scene) -> None:
    """The process of a job dies; `evfn rq-worker` itself goes on, and tells."""
    scene.runs_jobs = True
    retry = "retry: {attempts: 9, initial_delay: 1s, jitter: none}"
    scene.machines.project(f"isolation: job, {retry}")
    if step(scene.gap) == "reset_job":
        # It refuses what it cannot load.
        scene.box.function("slow", "import not_there\n\ndef run(event):\n    return event.data['n']\n")
        (scene.box.folder / "not_there.py").touch()
    scene.emit(1)
    with scene.machines.running("one"), scene.machines.rq_worker("victim", **scene.arming) as victim:
        (scene.box.folder / "not_there.py").unlink(missing_ok=True)
        wait_until(lambda: victim.said("ended by signal SIGKILL"), description=f"it comes to {scene.gap}")
        victim.process.kill()
    (scene.box.folder / "not_there.py").touch()


REACHED: dict[str, Callable[[Scene], None]] = {
    **dict.fromkeys(["register", "start", "beat", "settle", "trim", "missed", "newest"], under_load),
    "promote": promoting,
    **dict.fromkeys(["fetch", "the hand-over", "the verdict", "the decision"], under_load),
    **dict.fromkeys(["claim", "delete_consumer"], taking_over),
    **dict.fromkeys(["release", "deregister"], handing_over),
    "restore": group_vanished,
    "bury": burying,
    "publish": publishing,
    "redrive": redriving,
    **dict.fromkeys(["begin_replay", "replay", "end_replay"], replaying),
    "forget": forgetting,
    **dict.fromkeys(["take_job", "beat_job", "report_job", "reset_job"], as_a_job),
}
"""How each step comes about."""


def step(gap: str) -> str:
    return gap.removeprefix("before ").removeprefix("after ")


@pytest.fixture
def machines(machines: Machines) -> Machines:
    """Of the project that this page is about."""
    machines.box.manifest(TRIGGER, head=HEAD)
    return machines


def test_every_gap_has_a_way_to_it() -> None:
    """A step that is new in the code is killed at too, or this fails."""
    assert {step(gap) for gap in gaps()} == REACHED.keys()


SLOW = {"bury", "newest", "beat_job", "reset_job"}
"""What is a hint or a tidying up, or comes only after seconds."""


@pytest.mark.parametrize(
    "gap", [pytest.param(gap, marks=[pytest.mark.storm] if step(gap) in SLOW else []) for gap in gaps()]
)
def test_f7_killed_in_a_gap(machines: Machines, gap: str) -> None:
    """kill -9 just there: what was begun is finished by others, once."""
    scene = Scene(machines, gap)
    REACHED[step(gap)](scene)
    scene.completed()


def test_f14_an_event_loop_that_stands_still_loses_its_lease(machines: Machines) -> None:
    """For three leases nothing of the instance moves, at the worst place: another does the work, and it is refused."""
    hold = machines.box.folder / "hold"
    machines.emit(1)
    with machines.running("stalled", EVFN_FAILPOINTS=f"before settle=hold:{hold}") as stalled:
        wait_until(hold.exists, description="it stands still, about to settle")
        with machines.running("other"):
            machines.wait_for_effects([1])
            hold.unlink()
            wait_until(lambda: stalled.said("lost its lease"), description="it is told")
            machines.emit(2)
            machines.wait_for_effects([1, 2])
    assert [run.machine for run in machines.runs(n=1)] == ["stalled", "other"]


def test_f3_a_worker_dies_behind_its_result(machines: Machines) -> None:
    """What it said before counts: the event is settled, and does not run again."""
    hold = machines.box.folder / "hold"
    machines.emit(1)
    with machines.running("one", EVFN_FAILPOINTS=f"before the verdict=hold:{hold}"):
        wait_until(hold.exists, description="the result has arrived")
        (run,) = machines.runs()
        machines.kill_worker(run)
        time.sleep(0.1)  # Its end is there to be noticed first.
        hold.unlink()
        machines.wait_for_effects([1])
        machines.emit(2)
        machines.wait_for_effects([1, 2])
    assert [(run.n, run.attempt) for run in machines.runs()] == [(1, 1), (2, 1)]
