"""How one revision of a function follows another: who gets what has not begun."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from evfn.clock import SystemClock
from evfn.outcome import EmitForm
from evfn.services.kept import Kept
from evfn.services.revision import Revision
from evfn.trigger import Trigger, Workers
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.pool import Ended, Pool
from evfn.workers.protocol import LoadFailed, Ready, WorkerConfig
from evfn.workers.template_process import Template

TRIGGER = Trigger("greet", ("people",), "greet:run", workers=Workers(max=2))
CONFIG = WorkerConfig("p", "/p", "/p/functions", "greet", "greet:run", [], {}, 1, 1000, 16, {})


class Taken:
    """What would go back to the server."""

    def __init__(self) -> None:
        self.released_ids: list[str] = []

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None: ...
    def emitted(
        self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None
    ) -> None: ...
    def ended(self, attempts: Sequence[Ended], revision: str) -> None: ...
    def output(self, delivery: Delivery | None, stream: str, text: str) -> None: ...
    def loaded(self, revision: Revision, ready: Ready, took: timedelta | None) -> None: ...
    def broken(self, revision: Revision, failed: LoadFailed) -> None: ...
    def short(self, why: str) -> None: ...

    def released(self, deliveries: list[Delivery]) -> None:
        self.released_ids += [each.stream_id for each in deliveries]


def delivery(stream_id: str) -> Delivery:
    return Delivery(topic="people", stream_id=stream_id, attempt=1, invocation_id=stream_id, fields=[])


def test_what_comes_back_during_a_drain_begins_nowhere() -> None:
    """A worker of the code before may give events back after the drain began: they go to the server, not to the next
    revision's workers."""

    async def play() -> tuple[list[str], int]:
        taken = Taken()
        first, second, third = (
            Revision(TRIGGER, CONFIG, Template(), taken, SystemClock(), keep=Kept()) for _ in range(3)
        )
        second.take_over(first)
        third.take_over(second)
        third.drain()
        first.released([delivery("1-0"), delivery("2-0")])
        for each in (third, second, first):
            await each.close()
        assert isinstance(third.pool, Pool)
        return taken.released_ids, len(third.pool.waiting)

    assert asyncio.run(play()) == (["1-0", "2-0"], 0)
