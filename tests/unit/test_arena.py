"""What a worker says of a frame's events in shared memory: in order, once, never half."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evfn.workers.arena import BYTES
from evfn.workers.ledger import SLOTS_PER_FRAME, Ledger, Status

SLOTS = 2 * SLOTS_PER_FRAME


@pytest.fixture
def views() -> Iterator[tuple[Ledger, Ledger]]:
    """The dispatcher's view and the worker's, on one page of two frames."""
    descriptor = Ledger.create(SLOTS)
    ours, theirs = Ledger(descriptor, SLOTS), Ledger(descriptor, SLOTS)
    os.close(descriptor)
    yield ours, theirs
    ours.close()
    theirs.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(steps=st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=70_000)), max_size=30))
def test_what_is_said_is_read_once_and_in_order(views: tuple[Ledger, Ledger], steps: list[bytes | None]) -> None:
    """Whenever it is read (None), up to what fits; what does not fit is refused, and what is smaller still goes in."""
    ours, theirs = (view.arena(SLOTS_PER_FRAME) for view in views)
    ours.clear()
    theirs.clear()
    said: list[bytes] = []
    heard: list[bytes] = []
    for step in steps:
        if step is None:
            heard += ours.read()
            assert heard == said
        elif theirs.add(step):
            said.append(step)
        else:
            assert sum(len(each) + 4 for each in said) + len(step) + 8 > BYTES
    assert heard + list(ours.read()) == said
    assert not list(ours.read())


def test_an_arena_filled_to_its_last_byte_leaves_all_else_alone(views: tuple[Ledger, Ledger]) -> None:
    """Its neighbour, and the statuses and times before it."""
    ours, theirs = views
    theirs.begin(SLOTS - 1, 7)
    theirs.end(SLOTS - 1, 9)
    first, second = theirs.arena(0), theirs.arena(SLOTS_PER_FRAME)
    ours.arena(0).clear()
    ours.arena(SLOTS_PER_FRAME).clear()
    assert second.add(b"neighbour")
    assert not first.add(b"\xff" * (BYTES - 7))
    assert first.add(b"\xff" * (BYTES - 8))
    assert not first.add(b"")
    assert [len(each) for each in ours.arena(0).read()] == [BYTES - 8]
    assert list(ours.arena(SLOTS_PER_FRAME).read()) == [b"neighbour"]
    assert (ours.status(SLOTS - 1), ours.ran_ns(SLOTS - 1)) == (Status.RUNNING, (7, 9))


def test_a_cleared_arena_says_nothing_of_the_frame_before(views: tuple[Ledger, Ledger]) -> None:
    """The same slots are used again and again."""
    ours, theirs = views
    for number in range(3):
        reading = ours.arena(0)
        reading.clear()
        assert not list(reading.read())
        writing = theirs.arena(0)
        for _ in range(3 - number):
            assert writing.add(b"%d" % number)
        assert list(reading.read()) == [b"%d" % number] * (3 - number)


def test_what_was_said_outlives_who_said_it(views: tuple[Ledger, Ledger]) -> None:
    """A worker's sudden death loses nothing that its bytes promise."""
    ours, theirs = views
    reading = ours.arena(0)
    reading.clear()
    assert theirs.arena(0).add(b"last words")
    theirs.close()
    assert list(reading.read()) == [b"last words"]


def test_an_arena_written_over_is_refused(views: tuple[Ledger, Ledger]) -> None:
    """Function code that writes where it should not cannot make the dispatcher read past the end."""
    ours, _ = views
    reading = ours.arena(SLOTS_PER_FRAME)
    reading.clear()
    ours.memory[-BYTES:] = b"\xff" * BYTES
    with pytest.raises(ValueError, match="are left"):
        list(reading.read())
