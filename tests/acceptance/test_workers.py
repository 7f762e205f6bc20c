"""Pools, async functions and the processes behind them."""

import contextlib
import signal
from collections import Counter
from pathlib import Path

import pytest

from sandbox import Sandbox, wait_until


def test_f57_slow_import_delays_no_other_trigger(sandbox: Sandbox) -> None:
    """I11: while one module sleeps at its import, the other trigger's events run."""
    sandbox.manifest(
        """
        sleeps: {topic: work, function: "sleeps:run"}
        good: {topic: work, function: "good:run"}
        """
    )
    sandbox.function("sleeps", "\nimport time\ntime.sleep(600)\n\ndef run(event):\n    pass\n")
    sandbox.function("good", "\ndef run(event):\n    note('good')\n")
    with sandbox.running():
        sandbox.emit("work", {"n": 1})
        wait_until(lambda: sandbox.notes() == ["good"], description="the other trigger ran")


def test_async_function_runs_up_to_its_concurrency_at_once(sandbox: Sandbox) -> None:
    """Twenty events of a quarter second, ten at a time in one worker; each exactly once."""
    sandbox.manifest(
        """
        waits: {topic: work, function: "waits:run", workers: {max: 1, concurrency: 10}}
        """
    )
    sandbox.function(
        "waits",
        """
        import asyncio

        running = 0

        async def run(event):
            global running
            running += 1
            note(f"{event.data['n']} {running}")
            await asyncio.sleep(0.25)
            running -= 1
        """,
    )
    sandbox.emit("work", *({"n": n} for n in range(20)))
    sandbox.run()
    assert sorted(int(line.split()[0]) for line in sandbox.notes()) == list(range(20))
    assert max(int(line.split()[1]) for line in sandbox.notes()) == 10


def test_async_timeout_cancels_only_its_own_task(sandbox: Sandbox) -> None:
    """The one that hangs is cancelled and dead-lettered as timed out; the others are not disturbed."""
    sandbox.manifest(
        """
        waits:
          topic: work
          function: waits:run
          timeout: 500ms
          retry: {attempts: 1}
          workers: {max: 1, concurrency: 5}
        """
    )
    sandbox.function(
        "waits",
        """
        import asyncio

        async def run(event):
            note(event.data["n"])
            await asyncio.sleep(60 if event.data["n"] == 3 else 0.1)
        """,
    )
    sandbox.emit("work", *({"n": n} for n in range(10)))
    sandbox.run(expect=3)
    assert sorted(map(int, sandbox.notes())) == list(range(10))
    (letter,) = sandbox.dead("waits")
    assert letter["reason"] == "timed_out"
    assert sandbox.status("waits")["succeeded"] == 9


def test_crash_among_several_running_charges_only_the_guilty_one(sandbox: Sandbox) -> None:
    """All that ran are suspects and run again, each alone; only the one that crashes again is charged."""
    sandbox.manifest(
        """
        waits:
          topic: work
          function: waits:run
          retry: {attempts: 2, initial_delay: 50ms}
          workers: {max: 1, concurrency: 5}
        """
    )
    sandbox.function(
        "waits",
        """
        import asyncio

        async def run(event, context):
            note(f"{event.data['n']} {context.attempt}")
            await asyncio.sleep(0.1)
            if event.data["n"] == 3:
                os._exit(1)
        """,
    )
    sandbox.emit("work", *({"n": n} for n in range(5)))
    sandbox.run(expect=3)
    (letter,) = sandbox.dead("waits")
    assert letter["reason"] == "crashed"
    assert letter["event"]["data"] == {"n": 3}
    assert letter["attempts"] == 2
    status = sandbox.status("waits")
    assert (status["succeeded"], status["failed"], status["retried"]) == (4, 2, 1)
    assert not [line for line in sandbox.notes() if line.endswith(" 2") and not line.startswith("3")]


def test_workers_are_recycled_without_losing_or_doubling_an_event(sandbox: Sandbox) -> None:
    """After `recycle_after` invocations another process takes over."""
    sandbox.manifest("many: {topic: work, function: 'many:run', workers: {max: 1, recycle_after: 50}}")
    sandbox.function("many", "\ndef run(event):\n    note(f\"{event.data['n']} {os.getpid()}\")\n")
    sandbox.emit("work", *({"n": n} for n in range(2000)))
    sandbox.run()
    assert sorted(int(line.split()[0]) for line in sandbox.notes()) == list(range(2000))
    per_process = Counter(line.split()[1] for line in sandbox.notes())
    assert len(per_process) > 1


