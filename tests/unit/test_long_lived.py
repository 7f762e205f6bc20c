"""What an instance is built of is kept from the garbage collector, and what came after is not."""

import gc
from collections.abc import Iterator

import pytest

from evfn.listener import Delivered, Started
from evfn_cli.long_lived import COLLECT_AFTER, LongLived

STARTED = Started("p", "i", "unix:///s", ())


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector of this process is as it was afterwards."""
    gc.unfreeze()
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Ring:
    """Garbage that only the collector finds."""

    left = 0

    def __init__(self) -> None:
        self.own = self
        Ring.left += 1

    def __del__(self) -> None:
        Ring.left -= 1


def test_what_there_is_at_the_start_is_not_looked_at_again() -> None:
    """And so nothing happens to it, whatever else is told."""
    listener = LongLived()
    listener.tell(Delivered("t", 1))
    assert gc.get_freeze_count() == 0
    listener.tell(STARTED)
    assert gc.get_freeze_count() > 1_000
    assert gc.get_threshold()[0] == COLLECT_AFTER
    frozen = gc.get_freeze_count()
    listener.tell(Delivered("t", 1))
    assert gc.get_freeze_count() == frozen


def test_what_an_instance_before_left_is_collected() -> None:
    """After a lost lease another instance is built in the same process; of the first nothing is kept for ever."""
    listener = LongLived()
    Ring()
    listener.tell(STARTED)
    gc.collect()
    assert Ring.left == 1, "it is out of the collector's way"
    listener.tell(STARTED)
    assert Ring.left == 0
