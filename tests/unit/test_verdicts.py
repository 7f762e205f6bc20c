"""What a frame's attempts come to: decided one by one, settled together, each where it was fetched."""

import random
from datetime import timedelta
from pathlib import Path
from typing import cast

from evfn.broker.group import Group, Kind, Source
from evfn.clock import SystemClock
from evfn.listener import Happening, Invoked, Listener
from evfn.outcome import Emit, Failed, Failure, Interrupted, Outcome, Succeeded
from evfn.services.held import Held
from evfn.services.reports import Reports
from evfn.services.settler import Settler, Settling
from evfn.services.subscription import Subscription
from evfn.services.verdicts import Verdicts
from evfn.trigger import Trigger

TRIGGER = Trigger("t", ("work",), "f:run", emits=("out",))
FAILED = Failed(Failure("ValueError", "no", ("ValueError",)))


class Kept:
    """In the place of a settler."""

    def __init__(self) -> None:
        self.settlings: list[Settling] = []

    def settle(self, settling: Settling) -> None:
        self.settlings.append(settling)


class Said:
    """Notes what is told."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []

    def tell(self, happening: Happening) -> None:
        self.happenings.append(happening)


class Case:
    """One trigger's verdicts, on deliveries of its topic and its inbox."""

    def __init__(self) -> None:
        self.kept = {source: Kept() for source in Source}
        self.again: list[Held] = []
        self.said = Said()
        settlers = {source: cast("Settler", kept) for source, kept in self.kept.items()}
        self._subscription = Subscription("work", cast("Group", None), settlers)
        self.verdicts = Verdicts(
            TRIGGER,
            set(),
            Reports("p", TRIGGER, Path("/p")),
            "me",
            cast("Listener", self.said),
            SystemClock(),
            random.random,
            again=self.again.append,
            give_back=self.again.append,
        )

    def held(self, number: int, source: Source = Source.TOPIC) -> Held:
        return Held(
            topic="work",
            stream_id=f"{number}-0",
            attempt=1,
            invocation_id=f"t:work:{number}-0",
            fields=[b"data", b"1"],
            subscription=self._subscription,
            source=source,
            entry_id=b"%d-0" % number,
            first_delivered_ms=1,
            record=None,
        )

    def ended(self, *attempts: tuple[Held, Outcome]) -> None:
        self.verdicts.ended([(held, outcome, timedelta()) for held, outcome in attempts], "r")

    def kinds(self, source: Source) -> list[list[tuple[bytes, Kind]]]:
        """What each settling of this source holds."""
        return [[(entry.id, entry.kind) for entry in each.entries] for each in self.kept[source].settlings]


def test_attempts_that_ended_together_are_settled_together_where_they_came_from() -> None:
    """In their order; an interrupted one runs again, and is not settled."""
    case = Case()
    stopped = case.held(3)
    emitted = Succeeded((Emit("out", (b"n", b"1")),))
    case.ended(
        (case.held(1), FAILED),
        (case.held(2, Source.INBOX), FAILED),
        (stopped, Interrupted("drain")),
        (case.held(4), emitted),
    )
    assert case.kinds(Source.TOPIC) == [[(b"1-0", Kind.RETRY), (b"4-0", Kind.ACK)]]
    assert case.kinds(Source.INBOX) == [[(b"2-0", Kind.RETRY)]]
    assert case.again == [stopped]
    (settling,) = case.kept[Source.TOPIC].settlings
    told = [each.stream_id for each in settling.happenings if isinstance(each, Invoked)]
    assert told == ["1-0", "4-0"], "once they are stored"


def test_emits_that_no_call_can_hold_are_a_dead_letter() -> None:
    """Whatever a worker let through: the others of its frame are settled as ever."""
    case = Case()
    many = Succeeded((Emit("out", (b"n", b"1")),) * 10_001)
    case.ended((case.held(1), many), (case.held(2), FAILED))
    assert case.kinds(Source.TOPIC) == [[(b"1-0", Kind.DEAD), (b"2-0", Kind.RETRY)]]
    (settling,) = case.kept[Source.TOPIC].settlings
    assert b"too_large" in settling.entries[0].letter
    assert settling.entries[0].counters == {"delivered": 1, "failed": 1, "dead_lettered": 1}
