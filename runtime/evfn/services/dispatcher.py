"""Moves one trigger's events: fetched from its streams, filtered, run by its pool, decided on, settled.

The dispatcher never runs user code and never decodes an event, unless a filter needs it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

from evfn.broker.group import Ask, Claimed, Entry, Source
from evfn.clock import Clock
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
from evfn.outcome import Crashed, EmitForm
from evfn.services import settling
from evfn.services.fetch import Pairs
from evfn.services.fetcher import Fetcher, Lease
from evfn.services.held import Held, HeldEntries, all_held
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
from evfn.workers.pool import Ended, Pool
from evfn.workers.protocol import LoadFailed, Ready

FINISHED_LOOK = timedelta(milliseconds=5)
BROKEN_RETRY = timedelta(seconds=30)
"""How often a function that does not load is tried again: what it misses may be there by then."""


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
        self._listener = listener
        self._clock = clock
        self._random = random
        self._on_due = on_due
        self._tracer = tracer
        self.known = asyncio.Event()
        self._draining = False
        self.fetcher = Fetcher(self, lease, clock, random)
        self._short_of = ""
        self._returns = Returns(clock, random, on_returned=self._returned, on_gone=self.fetcher.recreate)
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
        self.fetcher.add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Fetch from this topic no more; what was fetched is still run and settled."""
        del self.subscriptions[subscription.topic]
        self.fetcher.remove(subscription)
        self._left.append(subscription)

    def wake(self, subscription: Subscription, source: Source, ask: Ask | None = None) -> None:
        """Something may have been added to one of its streams. With `ask` it is fetched at once, where nothing else is
        to be fetched first."""
        self.fetcher.wake(subscription, source, ask)

    def wake_all(self) -> None:
        """Look at every stream once: the watch is a hint, never the truth."""
        for subscription in self.subscriptions.values():
            for source in Source:
                self.fetcher.wake(subscription, source)

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
        self.fetcher.look()

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
        return self.unsettled == 0 and not self.fetcher.fetching and (not self.takes or not self.fetcher.hot)

    @property
    def target(self) -> int:
        """How many deliveries its workers can make use of at a time."""
        return self.pool.target

    @property
    def startable(self) -> int:
        """How many deliveries could be begun at once, each in a worker of its own."""
        return self.pool.startable

    def drain(self) -> None:
        """Take nothing new, give back what has not begun, finish what runs."""
        self._draining = True
        self.fetcher.look()
        self.serving.drain()

    async def finished(self) -> None:
        """Until nothing is held any more, after `drain`."""
        while self.unsettled or self.fetcher.fetching:
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

    # --- what is fetched ---------------------------------------------------------------------------------------------

    async def accept(self, subscription: Subscription, source: Source, entries: Pairs) -> None:
        """Take in a fetch."""
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

    def remade(self, subscription: Subscription, where: str) -> None:
        """A group that was gone is made again."""
        text = f"the consumer group on {subscription.topic} was gone; it is made again at {where}"
        settling.warn(self._listener, self.trigger.name, text)

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
        new = {entry for entry, _ in self.fetcher.new_here(flight, [(each.id, each.fields) for each in claimed])}
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
            self.ended([(delivery, crashed, timedelta())], self.serving.name)
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

    def emitted(self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None) -> None:
        """These returned with one emit of this form each."""
        reached("before the verdict")
        self._verdicts.emitted(form, entries, own, took)

    def ended(self, attempts: Sequence[Ended], revision: str) -> None:
        """These attempts on this revision ended with something to decide on."""
        reached("before the verdict")
        self._verdicts.ended(attempts, revision)

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
        self.fetcher.look()

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
        self.fetcher.look()

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
        self.fetcher.look()

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
