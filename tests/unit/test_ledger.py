"""The shared page: what one side writes the other side reads, each on its own view."""

import os
from collections.abc import Iterator

import pytest

from evfn.workers.ledger import Ledger, Status


@pytest.fixture
def views() -> Iterator[tuple[Ledger, Ledger]]:
    """The dispatcher's view and the worker's, on one page of eight slots."""
    descriptor = Ledger.create(8)
    ours, theirs = Ledger(descriptor, 8), Ledger(descriptor, 8)
    os.close(descriptor)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_new_page_is_free(views: tuple[Ledger, Ledger]) -> None:
    """No slot means anything before it is handed over."""
    assert [views[0].status(slot) for slot in range(8)] == [Status.FREE] * 8


@pytest.mark.parametrize("status", list(Status))
def test_a_mark_is_seen_by_the_other_side(views: tuple[Ledger, Ledger], status: Status) -> None:
    """Every status, in its own slot and no other."""
    ours, theirs = views
    ours.mark(3, status)
    assert theirs.status(3) is status
    assert {theirs.status(slot) for slot in range(8) if slot != 3} == {Status.FREE}


def test_begin_says_when_and_that_it_runs(views: tuple[Ledger, Ledger]) -> None:
    """Start times are whole nanoseconds and do not touch their neighbours, at both ends of the page."""
    ours, theirs = views
    starts = {0: 1, 6: 2**63, 7: 2**64 - 1}
    for slot, started in starts.items():
        theirs.begin(slot, started)
    assert {slot: ours.started_ns(slot) for slot in starts} == starts
    assert [ours.status(slot) for slot in (0, 1, 6, 7)] == [
        Status.RUNNING, Status.FREE, Status.RUNNING, Status.RUNNING,
    ]  # fmt: skip


def test_the_page_outlives_its_descriptor_and_the_other_view(views: tuple[Ledger, Ledger]) -> None:
    """A worker's sudden death leaves what it wrote readable."""
    ours, theirs = views
    theirs.begin(2, 77)
    theirs.close()
    assert (ours.status(2), ours.started_ns(2)) == (Status.RUNNING, 77)


def test_the_descriptor_is_closed_on_exec() -> None:
    """No program that a function starts can hold or write the page."""
    descriptor = Ledger.create(1)
    try:
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
