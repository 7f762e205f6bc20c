"""Moves one trigger's events: fetched from its streams, filtered, run by its pool, decided on, settled.

The dispatcher never runs user code and never decodes an event, unless a filter needs it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Protocol

from evfn.broker.connection import later
from evfn.broker.group import Ask, Claimed, Entry, GroupGone, Source
from evfn.clock import Clock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.failpoint import reached
from evfn.filter import Filter
from evfn.listener import (
    Captured,
    Delivered,
    Dropped,
    Filtered,
    Happening,
    Invoked,
    Listener,
    StateChanged,
    WorkerStarted,
)
from evfn.listener import TriggerState as State
from evfn.outcome import Crashed, EmitForm, Outcome
from evfn.services import settling
from evfn.services.begun import Begun
from evfn.services.held import Held, HeldEntries, all_held
from evfn.services.in_flight import Call, InFlight
from evfn.services.intake import Intake
from evfn.services.job_pool import JobPool
from evfn.services.reports import Reports
from evfn.services.returns import Returns
from evfn.services.revision import Revision
from evfn.services.settler import Settling
from evfn.services.subscription import Subscription
from evfn.services.takeover import take_over
from evfn.services.verdicts import Verdicts
from evfn.settlement import RetryAt
from evfn.tracing.tracer import Tracer
from evfn.trigger import DataMode, Trigger
from evfn.vitals import TriggerVitals
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.pool import Pool
from evfn.workers.protocol import LoadFailed, Ready

FETCH = 512
FIRST = 16
"""How many events a push brings at most. What grows faster than that has a backlog, and is fetched as such."""
BEGUN = 64
"""So many such fetches are under way at most."""
FETCHING = "fetching"
FINISHED_LOOK = timedelta(milliseconds=5)
_ID = itemgetter(0)
_Pairs = list[tuple[bytes, list[bytes] | None]]
_Fetched = tuple[Subscription, Source, _Pairs]
BROKEN_RETRY = timedelta(seconds=30)
"""How often a function that does not load is tried again: what it misses may be there by then."""


class Lease(Protocol):
    """The instance's right to settle, under its id."""

    id: str

    def fenced(self) -> None:
        """It is lost."""

    def start_over(self, why: str) -> None:
        """Give up all that is held, for it may not be what it was, and begin anew."""

    async def check(self) -> bool:
        """Whether it is still there; where not, the instance ends."""


