"""The ids an instance holds of one stream: fetched, queued, running, held back, or settled without an answer yet."""

from collections import deque
from collections.abc import Iterable
from itertools import repeat

DOUBTFUL_LOOKS = 6
"""A call without an answer may be carried out late, where the server hung."""


class Call:
    """Under way from its making to the end of its `with` block. One that ends without an answer leaves a doubt."""

    def __init__(self, flight: "InFlight") -> None:
        self._flight = flight
        flight.calls.add(self)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._flight.doubtful = DOUBTFUL_LOOKS
        self._flight.calls.discard(self)

    def abandon(self) -> None:
        """Nobody waits for its answer any more."""
        self._flight.doubtful = DOUBTFUL_LOOKS
        self._flight.calls.discard(self)


class InFlight:
    """What the server counts as pending for this instance, as far as this instance knows.

    `ids` has what each holds. `calls` are those under way whose reply may bring more. What was `restored` once is not
    restored again; what was `settled_again` after that is not settled a third time. `doubtful` says how many more times
    it is looked for ids that the server gave and that never arrived. `unsure` are those that another life of the server
    gave.
    """

    def __init__(self) -> None:
        self.ids: dict[bytes, list[bytes] | None] = {}
        self.unsure: set[bytes] = set()
        self.calls: set[Call] = set()
        self.restored: set[bytes] = set()
        self.settled_again: set[bytes] = set()
        self.doubtful = 0

    def call(self) -> "Call":
        """A fetch or claim is under way; the block it is for ends when its ids are in the table."""
        return Call(self)

    def took(self, entries: Iterable[tuple[bytes, list[bytes] | None]]) -> None:
        """These are held from now on."""
        self.ids.update(entries)

    def server_changed(self) -> None:
        """It may know nothing of what is held, and give the same ids to other events."""
        self.unsure.update(self.ids)

    def gave(self, ids: Iterable[bytes]) -> None:
        """These are settled or handed over."""
        ids = list(ids)
        # As `for each in ids: self.ids.pop(each, None)`, in a third of the time.
        deque(map(self.ids.pop, ids, repeat(None)), maxlen=0)
        if self.restored:
            self.restored.difference_update(ids)
            self.settled_again.difference_update(ids)
        if self.unsure:
            self.unsure.difference_update(ids)
