"""What a running instance tells whoever shows it: `evfn run` prints it, a server's log turns it into lines.

Values only: no I/O here, and a listener must not block, for it is called on the dispatcher's loop.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec

from evfn.outcome import Failure, Outcome
from evfn.settlement import Settlement


class TriggerState(Enum):
    """How a trigger stands, in the words of `evfn status`."""

    OK = "ok"
    LOADING = "loading"
    BROKEN = "broken"
    BLOCKED = "blocked"
    DISABLED = "disabled"


class Watched(msgspec.Struct, frozen=True):
    """One trigger at the start. `topics` are its patterns; `waiting` counts the events before it, if known."""

    trigger: str
    topics: tuple[str, ...]
    function: str
    filter: str | None = None
    emits: tuple[str, ...] = ()
    enabled: bool = True
    waiting: int | None = None


class Started(msgspec.Struct, frozen=True):
    """The instance takes events from now on. `server` is its URL with the password masked."""

    project: str
    instance: str
    server: str
    watched: tuple[Watched, ...]


class StateChanged(msgspec.Struct, frozen=True):
    """A trigger's state is another one than before; `problem` says why and what to do where it is not OK.

    `place` is where the manifest names a function that does not load.
    """

    trigger: str
    state: TriggerState
    problem: str | None = None
    traceback: str = ""
    place: str = ""


class Invoked(msgspec.Struct, frozen=True):
    """One attempt ended and its settlement is stored. `attempts` is how many the trigger allows in all."""

    trigger: str
    invocation_id: str
    topic: str
    stream_id: str
    attempt: int
    attempts: int
    outcome: Outcome
    settlement: Settlement
    duration: timedelta | None = None


def stored_ms(stream_id: str, invocation_id: str) -> int | None:
    """When an invocation's event was stored, in milliseconds on the server's clock; None for one that is replayed, as
    its invocation's id tells, and for an id written by hand that is none."""
    digits = stream_id.partition("-")[0]
    return int(digits) if digits.isdecimal() and invocation_id.endswith(stream_id) else None


class SucceededMany(msgspec.Struct, frozen=True):
    """`count` attempts of one trigger succeeded and are told together, with `emitted` emits in all.

    `duration` is what one of them took, on average, where it is known. `stored_ms` is when the first and the last
    of their events were stored, in milliseconds on the server's clock, replayed ones left out; None where there is no
    other.
    """

    trigger: str
    count: int
    duration: timedelta | None = None
    stored_ms: tuple[int, int] | None = None
    emitted: int = 0


class Interrupted(msgspec.Struct, frozen=True):
    """One attempt was stopped by evfn itself; it is made again, and none is burnt."""

    trigger: str


class Delivered(msgspec.Struct, frozen=True):
    """The server handed `count` deliveries of one trigger to this instance."""

    trigger: str
    count: int


class Filtered(msgspec.Struct, frozen=True):
    """The trigger's filter let `count` events not through, which is stored; on `errors` of them it had an error."""

    trigger: str
    count: int
    errors: int = 0


class Dropped(msgspec.Struct, frozen=True):
    """`count` events are off the trigger's list without having run: trimmed by somebody, or none of evfn's."""

    trigger: str
    count: int


class WorkerStarted(msgspec.Struct, frozen=True):
    """A worker has loaded the trigger's function, `took` after it was asked for."""

    trigger: str
    took: timedelta


class Captured(msgspec.Struct, frozen=True):
    """One line a function wrote; `stream` is stdout, stderr or log. Raw: whoever prints it escapes it."""

    trigger: str
    invocation_id: str | None
    stream: str
    text: str


class FilterFailed(msgspec.Struct, frozen=True):
    """A trigger's filter had an error on an event; told once per trigger, the rest is counted."""

    trigger: str
    topic: str
    stream_id: str
    failure: Failure
    event: str


class Warned(msgspec.Struct, frozen=True):
    """Something a person should know; `text` is one line, or one line and details."""

    text: str
    trigger: str | None = None


class Unreachable(msgspec.Struct, frozen=True):
    """The server lets no instance begin, or this one not go on: why. It is tried until it does."""

    problem: str


class LeaseUncertain(msgspec.Struct, frozen=True):
    """Beats fail, and why: the lease may lapse. With None they succeed again."""

    problem: str | None


class LeaseLost(msgspec.Struct, frozen=True):
    """What runs here is killed and settled by others; a new instance begins, as `Started` tells."""

    why: str


class Reloading(msgspec.Struct, frozen=True):
    """Somebody asked for manifest, `.env` and functions to be read anew. `cause` names the signal."""

    cause: str


class ReloadEnded(msgspec.Struct, frozen=True):
    """All that `Reloading` asked for is decided; what came of it was told before. `refused` where some of it is not
    used."""

    refused: bool


class Reloaded(msgspec.Struct, frozen=True):
    """An edit serves the next event. `dead` has the triggers among these that have dead letters, and how many.

    Without `triggers` it is a manifest that is right again.
    """

    triggers: tuple[str, ...]
    dead: Mapping[str, int]


class NotReloaded(msgspec.Struct, frozen=True):
    """An edit cannot be used: why, and where. What served before goes on. Without `triggers` it is the manifest's."""

    problem: str
    triggers: tuple[str, ...] = ()
    traceback: str = ""


class TriggersChanged(msgspec.Struct, frozen=True):
    """The manifest gained these triggers, or lost them."""

    added: tuple[Watched, ...]
    removed: tuple[str, ...]


class Unbound(msgspec.Struct, frozen=True):
    """A new file that no trigger uses; `lines` would bind it, pasted into the manifest."""

    file: Path
    lines: str


class Stopping(msgspec.Struct, frozen=True):
    """Nothing new is taken any more; `running` invocations are finished first. `cause` names the signal, or `idle`."""

    cause: str
    running: int


class Stopped(msgspec.Struct, frozen=True):
    """Everything is let go of. `interrupted` invocations were killed when the time for them was up, or by an abort;
    they are delivered again, no attempt burnt."""

    cause: str
    interrupted: int


Happening = (
    Started
    | StateChanged
    | Invoked
    | SucceededMany
    | Interrupted
    | Delivered
    | Filtered
    | Dropped
    | WorkerStarted
    | Captured
    | FilterFailed
    | Warned
    | Unreachable
    | LeaseUncertain
    | LeaseLost
    | Reloading
    | ReloadEnded
    | Reloaded
    | NotReloaded
    | TriggersChanged
    | Unbound
    | Stopping
    | Stopped
)


class Listener(Protocol):
    def tell(self, happening: Happening) -> None:
        """Take note; never raises and never blocks."""


class Listeners:
    """Tells several, in their order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def tell(self, happening: Happening) -> None:
        """Pass it on to all."""
        for each in self._listeners:
            each.tell(happening)
