"""The ids an instance holds of one stream: fetched, queued, running, held back, or settled without an answer yet."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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
        self.calls: set[object] = set()
        self.restored: set[bytes] = set()
        self.settled_again: set[bytes] = set()
        self.doubtful = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """A fetch or claim, until its ids are in the table. One without an answer leaves a doubt."""
        call = object()
        self.calls.add(call)
        try:
            yield
        except BaseException:
            self.doubt()
            raise
        finally:
            self.calls.discard(call)

    def doubt(self) -> None:
        """A call may have brought what nobody took."""
        self.doubtful = DOUBTFUL_LOOKS

    def took(self, entries: Iterable[tuple[bytes, list[bytes] | None]]) -> None:
        """These are held from now on."""
        self.ids.update(entries)

    def server_changed(self) -> None:
        """It may know nothing of what is held, and give the same ids to other events."""
        self.unsure.update(self.ids)

    def gave(self, ids: Iterable[bytes]) -> None:
        """These are settled or handed over."""
        ids = list(ids)
        for each in ids:
            self.ids.pop(each, None)
        if self.restored:
            self.restored.difference_update(ids)
            self.settled_again.difference_update(ids)
        if self.unsure:
            self.unsure.difference_update(ids)


DOUBTFUL_LOOKS = 6
"""A call without an answer may be carried out late, where the server hung."""
