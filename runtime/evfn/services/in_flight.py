"""The ids an instance holds of one stream: fetched, queued, running, held back, or settled without an answer yet."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InFlight:
    """What the server counts as pending for this instance, as far as this instance knows.

    `calls` are those under way whose reply may bring more. What was `restored` once is not restored again. `doubtful`
    says how many more times it is looked for ids that the server gave and that never arrived.
    """

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.calls: set[object] = set()
        self.restored: set[bytes] = set()
        self.doubtful = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """A fetch or claim, until its ids are in the table. One without an answer leaves a doubt."""
        call = object()
        self.calls.add(call)
        try:
            yield
        except BaseException:
            self.doubtful = DOUBTFUL_LOOKS
            raise
        finally:
            self.calls.discard(call)

    def took(self, ids: Iterable[bytes]) -> None:
        """These are held from now on."""
        self.ids.update(ids)

    def gave(self, ids: Iterable[bytes]) -> None:
        """These are settled or handed over."""
        self.ids.difference_update(ids)
        if self.restored:
            self.restored.difference_update(ids)


DOUBTFUL_LOOKS = 6
"""A call without an answer may be carried out late, where the server hung."""
