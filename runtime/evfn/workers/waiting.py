"""The deliveries that a pool holds and no worker has yet, in their order."""

from collections import deque
from collections.abc import Iterable

from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries


class Waiting:
    """Entries stay entries while they wait; what stands alone (a retry, a suspect, what came back) stands between."""

    def __init__(self) -> None:
        self._parts: deque[Entries | deque[Delivery]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def suspect(self) -> bool:
        """Whether the first one is a suspect, which must run alone."""
        first = self._parts[0] if self._parts else None
        return isinstance(first, deque) and first[0].suspect

    def add(self, deliveries: Entries | Iterable[Delivery]) -> None:
        """These come after all the others."""
        part = deliveries if isinstance(deliveries, Entries) else deque(deliveries)
        if not part:
            return
        self._count += len(part)
        if self._parts and isinstance(last := self._parts[-1], deque) and isinstance(part, deque):
            last.extend(part)
        else:
            self._parts.append(part)

    def put_back(self, deliveries: Iterable[Delivery]) -> None:
        """These come, in this order, before all the others."""
        part = deque(deliveries)
        if part:
            self._count += len(part)
            self._parts.appendleft(part)

    def take(self, size: int) -> Deliveries:
        """The first ones, at most `size`, as far as they are kept in one way; a suspect by itself."""
        if not self._parts:
            return []
        first = self._parts[0]
        taken: Deliveries
        if isinstance(first, Entries):
            taken = first.part(0, size)
            rest: Entries | deque[Delivery] = first.part(size)
        else:
            taken = [first.popleft()]
            while first and len(taken) < size and not taken[0].suspect and not first[0].suspect:
                taken.append(first.popleft())
            rest = first
        if rest:
            self._parts[0] = rest
        else:
            self._parts.popleft()
        self._count -= len(taken)
        return taken

    def clear(self) -> list[Delivery]:
        """All of them, none of which waits any more."""
        everything = [delivery for part in self._parts for delivery in part]
        self._parts.clear()
        self._count = 0
        return everything
