"""What the server gave and never arrived, and groups that vanish: every event still has its effect, once."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path

import pytest
import redis

from proxy import FaultyProxy
from sandbox import Sandbox, wait_until
from servers import FLAVOURS, RealServer

HEAD = "version: 1\nname: sandbox\nsettings: {lease: 1s}\n"
SLOW = """
import time

def run(event):
    note(event.data["n"])
    time.sleep(0.1)
    while os.path.exists(os.environ["JOURNAL"] + ".hold"):
        time.sleep(0.01)
    return event.data["n"]
"""


@pytest.fixture(params=FLAVOURS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer(request.param, tmp_path_factory.mktemp("s")).start()
    yield server
    server.stop()


@pytest.fixture
def box(sandbox: Sandbox, server: RealServer) -> Sandbox:
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    sandbox.manifest(
        "slow: {topic: work, function: 'slow:run', emits: done, start: earliest, workers: {max: 2}}", head=HEAD
    )
    sandbox.function("slow", SLOW)
    return sandbox


def holding(server: RealServer) -> list[str]:
    """The consumers of the group that hold deliveries."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        consumers = client.xinfo_consumers("work", "sandbox/slow")
    return [each["name"] for each in consumers if each["pending"]]


def effects(server: RealServer) -> int:
    return int(server.command("XLEN", "done")[1:])


def test_a_group_is_made_again_behind_what_was_taken_over(box: Sandbox, server: RealServer) -> None:
    """What an instance took over from a dead one was delivered, though nobody has settled anything yet."""
    hold = Path(f"{box.journal}.hold")
    hold.touch()
    for name in ("one", "two"):
        (box.folder / name).mkdir()
    with box.running("--state", str(box.folder / "one")) as one:
        box.emit("work", {"n": 1})
        wait_until(lambda: len(box.notes()) == 1, description="it runs on the first machine")
        one.kill()
        one.wait(10)
    with box.running("--state", str(box.folder / "two")):
        wait_until(lambda: len(box.notes()) == 2, description="it runs on the second")
        server.command("XGROUP", "DESTROY", "work", "sandbox/slow")
        box.emit("work", {"n": 2})
        wait_until(lambda: "is made again at" in box.log.read_text(), description="the group is made again")
        assert "is made again at 0-0" not in box.log.read_text()
        hold.unlink()
        wait_until(lambda: effects(server) == 2, description="both have their effect")
    assert sorted(box.notes()) == ["1", "1", "2"]


def test_f27_a_destroyed_group_loses_nothing_that_runs_anywhere(box: Sandbox, server: RealServer) -> None:
    """XGROUP DESTROY while two machines run events: both put theirs back, each event has its effect once."""
    hold = Path(f"{box.journal}.hold")
    with ExitStack() as running:
        for name in ("one", "two"):
            (box.folder / name).mkdir()
            running.enter_context(box.running("--state", str(box.folder / name)))
        # Who knows that the function is slow takes no more than its workers can begin.
        box.emit("work", *({"n": n} for n in range(20)))
        wait_until(lambda: effects(server) == 20, description="both know how slow it is")
        hold.touch()
        numbers = count(20)
        # Whoever is quicker may take all that is there; what comes then goes to the other.
        while len(holding(server)) < 2:
            box.emit("work", *({"n": n} for n in islice(numbers, 4)))
        total = next(numbers)
        wait_until(lambda: len(box.notes()) >= 22, description="both run some")
        assert server.command("XGROUP", "DESTROY", "work", "sandbox/slow") == b":1"
        hold.unlink()
        wait_until(lambda: effects(server) == total, description="what ran has its effect, and what waited")
        box.emit("work", {"n": total})
        wait_until(lambda: effects(server) == total + 1, description="what comes later runs")
    status = box.status("slow")
    assert (status["succeeded"], status["emitted"], status["pending"], status["lag"]) == (total + 1, total + 1, 0, 0)


async def test_f30_a_lost_fetch_reply(box: Sandbox, server: RealServer) -> None:
    """Events delivered to an instance whose connection broke before they arrived run within a lease or two, once."""
    async with FaultyProxy(server.path) as proxy:
        with await asyncio.to_thread(started, box, proxy.url) as running:
            await asyncio.to_thread(box.emit, "work", {"n": 0})
            await asyncio.to_thread(wait_until, lambda: effects(server) == 1, description="the function is loaded")
            proxy.lose_reply_to(b"STREAMS\r\n$4\r\nwork\r\n")
            await asyncio.to_thread(box.emit, "work", *({"n": n} for n in range(1, 4)))
            await asyncio.to_thread(wait_until, lambda: effects(server) == 4, description="all have their effect")
            assert proxy.cuts == 1
            await asyncio.to_thread(running.close)
    status = await asyncio.to_thread(box.status, "slow")
    assert (status["succeeded"], status["emitted"], status["pending"]) == (4, 4, 0)
    assert sorted(box.notes()) == ["0", "1", "2", "3"]


def started(box: Sandbox, url: str) -> ExitStack:
    """An instance on its way to the server by this URL; whoever emits goes straight there."""
    running = ExitStack()
    running.enter_context(box.running("--redis", url))
    return running
