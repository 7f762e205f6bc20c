"""Settles one stream's deliveries for one trigger: batched, one call at a time, until the server has them all.

While one call is under way the next batch gathers, so batches grow with the load and an idle system settles at once.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from evfn.broker.connection import later
from evfn.broker.group import Batch, Emitting, Entry, Group, GroupGone, Source
from evfn.broker.position import numbers
from evfn.clock import Clock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.listener import Happening
from evfn.services.in_flight import InFlight

BATCH = 1000
HELD_RETRY = timedelta(seconds=1)
"""How often entries whose keys are blocked are tried again."""


@dataclass(frozen=True, slots=True)
class Settling:
    """A few deliveries to settle together: plain acks with what they count, or what has more to do.

    An entry, and what is emitting, counts for itself. `happenings` are told once all of it is stored.
    """

    acks: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    happenings: list[Happening] = field(default_factory=list)
    emitting: list[Emitting] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.acks) + len(self.entries) + sum(len(each.ids) for each in self.emitting)

    @property
    def ids(self) -> list[bytes]:
        """Of all of them."""
        emitting = [entry for each in self.emitting for entry in each.ids]
        return [*self.acks, *(entry.id for entry in self.entries), *emitting]

    @property
    def apart(self) -> "Settling":
        """The same, with an entry for each that emits."""
        if not self.emitting:
            return self
        return replace(
            self, emitting=[], entries=[*self.entries, *(entry for each in self.emitting for entry in each.entries)]
        )

    def divided(self, ids: Collection[bytes]) -> tuple["Settling", "Settling"]:
        """Those with these ids, and the others. What is to be told waits for the first, if there are any."""
        apart = self.apart
        some = Settling(
            [each for each in apart.acks if each in ids], [each for each in apart.entries if each.id in ids]
        )
        others = Settling(
            [each for each in apart.acks if each not in ids], [each for each in apart.entries if each.id not in ids]
        )
        (some or others).happenings.extend(self.happenings)
        (some if some.acks else others).counters.update(self.counters)
        return some, others


class Settler:
    """`on_settled` gets the number of deliveries settled and what to tell; `on_fenced` ends the instance's lease.

    `on_gone` makes a group again that vanished, and puts what is held back on its list; it does not raise.
    `on_end` gets each task of its own when it is over: one that ended by an error must not pass unseen.
    """

    def __init__(
        self,
        group: Group,
        source: Source,
        clock: Clock,
        random: Callable[[], float],
        *,
        on_settled: Callable[[int, list[Happening]], None],
        on_fenced: Callable[[], None],
        on_gone: Callable[[], Awaitable[None]],
        on_problem: Callable[[str | None], None],
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self._group = group
        self._source = source
        self._clock = clock
        self._random = random
        self._on_settled = on_settled
        self._on_fenced = on_fenced
        self._on_gone = on_gone
        self._on_problem = on_problem
        self._on_end = on_end
        self._waiting: deque[Settling] = deque()
        self._blocked: list[Settling] = []
        self._task: asyncio.Task[None] | None = None
        self._blocked_timer: asyncio.TimerHandle | None = None
        self._troubled = False
        self._stopped = False
        self._epoch = group.epoch
        self.last_delivered = b""
        self.in_flight = InFlight()

    def settle(self, settling: Settling) -> None:
        """Settle these, soon and until done."""
        if self._stopped:
            return
        self._waiting.append(settling)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._on_end)

    async def restore(self, ids: list[bytes]) -> set[bytes]:
        """Put these back on the list of a group that was made again; those that are ours now. Raises BrokerError."""
        fresh = [each for each in ids if each not in self.in_flight.restored]
        if not fresh:
            return set()
        mine = await self._group.restore(self._source, fresh)
        self.in_flight.restored.update(mine)
        return set(mine)

    def delivered(self, newest: bytes) -> None:
        """The topic has been given out up to here, at least: a group made again must not begin below it."""
        if not self.last_delivered or numbers(newest.decode()) > numbers(self.last_delivered.decode()):
            self.last_delivered = newest

    def stop(self) -> None:
        """Give up what is not settled: the lease is gone, or the instance ends."""
        self._stopped = True
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
        emits = False
        while self._waiting and (size == 0 or size + len(self._waiting[0]) <= BATCH):
            settling = self._waiting[0]
            if emits and settling.emitting:
                # Of one batch these are written first; emits keep their order.
                return
            emits = emits or any(entry.emits for entry in settling.entries)
            size += len(settling)
            yield self._waiting.popleft()

    async def _settle_batch(self, batch: list[Settling]) -> None:
        counters: Counter[str] = Counter()
        for settling in batch:
            counters.update(settling.counters)
        call = Batch(
            acks=[entry for settling in batch for entry in settling.acks],
            entries=[entry for settling in batch for entry in settling.entries],
            emitting=[each for settling in batch for each in settling.emitting],
            counters=dict(counters),
            last_delivered=self.last_delivered,
        )
        tries = 0
        while True:
            call = self._for_this_server(call)
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
        refused = {each.id for each in reply.refused}
        if reply.missing or reply.blocked is not None:
            batch = [settling.apart for settling in batch]
        if reply.blocked is not None:
            self._trouble(
                f"the key {reply.blocked} holds something else than evfn keeps there; nothing is lost meanwhile"
            )
            self._hold(batch)
            return
        if reply.refused:
            first = reply.refused[0]
            self._trouble(f"the key {first.key} cannot be written: {first.error}; nothing is lost meanwhile")
            divided = [settling.divided(refused) for settling in batch]
            self._hold([held for held, _ in divided if held])
            batch = [done for held, done in divided if done or not held]
        elif not self._blocked:
            self._trouble(None)
        if not reply.missing:
            self._told(batch)
            return
        try:
            again = await self._restored(batch, counted=reply.acked > 0)
        except GroupGone:
            await self._on_gone()
            again = batch
        except BrokerError as error:
            self._trouble(str(error))
            # What was acked has counted for all of the batch.
            self._hold([replace(each, counters=Counter()) for each in batch] if reply.acked else batch)
            return
        self._waiting.extendleft(reversed(again))

    def _for_this_server(self, call: Batch) -> Batch:
        """Where the server may be another than the one that delivered these, only what it too has given us counts."""
        epoch = self._group.epoch
        if epoch != self._epoch:
            self._epoch = epoch
            self.in_flight.server_changed()
        unsure = self.in_flight.unsure
        doubted = bool(unsure) and any(each in unsure for each in call.ids)
        return replace(call, epoch=epoch, check=doubted)

    def _told(self, batch: list[Settling]) -> None:
        for settling in batch:
            self.in_flight.gave(settling.ids)
        count = sum(len(settling) for settling in batch)
        self._on_settled(count, [happening for settling in batch for happening in settling.happenings])

    async def _restored(self, batch: list[Settling], *, counted: bool) -> list[Settling]:
        """What was off the list only because its group vanished and was made again, to be settled once more.

        The rest of the batch is told as settled. Plain acks that were `counted` with it are not counted again.
        """
        ids = [each for settling in batch for each in settling.ids]
        # What was put back while this settlement was on its way is settled once more, and then it is as it is.
        flight = self.in_flight
        meanwhile = {each for each in ids if each in flight.restored and each not in flight.settled_again}
        flight.settled_again |= meanwhile
        mine = await self.restore(ids) | meanwhile
        again: list[Settling] = []
        for settling in batch:
            some, done = settling.divided(mine)
            if some:
                again.append(replace(some, counters=Counter() if counted else settling.counters))
            self._told([done])
        return again

    def _hold(self, settlings: list[Settling]) -> None:
        """Keep these back; they are still pending for us, and tried again until their key is mended."""
        self._blocked += settlings
        if self._blocked_timer is None:
            seconds = HELD_RETRY.total_seconds()
            self._blocked_timer = asyncio.get_running_loop().call_later(seconds, self._try_blocked)

    def _try_blocked(self) -> None:
        self._blocked_timer = None
        blocked, self._blocked = self._blocked, []
        for settling in blocked:
            self.settle(settling)

    def _trouble(self, problem: str | None) -> None:
        if problem is not None or self._troubled:
            self._troubled = problem is not None
            self._on_problem(problem)
