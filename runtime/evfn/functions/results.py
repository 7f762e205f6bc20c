"""What an attempt emits: returned and yielded values and the context's emits, as events ready to store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from time import time_ns
from typing import Any

from evfn.errors import EvfnError, InvalidData
from evfn.event import HOPS, Cause, Entry, Event, dump, encode, trace_of
from evfn.event.trace import CAUSE, TRACE, TRACED, marks
from evfn.event.traceparent import TRACEPARENT, TRACESTATE, new_trace, onward
from evfn.functions.invocation import FirstInvocation, Invocation, invocation_id
from evfn.outcome import Emit, EmitForm, FormedEmit, Naming, Succeeded, SucceededFormed

MAX_HOPS = 32
MAX_EMITS = 10_000
MAX_BYTES = 32 << 20
"""Of all emits of one attempt, counting names and values of their fields."""

_RECEIVED = frozenset({TRACEPARENT, HOPS, TRACE, CAUSE})
"""Extensions that an event passed on does not keep: what is emitted gets its own."""


class InvalidResult(EvfnError):  # noqa: N818 - the value is invalid, and a retry would give the same
    """What the function returned or emitted cannot be stored. `reason` is the dead letter's."""

    def __init__(self, message: str, reason: str = "rejected") -> None:
        super().__init__(message)
        self.reason = reason


_SPECVERSION = b"specversion"
_LONG = MAX_BYTES // 2
"""Data below that leave room enough for all other fields of an emit."""
_LONGEST_ID = 43
"""Of a stream's entry with what is put behind it."""
_PLAIN = 8
"""Fields and values that emits share where no trace goes on that has a state."""


@lru_cache(maxsize=256)
def _form(topic: str, source: str, hops: bytes, trigger: str, cause: str) -> tuple[EmitForm, int]:
    """The one event of a bare value that a first delivery from `cause` emits, whose time, place in a trace and data are
    its own; and the bytes of the rest."""
    fields = (
        b"specversion", b"1.0", b"id", b"", b"type", topic.encode(), b"source", source.encode(), b"time", None,
        TRACEPARENT.encode(), None, HOPS.encode(), hops, b"datacontenttype", b"application/json", b"data", None,
    )  # fmt: skip
    naming = Naming(3, invocation_id(trigger, cause, "").encode(), b"/1")
    size = sum(len(value) for value in fields if value is not None) + len(naming.before) + _LONGEST_ID
    return EmitForm(topic, fields, naming), size


def _now() -> datetime:
    return datetime.now(UTC)


def _text(instant: datetime) -> bytes:
    return f"{instant.isoformat(timespec='milliseconds')[:-6]}Z".encode()


# Many emits are made within a second, and some within a millisecond; writing a time costs as much as all else of one.
@lru_cache(maxsize=1)
def _second_text(seconds: int) -> bytes:
    return _text(datetime.fromtimestamp(seconds, UTC)).removesuffix(b"000Z")


