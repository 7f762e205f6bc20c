"""Settling: everything that follows from a batch of attempts, in as few atomic calls as the limits allow."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from msgspec import structs

from evfn.broker.batch import Batch, Emitting, Entry, Kind, apart, by_streams, parts
from evfn.broker.connection import Argument, Connection
from evfn.broker.keys import Keys
from evfn.broker.scripts import Script
from evfn.errors import BrokerError, BrokerUnavailable

SETTLE = Script("settle", "stream", "stats", "instances", "retry", "bodies", "dead", "topics", "jobs", "...")


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
    """Settle a batch; entries whose keys are blocked, or that this user may not write, are left out, the rest goes on.

    After BrokerUnavailable the same batch, with `repeat`, may be settled again: nothing is done twice.
    """
    total = Settled()
    refused: list[Refused] = []
    todo = deque(parts(batch))
    while todo:
        part = todo.popleft()
        try:
            reply = await _call(connection, keys, place, part)
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            if part.emitting:
                todo.extendleft(reversed(list(parts(apart(replace(part, repeat=True))))))
                continue
            if any(entry.traced for entry in part.entries):
                # This user may have no right to the keys of traces; that must not stand in the way of settling.
                todo.appendleft(
                    replace(part, entries=[structs.replace(each, traced=None) for each in part.entries], repeat=True)
                )
                continue
            if not any(entry.emits for entry in part.entries):
                raise
            # Nor must an emit to a stream this user may not write: a script is refused as a whole for one of its keys.
            by_topics = by_streams(part)
            if len(by_topics) > 1:
                todo.extendleft(reversed(by_topics))
            else:
                streams = sorted({keys.topic(emit.topic) for entry in part.entries for emit in entry.emits})
                refused += [Refused(entry.id, ", ".join(streams), str(error)) for entry in part.entries]
            continue
        if reply[0] == b"FENCED":
            return replace(total, fenced=True, refused=refused)
        if reply[0] == b"OK":
            total = _add(total, part, reply, refused)
            continue
        if part.emitting:
            todo.extendleft(reversed(list(parts(apart(part)))))
            continue
        key = reply[1].decode()
        rest = [entry for entry in part.entries if not _needs(entry, key, keys, place)]
        if len(rest) == len(part.entries):
            return replace(total, blocked=key, refused=refused)
        refused += [
            Refused(entry.id, key, "it holds something else")
            for entry in part.entries
            if _needs(entry, key, keys, place)
        ]
        if rest or part.acks:
            todo.appendleft(replace(part, entries=rest))
    return replace(total, refused=refused)


def _add(total: Settled, part: Batch, reply: list[Any], refused: list[Refused]) -> Settled:
    _, acked, problem, missing, not_written = reply
    ids = list(chain(*(each.ids for each in part.emitting), (entry.id for entry in part.entries)))
    for at in range(0, len(not_written), 3):
        number, key, error = not_written[at : at + 3]
        refused.append(Refused(ids[number - 1], key.decode(), error.decode("utf-8", "replace")))
    return replace(
        total,
        acked=total.acked + acked + len(ids) - len(missing) - len(not_written) // 3,
        missing=total.missing + len(part.acks) - acked + len(missing),
        counter_error=problem.decode("utf-8", "replace") or total.counter_error,
    )


async def _call(connection: Connection, keys: Keys, place: Place, part: Batch) -> Any:
    topic, group = place.topic, place.group
    names = [
        place.stream,
        keys.stats(topic, group),
        keys.instances,
        keys.retry(topic, group),
        keys.bodies(topic, group),
        keys.dead(topic, group),
        keys.topics,
        keys.jobs(topic, group),
    ]
    again = "r" * part.repeat + "c" * part.check
    args: list[Argument] = [place.instance, group, again, int(place.inbox), "", part.last_delivered]
    args += (len(part.acks), *part.acks, len(part.counters))
    for name, by in part.counters.items():
        args += (name, by)
    if part.emitting:
        _emitting(keys, part.emitting, names, args)
    elif part.entries:
        args[4] = _entries(connection, keys, part.entries, names, args)
    else:
        args += (0, 0)
    return await SETTLE.run(connection, names, args, epoch=part.epoch)


def _emitting(keys: Keys, emitting: Sequence[Emitting], names: list[str], args: list[Argument]) -> None:
    """Append what is done with an emit each: the counters of each form, and the forms."""
    args.append(len(emitting))
    for each in emitting:
        args.append(len(each.counters))
        for name, by in each.counters.items():
            args += (name, by)
    args.append(len(emitting))
    for tally, each in enumerate(emitting, 1):
        names.append(keys.topic(each.form.topic))
        fields = each.form.fields
        own = [place for place, value in enumerate(fields, 1) if value is None]
        args += (len(names), tally, len(fields), *(value or b"" for value in fields), len(own), *own)
        naming = each.form.naming
        args += (0, b"", b"") if naming is None else (naming.place + 1, naming.before, naming.after)
        args.append(len(each.ids))
        args += each.ids
        for values in each.own:
            args += values


def _entries(
    connection: Connection, keys: Keys, entries: Sequence[Entry], names: list[str], args: list[Argument]
) -> str:
    """Append the entries to `args` and their emits' streams to `names`; say which further keys they use."""
    now_ms = int(connection.clock.now().timestamp() * 1000)
    tallies: dict[tuple[tuple[str, int], ...], int] = {}
    places: dict[str, int] = {}
    uses = set()
    tail: list[Argument] = []
    traces: dict[str, int] = {}
    for entry in entries:
        if entry.traced is not None:
            traces.setdefault(entry.traced.trace, len(traces) + 1)
    for entry in entries:
        tally = 0
        if entry.counters:
            tally = tallies.setdefault(tuple(entry.counters.items()), len(tallies) + 1)
        tail += (entry.id, entry.deliveries, tally)
        if traces:
            tail += (0, b"") if entry.traced is None else (traces[entry.traced.trace], entry.traced.report)
        tail.append(entry.kind.value)
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
    args.append(0)
    args += tail
    # Last, behind the streams that the script looks at before it writes anything.
    names += map(keys.trace, traces)
    return "".join(uses) + "t" * len(traces)


def _needs(entry: Entry, key: str, keys: Keys, place: Place) -> bool:
    topic, group = place.topic, place.group
    if entry.kind is Kind.RETRY:
        return key in (keys.retry(topic, group), keys.bodies(topic, group))
    if entry.kind is Kind.DEAD:
        return key == keys.dead(topic, group)
    return bool(entry.emits) and (key == keys.topics or any(keys.topic(emit.topic) == key for emit in entry.emits))