def test_environment_of_a_function(sandbox: Sandbox) -> None:
    """Its `env`, `.env` beside the manifest, the project as working directory; nothing of evfn's own variables."""
    sandbox.manifest("env: {topic: work, function: 'env:run', env: {LEVEL: low, KEY: \"${SECRET:-none}\"}}")
    sandbox.function(
        "env",
        """
        def run(event):
            own = [name for name in os.environ if name.startswith("EVFN_")]
            note(f"{os.environ['LEVEL']} {os.environ['KEY']} {os.environ['FROM_FILE']} {os.getcwd()} {own}")
        """,
    )
    (sandbox.folder / ".env").write_text("FROM_FILE='a file'\n")
    sandbox.environment["SECRET"] = "hidden"  # noqa: S105 - an example
    sandbox.environment["EVFN_LEASE"] = "10s"
    sandbox.emit("work", {"n": 1})
    done = sandbox.run()
    assert sandbox.notes() == [f"low hidden a file {sandbox.folder} []"]
    assert "hidden" not in done.stdout + done.stderr


def test_emit_to_a_key_that_is_no_stream_waits_until_it_is_mended(sandbox: Sandbox) -> None:
    """I15: nothing is lost, the trigger says that it is blocked and why, and goes on by itself."""
    sandbox.manifest("emits: {topic: work, function: 'emits:run', emits: results}")
    sandbox.function("emits", "\ndef run(event):\n    note('ran')\n    return event.data\n")
    with sandbox.running():
        import redis

        (path,) = {line for line in sandbox.log.read_text().split() if line.startswith("unix://")}
        with redis.Redis.from_url(path) as client:
            client.set("results", "not a stream")
            sandbox.emit("work", {"n": 1})
            wait_until(lambda: "blocked" in sandbox.log.read_text(), description="it says blocked")
            assert "results" in sandbox.log.read_text()
            client.delete("results")
            wait_until(lambda: client.xlen("results") == 1, description="the emit is stored")
    assert sandbox.notes() == ["ran"]
    assert sandbox.status("emits")["emitted"] == 1


def test_event_that_takes_its_instance_down_ends_as_a_dead_letter(sandbox: Sandbox) -> None:
    """Poison: every start is charged, over all instances, and the letter says that its instance died."""
    sandbox.manifest("poison: {topic: work, function: 'poison:run', retry: {attempts: 2}}")
    sandbox.function(
        "poison",
        """
        import signal
        import time

        def run(event, context):
            note(context.attempt)
            with open(f"/proc/{os.getppid()}/stat") as stat:
                dispatcher = int(stat.read().rpartition(")")[2].split()[1])
            os.kill(dispatcher, signal.SIGKILL)
            time.sleep(60)
        """,
    )
    sandbox.emit("work", {"n": 1})
    for _ in range(2):
        sandbox.run(expect=-9)
        wait_until(lambda: not sandbox.processes(), description="everything ended with it")
    sandbox.run(expect=3)
    assert sandbox.notes() == ["1", "2"]
    (letter,) = sandbox.dead("poison")
    assert letter["reason"] == "crashed"
    assert "its instance died" in letter["error"]["message"]
    assert letter["attempts"] == 2


def test_a_single_worker_is_recycled_without_two_at_a_time(sandbox: Sandbox) -> None:
    """With `max: 1` the next process begins when the one before has ended its last event: order holds over both."""
    sandbox.manifest("many: {topic: work, function: 'many:run', workers: {max: 1, recycle_after: 5}}")
    sandbox.function(
        "many",
        """
        import time

        def run(event):
            note(f"begin {event.data['n']} {os.getpid()}")
            time.sleep(0.03)
            note(f"end {event.data['n']} {os.getpid()}")
        """,
    )
    sandbox.emit("work", *({"n": n} for n in range(40)))
    sandbox.run()
    notes = [line.split() for line in sandbox.notes()]
    assert [(what, int(number)) for what, number, _ in notes] == [
        (what, number) for number in range(40) for what in ("begin", "end")
    ]
    assert len({process for _, _, process in notes}) > 2


