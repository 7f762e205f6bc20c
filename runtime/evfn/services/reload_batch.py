"""What came of one change, told together: a shared module may concern many triggers."""

from collections.abc import Mapping

from evfn.listener import Listener, NotReloaded, Reloaded
from evfn.workers.protocol import LoadFailed


class Batch:
    """Open until it is closed and all that began has ended."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._open = 1
        self._reloaded: dict[str, int] = {}
        self._refused: dict[tuple[str, str], list[str]] = {}

    def begin(self) -> None:
        """One more is under way."""
        self._open += 1

    def reloaded(self, trigger: str, dead: int) -> None:
        """It runs on what is new; so many dead letters wait."""
        self._reloaded[trigger] = dead

    def refused(self, trigger: str, failed: LoadFailed) -> None:
        """It runs on as before."""
        self._refused.setdefault((failed.message, failed.traceback), []).append(trigger)

    def end(self) -> None:
        """One is through; the first ones are told before those that take their time."""
        self._open -= 1
        if self._open == 0:
            self._tell()

    def close(self) -> None:
        """All that were quick are through."""
        self._tell()
        self.end()

    def _tell(self) -> None:
        reloaded, self._reloaded = self._reloaded, {}
        refused, self._refused = self._refused, {}
        if reloaded:
            dead: Mapping[str, int] = {name: count for name, count in reloaded.items() if count}
            self._listener.tell(Reloaded(tuple(reloaded), dead))
        for (message, traceback), triggers in refused.items():
            self._listener.tell(NotReloaded(message, tuple(triggers), traceback))
