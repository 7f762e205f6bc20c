"""What is concluded from a worker's shared pages and messages: how long each event took, and what became of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from evfn.clock import SystemClock
from evfn.outcome import Crashed, EmitForm, Naming, Outcome, Succeeded
from evfn.trigger import Workers
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.ledger import Ledger, Status
from evfn.workers.member import Member
from evfn.workers.pool import Ended, Pool
from evfn.workers.process import Worker
from evfn.workers.protocol import (
    EmitData,
    Form,
    FormedReply,
    FrameDone,
    Ready,
    SucceededReply,
    Work,
    WorkerConfig,
    pack,
)
from evfn.workers.template_process import Template

SLOTS = 512
MS = 1_000_000


class At:
    """A clock that stands where it is put, in milliseconds."""

    def __init__(self) -> None:
        self.ms = 0.0

    def monotonic(self) -> float:
        return self.ms / 1000


class Process:
    """In the place of a worker process: its ledger is real, and the test writes what the worker would."""

    def __init__(self) -> None:
        self.ledger = Ledger(Ledger.create(SLOTS), SLOTS)
        self.sent: list[object] = []
        self.ended = self.control_lost = self.killed = False
        self.on_message: Callable[[Any], None] = lambda message: None
        self.on_raw_output: Callable[[str], None] = lambda line: None
        self.on_end: Callable[[int | None], None] = lambda status: None

    def send(self, message: object) -> None:
        self.sent.append(message)

    def kill(self) -> None:
        self.killed = True

    def stack(self) -> str:
        return ""


class Never:
    """In the place of a template: no other worker comes."""

    async def fork(self, config: WorkerConfig, also: Sequence[str] = ()) -> Worker:
        future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        return await future


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[Outcome, timedelta]] = {}
        self.done: list[str] = []

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None:
        self.done += [each.stream_id for each in deliveries]

    def ended(self, attempts: Sequence[Ended]) -> None:
        for delivery, outcome, elapsed in attempts:
            self.outcomes[delivery.stream_id] = outcome, elapsed

    def emitted(
        self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None
    ) -> None: ...
    def released(self, deliveries: list[Delivery]) -> None: ...
    def output(self, delivery: Delivery | None, stream: str, text: str) -> None: ...
    def loaded(self, ready: Ready, took: timedelta | None) -> None: ...
    def broken(self, message: str, traceback: str) -> None: ...
    def short(self, why: str) -> None: ...
    def imported(self, modules: Any) -> None: ...


class Case:
    """A pool with one worker, and a frame of these events in its hands."""

    def __init__(self, events: int) -> None:
        self.clock, self.process, self.owner = At(), Process(), Owner()
        config = WorkerConfig("p", "/p", "/p/functions", "t", "t:run", [], {}, 1, 1000, SLOTS, {})
        clock = cast("SystemClock", self.clock)
        self.pool = Pool(
            cast("Template", Never()), lambda: config, Workers(max=1), timedelta(seconds=1), self.owner, clock
        )
        self.pool.pace.measured(1, 1000)
        self.pool.members.append(Member(cast("Worker", self.process), self.pool, SLOTS, 0.0))
        self.say(Ready("r", False, {}))
        fields = [b"data", b"1"]
        self.pool.submit(
            [
                Delivery(topic="t", stream_id=str(number), attempt=1, invocation_id=str(number), fields=fields)
                for number in range(events)
            ]
        )
        (work,) = [sent for sent in self.process.sent if isinstance(sent, Work)]
        assert len(work.invocations) == events
        self.frame = work.frame

    def say(self, message: object) -> None:
        self.process.on_message(message)

    def ran(self, slot: int, began_ms: float, status: Status) -> None:
        """The worker began it then, and left this byte."""
        self.process.ledger.begin(slot, int(began_ms * MS))
        self.process.ledger.mark(slot, status)

    def end(self, status: int) -> None:
        """The process ends."""
        self.process.ended = True
        self.process.on_end(status)


@asynccontextmanager
async def case(events: int) -> AsyncIterator[Case]:
    """All of it ends with the block."""
    made = Case(events)
    yield made
    await made.pool.close()
    if made.pool.members:
        made.end(0)


def reply(slot: int) -> bytes:
    """The record of an event that returned something which no topic takes."""
    return pack(SucceededReply(slot, [], True))


def test_each_event_took_as_long_as_it_ran() -> None:
    """Though what came of them is read together, when the whole frame is done."""

    async def play() -> dict[str, float]:
        async with case(3) as made:
            arena = made.process.ledger.arena(0)
            for slot, began in enumerate((0, 2, 7)):
                made.ran(slot, began, Status.REPLIED)
                arena.add(reply(slot))
            made.clock.ms = 10
            made.say(FrameDone(made.frame, 10 * MS))
            return {name: took / timedelta(milliseconds=1) for name, (_, took) in made.owner.outcomes.items()}

    assert asyncio.run(play()) == {"0": 2, "1": 5, "2": 3}


def test_a_few_emits_are_told_one_by_one() -> None:
    """As the successes that they are, with all their fields."""

    async def play() -> list[Outcome]:
        async with case(2) as made:
            arena = made.process.ledger.arena(0)
            arena.add(pack(Form("out", (b"id", b"", b"n", None), Naming(1, b"t:", b"/1"))))
            for slot in range(2):
                made.ran(slot, slot, Status.REPLIED)
                arena.add(pack(FormedReply(slot, 0, (b"%d" % slot,))))
            made.say(FrameDone(made.frame, 10 * MS))
            return [outcome for outcome, _ in made.owner.outcomes.values()]

    outcomes = asyncio.run(play())
    # Others tell kinds of outcomes by their names.
    assert [type(outcome) for outcome in outcomes] == [Succeeded] * 2
    fields = [emit.fields for outcome in outcomes if isinstance(outcome, Succeeded) for emit in outcome.emits]
    assert fields == [(b"id", b"t:%d/1" % slot, b"n", b"%d" % slot) for slot in range(2)]


def test_emits_are_told_in_their_order_however_they_were_said() -> None:
    """One that returned two events, then some with one each, then one with two again: so they come to the topic."""

    async def play() -> list[str]:
        async with case(4) as made:
            arena = made.process.ledger.arena(0)
            two = [EmitData("out", [b"n", b"1"]), EmitData("out", [b"n", b"2"])]
            arena.add(pack(SucceededReply(0, two, False)))
            arena.add(pack(Form("out", (b"n", None))))
            for slot in (1, 2):
                arena.add(pack(FormedReply(slot, 0, (b"1",))))
            arena.add(pack(SucceededReply(3, two, False)))
            for slot in range(4):
                made.ran(slot, slot, Status.REPLIED)
            made.say(FrameDone(made.frame, 10 * MS))
            return list(made.owner.outcomes)

    assert asyncio.run(play()) == ["0", "1", "2", "3"]


def test_a_worker_that_dies_leaves_each_event_as_its_pages_say() -> None:
    """Done by the byte, replied by the record, running is charged, and the rest waits for the next worker."""

    async def play() -> tuple[Case, list[Delivery]]:
        async with case(5) as made:
            made.ran(0, 0, Status.DONE)
            made.ran(1, 1, Status.REPLIED)
            made.process.ledger.arena(0).add(reply(1))
            made.ran(2, 2, Status.RUNNING)
            made.end(-11)
            return made, made.pool.waiting.clear()

    made, waiting = asyncio.run(play())
    assert made.owner.done == ["0"]
    assert {name: type(outcome) for name, (outcome, _) in made.owner.outcomes.items()} == {"1": Succeeded, "2": Crashed}
    assert [each.stream_id for each in waiting] == ["3", "4"]
    assert (made.pool.running, made.pool.held) == (0, 0)


@pytest.mark.parametrize("noise", [b"\xff\xff\xff\xff", b"\x03\x00\x00\x00abc"])
def test_pages_that_were_written_over_end_their_worker(noise: bytes) -> None:
    """What cannot be read is no answer: the worker is killed, and the event that had one has run."""

    async def play() -> Case:
        async with case(2) as made:
            made.ran(0, 0, Status.REPLIED)
            begin = SLOTS * 17
            made.process.ledger.memory[begin : begin + len(noise)] = noise
            made.say(FrameDone(made.frame, 1))
            assert made.process.killed
            made.end(-9)
            return made

    made = asyncio.run(play())
    assert {name: type(outcome) for name, (outcome, _) in made.owner.outcomes.items()} == {"0": Crashed}
