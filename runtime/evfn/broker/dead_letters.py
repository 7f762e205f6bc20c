"""The dead letters of a trigger on a topic: shown, taken back, thrown away."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.dead_letter import FOREIGN, DeadLetter, StoredError, fields, invocation, parse
from evfn.broker.keys import Keys
from evfn.broker.position import BEGINNING, numbers
from evfn.broker.refusal import KeyTaken
from evfn.broker.scripts import Script
from evfn.errors import BrokerError

__all__ = ["FOREIGN", "DeadLetter", "DeadLetters", "Redriven", "StoredError", "fields", "newest_first", "parse"]

REDRIVE = Script("redrive", "dead", "inbox", "stats")
PAGE = 100
STEP = 500
"""Most letters redriven in one go: each is a call of its own, and the replies come together."""


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of dead letters asked back, by id: on their way, not there (any more), without a record.

    `inbox` are the ids that the redriven ones have there.
    """

    redriven: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    inbox: list[str] = field(default_factory=list)


class DeadLetters:
    """One pair's dead stream."""

    def __init__(self, connection: Connection, keys: Keys, topic: str, project_group: str) -> None:
        self._connection = connection
        self._server = connection.server
        self.topic = topic
        self.key = keys.dead(topic, project_group)
        self._inbox = keys.inbox(topic, project_group)
        self._stats = keys.stats(topic, project_group)

    async def count(self) -> int:
        """How many there are."""
        return int(await self._call("XLEN", self.key))

    async def list(self, count: int = PAGE, *, before: str | None = None) -> list[DeadLetter]:
        """A page, newest first, of those below the id `before`."""
        end = "+" if before is None else f"({before}"
        return [self._letter(each) for each in await self._call("XREVRANGE", self.key, end, "-", "COUNT", count)]

    async def get(self, letter: str | None = None) -> DeadLetter | None:
        """The one with this id, or the newest. Raises UsageError where `letter` is no id."""
        if letter is None:
            found = await self.list(1)
            return found[0] if found else None
        ms, sequence = numbers(letter)
        entries = await self._call("XRANGE", self.key, f"{ms}-{sequence}", f"{ms}-{sequence}")
        return self._letter(entries[0]) if entries else None

    async def redrive(self, letters: Iterable[str]) -> Redriven:
        """Back to the trigger, each atomically; may be repeated after a lost reply.

        Raises KeyTaken or BrokerError for the first that cannot be moved; it stays a dead letter, under a new id where
        it was the inbox that did not take it.
        """
        result = Redriven()
        ids = ["-".join(map(str, numbers(each))) for each in letters]
        for at in range(0, len(ids), STEP):
            chunk = ids[at : at + STEP]
            names = [self.key, self._inbox, self._stats]
            replies = await REDRIVE.run_many(self._connection, [(names, [each]) for each in chunk])
            for each, reply in zip(chunk, replies, strict=True):
                if isinstance(reply, BrokerError):
                    raise reply
                if reply[0] == b"BLOCKED":
                    raise self._blocked(reply[1].decode(), reply[2].decode("utf-8", "replace"))
                where = {b"OK": result.redriven, b"GONE": result.gone, b"FOREIGN": result.foreign}
                where[reply[0]].append(each)
                if reply[0] == b"OK":
                    result.inbox.append(reply[1].decode())
        return result

    async def oldest_first(self) -> AsyncIterator[DeadLetter]:
        """All there are now; those that die meanwhile, again or for the first time, are not among them."""
        async for page in self._pages():
            for entry in page:
                yield self._letter(entry)

    async def names_oldest_first(self) -> AsyncIterator[tuple[str, str]]:
        """Id and invocation of the same, for whoever needs no more: of a million it is a third of the time."""
        async for page in self._pages():
            for entry, values in page:
                yield entry.decode("ascii", "replace"), invocation(values)

    async def _pages(self) -> AsyncIterator[Sequence[Any]]:
        newest = await self.get()
        position = "-"
        while newest is not None:
            page = await self._call("XRANGE", self.key, position, newest.id, "COUNT", STEP)
            yield page
            if len(page) < STEP:
                break
            position = f"({page[-1][0].decode()}"

    async def dead_since(self, letter: str) -> AsyncIterator[DeadLetter]:
        """Those that came behind this id, oldest first."""
        while page := await self._call("XRANGE", self.key, f"({letter}", "+", "COUNT", STEP):
            for entry in page:
                yield self._letter(entry)
            letter = page[-1][0].decode()

    async def newest_id(self) -> str:
        """The last id that any letter had here, also one that is gone."""
        try:
            facts = await self._call("XINFO", "STREAM", self.key)
        except BrokerError as error:
            if "no such key" in str(error):
                return BEGINNING
            raise
        return str(dict(zip(facts[::2], facts[1::2], strict=True))[b"last-generated-id"].decode())

    async def purge(self, letters: Sequence[str] | None = None) -> int:
        """Delete these, or all. Returns how many there were."""
        if letters is None:
            return int(await self._call("XTRIM", self.key, "MAXLEN", 0))
        ids = ["-".join(map(str, numbers(each))) for each in letters]
        return int(await self._call("XDEL", self.key, *ids)) if ids else 0

    def _letter(self, entry: Sequence[Any]) -> DeadLetter:
        # Where it is stored says its topic, also of what something else wrote.
        return replace(parse(*entry), topic=self.topic)

    async def _call(self, *command: str | int) -> Any:
        try:
            return await self._connection.call(*command)
        except BrokerError as error:
            raise KeyTaken(self.key, self._server) if "WRONGTYPE" in str(error) else error from error

    def _blocked(self, key: str, why: str) -> BrokerError:
        if why.startswith(("WRONGTYPE", "it holds")):
            return KeyTaken(key, self._server)
        return BrokerError(f"{self._server} cannot add to {key}: {why}")


async def every_newest_first(places: Iterable[DeadLetters], count: int) -> AsyncIterator[DeadLetter]:
    """The same, page by page: however many they are, no more than a page of each place is held."""
    pages: dict[DeadLetters, deque[DeadLetter]] = {place: deque(await place.list(min(count, STEP))) for place in places}
    while count > 0 and (heads := {place: page for place, page in pages.items() if page}):
        place = max(heads, key=lambda each: numbers(heads[each][0].id))
        letter = pages[place].popleft()
        count -= 1
        yield letter
        if not pages[place]:
            pages[place].extend(await place.list(min(count, STEP), before=letter.id) if count else ())


async def newest_first(
    places: Iterable[DeadLetters], count: int = PAGE, *, before: str | None = None
) -> list[DeadLetter]:
    """The newest dead letters of several pairs together, below the id `before`."""
    letters = [letter for place in places for letter in await place.list(count, before=before)]
    letters.sort(key=lambda letter: numbers(letter.id), reverse=True)
    return letters[:count]
