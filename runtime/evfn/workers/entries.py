"""First deliveries, kept as the entries they came as: most of them succeed, and nobody ever looks at one by itself."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from evfn.workers.delivery import Delivery


@dataclass(frozen=True, slots=True, eq=False)
class Entries(ABC):
    """Deliveries of one topic to one trigger, that differ in nothing but their entry: its id, and its fields.

    An object for each would cost more than all else that is done with it. Whoever fetches adds in a subclass where they
    must be settled, and with it what Delivery one of them is.
    """

    trigger: str
    topic: str
    pairs: Sequence[tuple[bytes, list[bytes]]]

    @abstractmethod
    def delivery(self, pair: tuple[bytes, list[bytes]]) -> Delivery:
        """One of them, for whoever has to know it apart; another object every time."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Delivery]:
        return map(self.delivery, self.pairs)

    def __getitem__(self, index: int) -> Delivery:
        return self.delivery(self.pairs[index])

    def part(self, first: int, end: int | None = None) -> Self:
        """Those from `first` to before `end`, or to the last."""
        return replace(self, pairs=self.pairs[first:end])

    def only(self, indexes: Sequence[int]) -> Self:
        """Those at these places."""
        return replace(self, pairs=[self.pairs[index] for index in indexes])


Deliveries = Entries | list[Delivery]
"""Several deliveries in their order, whichever way they are kept."""
