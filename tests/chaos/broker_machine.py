"""Drives the broker's operations on a real server in any order, beside the model, and compares after every step.

The machine plays the services of several instances: it holds what they were given, settles it, says again what got no
answer, takes over what others left. Around them others trim streams, destroy groups, occupy keys and flush the server.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chaos.broker_model import (
    CHAINED,
    OUTPUT,
    PLAIN,
    Delivery,
    Fields,
    Model,
    Outcome,
    Pair,
    Plan,
    Refusal,
    Refused,
    Reply,
    counted,
    emits,
    order,
)
from chaos.unreliable import Loss, UnreliableConnection
from evfn.broker.connection import GroupGone, KeyTaken, ReplyLost
from evfn.broker.dead_letters import DeadLetter, DeadLetters, StoredError, parse
from evfn.broker.group import RELEASED, Batch, Entry, Group, Settled, Source
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, publish
from evfn.broker.record import Origin, unpack
from evfn.broker.record import pack as pack_record
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable, Fenced
from evfn.outcome import Emit
from evfn.settlement import Reason
from evfn.trigger import StartAt
from servers import RealServer

LAST_ID = b"18446744073709551615-18446744073709551615"
ASIDE = "aside"
MOST_ALIVE = 3
HOUR = timedelta(hours=1)
NO_COUNTERS = {b"start", b"start_id", b"clock", b"made_again"}
"""What else stands with the counters."""
RELEASES = ":released"
"""The field of the leases' hash that moves with every release."""
T = TypeVar("T")

some = st.integers(0, 23)
"""Chooses among what there is, by its remainder."""
few = st.integers(1, 4)
sources = st.sampled_from(Source)
outcomes = st.lists(st.sampled_from(Outcome), min_size=1, max_size=4)
losses = st.sampled_from([Loss.NONE, Loss.NONE, Loss.NONE, Loss.REPLY, Loss.REQUEST])


class Fault(Enum):
    """What others do to a server."""

    TRIMMED = "trimmed"
    DESTROYED = "destroyed"
    BODY_DELETED = "body deleted"
    OCCUPIED = "occupied"
    SPENT = "spent"
    FULL = "full"
    SCRIPTS_FLUSHED = "scripts flushed"
    FLUSHED = "flushed"


