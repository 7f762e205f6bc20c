"""Settling: everything that follows from a batch of attempts, in as few atomic calls as the limits allow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from evfn.broker import limits
from evfn.broker.connection import Argument, Connection
from evfn.broker.dead_letter import DeadLetter, fields
from evfn.broker.keys import Keys
from evfn.broker.scripts import Script
from evfn.outcome import Emit

SETTLE = Script("settle", "stream", "stats", "instances", "retry", "bodies", "dead", "topics", "...")


class Kind(Enum):
    """What becomes of an entry that needs more than its ack."""

    ACK = "A"
    RETRY = "R"
    DEAD = "D"


@dataclass(frozen=True, slots=True)
class Entry:
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
    counters: Mapping[str, int] = field(default_factory=dict)
    deliveries: int = 1

    @classmethod
    def ack(
        cls, id: bytes, emits: Sequence[Emit] = (), *, counters: Mapping[str, int] | None = None, deliveries: int = 1
    ) -> "Entry":
        """Done, with these emits."""
        return cls(id, Kind.ACK, emits=emits, counters=counters or {}, deliveries=deliveries)

    @classmethod
    def retry(
        cls,
        id: bytes,
        invocation_id: str,
        due_ms: int,
        record: bytes,
        *,
        counters: Mapping[str, int] | None = None,
        deliveries: int = 1,
    ) -> "Entry":
        """To run again at `due_ms`; `record` is the packed Record of that run."""
        return cls(
            id,
            Kind.RETRY,
            due_ms=due_ms,
            invocation_id=invocation_id,
            record=record,
            counters=counters or {},
            deliveries=deliveries,
        )

    @classmethod
    def dead(
        cls, id: bytes, letter: DeadLetter, *, counters: Mapping[str, int] | None = None, deliveries: int = 1
    ) -> "Entry":
        """Kept for a person."""
        return cls(id, Kind.DEAD, letter=fields(letter), counters=counters or {}, deliveries=deliveries)


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries of one source to settle together.

    `acks` need nothing but their ack. `counters` are added when the (last) call takes anything off the list, so they
    are for the plain acks; what an entry counts stands in the entry. `repeat` says that an earlier call with this
    content may have been carried out. `last_delivered` is the highest topic id this instance was delivered.
    """

    acks: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    repeat: bool = False
    last_delivered: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that could not be settled and is pending as before; `key` could not be written, `error` says why."""

    id: bytes
    key: str
    error: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a batch. `fenced`: this instance has no lease any more, nothing (more) was changed.

    `blocked` names the key that kept everything from being settled; `refused` are the entries that alone were not.
    `acked` counts what was taken off the list, `missing` what was not on it: settled by an earlier call, or no longer
    this trigger's. `counter_error` says why the counters could not be kept.
    """

    fenced: bool = False
    blocked: str | None = None
    refused: list[Refused] = field(default_factory=list)
    acked: int = 0
    missing: int = 0
    counter_error: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Whose deliveries of what are settled: the source's stream key, the topic and group, the instance."""

    stream: str
    inbox: bool
    topic: str
    group: str
    instance: str


async def settle(connection: Connection, keys: Keys, place: Place, batch: Batch) -> Settled:
    """Settle a batch; entries whose keys are blocked are left out, the rest goes on.

    After BrokerUnavailable the same batch, with `repeat`, may be settled again: nothing is done twice.
    """
    total = Settled()
    refused: list[Refused] = []
    for part in _parts(batch):
        while True:
            reply, entries = await _call(connection, keys, place, part)
            if reply[0] != b"BLOCKED":
                break
            key = reply[1].decode()
            needy = [entry for entry in part.entries if _needs(entry, key, keys, place)]
            if not needy:
                return replace(total, blocked=key, refused=refused)
            refused += [Refused(entry.id, key, "it holds something else") for entry in needy]
            part = replace(part, entries=[entry for entry in part.entries if entry not in needy])
            if not part.entries and not part.acks:
                break
        if reply[0] == b"FENCED":
            return replace(total, fenced=True, refused=refused)
        if reply[0] == b"OK":
            total = _add(total, part, entries, reply, refused)
    return replace(total, refused=refused)


