"""Frame sizes follow the measured time of a call."""

from hypothesis import given
from hypothesis import strategies as st

from evfn.workers.frame import FRAMES_PER_WORKER
from evfn.workers.ledger import SLOTS_PER_FRAME
from evfn.workers.pace import Pace


def test_an_unknown_function_gets_one_event_a_frame() -> None:
    """Until one call was measured, a frame of many could be hours of work."""
    assert Pace().frame_size() == 1


def test_a_slow_function_gets_one_event_a_frame() -> None:
    """Ten milliseconds a call leave no room for neighbours in a frame of five."""
    pace = Pace()
    pace.measured(1, 10_000_000)
    assert pace.frame_size() == 1
    assert pace.appetite(1) == 2


@given(st.integers(1, 10**10))
def test_frames_and_appetite_stay_within_the_ledger(call_ns: int) -> None:
    """No pace asks for more slots than a worker's ledger has."""
    pace = Pace()
    pace.measured(1, call_ns)
    assert 1 <= pace.frame_size() <= SLOTS_PER_FRAME
    assert pace.appetite(1) <= SLOTS_PER_FRAME * FRAMES_PER_WORKER


def test_another_worker_is_wanted_only_where_it_pays() -> None:
    """A thousand events of a microsecond are no backlog; a thousand of a millisecond are."""
    pace = Pace()
    pace.measured(1000, 1_000_000)
    assert not pace.needs_another(1000, 1)
    pace.measured(1, 10_000_000_000)
    assert pace.needs_another(1000, 1)
