"""What is done with deliveries after their attempts: decided by the rule of `evfn.settlement`, then handed on."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from evfn.broker.group import Emitting, Entry, Source
from evfn.broker.limits import too_large
from evfn.clock import Clock
from evfn.listener import Happening, Invoked, Listener, SucceededMany, stored_ms
from evfn.listener import Interrupted as CutShort
from evfn.outcome import EmitForm, Failure, Interrupted, Outcome, Rejected, Succeeded
from evfn.services import settling
from evfn.services.held import Held, HeldEntries, held_entries_of, held_of
from evfn.services.reports import Reports
from evfn.services.settler import Settling
from evfn.services.subscription import Subscription
from evfn.settlement import Ack, DeadLetter, Release, RetryAt, Settlement, settle
from evfn.tracing.tracer import Tracer
from evfn.trigger import Trigger
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.pool import Ended


class Verdicts:
    """`followed` are the deliveries that somebody follows; `again` runs one that was interrupted, `give_back` hands one
    to whoever takes it next."""

    def __init__(
        self,
        trigger: Trigger,
        followed: set[Held],
        reports: Reports,
        instance: str,
        listener: Listener,
        clock: Clock,
        random: Callable[[], float],
        *,
        again: Callable[[Held], None],
        give_back: Callable[[Held], None],
        tracer: Tracer | None = None,
    ) -> None:
        self.trigger = trigger
        self._followed = followed
        self._reports = reports
        self._instance = instance
        self._listener = listener
        self._clock = clock
        self._random = random
        self._again = again
        self._give_back = give_back
        self._tracer = tracer
        self._unemitted_shown = ""

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None:
        """These returned with nothing to report; `took` is what one of them took, on average."""
        if isinstance(deliveries, HeldEntries):
            # The way of nearly all events: nothing is done for each, but for naming it.
            count = len(deliveries)
            some = [deliveries.delivery(deliveries.pairs[0]), deliveries.delivery(deliveries.pairs[-1])]
            deliveries.subscription.settlers[Source.TOPIC].settle(
                Settling(
                    acks=[pair[0] for pair in deliveries.pairs],
                    counters=Counter(succeeded=count, delivered=count),
                    happenings=[self._succeeded(Source.TOPIC, some[:count], count, took)],
                )
            )
            return
        by_place: dict[tuple[Subscription, Source], list[Held]] = defaultdict(list)
        for delivery in deliveries:
            held = held_of(delivery)
            by_place[held.subscription, held.source].append(held)
            if held.span is not None:
                self._span_ends(held, settling.SUCCEEDED, Ack())
        for (subscription, source), group in by_place.items():
            happenings = [self._succeeded(source, group, len(group), took)]
            entries, plain = self._report_successes(group, took) if self._followed else ([], group)
            counters: Counter[str] = Counter()
            if plain:
                counters["succeeded"] = len(plain)
                counters["delivered"] = len(plain) if source is Source.TOPIC else sum(held.opens for held in plain)
            subscription.settlers[source].settle(
                Settling([held.entry_id for held in plain], entries, counters, happenings)
            )

    def emitted(self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None) -> None:
        """These returned with one emit of this form each, `own` for each of its values those of all, in the same
        order."""
        held = held_entries_of(entries)
        count = len(held)
        some = [held.delivery(held.pairs[0]), held.delivery(held.pairs[-1])]
        told = SucceededMany(self.trigger.name, count, took, _stored_ms(Source.TOPIC, some), emitted=count)
        counters = {"delivered": 1, "succeeded": 1, "emitted": 1}
        emitting = Emitting(form, counters, [pair[0] for pair in held.pairs], own)
        held.subscription.settlers[Source.TOPIC].settle(Settling(emitting=[emitting], happenings=[told]))

    def ended(self, attempts: Sequence[Ended], revision: str) -> None:
        """These attempts ended with something to decide on."""
        now = self._clock.now()
        settlings: dict[tuple[Subscription, Source], Settling] = {}
        for delivery, outcome, elapsed in attempts:
            held = held_of(delivery)
            if isinstance(outcome, Interrupted):
                self._listener.tell(CutShort(self.trigger.name))
                self._span_ends(held, outcome, None)
                self._again(held)
                continue
            kept = _within_limits(outcome)
            decision = self._decide(held, kept, now)
            if isinstance(decision, Release):
                self._give_back(held)
                continue
            place = held.subscription, held.source
            if (together := settlings.get(place)) is None:
                together = settlings[place] = Settling()
            together.entries.append(self._entry(held, kept, decision, elapsed, now, revision))
            together.happenings.append(self._invoked(held, kept, decision, elapsed))
        for (subscription, source), together in settlings.items():
            subscription.settlers[source].settle(together)

    # --- inside --------------------------------------------------------------------------------------------------

    def _decide(self, held: Held, outcome: Outcome, now: datetime) -> Settlement:
        decision = settle(
            self.trigger,
            held.attempt,
            outcome,
            first_delivered=datetime.fromtimestamp(held.first_delivered_ms / 1000, UTC),
            now=now,
            random=self._random(),
        )
        self._span_ends(held, outcome, decision)
        return decision

    def _entry(
        self,
        held: Held,
        outcome: Outcome,
        decision: Ack | RetryAt | DeadLetter,
        elapsed: timedelta,
        now: datetime,
        revision: str,
    ) -> Entry:
        """What this decision is for the broker, with what it counts and what is reported of it."""
        counters = {"delivered": 1} if held.opens else {}
        traced = None
        if held in self._followed:
            self._followed.discard(held)
            traced = self._reports.ended(held, outcome, decision, elapsed)
        match decision:
            case Ack(emits, unemitted):
                counters |= {"succeeded": 1, "emitted": len(emits)}
                if unemitted:
                    counters["unemitted"] = 1
                    self._say_unemitted(revision)
                return settling.acked(held, emits, counters, traced)
            case RetryAt():
                return settling.retried(held, outcome, decision, now, counters | {"failed": 1, "retried": 1}, traced)
            case DeadLetter():
                counters |= {"failed": 1, "dead_lettered": 1}
                by = (self._instance, revision)
                return settling.dead(held, self.trigger.name, outcome, decision, now, by, counters, traced)

    def _succeeded(self, source: Source, some: list[Held], count: int, took: timedelta | None) -> Happening:
        """Of so many successes; `some` are all of them, or the first and the last."""
        if count == 1:
            return self._invoked(some[0], settling.SUCCEEDED, Ack(), took)
        return SucceededMany(self.trigger.name, count, took, _stored_ms(source, some))

    def _span_ends(self, held: Held, outcome: Outcome, what: Settlement | None) -> None:
        if self._tracer is not None and held.span is not None:
            self._tracer.end(held.span, self.trigger, held, outcome, what)
            held.span = held.traceparent = held.ran_ns = None

    def _invoked(
        self, held: Held, outcome: Outcome, decision: Ack | RetryAt | DeadLetter, took: timedelta | None
    ) -> Invoked:
        return Invoked(
            self.trigger.name,
            held.invocation_id,
            held.topic,
            held.stream_id,
            held.attempt,
            self.trigger.retry.attempts,
            outcome,
            decision,
            took,
        )

    def _report_successes(self, group: list[Held], took: timedelta | None) -> tuple[list[Entry], list[Held]]:
        """The settling of those that somebody follows, and the others."""
        entries: list[Entry] = []
        plain: list[Held] = []
        for held in group:
            if held in self._followed:
                self._followed.discard(held)
                counters = {"succeeded": 1} | ({"delivered": 1} if held.opens else {})
                traced = self._reports.ended(held, settling.SUCCEEDED, Ack(), took)
                entries.append(settling.acked(held, (), counters, traced))
            else:
                plain.append(held)
        return entries, plain

    def _say_unemitted(self, revision: str) -> None:
        if revision != self._unemitted_shown:
            self._unemitted_shown = revision
            settling.warn(
                self._listener,
                self.trigger.name,
                f"{self.trigger.function} returned a value, but the trigger has no `emits`: it is dropped",
            )


def _within_limits(outcome: Outcome) -> Outcome:
    """The same, but for one that emits more than a call to the server can hold."""
    if isinstance(outcome, Succeeded) and (why := too_large(outcome.emits)) is not None:
        return Rejected("too_large", Failure("evfn.TooLarge", why))
    return outcome


def _stored_ms(source: Source, group: list[Held]) -> tuple[int, int] | None:
    """When the first and the last of them were stored, replayed events left out."""
    if source is Source.TOPIC:
        # In their order, but for what was claimed; and nobody looks at each one on this way.
        group = [group[0], group[-1]]
    times = [each for held in group if (each := stored_ms(held.stream_id, held.invocation_id)) is not None]
    return (min(times), max(times)) if times else None
