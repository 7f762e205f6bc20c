"""A trigger on a topic, as one instance sees it: what is fetched, settled, handed over and known of its group."""

from collections.abc import Awaitable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from evfn.broker import claims
from evfn.broker.batch import Batch, Emitting, Entry, Kind, Traced
from evfn.broker.claims import RELEASED, Claimed, Consumer, Released
from evfn.broker.connection import Argument, Connection, Lane
from evfn.broker.keys import Keys
from evfn.broker.link import pack
from evfn.broker.mailbox import Mailboxes
from evfn.broker.promote import Promotion, promote
from evfn.broker.refusal import GroupGone, KeyTaken
from evfn.broker.settle import Place, Refused, Settled, settle
from evfn.broker.source import Source
from evfn.broker.start import Started, recreate_pair, start_pair
from evfn.broker.status import GroupStatus, status
from evfn.broker.watch import Answer, Ask
from evfn.errors import BrokerError
from evfn.failpoint import reached
from evfn.trigger import Start

__all__ = [
    "RELEASED",
    "Answer",
    "Ask",
    "Batch",
    "Claimed",
    "Consumer",
    "Emitting",
    "Entry",
    "Group",
    "GroupGone",
    "GroupStatus",
    "KeyTaken",
    "Kind",
    "Lane",
    "Promotion",
    "Refused",
    "Released",
    "Settled",
    "Source",
    "Started",
    "Traced",
]


