"""What the broker promises, in plain Python: where every event is, and what each operation may change.

It knows nothing of Redis but the order of stream ids. Ids that the server makes are learned from it afterwards.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from evfn.broker.group import RELEASED, Source
from evfn.broker.keys import Keys
from evfn.broker.position import numbers
from evfn.broker.record import Origin, Record

BEGINNING = b"0-0"
OUTPUT, CHAINED = "done", "b"
"""Topics that settlements emit to: one nobody listens on, and one that a trigger does."""

Fields = tuple[bytes, ...]
Value = TypeVar("Value")


def order(entry: bytes) -> tuple[int, int]:
    """Ids compare as their numbers do."""
    return numbers(entry.decode())


class Outcome(Enum):
    """What an instance makes of a delivery it holds."""

    PLAIN = "plain"
    FILTERED = "filtered"
    EMIT = "emit"
    CHAIN = "chain"
    RETRY = "retry"
    RETRY_LATER = "retry later"
    DEAD = "dead"


PLAIN = (Outcome.PLAIN, Outcome.FILTERED)


class End(Enum):
    """Why nobody has to do anything for an event any more."""

    SETTLED = "settled"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Delivery:
    """What an instance holds. `fields` is None for an entry that others have trimmed; `opens` counts a delivery."""

    id: bytes
    stream_id: bytes
    attempt: int
    fields: Fields | None
    opens: bool
    count: int = 1


Plan = list[tuple[Delivery, Outcome]]


@dataclass
class Log(Generic[Value]):
    """A stream. `awaited` was added by an operation whose reply does not tell the ids."""

    entries: dict[bytes, Value] = field(default_factory=dict)
    awaited: list[Value] = field(default_factory=list)

    def learn(self, observed: Sequence[tuple[bytes, Value]]) -> None:
        """Compare with what the server holds, and take over the ids it gave."""
        known = list(self.entries.items())
        assert list(observed[: len(known)]) == known
        assert [value for _, value in observed[len(known) :]] == self.awaited
        self.entries.update(observed[len(known) :])
        self.awaited.clear()


@dataclass
class Queue:
    """A trigger's group on a stream: the last id delivered (None: no group), and who holds what, how often given."""

    position: bytes | None = None
    pending: dict[bytes, tuple[str, int]] = field(default_factory=dict)


@dataclass
class Topic:
    name: str
    log: Log[Fields] = field(default_factory=Log)
    accepted: list[bytes] = field(default_factory=list)

    def learn(self, observed: Sequence[tuple[bytes, Fields]]) -> None:
        known = len(self.log.entries)
        self.log.learn(observed)
        self.accepted += [entry for entry, _ in observed[known:]]


@dataclass
class Pair:
    """One topic seen by one trigger. `retry` holds None for a body that others deleted, `later` what is not due yet.

    `start` is the last id that its group on the topic did not deliver when it was made. `excused` are events that a
    fault outside evfn took from the group's list or from the stream. `doubtful` are those that were on no list because
    the group was destroyed, while nobody could know whether they had been settled. `untold`: something was settled
    while the stats were no hash.
    """

    topic: Topic
    group: str
    queues: dict[Source, Queue] = field(default_factory=lambda: {source: Queue() for source in Source})
    inbox: Log[Record] = field(default_factory=Log)
    retry: dict[str, Record | None] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)
    dead: Log[Record] = field(default_factory=Log)
    counters: Counter[str] = field(default_factory=Counter)
    last_delivered: bytes = b""
    start: bytes = BEGINNING
    ended: dict[bytes, End] = field(default_factory=dict)
    excused: set[bytes] = field(default_factory=set)
    doubtful: set[bytes] = field(default_factory=set)
    untold: bool = False

    @property
    def name(self) -> str:
        return f"{self.group} on {self.topic.name}"

    def entries(self, source: Source) -> dict[bytes, Fields] | dict[bytes, Record]:
        return self.topic.log.entries if source is Source.TOPIC else self.inbox.entries

    def invocation(self, stream_id: bytes) -> str:
        return f"{self.group.partition('/')[2]}:{self.topic.name}:{stream_id.decode()}"

    def delivery(self, source: Source, entry: bytes, count: int) -> Delivery:
        """What an instance makes of an entry it was given."""
        if source is Source.TOPIC:
            return Delivery(entry, entry, count, self.topic.log.entries.get(entry), True, count)
        record = self.inbox.entries[entry]
        attempt = record.attempt + count - 1
        return Delivery(
            entry, record.stream_id.encode(), attempt, tuple(record.fields), record.origin is not Origin.RETRY, count
        )

    def record(self, delivery: Delivery, attempt: int, origin: Origin) -> Record:
        """What is kept of it for its next run."""
        invocation = self.invocation(delivery.stream_id)
        fields = list(delivery.fields or ())
        return Record(self.topic.name, delivery.stream_id.decode(), invocation, attempt, origin, 1, [], fields)


