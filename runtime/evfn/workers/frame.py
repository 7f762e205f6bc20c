"""One frame of events in a worker's hands, and which of them are accounted for."""

from collections.abc import Iterator

from evfn.workers.delivery import Delivery
from evfn.workers.ledger import Ledger, Status

SLOTS_PER_FRAME = 512
FRAMES_PER_WORKER = 4
SLOTS = SLOTS_PER_FRAME * FRAMES_PER_WORKER


class Frame:
    """Events in consecutive slots of a ledger. The slots are not used again until every event is accounted for."""

    __slots__ = ("_left", "deliveries", "first", "number", "traced")

    def __init__(self, number: int, first: int, deliveries: list[Delivery]) -> None:
        self.number = number
        self.first = first
        self.deliveries: list[Delivery | None] = list(deliveries)
        self.traced = any(delivery.traceparent is not None for delivery in deliveries[:1])
        """Whether spans are made of its attempts: of all, or of none."""
        self._left = len(deliveries)

    @property
    def accounted(self) -> bool:
        """Whether nothing of this frame is left to hear of."""
        return self._left == 0

    def take(self, slot: int) -> Delivery | None:
        """The event in this slot, from now on accounted for; None if it was before."""
        index = slot - self.first
        delivery = self.deliveries[index]
        if delivery is not None:
            self.deliveries[index] = None
            self._left -= 1
        return delivery

    def time_done(self, ledger: Ledger) -> None:
        """Have each event that is done say from when to when it ran."""
        for index, delivery in enumerate(self.deliveries):
            if delivery is not None and ledger.memory[self.first + index] == Status.DONE:
                delivery.ran_ns = ledger.ran_ns(self.first + index)

    def take_done(self, ledger: Ledger) -> list[Delivery]:
        """Every event that the ledger says is done, from now on accounted for."""
        count = len(self.deliveries)
        statuses = ledger.memory[self.first : self.first + count]
        if self._left == count and statuses.count(Status.DONE) == count:
            done = [delivery for delivery in self.deliveries if delivery is not None]
            self.deliveries = [None] * count
            self._left = 0
            return done
        taken = [self.take(self.first + index) for index, status in enumerate(statuses) if status == Status.DONE]
        return [delivery for delivery in taken if delivery is not None]

    def left(self, ledger: Ledger) -> Iterator[tuple[int, Status, Delivery]]:
        """What is not accounted for: slot, status, event."""
        for index, delivery in enumerate(self.deliveries):
            if delivery is not None:
                slot = self.first + index
                yield slot, ledger.status(slot), delivery
