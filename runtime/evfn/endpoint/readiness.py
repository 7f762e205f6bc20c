"""Whether an instance serves all that it should, and if not, why."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from evfn.listener import (
    Happening,
    LeaseLost,
    LeaseUncertain,
    Started,
    StateChanged,
    Stopping,
    TriggersChanged,
    TriggerState,
    Unreachable,
    Watched,
)


class Lack(Enum):
    """What an instance lacks to be ready."""

    NOT_CONNECTED = "not_connected"
    LEASE = "lease"
    LOADING = "loading"
    BROKEN = "broken"
    BLOCKED = "blocked"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Reason:
    """One of them; `trigger` is the one concerned, None for the whole instance."""

    lack: Lack
    problem: str
    trigger: str | None = None


_STATES = {
    TriggerState.LOADING: Lack.LOADING,
    TriggerState.BROKEN: Lack.BROKEN,
    TriggerState.BLOCKED: Lack.BLOCKED,
}


class Readiness:
    """A listener. `on_change` is called whenever something may be another way than before."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._states: dict[str, tuple[TriggerState, str]] = {}
        self._unreachable: str | None = "it has not begun yet"
        self._lease: str | None = None
        self._stopping = False

    def tell(self, happening: Happening) -> None:
        """Take note."""
        match happening:
            case Started(watched=watched):
                self._unreachable = self._lease = None
                self._states = {each.trigger: _begins(each) for each in watched}
            case Unreachable(problem) | LeaseLost(problem):
                self._unreachable = problem
            case LeaseUncertain(problem):
                self._lease = problem
            case StateChanged(trigger, state, problem):
                self._states[trigger] = (state, problem or "")
            case TriggersChanged(added, removed):
                for name in removed:
                    self._states.pop(name, None)
                self._states.update({each.trigger: _begins(each) for each in added})
            case Stopping():
                self._stopping = True
            case _:
                return
        self._on_change()

    @property
    def known(self) -> bool:
        """Whether it has begun, and of every function is known whether it loads."""
        return self._unreachable is None and all(
            state is not TriggerState.LOADING for state, _ in self._states.values()
        )

    @property
    def triggers(self) -> int:
        """How many it has."""
        return len(self._states)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not ready; nothing where it is."""
        found: list[Reason] = []
        if self._stopping:
            found.append(Reason(Lack.DRAINING, "it is being stopped and takes nothing new"))
        if self._unreachable is not None:
            return (*found, Reason(Lack.NOT_CONNECTED, self._unreachable))
        if self._lease is not None:
            found.append(Reason(Lack.LEASE, f"the lease is not renewed: {self._lease}"))
        for trigger, (state, problem) in self._states.items():
            if state in _STATES:
                found.append(Reason(_STATES[state], problem or "its function is being loaded", trigger))
        return tuple(found)


def _begins(each: Watched) -> tuple[TriggerState, str]:
    return (TriggerState.LOADING if each.enabled else TriggerState.DISABLED), ""
