"""Settles one stream's deliveries for one trigger: batched, one call at a time, until the server has them all.

While one call is under way the next batch gathers, so batches grow with the load and an idle system settles at once.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from evfn.broker.connection import later
from evfn.broker.group import Batch, Entry, Group, Source
from evfn.clock import Clock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.listener import Happening

BATCH = 1000
HELD_RETRY = timedelta(seconds=1)
"""How often entries whose keys are blocked are tried again."""


@dataclass(frozen=True, slots=True)
class Settling:
    """A few deliveries to settle together: plain acks and entries with more to do, what they count, what to tell."""

    acks: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    happenings: list[Happening] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.acks) + len(self.entries)


class Settler:
    """`on_settled` gets the number of deliveries settled and what to tell; `on_fenced` ends the instance's lease."""

    def __init__(
        self,
        group: Group,
        source: Source,
        clock: Clock,
        random: Callable[[], float],
        *,
        on_settled: Callable[[int, list[Happening]], None],
        on_fenced: Callable[[], None],
        on_problem: Callable[[str | None], None],
    ) -> None:
        self._group = group
        self._source = source
        self._clock = clock
        self._random = random
        self._on_settled = on_settled
        self._on_fenced = on_fenced
        self._on_problem = on_problem
        self._waiting: deque[Settling] = deque()
        self._blocked: list[Settling] = []
        self._task: asyncio.Task[None] | None = None
        self._blocked_timer: asyncio.TimerHandle | None = None
        self._troubled = False

    @property
    def idle(self) -> bool:
        """Whether nothing is under way; what a blocked key holds back does not count."""
        return not self._waiting and self._task is None

    @property
    def blocked(self) -> int:
        """Deliveries that wait for a key to be mended."""
        return sum(len(settling) for settling in self._blocked)

    def settle(self, settling: Settling) -> None:
        """Settle these, soon and until done."""
        self._waiting.append(settling)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Give up what is not settled: the lease is gone, or the instance ends."""
        self._waiting.clear()
        self._blocked.clear()
        if self._blocked_timer is not None:
            self._blocked_timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._settle_batch(list(self._next_batch()))
        finally:
            self._task = None

    def _next_batch(self) -> Iterator[Settling]:
        size = 0
        while self._waiting and (size == 0 or size + len(self._waiting[0]) <= BATCH):
            size += len(self._waiting[0])
            yield self._waiting.popleft()

    async def _settle_batch(self, batch: list[Settling]) -> None:
        counters: Counter[str] = Counter()
        for settling in batch:
            counters.update(settling.counters)
        call = Batch(
            acks=[entry for settling in batch for entry in settling.acks],
            entries=[entry for settling in batch for entry in settling.entries],
            counters=dict(counters),
        )
        tries = 0
        while True:
            try:
                reply = await self._group.settle(self._source, call)
                break
            except BrokerUnavailable as error:
                # The reply may be lost and the call done: said again, the script changes nothing twice.
                call = replace(call, repeat=True)
                self._trouble(str(error))
                await self._clock.sleep(later(tries, self._random()))
                tries += 1
            except BrokerError as error:
                self._trouble(str(error))
                await self._clock.sleep(HELD_RETRY)
        if reply.fenced:
            self._on_fenced()
            return
        if reply.blocked is not None:
            self._hold(batch, reply.blocked)
            return
        self._trouble(None)
        refused = {status.id: status.key for status in reply.refused}
        settled = len(call.acks) + len(call.entries) - len(refused)
        if refused:
            # Undone by the script and pending again: only these entries wait, their counters were not counted.
            self._refused(batch, refused)
        self._on_settled(settled, [happening for settling in batch for happening in settling.happenings])

    def _trouble(self, problem: str | None) -> None:
        if problem is not None or self._troubled:
            self._troubled = problem is not None
            self._on_problem(problem)