class Group:
    """`project_group` is project/trigger; `instance_id` the consumer that fetches and settles.

    Methods raise BrokerUnavailable for what may pass later, KeyTaken where a key holds something else, GroupGone where
    the group vanished.
    """

    def __init__(self, connection: Connection, keys: Keys, topic: str, project_group: str, instance_id: str) -> None:
        self._connection = connection
        self._keys = keys
        self.topic = topic
        self.group = project_group
        self.instance = instance_id
        self.mailboxes = Mailboxes(connection, keys, topic, project_group)
        self._packed: dict[tuple[Source, int], bytes] = {}
        self._places = {
            Source.TOPIC: Place(keys.topic(topic), False, topic, project_group, instance_id),
            Source.INBOX: Place(keys.inbox(topic, project_group), True, topic, project_group, instance_id),
        }

    @property
    def epoch(self) -> int:
        """See `Connection.epoch`."""
        return self._connection.epoch

    def key(self, source: Source) -> str:
        """The stream this source reads."""
        return self._places[source].stream

    def lane(self) -> AbstractAsyncContextManager[Lane | None]:
        """For fetches that overlap, of this group and others of its server; see `Connection.lane`."""
        return self._connection.lane()

    async def fetch(
        self, source: Source, count: int, lane: Lane | None = None
    ) -> list[tuple[bytes, list[bytes] | None]]:
        """At most `count` entries nobody was given yet, without waiting: id, and fields and values alternating.

        They are now pending for this instance, also when the reply is lost on its way.
        """
        call = self._connection.call if lane is None else lane.call
        return await self.read(source, call(*self._reading(source, count)))

    def begin(self, ask: Ask, source: Source, count: int) -> Answer | None:
        """Begin a fetch by `ask`, which sends at once, or does not; `read` has what comes of it."""
        packed = self._packed.get((source, count))
        if packed is None:
            packed = self._packed[source, count] = pack(self._reading(source, count))
        return ask(packed)

    async def read(self, source: Source, reply: Awaitable[Any]) -> list[tuple[bytes, list[bytes] | None]]:
        """The entries that this reply to a fetch brings."""
        try:
            streams = await reply
        except BrokerError as error:
            raise self._named(error, self._places[source].stream) from error
        reached("after fetch")
        if not streams:
            return []
        # The reply as hiredis made it, its pairs two-item lists: copying them would cost more than the read.
        entries = next(iter(streams.values())) if isinstance(streams, dict) else streams[0][1]
        return cast("list[tuple[bytes, list[bytes] | None]]", entries)

    def _reading(self, source: Source, count: int) -> tuple[Argument, ...]:
        stream = self._places[source].stream
        return ("XREADGROUP", "GROUP", self.group, self.instance, "COUNT", count, "STREAMS", stream, ">")

    async def settle(self, source: Source, batch: Batch) -> Settled:
        """See `evfn.broker.settle.settle`."""
        return await settle(self._connection, self._keys, self._places[source], batch)

    async def release(self, source: Source, ids: list[bytes]) -> Released:
        """Hand deliveries that will not start here to whoever takes them first. Raises Fenced."""
        return await claims.release(self._connection, self._keys, self._places[source], ids)

    async def claim(
        self, source: Source, owner: str, *, dead: bool, count: int, beats_seen: int | None = None
    ) -> list[Claimed]:
        """Take over deliveries of `owner`; see `evfn.broker.claims.claim`. Raises Fenced."""
        return await claims.claim(
            self._connection,
            self._keys,
            self._places[source],
            owner,
            dead=dead,
            count=count,
            beats_seen=beats_seen,
        )

    async def restore(self, source: Source, ids: list[bytes]) -> list[bytes]:
        """After `recreate`: put what runs here back on the list. Returns what is this instance's. Raises Fenced."""
        return await claims.restore(self._connection, self._keys, self._places[source], ids)

    async def consumers(self, source: Source) -> list[Consumer]:
        """Every consumer of the group."""
        return (await claims.consumers(self._connection, [self._places[source]]))[0]

    @staticmethod
    async def consumers_of(places: Sequence[tuple["Group", Source]]) -> list[list[Consumer]]:
        """The same of several groups of one server, in one go."""
        if not places:
            return []
        return await claims.consumers(places[0][0]._connection, [group._places[source] for group, source in places])

    async def delete_consumer_if_idle(self, source: Source, name: str) -> bool:
        """Delete a consumer that holds nothing and whose instance is gone; whether it was deleted."""
        return await claims.delete_consumer_if_idle(self._connection, self._keys, self._places[source], name)

    async def pending(self, source: Source, after: bytes | None = None, count: int = 1_000) -> list[tuple[bytes, int]]:
        """A page of the ids the server holds as this instance's, with their delivery counts."""
        return await claims.pending(self._connection, self._places[source], after, count)

    @staticmethod
    async def holding(places: Sequence[tuple["Group", Source]]) -> list[int | None]:
        """Whether the server holds entries as these instances', in one go: 1 or 0, None where it does not say."""
        if not places:
            return []
        return await claims.holding(places[0][0]._connection, [group._places[source] for group, source in places])

    async def bodies(self, source: Source, ids: list[bytes]) -> list[list[bytes] | None]:
        """The fields of pending entries, None where one was trimmed."""
        return await claims.bodies(self._connection, self._places[source], ids)

    async def promote(self, limit: int) -> Promotion:
        """Move due retries into the inbox."""
        return await promote(self._connection, self._keys, self.topic, self.group, limit)

    async def start(self, start: Start, patterned_late: bool) -> Started:
        """Make the group where it is missing; see `evfn.broker.start`."""
        return await start_pair(self._connection, self._keys, self.topic, self.group, start, late=patterned_late)

    async def recreate(self, last_delivered: str = "", held: Collection[bytes] = ()) -> Started:
        """Make a vanished group again, at the last delivered id known. What is `held` here, up to a thousand, is on its
        list from the beginning, unless another has made it (KEPT); `restore` puts back the rest."""
        return await recreate_pair(
            self._connection, self._keys, self.topic, self.group, last_delivered, self.instance, held
        )

    async def status(self) -> GroupStatus:
        """What a person wants to know of it."""
        return await status(self._connection, self._keys, self.topic, self.group)

    def _named(self, error: BrokerError, stream: str) -> BrokerError:
        return KeyTaken(stream, self._connection.server) if "WRONGTYPE" in str(error) else error
