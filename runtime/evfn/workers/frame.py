"""One frame of events in a worker's hands, and which of them are accounted for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

from evfn.outcome import EmitForm
from evfn.workers.arena import Arena
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.ledger import SLOTS_PER_FRAME, Ledger, Status
from evfn.workers.protocol import Form, FormedReply, Reply, SucceededReply, unpack_record

FRAMES_PER_WORKER = 4
SLOTS = SLOTS_PER_FRAME * FRAMES_PER_WORKER


@dataclass(frozen=True, slots=True, eq=False)
class FormedReplies:
    """Successes with one emit of this form each: their slots, and for each of the form's own values those of all."""

    form: EmitForm
    slots: list[int]
    own: Sequence[Sequence[bytes]]


class Frame:
    """Events in consecutive slots of a ledger. The slots are not used again until every event is accounted for."""

    __slots__ = ("_accounted", "_deliveries", "_forms", "_known", "_left", "arena", "first", "number", "traced")

    arena: Arena

    def __init__(self, number: int, first: int, deliveries: Deliveries) -> None:
        self.number = number
        self.first = first
        self.traced = isinstance(deliveries, list) and deliveries[0].traceparent is not None
        """Whether spans are made of its attempts: of all, or of none."""
        self._deliveries = deliveries
        self._known: dict[int, Delivery] = {}
        self._accounted = bytearray(len(deliveries))
        self._left = len(deliveries)
        self._forms: list[EmitForm] = []

    def __len__(self) -> int:
        return len(self._deliveries)

    def __contains__(self, slot: int) -> bool:
        return self.first <= slot < self.first + len(self._deliveries)

    def delivery(self, slot: int) -> Delivery:
        """The event in this slot, the same object every time."""
        index = slot - self.first
        if isinstance(self._deliveries, list):
            return self._deliveries[index]
        if index not in self._known:
            self._known[index] = self._deliveries[index]
        return self._known[index]

    def take(self, slot: int) -> Delivery | None:
        """The event in this slot, from now on accounted for; None if it was before."""
        return self.delivery(slot) if self.account(slot) else None

    def account(self, slot: int) -> bool:
        """The event in this slot is accounted for, and needs not be known apart; whether it was not before."""
        index = slot - self.first
        if self._accounted[index]:
            return False
        self._accounted[index] = True
        self._left -= 1
        return True

    def take_entries(self, replies: FormedReplies) -> tuple[Entries, Sequence[Sequence[bytes]]] | None:
        """The events of these with what is their emits' own, from now on accounted for, but for those that were before;
        None where events are not kept as entries."""
        deliveries, slots = self._deliveries, replies.slots
        if not isinstance(deliveries, Entries):
            return None
        begin = slots[0] - self.first
        end = begin + len(slots)
        if slots == list(range(slots[0], slots[0] + len(slots))) and not any(self._accounted[begin:end]):
            # The way of nearly all: nothing is done for each.
            self._accounted[begin:end] = b"\1" * len(slots)
            self._left -= len(slots)
            return deliveries.part(begin, end), replies.own
        new = list(map(self.account, slots))
        indexes = [slot - self.first for slot in compress(slots, new)]
        return deliveries.only(indexes), [list(compress(values, new)) for values in replies.own]

    def heard(self) -> list[FormedReplies | Reply]:
        """What the worker has said since the last time. Emits of one topic keep their order; those of one form in a row
        are together.

        Raises ValueError where something else has written over it.
        """
        said: list[FormedReplies | Reply] = []
        begun: dict[str, tuple[EmitForm, list[FormedReply]]] = {}
        replies: list[FormedReply] = []
        number: int | None = None
        for record in map(unpack_record, self.arena.read()):
            if isinstance(record, FormedReply):
                if record.form != number:
                    number = record.form
                    form = self._form(number)
                    before, replies = begun.get(form.topic, (form, []))
                    if before is not form:
                        said.append(self._together(before, replies))
                        replies = []
                    begun[form.topic] = (form, replies)
                replies.append(record)
            elif isinstance(record, Form):
                self._forms.append(_form(record))
            else:
                if isinstance(record, SucceededReply):
                    said += [self._together(*each) for each in begun.values()]
                    begun.clear()
                    number = None
                said.append(record)
        said += [self._together(*each) for each in begun.values()]
        return said

    def _form(self, number: int) -> EmitForm:
        if not 0 <= number < len(self._forms):
            raise ValueError(f"an emit of form {number} where {len(self._forms)} are known")
        return self._forms[number]

    def _together(self, form: EmitForm, replies: list[FormedReply]) -> FormedReplies:
        slots = [reply.slot for reply in replies]
        own = list(zip(*[reply.own for reply in replies], strict=True))
        if not own or len(own) != form.fields.count(None):
            raise ValueError(f"emits with {len(own)} values of their own, which is not what their form says")
        if not (min(slots) in self and max(slots) in self):
            raise ValueError("an emit of an event that is in another frame")
        return FormedReplies(form, slots, own)

    def time_done(self, ledger: Ledger) -> None:
        """Have each event that is done say from when to when it ran."""
        for slot, status in self.left(ledger):
            if status is Status.DONE:
                self.delivery(slot).ran_ns = ledger.ran_ns(slot)

    def take_done(self, ledger: Ledger) -> Deliveries:
        """Every event that the ledger says is done, from now on accounted for."""
        count = len(self._deliveries)
        statuses = ledger.memory[self.first : self.first + count]
        if self._left == count and statuses.count(Status.DONE) == count:
            self._accounted = bytearray(b"\1" * count)
            self._left = 0
            return self._deliveries
        done = int(Status.DONE)
        accounted = self._accounted
        indexes = [index for index, status in enumerate(statuses) if status == done and not accounted[index]]
        for index in indexes:
            accounted[index] = True
        self._left -= len(indexes)
        if isinstance(self._deliveries, Entries):
            return self._deliveries.only(indexes)
        return [self._deliveries[index] for index in indexes]

    def left(self, ledger: Ledger) -> Iterator[tuple[int, Status]]:
        """What is not accounted for: slot and status."""
        for index, accounted in enumerate(self._accounted):
            if not accounted:
                slot = self.first + index
                yield slot, ledger.status(slot)

    def running(self, ledger: Ledger) -> Iterator[int]:
        """The slots of the events that run at this moment and are not accounted for."""
        end = self.first + len(self._deliveries)
        slot = ledger.memory.find(_RUNNING, self.first, end) if self._left else -1
        while slot >= 0:
            if not self._accounted[slot - self.first]:
                yield slot
            slot = ledger.memory.find(_RUNNING, slot + 1, end)


def _form(said: Form) -> EmitForm:
    naming = said.naming
    if naming is not None and not (0 <= naming.place < len(said.fields) and said.fields[naming.place] is not None):
        raise ValueError(f"an id in place {naming.place} of {len(said.fields)}, or where something else is to be")
    return EmitForm(said.topic, said.fields, naming)


_RUNNING = bytes((Status.RUNNING,))
