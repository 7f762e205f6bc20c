"""What is to be settled together, and in how many calls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import chain

import msgspec

from evfn.broker import limits
from evfn.broker.dead_letter import DeadLetter, fields
from evfn.outcome import Emit, EmitForm, FormedEmit


class Kind(Enum):
    """What becomes of an entry that needs more than its ack."""

    ACK = "A"
    RETRY = "R"
    DEAD = "D"


class Traced(msgspec.Struct, frozen=True):
    """Where a settlement is told: `report` is added to the stream of `trace` in the same step, or not at all."""

    trace: str
    report: bytes


class Entry(msgspec.Struct, frozen=True):
    """One delivery to settle. `counters` are added exactly when it is; `deliveries` is its delivery count.

    `due_ms` is an instant of this instance's clock; the script takes its distance from now and adds the server's time.
    """

    id: bytes
    kind: Kind
    emits: Sequence[Emit] = ()
    due_ms: int = 0
    invocation_id: str = ""
    record: bytes = b""
    letter: Sequence[bytes] = ()
    counters: Mapping[str, int] = {}
    deliveries: int = 1
    traced: Traced | None = None

    @classmethod
    def ack(
        cls,
        entry_id: bytes,
        emits: Sequence[Emit] = (),
        *,
        counters: Mapping[str, int] | None = None,
        deliveries: int = 1,
        traced: Traced | None = None,
    ) -> "Entry":
        """Done, with these emits."""
        return cls(entry_id, Kind.ACK, emits=emits, counters=counters or {}, deliveries=deliveries, traced=traced)

    @classmethod
    def retry(
        cls,
        entry_id: bytes,
        invocation_id: str,
        due_ms: int,
        record: bytes,
        *,
        counters: Mapping[str, int] | None = None,
        deliveries: int = 1,
        traced: Traced | None = None,
    ) -> "Entry":
        """To run again at `due_ms`; `record` is the packed Record of that run."""
        return cls(
            entry_id,
            Kind.RETRY,
            due_ms=due_ms,
            invocation_id=invocation_id,
            record=record,
            counters=counters or {},
            deliveries=deliveries,
            traced=traced,
        )

    @classmethod
    def dead(
        cls,
        entry_id: bytes,
        letter: DeadLetter,
        *,
        counters: Mapping[str, int] | None = None,
        deliveries: int = 1,
        traced: Traced | None = None,
    ) -> "Entry":
        """Kept for a person."""
        return cls(
            entry_id,
            Kind.DEAD,
            letter=fields(letter),
            counters=counters or {},
            deliveries=deliveries,
            traced=traced,
        )


@dataclass(frozen=True, slots=True)
class Emitting:
    """First deliveries that are done with one emit of this form each: their ids, and for each value that is an emit's
    own those of all, in the order of the ids.

    What an `Entry` says for each is said once: `counters` are added for each of them.
    """

    form: EmitForm
    counters: Mapping[str, int]
    ids: Sequence[bytes]
    own: Sequence[Sequence[bytes]]

    @property
    def entries(self) -> list[Entry]:
        """The same as entries of their own."""
        values = zip(*self.own, strict=True)
        return [
            Entry.ack(entry, [FormedEmit(self.form, own, entry.decode())], counters=self.counters)
            for entry, own in zip(self.ids, values, strict=True)
        ]

    def within(self, emits: int, size: int) -> Iterator["Emitting"]:
        """In parts of at most so many emits, and of so many bytes where they are more than one."""
        if len(self.ids) <= emits and sum(map(len, chain.from_iterable(self.own))) <= size:
            yield self
            return
        begin, held = 0, 0
        for at, more in enumerate(map(sum, zip(*[map(len, values) for values in self.own], strict=True))):
            if at > begin and (at - begin >= emits or held + more > size):
                yield self._part(begin, at)
                begin, held = at, 0
            held += more
        yield self._part(begin, len(self.ids))

    def _part(self, begin: int, end: int) -> "Emitting":
        return replace(self, ids=self.ids[begin:end], own=[values[begin:end] for values in self.own])


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries of one source to settle together.

    `acks` need nothing but their ack; what is `emitting` is done with an emit each. `counters` are added when the
    (last) call takes anything off the list, so they are for the plain acks; what an entry counts stands in the entry.
    `repeat` says that an earlier call with this content may have been carried out. `last_delivered` is the highest
    topic id this instance was delivered.

    With `check` only what is pending for this instance is settled: since it was delivered the server was restarted or
    replaced, and the same id may now be another event's, given to somebody else. `epoch` is the connection's for which
    that was decided.
    """

    acks: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    repeat: bool = False
    check: bool = False
    epoch: int | None = None
    last_delivered: bytes = b""
    emitting: Sequence[Emitting] = ()

    @property
    def ids(self) -> list[bytes]:
        """Of everything to settle."""
        emitting = [entry for each in self.emitting for entry in each.ids]
        return [*self.acks, *(entry.id for entry in self.entries), *emitting]


def parts(batch: Batch) -> Iterator[Batch]:
    """The batch in calls within the limits; counters and the last delivered id go with the last one."""
    if batch.emitting:
        for emitting in batch.emitting:
            for part in emitting.within(limits.EMITS, limits.BYTES):
                yield replace(_like(batch), emitting=[part], last_delivered=batch.last_delivered)
        batch = replace(batch, emitting=())
        if not batch.acks and not batch.entries and not batch.counters:
            return
    if not batch.entries and len(batch.acks) <= limits.IDS:
        yield batch
        return
    result = [_like(batch, batch.acks[at : at + limits.IDS]) for at in range(0, len(batch.acks), limits.IDS)]
    current, emits, size = result.pop() if result else _like(batch), 0, 0
    for entry in batch.entries:
        more, bytes_more = len(entry.emits), _size(entry)
        held = len(current.acks) + len(current.entries)
        # What is too large for a call with others has one for itself.
        if held and (held >= limits.IDS or emits + more > limits.EMITS or size + bytes_more > limits.BYTES):
            result.append(current)
            current, emits, size = _like(batch), 0, 0
        current.entries.append(entry)
        emits, size = emits + more, size + bytes_more
    result.append(current)
    yield from result[:-1]
    yield replace(result[-1], counters=batch.counters, last_delivered=batch.last_delivered)


def apart(batch: Batch) -> Batch:
    """The same, each entry by itself."""
    emitting = [entry for each in batch.emitting for entry in each.entries]
    return replace(batch, emitting=(), entries=[*emitting, *batch.entries])


def by_streams(batch: Batch) -> list[Batch]:
    """The batch in parts that each emit to the same streams, what emits nothing first."""
    apart: dict[frozenset[str], list[Entry]] = {frozenset(): []} if batch.acks else {}
    for entry in batch.entries:
        apart.setdefault(frozenset(emit.topic for emit in entry.emits), []).append(entry)
    first, *rest = sorted(apart.items(), key=lambda each: bool(each[0]))
    return [replace(batch, entries=first[1]), *(replace(_like(batch), entries=entries) for _, entries in rest)]


def _like(batch: Batch, acks: Sequence[bytes] = ()) -> Batch:
    """A part of the batch, to be filled."""
    return Batch(acks=list(acks), repeat=batch.repeat, check=batch.check, epoch=batch.epoch)


def _size(entry: Entry) -> int:
    size = len(entry.record) + sum(map(len, entry.letter)) + (0 if entry.traced is None else len(entry.traced.report))
    if not entry.emits:
        return size
    if (why := limits.too_large(entry.emits)) is not None:
        raise ValueError(why)
    return size + limits.size_of(entry.emits)