def test_a_worker_goes_on_until_its_successor_has_loaded_the_function(sandbox: Sandbox) -> None:
    """A recycled worker leaves no pause behind, however long the import takes."""
    sandbox.manifest("many: {topic: work, function: 'many:run', workers: {max: 1, recycle_after: 10}}")
    sandbox.function(
        "many",
        """
        import pathlib
        import time

        journal = pathlib.Path(os.environ["JOURNAL"])
        while journal.exists() and len(journal.read_text().splitlines()) < 40:
            time.sleep(0.01)

        def run(event):
            note(f"{event.data['n']} {os.getpid()}")
        """,
    )
    sandbox.emit("work", *({"n": n} for n in range(60)))
    sandbox.run()
    assert [int(line.split()[0]) for line in sandbox.notes()] == list(range(60))


def loaded_templates(sandbox: Sandbox) -> list[int]:
    """The processes that have a function loaded and run nothing."""
    found = []
    for pid in sandbox.processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_bytes() == b"evfn-loaded\n":
                found.append(pid)
    return found


def test_a_function_that_comes_back_is_not_imported_again(sandbox: Sandbox) -> None:
    """Scaled to zero and needed again: its import has run once, an edit's once more, and the old one is let go."""
    text = "\nnote(f'imported {{os.getpid()}}')\n\ndef run(event):\n    note(f\"{} {{os.getpid()}}\")\n"
    sandbox.manifest("rare: {topic: work, function: 'rare:run', workers: {max: 1, idle: 20ms}}")
    sandbox.function("rare", text.format("old"))

    def ran(text: str) -> None:
        """One more event, in a process that ends before this returns."""
        before = sandbox.notes()
        sandbox.emit("work", {"n": 1})
        wait_until(lambda: len(sandbox.notes()) > len(before), description=f"{text} ran")
        (line,) = sandbox.notes()[len(before) :]
        assert line.split()[0] == text
        wait_until(lambda: not Path(f"/proc/{line.split()[1]}").exists(), description="its worker has ended")

    with sandbox.running():
        wait_until(lambda: "ready" in sandbox.log.read_text(), description="the function is loaded")
        for _ in range(3):
            ran("old")
        sandbox.function("rare", text.format("new"))
        wait_until(lambda: "reloaded" in sandbox.log.read_text(), description="it is reloaded")
        wait_until(lambda: len(loaded_templates(sandbox)) == 1, description="one revision is kept")
        for _ in range(3):
            ran("new")
        assert [line.split()[0] for line in sandbox.notes()].count("imported") == 2
        assert len(loaded_templates(sandbox)) == 1


def test_f15_a_killed_instance_leaves_no_loaded_template(sandbox: Sandbox) -> None:
    """kill -9 of the dispatcher: everything ends, what runs on a fork of a loaded template included."""
    sandbox.manifest("slow: {topic: work, function: 'slow:run', workers: {max: 2}}")
    sandbox.function("slow", "\nimport time\n\ndef run(event):\n    note(os.getpid())\n    time.sleep(600)\n")
    with sandbox.running() as process:
        sandbox.emit("work", {"n": 1}, {"n": 2})
        wait_until(lambda: len(sandbox.notes()) == 2, description="two workers run")
        assert len(loaded_templates(sandbox)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not sandbox.processes(), description="nothing is left")
    assert not any(Path(f"/proc/{pid}").exists() for pid in sandbox.notes())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_is_recycled_though_events_come_one_at_a_time(sandbox: Sandbox, workers: int) -> None:
    """Each event is there only when the one before is settled: nothing ever waits, and still no process serves on."""
    sandbox.manifest(
        f"chain: {{topic: work, function: 'chain:run', emits: work, workers: {{max: {workers}, recycle_after: 3}}}}"
    )
    sandbox.function(
        "chain",
        """
        import time

        def run(event):
            note(f"{event.data['n']} {os.getpid()}")
            time.sleep(0.02)
            return {"n": event.data["n"] + 1} if event.data["n"] < 24 else None
        """,
    )
    sandbox.emit("work", {"n": 0})
    sandbox.run()
    assert [int(line.split()[0]) for line in sandbox.notes()] == list(range(25))
    assert len({line.split()[1] for line in sandbox.notes()}) > 2
