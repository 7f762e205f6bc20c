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


@dataclass(frozen=True, slots=True)
class Naming:
    """How an emit's id is made of the stream id of the event that caused it: that stands between these two, in this
    place of the emit's fields."""

    place: int
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True, eq=False)
class EmitForm:
    """What many emits have in common: the topic, and their fields, of which each emit has its own where None stands,
    and its id where `naming` says."""

    topic: str
    fields: tuple[bytes | None, ...]
    naming: Naming | None = None

    def filled(self, own: Sequence[bytes], stream_id: str) -> tuple[bytes, ...]:
        """The fields of one of them, that was caused by the event with this id."""
        values = iter(own)
        fields = [next(values) if value is None else value for value in self.fields]
        if self.naming is not None:
            fields[self.naming.place] = self.naming.before + stream_id.encode() + self.naming.after
        return tuple(fields)


_set = object.__setattr__


class FormedEmit(Emit):
    """An emit of which only its `own` values travel; the fields are put together for whoever asks."""

    __slots__ = ("form", "own", "stream_id")
    form: EmitForm
    own: Sequence[bytes]
    stream_id: str

    def __init__(self, form: EmitForm, own: Sequence[bytes], stream_id: str) -> None:
        _set(self, "form", form)
        _set(self, "own", own)
        _set(self, "stream_id", stream_id)
        _set(self, "topic", form.topic)

    @property
    def fields(self) -> tuple[bytes, ...]:
        return self.form.filled(self.own, self.stream_id)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The function returned. `unemitted` says that it returned a value which no topic takes."""

    emits: tuple[Emit, ...] = ()
    unemitted: bool = False


class SucceededFormed(Succeeded):
    """The function returned one emit of this form, and nothing else is to be said: as the one object that this takes.

    Workers make it, for every event of a function that emits; the emit is made for whoever asks.
    """

    __slots__ = ("form", "own", "stream_id")
    form: EmitForm
    own: Sequence[bytes]
    stream_id: str

    def __init__(self, form: EmitForm, own: Sequence[bytes], stream_id: str) -> None:
        _set(self, "form", form)
        _set(self, "own", own)
        _set(self, "stream_id", stream_id)

    @property
    def emits(self) -> tuple[Emit, ...]:
        return (FormedEmit(self.form, self.own, self.stream_id),)

    @property
    def unemitted(self) -> bool:
        return False


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