@lru_cache(maxsize=1)
def _now_text(ms: int) -> bytes:
    return b"%b%03dZ" % (_second_text(ms // 1000), ms % 1000)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where emits come from: the trigger with the topics it may emit to, the first one taking bare values."""

    project: str
    trigger: str
    emits: tuple[str, ...] = ()
    now: Callable[[], datetime] = field(default=_now, repr=False)
    """The current instant, in UTC."""

    source: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", f"evfn/{self.project}/{self.trigger}")

    def time(self) -> bytes:
        """The current instant as an attribute's value, in milliseconds."""
        return _now_text(time_ns() // 1_000_000) if self.now is _now else _text(self.now())


def single(origin: Origin, invocation: Invocation, value: object) -> Succeeded | None:
    """The outcome of an attempt that emits nothing but this bare value, on a first delivery that passes nothing on:
    what `Emits` makes of it, without making one. None where `Emits` has to. Raises InvalidResult as that does.
    """
    fields = invocation.fields
    if not origin.emits or type(invocation) is not FirstInvocation or _SPECVERSION in fields or TRACED in fields:
        return None
    try:
        data = dump(value)
    except InvalidData as error:
        raise InvalidResult(f"return value {error}") from None
    if len(data) > _LONG:
        return None
    form, _ = _form(origin.emits[0], origin.source, b"1", invocation.trigger, invocation.topic)
    return SucceededFormed(form, (origin.time(), new_trace().encode(), data), invocation.stream_id)


class Emits:
    """The events of one attempt, in the order in which they were made. They are stored only if it succeeds."""

    __slots__ = ("_bytes", "_emits", "_first", "_invocation", "_origin", "_shared", "_unemitted")

    def __init__(self, origin: Origin, invocation: Invocation) -> None:
        self._origin = origin
        self._invocation = invocation
        self._emits: list[Emit] = []
        self._bytes = 0
        self._unemitted = False
        self._shared: list[bytes] = []
        self._first: list[bytes] = []

    def __bool__(self) -> bool:
        """Whether there is anything to report."""
        return bool(self._emits) or self._unemitted

    def succeeded(self) -> Succeeded:
        """The attempt's outcome, now that the function has returned."""
        if len(self._emits) == 1 and isinstance(emit := self._emits[0], FormedEmit) and not self._unemitted:
            return SucceededFormed(emit.form, emit.own, emit.stream_id)
        return Succeeded(tuple(self._emits), self._unemitted)

    def add(self, value: object, made: str = "return value") -> None:
        """Take a returned or yielded value; None is no event. Raises InvalidResult where it cannot be stored."""
        if value is None:
            return
        if isinstance(value, Event):
            self._add_event(value, made)
        elif not self._origin.emits:
            self._unemitted = True
        else:
            self._store_value(self._origin.emits[0], value, made)

    def emit(self, topic: str, data: object, attributes: dict[str, Any]) -> None:
        """Take an event from the context. Raises InvalidResult, and TypeError for an attribute that events have not."""
        if isinstance(data, Event):
            event = self._own(data).replace(topic=topic, **attributes)
        elif attributes:
            event = Event(data=data, topic=topic, **attributes)
        else:
            self._check(topic)
            self._store_value(topic, data, f"data emitted to {topic}")
            return
        self._store_event(event, f"data emitted to {topic}")

    def _add_event(self, event: Event, made: str) -> None:
        event = self._own(event)
        if not event.topic:
            if not self._origin.emits:
                self._unemitted = True
                return
            event = event.replace(topic=self._origin.emits[0])
        self._store_event(event, made)

    def _own(self, event: Event) -> Event:
        """An event that was received and is passed on becomes a new one: its place and name were the old one's."""
        if event.stream_id != self._invocation.stream_id or event.topic != self._invocation.topic:
            return event
        kind = "" if event.type == event.topic else event.type
        kept = {name: value for name, value in event.extensions.items() if name not in _RECEIVED}
        return event.replace(topic="", stream_id="", id="", source="", type=kind, extensions=kept)

    def _check(self, topic: str) -> None:
        allowed = self._origin.emits
        if topic not in allowed:
            may = f"it may emit to {', '.join(allowed)}" if allowed else "it has no emits"
            raise InvalidResult(f"emit to {topic!r}: {may} (emits of {self._origin.trigger} in triggers.yaml)")

    def _store_value(self, topic: str, value: object, made: str) -> None:
        """A bare value, the common case: everything but the data is ours."""
        try:
            data = dump(value)
        except InvalidData as error:
            raise InvalidResult(f"{made} {error}") from None
        shared = self._shared or self._inherit()
        first = self._invocation
        if not self._emits and isinstance(first, FirstInvocation) and not self._first and len(shared) == _PLAIN:
            _, _, _, time, _, span, _, hops = shared
            form, size = _form(topic, self._origin.source, hops, first.trigger, first.topic)
            own = (time, span, data)
            self._keep(FormedEmit(form, own, first.stream_id), size + sum(map(len, own)))
            return
        fields = (
            *self._first, b"specversion", b"1.0", b"id", self._id().encode(), b"type", topic.encode(), *shared,
            b"datacontenttype", b"application/json", b"data", data,
        )  # fmt: skip
        self._keep(Emit(topic, fields), sum(map(len, fields)))

    def _store_event(self, event: Event, made: str) -> None:
        self._check(event.topic)
        items = [item.decode() for item in self._shared or self._inherit()]
        shared = dict(zip(items[::2], items[1::2], strict=True))
        source, time = shared.pop("source"), shared.pop("time")
        own = {name: value for name, value in event.extensions.items() if name not in (TRACE, CAUSE)}
        try:
            fields = encode(
                event.replace(
                    id=event.id or self._id(),
                    source=event.source or source,
                    type=event.type or event.topic,
                    time=event.time or datetime.fromisoformat(time),
                    extensions={**shared, **own, HOPS: shared[HOPS]},
                )
            )
        except InvalidData as error:
            raise InvalidResult(f"{made} {error}") from None
        fields = [*self._first, *fields]
        self._keep(Emit(event.topic, tuple(fields)), sum(map(len, fields)))

    def _keep(self, emit: Emit, size: int) -> None:
        self._bytes += size
        if len(self._emits) == MAX_EMITS:
            raise InvalidResult(f"more than {MAX_EMITS:,} emits in one attempt", "too_large")
        if self._bytes > MAX_BYTES:
            raise InvalidResult(f"the emits of one attempt hold more than {MAX_BYTES >> 20} MiB", "too_large")
        self._emits.append(emit)

    def _id(self) -> str:
        return f"{self._invocation.invocation_id}/{len(self._emits) + 1}"

    def _inherit(self) -> list[bytes]:
        """What all emits of this attempt share, as fields. Raises InvalidResult where the event came too far."""
        invocation = self._invocation
        hops, trace, inherited = 1, None, []
        followed = trace_of(invocation.fields)
        if followed is not None:
            self._first = marks(followed, Cause(invocation.topic, invocation.stream_id, self._origin.trigger))
        if b"specversion" in invocation.fields:
            cause = Entry(invocation.topic, invocation.stream_id, invocation.fields)
            counted = cause.attribute(HOPS) or ""
            if counted.isascii() and counted.isdigit() and len(counted) < 10:
                hops = int(counted) + 1
            if hops > MAX_HOPS:
                raise InvalidResult(f"a loop of emits: the event came through {MAX_HOPS} functions", "loop")
            trace = cause.attribute(TRACEPARENT)
            state = cause.attribute(TRACESTATE)
            if state is not None:
                inherited += [TRACESTATE.encode(), state.encode()]
        # The attempt is a span: the one that somebody else makes of it, or nobody's, under which a trace goes on.
        span = invocation.traceparent or (str(onward(trace)) if trace else new_trace())
        self._shared = [
            b"source", self._origin.source.encode(), b"time", self._origin.time(), TRACEPARENT.encode(), span.encode(),
            HOPS.encode(), b"%d" % hops, *inherited,
        ]  # fmt: skip
        return self._shared