def emits(pair: Pair, delivery: Delivery, outcome: Outcome) -> list[tuple[str, Fields]]:
    """What a function emits: its invocation, so that one that counts twice shows."""
    topics = {Outcome.EMIT: [OUTPUT], Outcome.CHAIN: [OUTPUT, CHAINED]}.get(outcome, [])
    return [(topic, (b"by", pair.invocation(delivery.stream_id).encode())) for topic in topics]


def counted(delivery: Delivery, outcome: Outcome) -> Counter[str]:
    """What settling it counts, as the services have it counted."""
    result: Counter[str] = Counter(delivered=1) if delivery.opens else Counter()
    if delivery.fields is None:
        return result + Counter(dropped=1)
    match outcome:
        case Outcome.PLAIN:
            result["succeeded"] = 1
        case Outcome.FILTERED:
            result["filtered"] = 1
        case Outcome.EMIT | Outcome.CHAIN:
            result += Counter(succeeded=1, emitted=2 if outcome is Outcome.CHAIN else 1)
        case Outcome.RETRY | Outcome.RETRY_LATER:
            result += Counter(failed=1, retried=1)
        case Outcome.DEAD:
            result += Counter(failed=1, dead_lettered=1)
    return result


@dataclass(frozen=True)
class Reply:
    """What settling answers."""

    fenced: bool = False
    blocked: str | None = None
    refused: frozenset[bytes] = frozenset()
    acked: int = 0
    missing: int = 0


class Refusal(Enum):
    """How the server or a script turns an operation down."""

    FENCED = "fenced"
    LATER = "later"
    NO_GROUP = "no group"
    KEY_TAKEN = "key taken"
    FOR_GOOD = "for good"