class Dispatcher:
    """One trigger of one instance. `serving` is set by whoever builds both, for each needs the other."""

    serving: Revision

    def __init__(
        self,
        trigger: Trigger,
        condition: Filter | None,
        modes: Callable[[str], DataMode],
        reports: Reports,
        lease: Lease,
        listener: Listener,
        clock: Clock,
        random: Callable[[], float],
        on_due: Callable[[Subscription, int], None],
        tracer: Tracer | None = None,
    ) -> None:
        self.trigger = trigger
        self.subscriptions: dict[str, Subscription] = {}
        self.state = State.LOADING if trigger.enabled else State.DISABLED
        self.problem: str | None = None
        self.unsettled = 0
        self._revisions: list[Revision] = []
        self._left: list[Subscription] = []
        self._not_reloaded: str | None = None
        self._reports = reports
        self._intake = Intake(trigger, condition, modes, reports, listener, clock)
        self._lease = lease
        self._listener = listener
        self._clock = clock
        self._random = random
        self._on_due = on_due
        self._tracer = tracer
        self.known = asyncio.Event()
        self._awake = asyncio.Event()
        self._draining = False
        self._makes_way = False
        self._fetching = False
        self._hot: dict[Subscription, None] = {}
        self._begun: deque[Begun] = deque()
        self._expected = 0
        self._tries = 0
        self._turn = 0
        self._short_of = ""
        self._returns = Returns(clock, random, on_returned=self._returned, on_gone=self.recreate)
        self._verdicts = Verdicts(
            trigger,
            self._intake.followed,
            reports,
            lease.id,
            listener,
            clock,
            random,
            again=lambda held: self._submit([held]),
            give_back=lambda held: self._give_back([held]),
            tracer=tracer,
        )

    # --- what others tell it -------------------------------------------------------------------------------------

    def add(self, subscription: Subscription) -> None:
        """Serve this topic too."""
        self.subscriptions[subscription.topic] = subscription
        if subscription.hot:
            self._hot[subscription] = None
        self._awake.set()

    def remove(self, subscription: Subscription) -> None:
        """Fetch from this topic no more; what was fetched is still run and settled."""
        del self.subscriptions[subscription.topic]
        self._hot.pop(subscription, None)
        self._left.append(subscription)

    def wake(self, subscription: Subscription, source: Source, ask: Ask | None = None) -> None:
        """Something may have been added to one of its streams. With `ask` it is fetched at once, where nothing else is
        to be fetched first."""
        if ask is None or self._hot or not self._begin(subscription, source, ask):
            self._heat(subscription, source)
        self._awake.set()

    def wake_all(self) -> None:
        """Look at every stream once: the watch is a hint, never the truth."""
        for subscription in self.subscriptions.values():
            for source in Source:
                self._heat(subscription, source)
        self._awake.set()

    @property
    def pool(self) -> Pool | JobPool:
        """The workers that take what comes."""
        return self.serving.pool

    @property
    def running(self) -> int:
        """Deliveries in workers' hands, those of revisions on their way out included."""
        return sum(revision.pool.running for revision in self._revisions)

    @property
    def vitals(self) -> TriggerVitals:
        """How it stands at this moment."""
        workers = sum(len(revision.pool.members) for revision in self._revisions)
        return TriggerVitals(self.state, tuple(self.subscriptions), workers, self.running)

    def serve(self, revision: Revision) -> None:
        """Run everything on this revision from its first load on."""
        self.serving = revision
        self._revisions.append(revision)

    def adopt(self, revision: Revision, condition: Filter | None) -> None:
        """Let a revision that has loaded, and the trigger as it is defined with it, take over."""
        before = self.serving
        self.trigger = revision.trigger
        self._intake.use(condition)
        self._reports.trigger = self._verdicts.trigger = revision.trigger
        self.serve(revision)
        revision.take_over(before).add_done_callback(lambda _: self._revisions.remove(before))
        if self._draining:
            revision.drain()
        self._not_reloaded = None
        self._unblock()
        self._awake.set()

    def refuse(self, failed: LoadFailed) -> None:
        """An edit does not load: what served goes on, and `status` says why. What was broken is so for a new reason."""
        if self.state is State.BROKEN:
            self._set_state(State.BROKEN, failed.message, failed.traceback)
            return
        self._not_reloaded = f"an edit does not load, the code before it goes on: {failed.message}"
        if self.state is State.OK:
            self._set_state(State.OK, self._not_reloaded)

    @property
    def takes(self) -> bool:
        """Whether it fetches: enabled, loaded, not draining."""
        return not self._draining and self.state in (State.OK, State.BLOCKED)

    @property
    def quiet(self) -> bool:
        """Whether it holds nothing and knows of nothing to fetch."""
        return self.unsettled == 0 and not self._fetching and (not self.takes or not self._hot)

    @property
    def room(self) -> int:
        """How many more deliveries it can make use of now. An event takes room until it is settled."""
        target = self.pool.target
        free = target - self.unsettled - self._expected
        # Fetching one by one as single places become free would cost a round trip an event.
        return free if free * 4 >= target else 0

    @property
    def startable(self) -> int:
        """How many deliveries could be begun at once, each in a worker of its own."""
        return self.pool.startable

    def make_way(self, on: bool) -> None:
        """Fetch nothing new for now: what another instance left is to be begun first."""
        self._makes_way = on
        self._awake.set()

    def drain(self) -> None:
        """Take nothing new, give back what has not begun, finish what runs."""
        self._draining = True
        self._awake.set()
        self.serving.drain()

    async def finished(self) -> None:
        """Until nothing is held any more, after `drain`."""
        while self.unsettled or self._fetching:
            await self._clock.sleep(FINISHED_LOOK)

    def abort(self) -> None:
        """Kill every worker; what runs is Interrupted."""
        for revision in self._revisions:
            revision.pool.abort()

    async def close(self) -> None:
        """Let go of everything; what is unsettled stays pending for the next owner."""
        for subscription in [*self.subscriptions.values(), *self._left]:
            for settler in subscription.settlers.values():
                settler.stop()
        self._returns.close()
        for revision in list(self._revisions):
            await revision.close()

    # --- fetching ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch whenever there may be something and there is room, until cancelled."""
        try:
            while True:
                await self._awake.wait()
                self._awake.clear()
                self._fetching = True
                await self._fetch_all()
                self._fetching = False
        finally:
            self._fetching = False
            while self._begun:
                self._begun.pop().abandon()

    async def _fetch_all(self) -> None:
        """Fetch until nothing is left, or no room for it. While the server looks for the next entries, those that came
        last are taken in; never are two fetches under way, for then they might overtake each other."""
        await self._take_begun()
        fetching = self._next_fetch()
        try:
            while fetching is not None:
                fetched, fetching = fetching, None
                subscription, source, entries = await fetched
                if entries and (fetching := self._next_fetch()):
                    await asyncio.sleep(0)  # It goes out.
                if entries:
                    await self._accept(subscription, source, entries)
                if fetching is None:
                    await self._take_begun()
                    fetching = self._next_fetch()
        finally:
            if fetching is not None:
                fetching.cancel()

    def _next_fetch(self) -> "asyncio.Task[_Fetched] | None":
        """Ask the stream whose turn it is for as many entries as there is room for."""
        if self._begun or not self._hot or not self.takes or self._makes_way or self.room == 0:
            return None
        subscription, source = self._in_turn()[0]
        # Its turn is over whatever comes of it: one that cannot be had keeps no other waiting.
        self._turn += 1
        subscription.served[source] = self._turn
        count = min(self.room, FETCH)
        self._expected += count
        return asyncio.create_task(self._fetch(subscription, source, count))

    def _in_turn(self) -> list[tuple[Subscription, Source]]:
        """The streams that may hold something, the one served longest ago first: no backlog, and no replay, which
        keeps an inbox full for hours, may keep the others waiting."""
        # Among equals retries and redriven events before new ones: they have waited already.
        places = [
            (subscription, source)
            for subscription in self._hot
            for source in (Source.INBOX, Source.TOPIC)
            if source in subscription.hot
        ]
        return sorted(places, key=lambda place: place[0].served[place[1]])

    def _heat(self, subscription: Subscription, source: Source) -> None:
        subscription.wake(source)
        if self.subscriptions.get(subscription.topic) is subscription:
            self._hot[subscription] = None

    def _cool(self, subscription: Subscription, source: Source) -> None:
        subscription.hot.discard(source)
        if not subscription.hot:
            self._hot.pop(subscription, None)

    def _begin(self, subscription: Subscription, source: Source, ask: Ask) -> bool:
        """Begin to fetch what was just added; whether that was possible. `run` takes in what it brings."""
        count = min(self.room, FIRST)
        if count <= 0 or len(self._begun) >= BEGUN or not self.takes or self._makes_way or subscription.problems:
            return False
        begun = Begun.by(ask, subscription, source, count)
        if begun is None:
            return False
        self._begun.append(begun)
        self._expected += count
        self._fetching = True
        return True

    async def _take_begun(self) -> None:
        """Take in what pushes have brought, in the order in which they came."""
        while self._begun:
            each = self._begun.popleft()
            reading = each.subscription.group.read(each.source, each.answer)
            entries = await self._read(each.subscription, each.source, each.count, each.wakes, each.call, reading)
            if entries:
                await self._accept(each.subscription, each.source, entries)

    async def _fetch(self, subscription: Subscription, source: Source, count: int) -> "_Fetched":
        call = subscription.in_flight(source).call()
        reading = subscription.group.fetch(source, count)
        entries = await self._read(subscription, source, count, subscription.wakes, call, reading)
        return subscription, source, entries

    async def _read(
        self,
        subscription: Subscription,
        source: Source,
        count: int,
        wakes: int,
        call: Call,
        reading: "Awaitable[_Pairs]",
    ) -> "_Pairs":
        """What the call brings that asked for so many, at a time when the subscription had that many wakes; nothing
        where it cannot be had now, and then its trigger says why. From then on it takes room."""
        try:
            entries = await self._read_new(subscription, source, count, wakes, call, reading)
        finally:
            self._expected -= count
        self.unsettled += len(entries)
        return entries

    async def _read_new(
        self,
        subscription: Subscription,
        source: Source,
        count: int,
        wakes: int,
        call: Call,
        reading: "Awaitable[_Pairs]",
    ) -> "_Pairs":
        flight = subscription.in_flight(source)
        try:
            with call:
                fetched = await reading
                entries = self._new_here(flight, fetched)
                flight.took(entries)
        except GroupGone:
            await self.recreate(subscription)
            self.wake(subscription, source)
            return []
        except BrokerUnavailable as error:
            self.blocked(subscription, FETCHING, str(error))
            await self._clock.sleep(later(self._tries, self._random()))
            self._tries += 1
            self.wake(subscription, source)
            return []
        except BrokerError as error:
            # One bad key is left out until the next sweep wakes it; the rest goes on.
            self.blocked(subscription, FETCHING, str(error))
            self._cool(subscription, source)
            return []
        self._tries = 0
        self.blocked(subscription, FETCHING, None)
        if len(fetched) < count and subscription.wakes == wakes:
            self._cool(subscription, source)
        else:
            self._heat(subscription, source)
        if fetched:
            subscription.newest[source] = fetched[-1][0]
        return entries

    def _new_here(self, flight: InFlight, entries: "_Pairs") -> "_Pairs":
        """Without what still runs here: a group that was made again delivers it once more, and once is enough."""
        if flight.ids.keys().isdisjoint(map(_ID, entries)):
            return entries
        if any(flight.ids.get(entry, fields) != fields for entry, fields in entries):
            self._lease.start_over(
                "the server has lost events that it had given out, and gives their ids to others (an older copy of its"
                " data, or a replica that had not copied them, took its place); this instance starts over"
            )
        return [each for each in entries if each[0] not in flight.ids]

    async def recreate(self, subscription: Subscription) -> None:
        """Make its vanished group again, and say so; what is wrong meanwhile is said too."""
        try:
            # What took the group may have taken our lease too; then it is for the next instance to begin anew.
            if not await self._lease.check():
                return
            where = await subscription.recreate()
        except BrokerError as error:
            self.blocked(subscription, FETCHING, str(error))
            await self._clock.sleep(later(self._tries, self._random()))
            self._tries += 1
        else:
            settling.warn(
                self._listener,
                self.trigger.name,
                f"the consumer group on {subscription.topic} was gone; it is made again at {where}",
            )

    async def _accept(self, subscription: Subscription, source: Source, entries: "_Pairs") -> None:
        if source is Source.TOPIC:
            subscription.settlers[source].delivered(entries[-1][0])
        taken = await self._intake.read(subscription, source, entries)
        for part in taken.held:
            self._submit(part)
        # What runs already does not wait for the rest.
        self._listener.tell(Delivered(self.trigger.name, len(entries)))
        if taken.dropped:
            self._drop(subscription, source, taken.dropped)
        if taken.filtered:
            count = len(taken.filtered)
            counters = Counter(delivered=count, filtered=count, filter_errors=taken.filter_errors)
            told: list[Happening] = [Filtered(self.trigger.name, count, taken.filter_errors)]
            subscription.settlers[source].settle(Settling(acks=taken.filtered, counters=counters, happenings=told))
        for skipped in taken.reported:
            self._skip(subscription, source, skipped)

    def _submit(self, held: HeldEntries | list[Held]) -> None:
        # The state may have changed while entries were on their way.
        if not self.takes:
            self._give_back(all_held(held))
        elif self._tracer is None:
            self.serving.submit(held)
        else:
            apart = all_held(held)
            for each in apart:
                each.span = self._tracer.begin(self.trigger, each)
                each.traceparent = str(each.span.own)
            self.serving.submit(apart)

    def _drop(self, subscription: Subscription, source: Source, entries: list[bytes], *, new: bool = True) -> None:
        counters = Counter(delivered=len(entries) * new, dropped=len(entries))
        told: list[Happening] = [Dropped(self.trigger.name, len(entries))]
        subscription.settlers[source].settle(Settling(acks=entries, counters=counters, happenings=told))

    def _skip(self, subscription: Subscription, source: Source, skipped: Entry) -> None:
        told: list[Happening] = [Filtered(self.trigger.name, 1, skipped.counters.get("filter_errors", 0))]
        subscription.settlers[source].settle(Settling(entries=[skipped], happenings=told))

    # --- claims ----------------------------------------------------------------------------------------------------

    def accept_claimed(
        self, subscription: Subscription, source: Source, claimed: list[Claimed], *, charged: bool
    ) -> None:
        """Take over what another instance left. Charged entries may have killed it."""
        flight = subscription.in_flight(source)
        new = {entry for entry, _ in self._new_here(flight, [(each.id, each.fields) for each in claimed])}
        claimed = [each for each in claimed if each.id in new]
        if not claimed:
            return
        self._listener.tell(Delivered(self.trigger.name, len(claimed)))
        flight.took((each.id, each.fields) for each in claimed if each.fields is not None)
        if source is Source.TOPIC:
            subscription.settlers[source].delivered(claimed[-1].id)
        taken = take_over(claimed, subscription, source, self.trigger, self._intake, self._clock.now(), charged=charged)
        self.unsettled += len(claimed) - len(taken.trimmed)
        if taken.trimmed:
            settling.warn_trimmed(self._listener, self.trigger.name, subscription.topic, taken.trimmed)
            self._listener.tell(Dropped(self.trigger.name, len(taken.trimmed)))
        if taken.dropped:
            self._drop(subscription, source, taken.dropped)
        for skipped in taken.skipped:
            self._skip(subscription, source, skipped)
        for delivery, died in taken.exhausted:
            crashed = Crashed(f"its instance died while it held this event ({died} of its attempts)")
            self.ended(delivery, crashed, timedelta(), self.serving.name)
        if taken.held:
            self._submit(taken.held)

    def accept_orphans(self, subscription: Subscription, source: Source, found: list[Claimed]) -> None:
        """Take in what was given to this instance and never arrived."""
        trimmed = [each.id for each in found if each.fields is None]
        if trimmed:
            self.unsettled += len(trimmed)
            self._listener.tell(Delivered(self.trigger.name, len(trimmed)))
            subscription.in_flight(source).took((each, None) for each in trimmed)
            # What an inbox holds was counted as delivered when its first attempt was settled.
            self._drop(subscription, source, trimmed, new=source is Source.TOPIC)
            settling.warn_trimmed(self._listener, self.trigger.name, subscription.topic, trimmed)
        rest = [each for each in found if each.fields is not None]
        for charged in (False, True):
            some = [each for each in rest if (each.delivery_count > 1) is charged]
            if some:
                self.accept_claimed(subscription, source, some, charged=charged)

    # --- what the pool says ----------------------------------------------------------------------------------------

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None:
        """These returned with nothing to report; `took` is what one of them took, on average."""
        reached("before the verdict")
        self._verdicts.succeeded(deliveries, took)

    def emitted(self, form: EmitForm, entries: Entries, own: list[Sequence[bytes]], took: timedelta | None) -> None:
        """These returned with one emit of this form each."""
        reached("before the verdict")
        self._verdicts.emitted(form, entries, own, took)

    def ended(self, delivery: Delivery, outcome: Outcome, elapsed: timedelta, revision: str) -> None:
        """An attempt on this revision ended with something to decide on."""
        reached("before the verdict")
        self._verdicts.ended(delivery, outcome, elapsed, revision)

    def released(self, deliveries: list[Delivery]) -> None:
        """The pool will not begin these: whoever takes the trigger next may."""
        self._give_back(all_held(deliveries))

    def output(self, delivery: Delivery | None, stream: str, text: str) -> None:
        """Keep a captured line for a possible dead letter, and show it."""
        if delivery is not None:
            if delivery.output is None:
                delivery.output = []
            if len(delivery.output) < settling.LOG_LINES:
                delivery.output.append(text)
        invocation = None if delivery is None else delivery.invocation_id
        self._listener.tell(Captured(self.trigger.name, invocation, stream, text))

    def loaded(self, revision: Revision, ready: Ready, took: timedelta | None) -> None:
        """The function is there: fetch. `took` is set where a worker of its own has loaded it."""
        if took is not None:
            self._listener.tell(WorkerStarted(self.trigger.name, took))
        if revision is not self.serving:
            return
        self.known.set()
        if self.state is not State.BLOCKED:
            self._set_state(State.OK, self._not_reloaded)
        self._awake.set()

    def broken(self, revision: Revision, failed: LoadFailed) -> None:
        """The function does not load: its events wait on the server, for this or any other instance."""
        if revision is not self.serving:
            return
        self.known.set()
        self._set_state(State.BROKEN, failed.message, failed.traceback)
        asyncio.get_running_loop().call_later(BROKEN_RETRY.total_seconds(), self._load_again)

    def short(self, why: str) -> None:
        """One worker more is wanted and cannot be had: said once for each reason."""
        if why != self._short_of:
            self._short_of = why
            workers = len(self.pool.members)
            settling.warn(self._listener, self.trigger.name, f"{workers} of {self.pool.limits.max} workers: {why}")

    # --- what the settlers say ---------------------------------------------------------------------------------------

    def settled(self, count: int, happenings: list[Happening]) -> None:
        """So many deliveries are off the list."""
        self.unsettled -= count
        for happening in happenings:
            self._listener.tell(happening)
            # Only now, for a retry that is due at once must be there when it is looked for.
            match happening:
                case Invoked(topic=topic, settlement=RetryAt(due, _)) if topic in self.subscriptions:
                    self._on_due(self.subscriptions[topic], int(due.timestamp() * 1000))
        self._awake.set()

    def blocked(self, subscription: Subscription, what: object, problem: str | None) -> None:
        """Fetching, or the settler of a source, cannot do its work, or can again."""
        if subscription.problems.get(what) == problem:
            return
        if problem is None:
            del subscription.problems[what]
        else:
            subscription.problems[what] = problem
        if self.state in (State.OK, State.BLOCKED):
            self._unblock()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _give_back(self, deliveries: list[Held]) -> None:
        """Hand deliveries to whoever takes them next, without burning an attempt."""
        self._intake.followed.difference_update(deliveries)
        self._returns.give_back(deliveries)

    def _returned(self, count: int) -> None:
        self.unsettled -= count
        self._awake.set()

    def _load_again(self) -> None:
        if self.state is State.BROKEN and not self._draining:
            self.pool.warm_up()

    def _unblock(self) -> None:
        """The state of a trigger whose function is loaded."""
        problems = [problem for each in self.subscriptions.values() for problem in each.problems.values()]
        self._set_state(State.BLOCKED if problems else State.OK, problems[0] if problems else self._not_reloaded)

    def _set_state(self, state: State, problem: str | None, traceback: str = "") -> None:
        changed = (state, problem) != (self.state, self.problem)
        self.state, self.problem = state, problem
        if changed:
            place = self.trigger.written.function if state is State.BROKEN else ""
            self._listener.tell(StateChanged(self.trigger.name, state, problem, traceback, place))
