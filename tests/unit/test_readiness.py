"""When an instance is ready, and what it says while it is not."""

import pytest

from evfn.endpoint.readiness import Lack, Readiness
from evfn.listener import (
    Happening,
    LeaseLost,
    LeaseUncertain,
    Started,
    StateChanged,
    Stopping,
    TriggersChanged,
    TriggerState,
    Unreachable,
    Watched,
)

ON, OFF = Watched("on", ("x",), "m:f"), Watched("off", ("x",), "m:f", enabled=False)
BEGUN: list[Happening] = [Started("p", "i", "redis://h", (ON, OFF))]
READY = [*BEGUN, StateChanged("on", TriggerState.OK)]


def told(*happenings: Happening) -> Readiness:
    readiness = Readiness()
    for each in happenings:
        readiness.tell(each)
    return readiness


@pytest.mark.parametrize(
    ("happenings", "lacks", "known"),
    [
        ([], [(Lack.NOT_CONNECTED, None)], False),
        (BEGUN, [(Lack.LOADING, "on")], False),
        (READY, [], True),
        ([*BEGUN, StateChanged("on", TriggerState.BROKEN, "x")], [(Lack.BROKEN, "on")], True),
        ([*READY, StateChanged("on", TriggerState.BLOCKED, "x")], [(Lack.BLOCKED, "on")], True),
        ([*READY, StateChanged("on", TriggerState.OK, "an edit does not load")], [], True),
        ([*READY, LeaseUncertain("down")], [(Lack.LEASE, None)], True),
        ([*READY, LeaseUncertain("down"), LeaseUncertain(None)], [], True),
        ([*READY, LeaseLost("gone")], [(Lack.NOT_CONNECTED, None)], False),
        ([*READY, LeaseLost("gone"), Unreachable("down"), *READY], [], True),
        ([*READY, TriggersChanged((Watched("new", ("x",), "m:g"),), ("on",))], [(Lack.LOADING, "new")], False),
        ([*READY, Stopping("SIGTERM", 1)], [(Lack.DRAINING, None)], True),
    ],
)
def test_reasons(happenings: list[Happening], lacks: list[tuple[Lack, str | None]], known: bool) -> None:
    """A disabled trigger is none; one whose edit was refused serves on; of a broken one all is known."""
    readiness = told(*happenings)
    assert [(each.lack, each.trigger) for each in readiness.reasons] == lacks
    assert all(each.problem for each in readiness.reasons)
    assert readiness.known is known


def test_whoever_asks_hears_of_changes_and_of_nothing_else() -> None:
    heard: list[int] = []
    readiness = Readiness(lambda: heard.append(len(readiness.reasons)))
    for each in (*READY, LeaseUncertain("down")):
        readiness.tell(each)
    assert heard == [1, 0, 1]