class Refused(Exception):  # noqa: N818 - reads as a state
    """The operation must fail in this way and change nothing, or no more than the model says."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


class Model:
    """`occupied` is a key that holds something else for now, `exhausted` a stream at its last possible id, `full`
    a server that takes no more memory."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.topics: dict[str, Topic] = {}
        self.output: Log[Fields] = Log()
        self.pairs: list[Pair] = []
        self.leases: dict[str, int] = {}
        self.releases = 0
        self.occupied: str | None = None
        self.exhausted: str | None = None
        self.full = False
        self.flush()

    def flush(self) -> None:
        """Everything is gone, leases too."""
        self.topics = {name: Topic(name) for name in ("a", CHAINED)}
        self.output = Log()
        places = [("a", "shop/pack"), ("a", "shop/tell"), (CHAINED, "shop/pack")]
        self.pairs = [Pair(self.topics[topic], group) for topic, group in places]
        self.leases = {}
        self.releases = 0
        self.occupied = self.exhausted = None

    # --- keys ---------------------------------------------------------------------------------------------------

    def key(self, pair: Pair, source: Source) -> str:
        """The stream this source reads."""
        topic = pair.topic.name
        return self.keys.topic(topic) if source is Source.TOPIC else self.keys.inbox(topic, pair.group)

    def pair_key(self, pair: Pair, part: str) -> str:
        key: str = getattr(self.keys, part)(pair.topic.name, pair.group)
        return key

    def count(self, pair: Pair, counters: Counter[str]) -> None:
        """Counters that cannot be kept are not: that must never keep an event from being settled."""
        if self.occupied != self.pair_key(pair, "stats"):
            pair.counters.update(counters)

    # --- leases -------------------------------------------------------------------------------------------------

    def require_lease(self, me: str) -> None:
        if me not in self.leases:
            raise Refused(Refusal.FENCED)

    def beat(self, me: str) -> dict[str, int]:
        self.require_lease(me)
        self.leases[me] += 1
        return dict(self.leases)

    # --- publishing -----------------------------------------------------------------------------------------------

    def publish(self, topic: Topic, fields: Fields) -> None:
        """Add one that no earlier call stored."""
        key = self.keys.topic(topic.name)
        if self.occupied == key:
            raise Refused(Refusal.KEY_TAKEN)
        if self.full:
            raise Refused(Refusal.LATER)
        if self.exhausted == key:
            raise Refused(Refusal.FOR_GOOD)
        topic.log.awaited.append(fields)

    # --- groups ---------------------------------------------------------------------------------------------------

    def start(self, pair: Pair, known: bytes = b"") -> None:
        """Make what is missing of a pair's groups, behind what was delivered already."""
        inbox, queue = pair.queues[Source.INBOX], pair.queues[Source.TOPIC]
        if inbox.position is None:
            inbox.position = BEGINNING
        if queue.position is None:
            queue.position = pair.start = max(pair.last_delivered or BEGINNING, known or BEGINNING, key=order)

    def destroy(self, pair: Pair, source: Source) -> None:
        """By others: what was pending on a topic is on no list any more; an inbox still holds what is not settled."""
        queue = pair.queues[source]
        if source is Source.TOPIC:
            pair.excused.update(queue.pending)
        queue.position = None
        queue.pending.clear()

    def require_group(self, pair: Pair, source: Source) -> Queue:
        if self.occupied == self.key(pair, source):
            raise Refused(Refusal.KEY_TAKEN)
        queue = pair.queues[source]
        if queue.position is None:
            raise Refused(Refusal.NO_GROUP)
        return queue

    def fetch(self, me: str, pair: Pair, source: Source, count: int) -> list[Delivery]:
        """Whoever asks is given what nobody was given; a lease is only needed to settle it."""
        queue = self.require_group(pair, source)
        assert queue.position is not None
        above = order(queue.position)
        ids = [entry for entry in pair.entries(source) if order(entry) > above][:count]
        for entry in ids:
            queue.pending[entry] = (me, 1)
            queue.position = entry
        return [pair.delivery(source, entry, 1) for entry in ids]

    def orphans(self, me: str, pair: Pair, source: Source, held: set[bytes]) -> list[Delivery]:
        """What the server holds as mine and I do not know of."""
        pending = self.require_group(pair, source).pending
        ids = sorted((each for each, (owner, _) in pending.items() if owner == me and each not in held), key=order)
        return [pair.delivery(source, each, pending[each][1]) for each in ids]

    # --- settling -----------------------------------------------------------------------------------------------

    def settle(
        self, me: str, pair: Pair, source: Source, plan: Plan, *, repeat: bool, last: bytes, counted_before: bool
    ) -> Reply:
        if me not in self.leases:
            return Reply(fenced=True)
        if self.occupied == self.key(pair, source):
            return Reply(blocked=self.occupied)
        kept = {delivery.id for delivery, outcome in plan if self.occupied in self._needed(pair, delivery, outcome)}
        plan = [each for each in plan if each[0].id not in kept]
        if not plan:
            return Reply(refused=frozenset(kept))
        pending = pair.queues[source].pending
        plain = [each for each in plan if each[1] in PLAIN or each[0].fields is None]
        acked = [each for each in plain if pending.pop(each[0].id, None) is not None]
        for delivery, _ in acked:
            self._take_off(pair, source, delivery)
            self._end(pair, delivery, End.SETTLED if delivery.fields is not None else End.DROPPED)
        done, missing = len(acked), len(plain) - len(acked)
        for delivery, outcome in plan:
            if (delivery, outcome) in plain:
                continue
            if delivery.id not in pending:
                missing += 1
            elif self.exhausted in self._needed(pair, delivery, outcome):
                kept.add(delivery.id)
                self._put_back(me, pair, source, delivery)
            else:
                del pending[delivery.id]
                self._take_off(pair, source, delivery)
                self._carry_out(pair, delivery, outcome)
                self.count(pair, counted(delivery, outcome))
                done += 1
        if done and not counted_before:
            # The call counts for its plain acks as one.
            for each in plain:
                self.count(pair, counted(*each))
        if not repeat:
            self.count(pair, Counter(missing=missing) if missing else Counter())
        self._told(pair, last)
        return Reply(refused=frozenset(kept), acked=done, missing=missing)

    def _needed(self, pair: Pair, delivery: Delivery, outcome: Outcome) -> list[str | None]:
        if delivery.fields is None:
            return []
        match outcome:
            case Outcome.RETRY | Outcome.RETRY_LATER:
                return [self.pair_key(pair, "retry"), self.pair_key(pair, "bodies")]
            case Outcome.DEAD:
                return [self.pair_key(pair, "dead")]
        keys = [self.keys.topic(topic) for topic, _ in emits(pair, delivery, outcome)]
        return [*keys, self.keys.topics] if keys else []

    def _put_back(self, me: str, pair: Pair, source: Source, delivery: Delivery) -> None:
        pending = pair.queues[source].pending
        if delivery.id in pair.entries(source):
            pending[delivery.id] = (me, delivery.count)
            return
        # Nothing can hold what others have trimmed: it is off the list, so it must be counted.
        del pending[delivery.id]
        self._end(pair, delivery, End.DROPPED)
        self.count(pair, Counter(delivered=1, dropped=1))

    def _take_off(self, pair: Pair, source: Source, delivery: Delivery) -> None:
        if source is Source.INBOX:
            del pair.inbox.entries[delivery.id]

    def _carry_out(self, pair: Pair, delivery: Delivery, outcome: Outcome) -> None:
        if outcome in (Outcome.RETRY, Outcome.RETRY_LATER):
            record = pair.record(delivery, delivery.attempt + 1, Origin.RETRY)
            assert record.invocation_id not in pair.retry
            pair.retry[record.invocation_id] = record
            if outcome is Outcome.RETRY_LATER:
                pair.later.add(record.invocation_id)
        elif outcome is Outcome.DEAD:
            pair.dead.awaited.append(pair.record(delivery, 1, Origin.REDRIVE))
        else:
            for topic, fields in emits(pair, delivery, outcome):
                log = self.output if topic == OUTPUT else self.topics[topic].log
                log.awaited.append(fields)
            self._end(pair, delivery, End.SETTLED)

    def _end(self, pair: Pair, delivery: Delivery, end: End) -> None:
        again = delivery.stream_id in pair.ended and delivery.stream_id not in pair.doubtful
        assert not again, f"{pair.name}: {delivery.stream_id!r} is settled a second time"
        pair.ended[delivery.stream_id] = end

    def _told(self, pair: Pair, last: bytes) -> None:
        if self.occupied == self.pair_key(pair, "stats"):
            pair.untold = True
        elif last and (not pair.last_delivered or order(last) > order(pair.last_delivered)):
            pair.last_delivered = last

    # --- retries and dead letters ---------------------------------------------------------------------------------

    def promote(self, pair: Pair, limit: int, in_order: Sequence[str]) -> tuple[int, list[str]]:
        """Moved, and those dropped because their body is gone. `in_order` is the server's order of all that wait."""
        if self.occupied in [self.pair_key(pair, part) for part in ("retry", "bodies", "inbox")]:
            raise Refused(Refusal.KEY_TAKEN)
        moved, dropped = 0, []
        for invocation in [each for each in in_order if each not in pair.later][:limit]:
            record = pair.retry[invocation]
            if record is not None and self.exhausted == self.pair_key(pair, "inbox"):
                raise Refused(Refusal.FOR_GOOD)
            del pair.retry[invocation]
            if record is None:
                dropped.append(invocation)
                pair.ended[invocation.rpartition(":")[2].encode()] = End.DROPPED
                self.count(pair, Counter(dropped=1))
            else:
                moved += 1
                pair.inbox.awaited.append(record)
        return moved, dropped

    def redrive(self, pair: Pair, letters: Sequence[bytes]) -> list[bytes]:
        """Those that are on their way now."""
        inbox = self.pair_key(pair, "inbox")
        if self.occupied in (self.pair_key(pair, "dead"), inbox):
            raise Refused(Refusal.KEY_TAKEN)
        redriven = []
        for letter in letters:
            record = pair.dead.entries.pop(letter, None)
            if record is None:
                continue
            if self.exhausted == inbox:
                pair.dead.awaited.append(record)
                continue
            pair.inbox.awaited.append(record)
            self.count(pair, Counter(redriven=1))
            redriven.append(letter)
        if self.exhausted == inbox and pair.dead.awaited:
            raise Refused(Refusal.FOR_GOOD)
        return redriven

    # --- deliveries changing hands --------------------------------------------------------------------------------

    def claim(
        self, me: str, pair: Pair, source: Source, owner: str, count: int, *, dead: bool, seen: int | None
    ) -> list[tuple[Delivery, bool]]:
        """What is taken over, and whether it is still there to be run."""
        self.require_lease(me)
        if owner in self.leases and (not dead or (seen is not None and seen != self.leases[owner])):
            return []
        queue = self.require_group(pair, source)
        self.leases.pop(owner, None)
        ids = sorted((each for each, (who, _) in queue.pending.items() if who == owner), key=order)[:count]
        result = []
        for entry in ids:
            times = queue.pending[entry][1] + (owner != RELEASED)
            delivery = pair.delivery(source, entry, times)
            there = entry in pair.entries(source)
            if there:
                queue.pending[entry] = (me, times)
            else:
                self._drop(pair, queue, delivery)
            result.append((delivery, there))
        return result

    def release(self, me: str, pair: Pair, source: Source, ids: Sequence[bytes]) -> tuple[int, int]:
        """How many anybody may take now, and how many were found trimmed."""
        self.require_lease(me)
        queue = self.require_group(pair, source)
        mine = [each for each in ids if queue.pending.get(each, ("", 0))[0] == me]
        dropped = 0
        for entry in mine:
            if entry in pair.entries(source):
                queue.pending[entry] = (RELEASED, queue.pending[entry][1])
            else:
                self._drop(pair, queue, pair.delivery(source, entry, 1))
                dropped += 1
        if len(mine) > dropped:
            self.releases += 1
        return len(mine) - dropped, dropped

    def restore(self, me: str, pair: Pair, source: Source, ids: Sequence[bytes]) -> list[bytes]:
        """What is mine now."""
        self.require_lease(me)
        if self.occupied == self.pair_key(pair, "stats"):
            raise Refused(Refusal.KEY_TAKEN)
        pending = self.require_group(pair, source).pending
        for entry in ids:
            # What lies behind the start of the group is delivered by it, to whoever asks.
            below = order(entry) <= order(pair.start)
            if below and entry not in pending and entry in pair.entries(source):
                pending[entry] = (me, 1)
        return [each for each in ids if pending.get(each, ("", 0))[0] == me]

    def is_needed(self, pair: Pair, source: Source, name: str) -> bool:
        """Whether a consumer must not be deleted."""
        return name in self.leases or any(who == name for who, _ in pair.queues[source].pending.values())

    def _drop(self, pair: Pair, queue: Queue, delivery: Delivery) -> None:
        del queue.pending[delivery.id]
        self._end(pair, delivery, End.DROPPED)
        self.count(pair, Counter(delivered=1, dropped=1))

    # --- others ---------------------------------------------------------------------------------------------------

    def trim(self, topic: Topic, ids: Sequence[bytes]) -> None:
        """By others: what a group has not read is lost to it, what is pending may still be settled by who holds it."""
        for entry in ids:
            del topic.log.entries[entry]
        for pair in self.pairs:
            if pair.topic is topic:
                pair.excused.update(ids)

    # --- what must hold ---------------------------------------------------------------------------------------------

    def places(self, pair: Pair) -> Counter[bytes]:
        """How often each event of the topic is somewhere for this trigger; exactly once is right."""
        topic = pair.queues[Source.TOPIC]
        assert topic.position is not None
        above = order(topic.position)
        found: Counter[bytes] = Counter(pair.ended.keys())
        found.update(topic.pending.keys())
        found.update(each for each in pair.topic.log.entries if order(each) > above and each not in topic.pending)
        found.update(record.stream_id.encode() for record in pair.inbox.entries.values())
        found.update(invocation.rpartition(":")[2].encode() for invocation in pair.retry)
        found.update(record.stream_id.encode() for record in pair.dead.entries.values())
        return found