def _add(total: Settled, part: Batch, entries: Sequence[Entry], reply: list[Any], refused: list[Refused]) -> Settled:
    _, acked, problem, missing, not_written = reply
    for at in range(0, len(not_written), 3):
        number, key, error = not_written[at : at + 3]
        refused.append(Refused(entries[number - 1].id, key.decode(), error.decode("utf-8", "replace")))
    return replace(
        total,
        acked=total.acked + acked + len(entries) - len(missing) - len(not_written) // 3,
        missing=total.missing + len(part.acks) - acked + len(missing),
        counter_error=problem.decode("utf-8", "replace") or total.counter_error,
    )


async def _call(
    connection: Connection, keys: Keys, place: Place, part: Batch
) -> tuple[list[Any], Sequence[Entry]]:
    topic, group = place.topic, place.group
    names = [
        place.stream,
        keys.stats(topic, group),
        keys.instances,
        keys.retry(topic, group),
        keys.bodies(topic, group),
        keys.dead(topic, group),
        keys.topics,
    ]
    args: list[Argument] = [place.instance, group, int(part.repeat), int(place.inbox), "", part.last_delivered]
    args += (len(part.acks), *part.acks, len(part.counters))
    for name, by in part.counters.items():
        args += (name, by)
    if not part.entries:
        args.append(0)
    else:
        args[4] = _entries(connection, keys, part.entries, names, args)
    return await SETTLE.run(connection, names, args), part.entries


def _entries(
    connection: Connection, keys: Keys, entries: Sequence[Entry], names: list[str], args: list[Argument]
) -> str:
    """Append the entries to `args` and their emits' streams to `names`; say which further keys they use."""
    now_ms = int(connection.clock.now().timestamp() * 1000)
    tallies: dict[tuple[tuple[str, int], ...], int] = {}
    places: dict[str, int] = {}
    uses = set()
    tail: list[Argument] = []
    for entry in entries:
        tally = 0
        if entry.counters:
            tally = tallies.setdefault(tuple(entry.counters.items()), len(tallies) + 1)
        tail += (entry.id, entry.deliveries, tally, entry.kind.value)
        if entry.kind is Kind.ACK:
            tail.append(len(entry.emits))
            for emit in entry.emits:
                place = places.get(emit.topic)
                if place is None:
                    names.append(keys.topic(emit.topic))
                    place = places[emit.topic] = len(names)
                tail += (place, len(emit.fields), *emit.fields)
        elif entry.kind is Kind.RETRY:
            uses.add("r")
            tail += (max(entry.due_ms - now_ms, 0), entry.invocation_id, entry.record)
        else:
            uses.add("d")
            tail += (len(entry.letter), *entry.letter)
    args.append(len(tallies))
    for tally_counters in tallies:
        args.append(len(tally_counters))
        for name, by in tally_counters:
            args += (name, by)
    args += tail
    return "".join(uses)


def _needs(entry: Entry, key: str, keys: Keys, place: Place) -> bool:
    topic, group = place.topic, place.group
    if entry.kind is Kind.RETRY:
        return key in (keys.retry(topic, group), keys.bodies(topic, group))
    if entry.kind is Kind.DEAD:
        return key == keys.dead(topic, group)
    return bool(entry.emits) and (key == keys.topics or any(keys.topic(emit.topic) == key for emit in entry.emits))


def _parts(batch: Batch) -> Iterator[Batch]:
    """The batch in calls within the limits; counters and the last delivered id go with the last one."""
    if not batch.entries and len(batch.acks) <= limits.IDS:
        yield batch
        return
    parts: list[Batch] = []
    for at in range(0, len(batch.acks), limits.IDS):
        parts.append(Batch(acks=batch.acks[at : at + limits.IDS], repeat=batch.repeat))
    current, emits, size = parts.pop() if parts else Batch(repeat=batch.repeat), 0, 0
    for entry in batch.entries:
        more, bytes_more = len(entry.emits), _size(entry)
        full = len(current.acks) + len(current.entries) >= limits.IDS
        if full or ((emits or size) and (emits + more > limits.EMITS or size + bytes_more > limits.BYTES)):
            parts.append(current)
            current, emits, size = Batch(repeat=batch.repeat), 0, 0
        current.entries.append(entry)
        emits, size = emits + more, size + bytes_more
    parts.append(current)
    yield from parts[:-1]
    yield replace(parts[-1], counters=batch.counters, last_delivered=batch.last_delivered)


def _size(entry: Entry) -> int:
    if (why := limits.too_large(entry.emits)) is not None:
        raise ValueError(why)
    return limits.size_of(entry.emits) + len(entry.record) + sum(map(len, entry.letter))
