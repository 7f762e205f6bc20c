"""A delivery as its dispatcher holds it: what the pool runs, and where it must be settled."""

from collections.abc import Iterable
from dataclasses import dataclass

from evfn.broker.group import Source
from evfn.broker.record import Attempt, Origin, Record
from evfn.functions.invocation import invocation_id
from evfn.services.subscription import Subscription
from evfn.tracing.tracer import Begun
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Entries


class Held(Delivery, eq=False, kw_only=True):
    """`record` is what the inbox entry carried; None for an event straight from its topic. `span` is the one that is
    begun for the attempt, where spans are made."""

    subscription: Subscription
    source: Source
    entry_id: bytes
    first_delivered_ms: int
    record: Record | None
    deliveries: int = 1
    span: Begun | None = None

    @property
    def opens(self) -> bool:
        """Whether settling it counts a delivery: every path to a function but the retry of one that was counted."""
        return self.record is None or self.record.origin is not Origin.RETRY

    @property
    def unfiltered(self) -> bool:
        """Whether it is in its inbox as it stood on its topic: a replayed event, of which no filter was asked."""
        return self.record is not None and self.record.origin is Origin.REPLAY

    @property
    def history(self) -> list[Attempt]:
        """The attempts before this one."""
        return [] if self.record is None else self.record.history


@dataclass(frozen=True, slots=True, eq=False)
class HeldEntries(Entries):
    """Straight from their topic, delivered at `first_delivered_ms`, and followed by nobody."""

    subscription: Subscription
    first_delivered_ms: int

    def delivery(self, pair: tuple[bytes, list[bytes]]) -> Held:
        """One of them as a delivery of its own."""
        entry, fields = pair
        stream_id = entry.decode()
        return Held(
            topic=self.topic,
            stream_id=stream_id,
            attempt=1,
            invocation_id=invocation_id(self.trigger, self.topic, stream_id),
            fields=fields,
            subscription=self.subscription,
            source=Source.TOPIC,
            entry_id=entry,
            first_delivered_ms=self.first_delivered_ms,
            record=None,
        )


def held_of(delivery: Delivery) -> Held:
    """The same object, known for what it is. Raises TypeError for a delivery that no dispatcher made."""
    if not isinstance(delivery, Held):
        raise TypeError("a pool gives back only what its dispatcher submitted")
    return delivery


def held_entries_of(entries: Entries) -> HeldEntries:
    """The same, known for what they are. Raises TypeError as `held_of` does."""
    if not isinstance(entries, HeldEntries):
        raise TypeError("a pool gives back only what its dispatcher submitted")
    return entries


def all_held(deliveries: Iterable[Delivery]) -> list[Held]:
    """Each of them by itself. Raises TypeError as `held_of` does."""
    return [held_of(delivery) for delivery in deliveries]
