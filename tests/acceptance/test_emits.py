"""Functions that emit, many events at a time: every emit is stored once, whatever becomes of their workers."""

import json
from collections import Counter
from typing import Any

import pytest

from sandbox import Sandbox, wait_until

EVERY = 10_000


def stored(sandbox: Sandbox, topic: str) -> list[Any]:
    """The data of all events of a topic, in order."""
    lines = sandbox.evfn("tail", topic, "--no-follow", "--json", "-n", str(EVERY)).stdout.splitlines()
    return [json.loads(line)["data"] for line in lines]


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "while True: signal.pause()"])
def test_a_worker_that_ends_in_the_middle_of_its_emits_loses_and_doubles_none(sandbox: Sandbox, how: str) -> None:
    """The finished neighbours of the guilty event are not run again, the others run once, and it is charged alone."""
    sandbox.manifest(
        """
        emits: {topic: work, function: 'emits:run', emits: done, start: earliest, workers: {max: 1},
          timeout: 400ms, retry: {attempts: 2, initial_delay: 10ms, jitter: none}}
        """
    )
    sandbox.function(
        "emits",
        f"""
        import signal

        def run(event, context):
            n = event.data["n"]
            note(n)
            if n in (137, 387, 887) and context.attempt == 1:
                {how}
            if n % 10 == 3:
                return None
            return {{"n": n}}
        """,
    )
    sandbox.emit("work", *({"n": n} for n in range(1000)))
    sandbox.run()
    guilty = {137, 387, 887}
    assert Counter(map(int, sandbox.notes())) == Counter([*range(1000), *guilty])
    emitted = [each["n"] for each in stored(sandbox, "done")]
    expected = [n for n in range(1000) if n % 10 != 3]
    assert sorted(emitted) == expected
    # One worker keeps the order of all but what was tried again.
    assert [n for n in emitted if n not in guilty] == [n for n in expected if n not in guilty]
    status = sandbox.status("emits")
    assert (status["succeeded"], status["emitted"], status["failed"], status["pending"]) == (1000, len(expected), 3, 0)


def test_emits_of_every_kind_from_one_backlog(sandbox: Sandbox) -> None:
    """Large ones beside small ones, several at a time, whole events, other topics, failures, from recycled workers."""
    sandbox.manifest(
        """
        emits: {topic: work, function: 'emits:run', emits: [done, other], start: earliest,
          retry: {attempts: 1}, workers: {max: 1, recycle_after: 100}}
        """
    )
    sandbox.function(
        "emits",
        """
        import evfn

        def run(event, context):
            n = event.data["n"]
            note(os.getpid())
            match n % 40:
                case 1:
                    context.emit("done", {"n": n, "first": True})
                    return {"n": n}
                case 2:
                    return evfn.Event({"n": n}, topic="other", type="special")
                case 3:
                    raise ValueError(n)
                case 4:
                    return None
                case 5:
                    print(n)
            return {"n": n, "text": "x" * 65_536} if 20 <= n % 100 < 30 else {"n": n}
        """,
    )
    sandbox.emit("work", *({"n": n} for n in range(500)))
    sandbox.run(expect=3)
    done, other = stored(sandbox, "done"), stored(sandbox, "other")
    expected = Counter(n for n in range(500) if n % 40 not in (2, 3, 4)) + Counter(range(1, 500, 40))
    assert [each["n"] for each in done] == sorted(expected.elements())
    large = {n for n in range(500) if 20 <= n % 100 < 30 and n % 40 not in (1, 2, 3, 4)}
    assert {each["n"] for each in done if "text" in each} == large
    assert all(len(each["text"]) == 65_536 for each in done if "text" in each)
    assert [each["n"] for each in other] == list(range(2, 500, 40))
    assert sorted(letter["event"]["data"]["n"] for letter in sandbox.dead("emits")) == list(range(3, 500, 40))
    status = sandbox.status("emits")
    assert (status["succeeded"], status["emitted"], status["pending"]) == (
        500 - len(range(3, 500, 40)),
        len(done) + len(other),
        0,
    )
    assert len(set(sandbox.notes())) > 1


def test_an_instance_that_dies_in_the_middle_of_its_emits_loses_and_doubles_none(sandbox: Sandbox) -> None:
    """What had run and was not settled runs again, and all of it is stored once."""
    sandbox.manifest(
        "emits: {topic: work, function: 'emits:run', emits: done, start: earliest, workers: {max: 1}}",
    )
    sandbox.function(
        "emits",
        """
        import signal

        def run(event):
            n = event.data["n"]
            if n in (300, 650) and str(n) not in open(os.environ["JOURNAL"]).read().split():
                note(n)
                with open(f"/proc/{os.getppid()}/stat") as stat:
                    dispatcher = int(stat.read().rpartition(")")[2].split()[1])
                os.kill(dispatcher, signal.SIGKILL)
                signal.pause()
            return {"n": n}
        """,
    )
    sandbox.journal.touch()
    sandbox.emit("work", *({"n": n} for n in range(1000)))
    for _ in range(2):
        sandbox.run(expect=-9)
        wait_until(lambda: not sandbox.processes(), description="everything ended with it")
    sandbox.run()
    assert sandbox.notes() == ["300", "650"]
    assert sorted(each["n"] for each in stored(sandbox, "done")) == list(range(1000))
    status = sandbox.status("emits")
    assert (status["succeeded"], status["emitted"], status["pending"]) == (1000, 1000, 0)
