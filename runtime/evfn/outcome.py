"""How one attempt ended. A closed set: whatever a function or its process does becomes one of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One frame of a traceback, as raw as it left the worker; source text is added only when it is shown."""

    file: str
    line: int
    function: str


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as data; exceptions themselves never cross a process boundary.

    `type` is the class's full name, `bases` the full names of all its classes (for `give_up_on`), `frames` run from
    the outermost to the innermost, `causes` are the exceptions it came from, nearest first.
    """

    type: str
    message: str
    bases: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()
    causes: tuple["Failure", ...] = ()


@dataclass(frozen=True, slots=True)
class Emit:
    """One event a function asked for: its topic and its stream fields, alternating name and value, ready to store."""

    topic: str
    fields: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EmitForm:
    """What many emits have in common: the topic, and their fields, of which each emit has its own where None stands."""

    topic: str
    fields: tuple[bytes | None, ...]

    def filled(self, own: Sequence[bytes]) -> tuple[bytes, ...]:
        """The fields of one of them."""
        values = iter(own)
        return tuple(next(values) if value is None else value for value in self.fields)


class FormedEmit(Emit):
    """An emit of which only its `own` values travel; the fields are put together for whoever asks."""

    __slots__ = ("form", "own")
    form: EmitForm
    own: Sequence[bytes]

    def __init__(self, form: EmitForm, own: Sequence[bytes]) -> None:
        object.__setattr__(self, "form", form)
        object.__setattr__(self, "own", own)
        object.__setattr__(self, "topic", form.topic)

    @property
    def fields(self) -> tuple[bytes, ...]:
        return self.form.filled(self.own)


class Succeeded(msgspec.Struct, frozen=True):
    """The function returned. `unemitted` says that it returned a value which no topic takes."""

    emits: tuple[Emit, ...] = ()
    unemitted: bool = False


class Failed(msgspec.Struct, frozen=True):
    """The function raised. `retry_after` is set where it raised `evfn.Retry` with a time."""

    failure: Failure
    retry_after: timedelta | None = None


class Rejected(msgspec.Struct, frozen=True):
    """No retry can help. `reason` is the dead letter's: rejected, invalid_data, loop or too_large."""

    reason: str
    failure: Failure


class TimedOut(msgspec.Struct, frozen=True):
    """The function ran longer than its timeout and was killed; `stack` is where it stood, as text."""

    after: timedelta
    stack: str = ""


class Crashed(msgspec.Struct, frozen=True):
    """The worker process ended, or could not be talked to, while the function ran. `cause` tells a person why."""

    cause: str
    exit_code: int | None = None
    stack: str = ""


class Interrupted(msgspec.Struct, frozen=True):
    """evfn itself stopped the attempt (drain, abort, fence, a neighbour's kill): no attempt is burnt."""

    cause: str = ""


Outcome = Succeeded | Failed | Rejected | TimedOut | Crashed | Interrupted
