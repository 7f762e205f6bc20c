"""What waits for a worker: kept as it came, handed on in its order, each delivery once."""

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.frame import Frame
from evfn.workers.ledger import Ledger, Status
from evfn.workers.waiting import Waiting

FIRST = 512
"""The second frame's slots of a page of two."""


def single(number: int, *, suspect: bool = False) -> Delivery:
    return Delivery(
        topic="t",
        stream_id=f"{number}-0",
        attempt=1,
        invocation_id=f"w:t:{number}-0",
        fields=[b"n", b"%d" % number],
        suspect=suspect,
    )


class Numbered(Entries):
    """Entries as a dispatcher would keep them."""

    def delivery(self, pair: tuple[bytes, list[bytes]]) -> Delivery:
        return single(int(pair[0].removesuffix(b"-0")))


def entries(first: int, count: int) -> Numbered:
    return Numbered("w", "t", [(b"%d-0" % n, [b"n", b"%d" % n]) for n in range(first, first + count)])


def numbers(deliveries: Deliveries) -> list[int]:
    return [int(each.stream_id.removesuffix("-0")) for each in deliveries]


class Order(RuleBasedStateMachine):
    """Against a plain list of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting()
        self.model: list[tuple[int, bool]] = []
        self.out: list[int] = []
        self.next = 0

    def new(self, count: int) -> int:
        first, self.next = self.next, self.next + count
        return first

    @rule(count=st.integers(0, 5))
    def entries_come(self, count: int) -> None:
        first = self.new(count)
        self.waiting.add(entries(first, count))
        self.model += [(number, False) for number in range(first, first + count)]

    @rule(suspects=st.lists(st.booleans(), max_size=4))
    def single_ones_come(self, suspects: list[bool]) -> None:
        first = self.new(len(suspects))
        self.waiting.add(single(number, suspect=each) for number, each in enumerate(suspects, first))
        self.model += list(enumerate(suspects, first))

    @precondition(lambda self: self.out)
    @rule(count=st.integers(1, 4), suspect=st.booleans())
    def some_come_back(self, count: int, suspect: bool) -> None:
        back, self.out = self.out[:count], self.out[count:]
        self.waiting.put_back(single(number, suspect=suspect) for number in back)
        self.model[:0] = [(number, suspect) for number in back]

    @rule(size=st.integers(1, 6))
    def some_are_taken(self, size: int) -> None:
        taken = numbers(self.waiting.take(size))
        expected, self.model = self.model[: len(taken)], self.model[len(taken) :]
        assert taken == [number for number, _ in expected]
        assert len(taken) <= size
        assert bool(taken) is bool(expected)
        # A suspect has no neighbours.
        assert len(taken) == 1 or not any(suspect for _, suspect in expected)
        self.out += taken

    @rule()
    def all_are_given_up(self) -> None:
        assert numbers(self.waiting.clear()) == [number for number, _ in self.model]
        self.model = []

    @invariant()
    def it_knows_how_many_and_who_is_next(self) -> None:
        assert len(self.waiting) == len(self.model)
        assert bool(self.waiting) is bool(self.model)
        assert self.waiting.suspect is bool(self.model and self.model[0][1])


TestOrder = Order.TestCase
TestOrder.settings = settings(max_examples=60, stateful_step_count=25)


def test_entries_stay_entries_while_they_wait() -> None:
    """Most are never looked at one by one; what stands alone between them keeps its place."""
    waiting = Waiting()
    waiting.add(entries(0, 5))
    waiting.add([single(5), single(6)])
    waiting.add(entries(7, 2))
    taken = [waiting.take(4) for _ in range(4)]
    assert [numbers(each) for each in taken] == [[0, 1, 2, 3], [4], [5, 6], [7, 8]]
    assert [isinstance(each, Entries) for each in taken] == [True, True, False, True]


def test_entries_by_place() -> None:
    """One, a part, some: with their topic and trigger."""
    some = entries(0, 6)
    assert numbers([some[4]]) == [4]
    assert numbers(some.part(2, 4)) == [2, 3]
    assert numbers(some.part(4)) == [4, 5]
    assert numbers(some.only([5, 0])) == [5, 0]
    assert (some.only([1]).trigger, some.part(1).topic, len(some.only([]))) == ("w", "t", 0)


@pytest.mark.parametrize("kept", ["entries", "single"])
def test_each_event_of_a_frame_is_accounted_for_once(kept: str) -> None:
    """By its reply, as done, or as left; and it is the same object however often it is asked for."""
    ledger = _page()
    frame = Frame(1, FIRST, entries(0, 6) if kept == "entries" else [single(number) for number in range(6)])
    for slot, status in enumerate([Status.DONE, Status.REPLIED, Status.DONE, Status.RUNNING], FIRST):
        ledger.mark(slot, status)
    assert (FIRST - 1 in frame, FIRST in frame, FIRST + 5 in frame, FIRST + 6 in frame) == (False, True, True, False)
    running = frame.delivery(FIRST + 3)
    assert list(frame.running(ledger)) == [FIRST + 3]
    assert numbers(frame.take_done(ledger)) == [0, 2]
    assert numbers(frame.take_done(ledger)) == []
    taken = frame.take(FIRST + 1)
    assert taken is not None
    assert numbers([taken]) == [1]
    assert frame.take(FIRST + 1) is None
    assert not frame.account(FIRST + 2)
    assert [slot - FIRST for slot, _ in frame.left(ledger)] == [3, 4, 5]
    assert frame.take(FIRST + 3) is running
    assert not list(frame.running(ledger))
    assert frame.account(FIRST + 4)
    ledger.mark(FIRST + 5, Status.DONE)
    assert numbers(frame.take_done(ledger)) == [5]
    assert not list(frame.left(ledger))
    ledger.close()


def test_a_frame_that_is_done_at_once_is_handed_on_as_it_came() -> None:
    """The way of nearly all events."""
    ledger = _page()
    some = entries(0, 4)
    frame = Frame(1, FIRST, some)
    for slot in range(FIRST, FIRST + 4):
        ledger.mark(slot, Status.DONE)
    assert frame.take_done(ledger) is some
    assert numbers(frame.take_done(ledger)) == []
    assert not list(frame.left(ledger))
    ledger.close()


def _page() -> Ledger:
    descriptor = Ledger.create(2 * FIRST)
    ledger = Ledger(descriptor, 2 * FIRST)
    os.close(descriptor)
    return ledger