class Bench:
    """A server and one loop for all examples: making them anew would take most of the time."""

    def __init__(self, server: RealServer) -> None:
        self.server = server
        self._runner = asyncio.Runner()
        self.connection = UnreliableConnection(*self.run(_parts(server.url)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def call(self, *command: str | bytes | int) -> Any:
        return self.run(self.connection.call(*command))

    def close(self) -> None:
        self.run(self.connection.close())
        self._runner.close()


async def _parts(url: str) -> tuple[Any, Any, Any]:
    made = await UnreliableConnection.open(url, clock=SystemClock())
    return made.url, made.clock, lambda: 0.5


@dataclass
class Unanswered:
    """A call that may have been carried out: what was to be settled, or (`plan` None) handed over."""

    place: int
    source: Source
    deliveries: list[Delivery]
    plan: Plan | None
    last: bytes = b""


@dataclass
class Instance:
    """What an instance knows: the deliveries in its hands, calls without an answer, the highest id it was delivered."""

    name: str
    holds: dict[tuple[int, Source], dict[bytes, Delivery]] = field(default_factory=lambda: defaultdict(dict))
    unanswered: list[Unanswered] = field(default_factory=list)
    last: dict[int, bytes] = field(default_factory=dict)
    restored: dict[tuple[int, Source], set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def take(self, place: int, source: Source, deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            self.holds[place, source][each.id] = each
            if source is Source.TOPIC:
                self.last[place] = max(self.last.get(place, b"0-0"), each.id, key=order)

    def held(self, place: int, source: Source) -> set[bytes]:
        """All it knows to be its own, what waits for an answer too."""
        waiting = [call for call in self.unanswered if (call.place, call.source) == (place, source)]
        return set(self.holds[place, source]) | {each.id for call in waiting for each in call.deliveries}


class BrokerMachine(RuleBasedStateMachine):
    """`bench` is set by a subclass for one server."""

    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.keys = Keys("t:")
        self.model = Model(self.keys)
        self.instances: list[Instance] = []
        self.published: dict[int, tuple[str, bytes]] = {}
        self.numbers = 0
        self.sound = True
        self._id_before = b""
        self._flush()
        for _ in range(2):
            self._register()
        for topic in ("a", "b"):
            self.publish(topic, 3)

    # --- producers ------------------------------------------------------------------------------------------------

    @rule(topic=st.sampled_from(["a", "b"]), count=few)
    def publish(self, topic: str, count: int) -> None:
        for _ in range(count):
            self.numbers += 1
            self._publish(topic, self.numbers, Loss.NONE)

    @rule(topic=st.sampled_from(["a", "b"]), again=st.none() | some, loss=losses)
    def publish_in_doubt(self, topic: str, again: int | None, loss: Loss) -> None:
        """One whose reply may be lost, or one that was published before."""
        if again is not None and self.published:
            number = pick(again, sorted(self.published))
            topic = self.published[number][0]
        else:
            number = self.numbers = self.numbers + 1
        self._publish(topic, number, loss)

    def _publish(self, name: str, number: int, loss: Loss) -> None:
        topic = self.model.topics[name]
        fields: Fields = (b"n", str(number).encode())
        event = Publication(name, "test", str(number), fields)

        def stored() -> bool:
            if number in self.published:
                if self.model.occupied == self.keys.topic(name):
                    raise Refused(Refusal.KEY_TAKEN)
                return True
            self.model.publish(topic, fields)
            self.published[number] = (name, b"")
            return False

        for each in (loss, Loss.NONE):
            known = self.published.get(number)
            answer = self._attempt(stored, lambda: publish(self.bench.connection, self.keys, event), each)
            self.matches()
            if answer is None:
                continue
            repeated, reply = answer
            assert reply.repeated is repeated
            if known is not None and known[1]:
                assert reply.stream_id.encode() == known[1]
            self.published[number] = (name, reply.stream_id.encode())
            break

    # --- leases ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.leases) < MOST_ALIVE and not self.model.full and not self.model.occupied)
    @rule()
    def register(self) -> None:
        self._register()

    def _register(self) -> None:
        instance = Instance(f"i{len(self.instances)}")
        self.instances.append(instance)
        self._run(self._instances.register(instance.name))
        self.model.leases[instance.name] = 0
        for place, pair in enumerate(self.model.pairs):
            self._run(self._group(instance, place).start(StartAt.EARLIEST, patterned_late=False))
            self.model.start(pair)

    @rule(k=some, loss=losses)
    def beat(self, k: int, loss: Loss) -> None:
        me = pick(k, self.instances)
        answer = self._attempt(lambda: self.model.beat(me.name), lambda: self._instances.beat(me.name), loss)
        if answer is not None:
            assert answer[1].counters == answer[0]

    @precondition(lambda self: self.model.leases)
    @rule(k=some)
    def end_lease(self, k: int) -> None:
        name = pick(k, sorted(self.model.leases))
        self._run(self._instances.deregister(name))
        del self.model.leases[name]

    # --- deliveries -----------------------------------------------------------------------------------------------

    @rule(k=some, p=some, source=sources, count=few, loss=losses)
    def fetch(self, k: int, p: int, source: Source, count: int, loss: Loss) -> None:
        self._fetch(pick(k, self.instances), p % len(self.model.pairs), source, count, loss)

    def _fetch(self, me: Instance, place: int, source: Source, count: int, loss: Loss) -> None:
        pair = self.model.pairs[place]
        answer = self._attempt(
            lambda: self.model.fetch(me.name, pair, source, count),
            lambda: self._group(me, place).fetch(source, count),
            loss,
        )
        if answer is not None:
            expected, reply = answer
            assert [entry for entry, _ in reply] == [each.id for each in expected]
            for (_, fields), delivery in zip(reply, expected, strict=True):
                assert fields is not None
                assert tuple(fields if source is Source.TOPIC else unpack(fields[1]).fields) == delivery.fields
            me.take(place, source, expected)

    @precondition(lambda self: self._holding())
    @rule(k=some, choice=outcomes, loss=losses)
    def settle(self, k: int, choice: list[Outcome], loss: Loss) -> None:
        me, place, source = pick(k, self._holding())
        held = me.holds[place, source]
        plan = list(zip([held[each] for each in sorted(held, key=order)], choice, strict=False))
        for delivery, _ in plan:
            del held[delivery.id]
        last = me.last.get(place, b"") if source is Source.TOPIC else b""
        self._settle(me, Unanswered(place, source, [each for each, _ in plan], plan, last), loss, repeat=False)

    @precondition(lambda self: any(each.unanswered for each in self.instances))
    @rule(k=some, loss=losses)
    def say_again(self, k: int, loss: Loss) -> None:
        me = pick(k, [each for each in self.instances if each.unanswered])
        call = me.unanswered.pop(0)
        if call.plan is None:
            self._release(me, call, loss)
        else:
            self._settle(me, call, loss, repeat=True)

    def _settle(
        self, me: Instance, call: Unanswered, loss: Loss, *, repeat: bool, counted_before: bool = False
    ) -> None:
        where, pair, plan = (call.place, call.source), self.model.pairs[call.place], call.plan or []
        batch = self._batch(pair, plan, repeat=repeat, last=call.last)
        if counted_before:
            batch.counters.clear()
        if self.model.occupied:
            loss = Loss.NONE  # A first call may only have said which key is taken.
        answer = self._attempt(
            lambda: self.model.settle(
                me.name, pair, call.source, plan, repeat=repeat, last=call.last, counted_before=counted_before
            ),
            lambda: self._group(me, call.place).settle(call.source, batch),
            loss,
        )
        ids = {each.id for each in call.deliveries}
        if answer is None:
            me.unanswered.append(call)
            if call.source is Source.TOPIC:
                below = {each for each in ids if order(each) <= order(pair.start)}
                pair.doubtful |= below - me.restored[where]
            return
        expected, reply = answer
        assert read(reply) == expected
        self.matches()
        kept = ids if expected.blocked or expected.fenced else expected.refused
        me.holds[where].update({each.id: each for each in call.deliveries if each.id in kept})
        me.restored[where] -= ids - kept
        if expected.missing:
            self._settle_missing(me, call, kept, counted_before=expected.acked > 0)

    def _settle_missing(self, me: Instance, call: Unanswered, kept: Collection[bytes], *, counted_before: bool) -> None:
        """What was on no list, because its group had vanished, is put back and settled once more."""
        ids = [each.id for each in call.deliveries if each.id not in kept]
        mine = self._restore(me, call.place, call.source, ids, Loss.NONE)
        if mine is None:
            # No group: what is left is put back when it is made again.
            me.holds[call.place, call.source].update({each.id: each for each in call.deliveries if each.id in ids})
        elif plan := [each for each in call.plan or [] if each[0].id in mine]:
            again = Unanswered(call.place, call.source, [each for each, _ in plan], plan, call.last)
            self._settle(me, again, Loss.NONE, repeat=False, counted_before=counted_before)

    @precondition(lambda self: self._holding())
    @rule(k=some, count=few, loss=losses)
    def release(self, k: int, count: int, loss: Loss) -> None:
        me, place, source = pick(k, self._holding())
        held = me.holds[place, source]
        given = [held.pop(each) for each in sorted(held, key=order)[:count]]
        self._release(me, Unanswered(place, source, given, None), loss)

    def _release(self, me: Instance, call: Unanswered, loss: Loss) -> None:
        pair, ids = self.model.pairs[call.place], [each.id for each in call.deliveries]
        answer = self._attempt(
            lambda: self.model.release(me.name, pair, call.source, ids),
            lambda: self._group(me, call.place).release(call.source, ids),
            loss,
        )
        if answer is None:
            me.unanswered.append(call)
        else:
            assert (answer[1].released, answer[1].dropped) == answer[0]
            me.restored[call.place, call.source].difference_update(ids)

    @rule(k=some, o=some, p=some, source=sources, count=few, dead=st.booleans(), moved=st.booleans(), loss=losses)
    def claim(self, k: int, o: int, p: int, source: Source, count: int, dead: bool, moved: bool, loss: Loss) -> None:
        me, place = pick(k, self.instances), p % len(self.model.pairs)
        owner = pick(o, [RELEASED, *(each.name for each in self.instances if each is not me)])
        beats = self.model.leases.get(owner)
        seen = None if beats is None else beats - moved
        self._claim(me, owner, place, source, count, dead=dead, seen=seen, loss=loss)

    def _claim(
        self,
        me: Instance,
        owner: str,
        place: int,
        source: Source,
        count: int,
        *,
        dead: bool,
        seen: int | None,
        loss: Loss,
    ) -> None:
        pair = self.model.pairs[place]
        answer = self._attempt(
            lambda: self.model.claim(me.name, pair, source, owner, count, dead=dead, seen=seen),
            lambda: self._group(me, place).claim(source, owner, dead=dead, count=count, beats_seen=seen),
            loss,
        )
        if answer is not None:
            expected, reply = answer
            assert [each.id for each in reply] == [each.id for each, _ in expected]
            for claimed, (delivery, there) in zip(reply, expected, strict=True):
                assert (claimed.fields is not None) is there
                assert not there or claimed.delivery_count == delivery.count
            me.take(place, source, [each for each, there in expected if there])

    @rule(k=some, p=some, source=sources)
    def sweep(self, k: int, p: int, source: Source) -> None:
        """Find what a lost reply made mine."""
        me, place = pick(k, self.instances), p % len(self.model.pairs)
        pair, group, held = self.model.pairs[place], self._group(me, place), me.held(place, source)
        answer = self._attempt(
            lambda: self.model.orphans(me.name, pair, source, held), lambda: group.pending(source), Loss.NONE
        )
        if answer is None:
            return
        expected, reply = answer
        orphans = [(entry, count) for entry, count in reply if entry not in held]
        assert orphans == [(each.id, each.count) for each in expected]
        bodies = self._run(group.bodies(source, [entry for entry, _ in orphans])) if orphans else []
        assert [body is None for body in bodies] == [each.fields is None for each in expected]
        me.take(place, source, expected)

    @precondition(lambda self: self._gone() and self.model.leases and not self.model.full and not self.model.occupied)
    @rule(k=some, p=some)
    def recreate(self, k: int, p: int) -> None:
        """Make a vanished group again, as an instance that still has its lease does, and put back what it holds."""
        me = pick(k, [each for each in self.instances if each.name in self.model.leases])
        place = pick(p, self._gone())
        pair, known = self.model.pairs[place], me.last.get(place, b"")
        self._run(self._group(me, place).recreate(known.decode()))
        self.model.start(pair, known)
        me.restored[place, Source.TOPIC].clear()
        self._restore(me, place, Source.TOPIC, sorted(me.held(place, Source.TOPIC), key=order), Loss.NONE)

    @precondition(lambda self: self._holding())
    @rule(k=some, loss=losses)
    def restore(self, k: int, loss: Loss) -> None:
        me, place, source = pick(k, self._holding())
        self._restore(me, place, source, sorted(me.holds[place, source], key=order), loss)

    def _restore(self, me: Instance, place: int, source: Source, ids: list[bytes], loss: Loss) -> list[bytes] | None:
        fresh = [each for each in ids if each not in me.restored[place, source]]
        if not fresh:
            return []
        pair = self.model.pairs[place]
        answer = self._attempt(
            lambda: self.model.restore(me.name, pair, source, fresh),
            lambda: self._group(me, place).restore(source, fresh),
            loss,
        )
        if answer is None:
            return None
        assert answer[1] == answer[0]
        me.restored[place, source].update(answer[0])
        return answer[0]

    @rule(k=some, p=some, source=sources)
    def delete_consumer(self, k: int, p: int, source: Source) -> None:
        place, name = p % len(self.model.pairs), pick(k, self.instances).name
        pair = self.model.pairs[place]
        if pair.queues[source].position is None or self.model.occupied == self.model.key(pair, source):
            return
        group = self._group(self.instances[0], place)
        deleted = self._run(group.delete_consumer_if_idle(source, name))
        assert not (deleted and self.model.is_needed(pair, source, name))

    # --- retries and dead letters ---------------------------------------------------------------------------------

    @precondition(lambda self: any(pair.retry for pair in self.model.pairs))
    @rule(p=some, limit=few, loss=losses)
    def promote(self, p: int, limit: int, loss: Loss) -> None:
        self._promote(pick(p, [pair for pair in self.model.pairs if pair.retry]), limit, loss)

    def _promote(self, pair: Pair, limit: int, loss: Loss) -> None:
        key = self._real(self.model.pair_key(pair, "retry"))
        waiting = [each.decode() for each in self.bench.call("ZRANGE", key, 0, -1)]
        group = self._group(self.instances[0], self.model.pairs.index(pair))
        answer = self._attempt(lambda: self.model.promote(pair, limit, waiting), lambda: group.promote(limit), loss)
        if answer is not None:
            (moved, dropped), reply = answer
            assert (reply.moved, reply.dropped) == (moved, dropped)

    @precondition(lambda self: any(pair.later for pair in self.model.pairs))
    @rule(p=some)
    def an_hour_passes(self, p: int) -> None:
        self._an_hour_passes(pick(p, [pair for pair in self.model.pairs if pair.later]))

    def _an_hour_passes(self, pair: Pair) -> None:
        key = self._real(self.model.pair_key(pair, "retry"))
        for invocation in sorted(pair.later):
            self._others("ZADD", key, "XX", 1, invocation)
        pair.later.clear()

    @precondition(lambda self: any(pair.dead.entries for pair in self.model.pairs))
    @rule(p=some, count=few, stale=st.booleans(), loss=losses)
    def redrive(self, p: int, count: int, stale: bool, loss: Loss) -> None:
        pair = pick(p, [pair for pair in self.model.pairs if pair.dead.entries])
        letters = ([b"1-1"] if stale else []) + sorted(pair.dead.entries, key=order)[:count]
        # Of several calls some may be carried out when a reply is lost; one is all or nothing.
        self._redrive(pair, letters if loss is Loss.NONE else letters[:1], loss)

    def _redrive(self, pair: Pair, letters: list[bytes], loss: Loss) -> None:
        place = DeadLetters(self.bench.connection, self.keys, pair.topic.name, pair.group)
        for each in (loss, Loss.NONE):
            answer = self._attempt(
                lambda: self.model.redrive(pair, letters),
                lambda: place.redrive([letter.decode() for letter in letters]),
                each,
            )
            self.matches()
            if answer is not None:
                assert [letter.encode() for letter in answer[1].redriven] == answer[0]
                assert len(answer[1].gone) == len(letters) - len(answer[0])
                break

    # --- others ---------------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(Fault), k=some, source=sources)
    def disturb(self, what: Fault, k: int, source: Source) -> None:
        """Something that is not evfn's doing."""
        pair = pick(k, self.model.pairs)
        match what:
            case Fault.TRIMMED:
                self._trim(k)
            case Fault.DESTROYED:
                self._destroy_group(pair, source)
            case Fault.BODY_DELETED:
                self._delete_body(k)
            case Fault.FLUSHED:
                self._flush()
            case Fault.SCRIPTS_FLUSHED:
                self.bench.call("SCRIPT", "FLUSH")
            case Fault.OCCUPIED:
                self._occupy(k, pair)
            case Fault.SPENT:
                self._spend_ids(k, pair)
            case Fault.FULL:
                self.bench.call("CONFIG", "SET", "maxmemory", 1)
                self.model.full = True

    @precondition(lambda self: self._holding() and self.model.exhausted is None)
    @rule(
        k=some,
        choice=st.lists(st.sampled_from([Outcome.EMIT, Outcome.CHAIN, Outcome.DEAD]), min_size=1, max_size=4),
        part=st.sampled_from([OUTPUT, CHAINED, "dead"]),
    )
    def settle_what_is_refused(self, k: int, choice: list[Outcome], part: str) -> None:
        """What a call cannot write is taken back; chance alone rarely brings the two together."""
        _, place, _ = pick(k, self._holding())
        self._spend(self.keys.topic(part) if part == CHAINED else self._key(self.model.pairs[place], part))
        self.settle(k, choice, Loss.NONE)

    @precondition(lambda self: self.model.exhausted is None and any(pair.dead.entries for pair in self.model.pairs))
    @rule(p=some)
    def redrive_what_is_refused(self, p: int) -> None:
        """The letter stays."""
        pair = pick(p, [pair for pair in self.model.pairs if pair.dead.entries])
        self._spend(self.model.pair_key(pair, "inbox"))
        self._redrive(pair, sorted(pair.dead.entries, key=order)[:1], Loss.NONE)

    @precondition(lambda self: self.model.occupied or self.model.exhausted or self.model.full)
    @rule()
    def mend(self) -> None:
        """All of it at once: what goes on by itself goes on."""
        if self.model.occupied is not None:
            key, self.model.occupied = self.model.occupied, None
            self._others("DEL", key)
            if self.bench.call("EXISTS", ASIDE):
                self._others("RENAME", ASIDE, key)
        if self.model.exhausted is not None:
            self._others("XSETID", self.model.exhausted, self._id_before)
            self.model.exhausted = None
        self.bench.call("CONFIG", "SET", "maxmemory", 0)
        self.model.full = False

    def _trim(self, k: int) -> None:
        topics = self.model.topics.values()
        some_left = [each for each in topics if each.log.entries and self.model.occupied != self.keys.topic(each.name)]
        if not some_left:
            return
        topic = pick(k, some_left)
        ids = list(topic.log.entries)
        if k % 2:
            ids = [pick(k, ids)]
            self._others("XDEL", self.keys.topic(topic.name), *ids)
        else:
            ids = ids[: len(ids) - k % 3]
            self._others("XTRIM", self.keys.topic(topic.name), "MAXLEN", k % 3)
        self.model.trim(topic, ids)

    def _destroy_group(self, pair: Pair, source: Source) -> None:
        key, place = self.model.key(pair, source), self.model.pairs.index(pair)
        # Without the stats nobody can know where a group stood.
        if self.model.occupied == key or pair.untold or pair.queues[source].position is None:
            return
        self._others("XGROUP", "DESTROY", key, pair.group)
        self.model.destroy(pair, source)
        if source is Source.TOPIC:
            calls = [call for each in self.instances for call in each.unanswered if call.place == place and call.plan]
            pair.doubtful |= {each.stream_id for call in calls for each in call.deliveries}

    def _delete_body(self, k: int) -> None:
        waiting = [pair for pair in self.model.pairs if any(pair.retry.values())]
        if waiting:
            pair = pick(k, waiting)
            invocation = next(name for name, record in pair.retry.items() if record is not None)
            self._others("HDEL", self._real(self.model.pair_key(pair, "bodies")), invocation)
            pair.retry[invocation] = None

    def _occupy(self, k: int, pair: Pair) -> None:
        parts = ["topic", OUTPUT, "topics", "inbox", "retry", "bodies", "dead", "stats"]
        key = self._key(pair, pick(k // 3, parts))
        if self.model.occupied is None and key != self.model.exhausted:
            if self.bench.call("EXISTS", key):
                self._others("RENAME", key, ASIDE)
            self._others("SET", key, "mine")
            self.model.occupied = key

    def _spend_ids(self, k: int, pair: Pair) -> None:
        self._spend(self._key(pair, pick(k // 3, [OUTPUT, "topic", "inbox", "dead"])))

    def _spend(self, key: str) -> None:
        """The stream is at its last possible id."""
        if self.model.exhausted is not None or key == self.model.occupied:
            return
        if not self.bench.call("EXISTS", key):
            self._others("XGROUP", "CREATE", key, "nobody", 0, "MKSTREAM")
            self._others("XGROUP", "DESTROY", key, "nobody")
        facts = self.bench.call("XINFO", "STREAM", key)
        self._id_before = dict(zip(facts[::2], facts[1::2], strict=True))[b"last-generated-id"]
        self._others("XSETID", key, LAST_ID)
        self.model.exhausted = key

    def _key(self, pair: Pair, part: str) -> str:
        match part:
            case "topic":
                return self.keys.topic(pair.topic.name)
            case "topics":
                return self.keys.topics
            case _ if part == OUTPUT:
                return self.keys.topic(OUTPUT)
        return self.model.pair_key(pair, part)

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def matches(self) -> None:
        """The server holds what the model does, and every event is in one place for every trigger."""
        if self.sound:
            return
        model, connection = self.model, self.bench.connection
        streams = {name: self.keys.topic(name) for name in [*model.topics, OUTPUT]}
        commands: list[tuple[str | bytes | int, ...]] = [("HGETALL", self.keys.instances)]
        commands += [("XRANGE", self._real(key), "-", "+") for key in streams.values()]
        for pair in model.pairs:
            commands += self._questions(pair)
        leases, *replies = self.bench.run(connection.pipeline(commands))
        found = {name.decode(): int(by) for name, by in zip(leases[::2], leases[1::2], strict=True)}
        assert found == model.leases | ({RELEASES: model.releases} if model.releases else {})
        for name in streams:
            topic = model.topics.get(name)
            entries = [(entry, tuple(fields)) for entry, fields in replies.pop(0)]
            (model.output if topic is None else topic).learn(entries)
        for pair in model.pairs:
            many = len(self._questions(pair))
            self._matches_pair(pair, replies[:many])
            del replies[:many]
        for pair in model.pairs:
            self._in_one_place(pair)
        self.sound = True

    def _in_one_place(self, pair: Pair) -> None:
        if pair.queues[Source.TOPIC].position is None:
            return
        places = self.model.places(pair)
        assert set(places) <= set(pair.topic.accepted)
        for event in pair.topic.accepted:
            least, most = int(event not in pair.excused), 1 + (event in pair.doubtful)
            assert least <= places[event] <= most, f"{pair.name}: {event!r} is in {places[event]} places"

    def _questions(self, pair: Pair) -> list[tuple[str | bytes | int, ...]]:
        key = {part: self._real(self.model.pair_key(pair, part)) for part in ("retry", "bodies", "dead", "stats")}
        streams = [self._real(self.model.key(pair, source)) for source in Source]
        return [
            ("XRANGE", streams[1], "-", "+"),
            ("XRANGE", key["dead"], "-", "+"),
            ("ZRANGE", key["retry"], 0, -1),
            ("HGETALL", key["bodies"]),
            ("HGETALL", key["stats"]),
            *(("XINFO", "GROUPS", stream) for stream in streams),
            *(("XPENDING", stream, pair.group, "-", "+", 1000) for stream in streams),
        ]

    def _matches_pair(self, pair: Pair, replies: Sequence[Any]) -> None:
        inbox, dead, retry, bodies, stats, *groups = replies
        pair.inbox.learn([(entry, unpack(fields[1])) for entry, fields in inbox])
        letters = [parse(entry, fields) for entry, fields in dead]
        assert all(letter.record is not None for letter in letters)
        pair.dead.learn([(letter.id.encode(), letter.record) for letter in letters if letter.record is not None])
        assert {each.decode() for each in retry} == set(pair.retry)
        kept = {name.decode(): unpack(body) for name, body in zip(bodies[::2], bodies[1::2], strict=True)}
        assert kept == {name: record for name, record in pair.retry.items() if record is not None}
        numbers = dict(zip(stats[::2], stats[1::2], strict=True))
        assert numbers.pop(b"last_delivered", b"") == pair.last_delivered
        counters = {name.decode(): int(by) for name, by in numbers.items() if name not in NO_COUNTERS}
        assert counters == {name: by for name, by in pair.counters.items() if by}
        for source, info, pending in zip(Source, groups[:2], groups[2:], strict=True):
            queue = pair.queues[source]
            facts = [dict(zip(each[::2], each[1::2], strict=True)) for each in (info if isinstance(info, list) else [])]
            positions = [each[b"last-delivered-id"] for each in facts if each[b"name"] == pair.group.encode()]
            assert positions == ([] if queue.position is None else [queue.position])
            if queue.position is not None:
                assert {each[0]: (each[1].decode(), each[3]) for each in pending} == queue.pending

    def teardown(self) -> None:
        """After all faults have ended one instance finishes everything, and nothing is left over."""
        self.bench.connection.loss = Loss.NONE
        if not self.sound:
            return
        self.mend()
        self.matches()
        for name in list(self.model.leases):
            self._run(self._instances.deregister(name))
            del self.model.leases[name]
        self._register()
        last = self.instances[-1]
        for _ in range(100):
            if all(self._drain(last, place, pair) for place, pair in enumerate(self.model.pairs)):
                break
        else:
            raise AssertionError("what was left never came to an end")
        for place, pair in enumerate(self.model.pairs):
            self._nothing_left(pair, self._group(last, place))

    def _drain(self, me: Instance, place: int, pair: Pair) -> bool:
        """One round of it; whether there was nothing to do."""
        busy = False
        for source in Source:
            for owner in {who for who, _ in pair.queues[source].pending.values()} - {me.name}:
                self._claim(me, owner, place, source, 1000, dead=False, seen=None, loss=Loss.NONE)
        if pair.later:
            self._an_hour_passes(pair)
        if pair.retry:
            self._promote(pair, 1000, Loss.NONE)
        if pair.dead.entries:
            self._redrive(pair, list(pair.dead.entries), Loss.NONE)
        self.matches()
        for source in Source:
            self._fetch(me, place, source, 1000, Loss.NONE)
            held = me.holds[place, source]
            if held:
                busy = True
                plan = [(each, Outcome.EMIT) for each in held.values()]
                held.clear()
                last = me.last.get(place, b"") if source is Source.TOPIC else b""
                call = Unanswered(place, source, [each for each, _ in plan], plan, last)
                self._settle(me, call, Loss.NONE, repeat=False)
            self.matches()
        return not busy

    def _nothing_left(self, pair: Pair, group: Group) -> None:
        status = self.bench.run(group.status())
        assert (status.exists, status.lag, status.problem) == (True, 0, None)
        assert (status.pending, status.due, status.dead, status.inbox) == (0, 0, 0, 0)
        for part in ("inbox", "dead"):
            assert self.bench.call("XLEN", self.model.pair_key(pair, part)) == 0
        for part in ("retry", "bodies"):
            assert not self.bench.call("EXISTS", self.model.pair_key(pair, part))
        assert {each for each in pair.topic.accepted if each not in pair.ended} <= pair.excused
        if not pair.untold:
            count = Counter(status.counters)
            redriven = count["redriven"]
            ends = count["succeeded"] + count["filtered"] + count["dead_lettered"] + count["dropped"]
            assert count["delivered"] == ends, f"{pair.name}: {count}, {redriven} redriven"

    # --- inside ---------------------------------------------------------------------------------------------------

    def _attempt(
        self, predict: Callable[[], T], perform: Callable[[], Coroutine[Any, Any, Any]], loss: Loss
    ) -> tuple[T, Any] | None:
        """What the model and the server answer; None where the answer is lost, or both refuse it alike."""
        self.sound = False
        expected: list[T] = []
        refusal = None
        if loss is not Loss.REQUEST:
            try:
                expected.append(predict())
            except Refused as refused:
                refusal = refused.why
        self.bench.connection.loss = loss
        try:
            reply = self.bench.run(perform())
        except ReplyLost:
            assert loss is not Loss.NONE
            return None
        except BrokerError as error:
            if classified(error) is not refusal:
                raise AssertionError(f"the server refuses what it should not, or otherwise than {refusal}") from error
            return None
        finally:
            self.bench.connection.loss = Loss.NONE
        assert refusal is None, f"the server answers {reply}, and should refuse it: {refusal}"
        return expected[0], reply

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        self.sound = False
        return self.bench.run(work)

    def _flush(self) -> None:
        self.bench.call("FLUSHALL")
        self.bench.call("CONFIG", "SET", "maxmemory", 0)
        self.sound = False
        self.model.flush()
        self.model.full = False
        self.published.clear()

    def _others(self, *command: str | bytes | int) -> Any:
        """A fault's own command is carried out in any case."""
        self.sound = False
        self.bench.call("CONFIG", "SET", "maxmemory", 0)
        reply = self.bench.call(*command)
        self.bench.call("CONFIG", "SET", "maxmemory", int(self.model.full))
        return reply

    @property
    def _instances(self) -> Instances:
        return Instances(self.bench.connection, self.keys)

    def _group(self, instance: Instance, place: int) -> Group:
        pair = self.model.pairs[place]
        return Group(self.bench.connection, self.keys, pair.topic.name, pair.group, instance.name)

    def _real(self, key: str) -> str:
        """Where the content of a key is while something else stands in its place."""
        return ASIDE if key == self.model.occupied else key

    def _stream(self, key: str) -> list[tuple[bytes, list[bytes]]]:
        entries: list[tuple[bytes, list[bytes]]] = self.bench.call("XRANGE", self._real(key), "-", "+")
        return entries

    def _holding(self) -> list[tuple[Instance, int, Source]]:
        return [(each, *where) for each in self.instances for where, held in each.holds.items() if held]

    def _gone(self) -> list[int]:
        pairs = enumerate(self.model.pairs)
        return [place for place, pair in pairs if any(queue.position is None for queue in pair.queues.values())]

    def _batch(self, pair: Pair, plan: Plan, *, repeat: bool, last: bytes) -> Batch:
        batch = Batch(repeat=repeat, last_delivered=last)
        now = self.bench.connection.clock.now()
        for delivery, outcome in plan:
            counters = dict(counted(delivery, outcome))
            invocation = pair.invocation(delivery.stream_id)
            if delivery.fields is None or outcome in PLAIN:
                batch.acks.append(delivery.id)
                for name, by in counters.items():
                    batch.counters[name] = batch.counters.get(name, 0) + by
            elif outcome in (Outcome.RETRY, Outcome.RETRY_LATER):
                due = now + HOUR if outcome is Outcome.RETRY_LATER else now
                record = pack_record(pair.record(delivery, delivery.attempt + 1, Origin.RETRY))
                due_ms = int(due.timestamp() * 1000) if outcome is Outcome.RETRY_LATER else 0
                batch.entries.append(
                    Entry.retry(delivery.id, invocation, due_ms, record, counters=counters, deliveries=delivery.count)
                )
            elif outcome is Outcome.DEAD:
                letter = self._letter(pair, delivery)
                batch.entries.append(Entry.dead(delivery.id, letter, counters=counters, deliveries=delivery.count))
            else:
                asked = [Emit(topic, fields) for topic, fields in emits(pair, delivery, outcome)]
                batch.entries.append(Entry.ack(delivery.id, asked, counters=counters, deliveries=delivery.count))
        return batch

    def _letter(self, pair: Pair, delivery: Delivery) -> DeadLetter:
        return DeadLetter(
            trigger=pair.group.partition("/")[2],
            topic=pair.topic.name,
            invocation_id=pair.invocation(delivery.stream_id),
            reason=Reason.FAILED,
            error=StoredError("ValueError", "no", ""),
            attempts=delivery.attempt,
            history=[],
            first_delivered_ms=1,
            dead_ms=2,
            instance="",
            revision="",
            log="",
            record=pair.record(delivery, 1, Origin.REDRIVE),
        )


def pick(k: int, among: Sequence[T]) -> T:
    return among[k % len(among)]


def read(reply: Settled) -> Reply:
    return Reply(reply.fenced, reply.blocked, frozenset(each.id for each in reply.refused), reply.acked, reply.missing)


def classified(error: BrokerError) -> Refusal:
    """What kind of a refusal it is to who asked."""
    match error:
        case Fenced():
            return Refusal.FENCED
        case KeyTaken():
            return Refusal.KEY_TAKEN
        case GroupGone():
            return Refusal.NO_GROUP
        case BrokerUnavailable():
            return Refusal.LATER
    return Refusal.KEY_TAKEN if "WRONGTYPE" in str(error) else Refusal.FOR_GOOD
