"""Brings a topic's past events to one trigger again: reads its range piece by piece and moves it into the inbox.

The command that asked for a replay drives it, not an instance: the person who watches it can stop it, and the server
keeps how far it came, so that anybody can go on with it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from evfn.broker import limits
from evfn.broker.record import Record, replayed
from evfn.broker.replay import Moved, Progress, Replay
from evfn.clock import Clock
from evfn.event import Subject
from evfn.filter import Filter, FilterError
from evfn.trigger import DataMode

PAGE = 100
"""Events of the first piece. Those that follow are as large as their bytes allow."""
ROOM_LOOK = timedelta(milliseconds=50)
"""How often a full inbox is looked at again."""
PIECES_PER_SECOND = 5
"""In so many pieces comes what a rate allows in a second."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in each of these periods."""

    events: int
    per: timedelta

    @property
    def piece(self) -> int:
        """How many come at once."""
        return max(int(self.events / self.per.total_seconds() / PIECES_PER_SECOND), 1)

    def pause(self, events: int) -> timedelta:
        """How long to wait after so many."""
        return self.per * events / self.events


@dataclass(frozen=True, slots=True)
class Tally:
    """Events of a range, those that a condition lets through, and those on which it had an error."""

    events: int = 0
    matching: int = 0
    errors: int = 0


class Conditions:
    """Filters that an event must all pass, on a topic whose data are read in this mode."""

    def __init__(self, topic: str, mode: DataMode, *filters: Filter | None) -> None:
        self._topic = topic
        self._mode = mode
        self._filters = [each for each in filters if each is not None]
        self.errors = 0

    def match(self, stream_id: bytes, fields: list[bytes]) -> bool:
        """Whether it passes; one on which a filter has an error does not, and is counted in `errors`."""
        if not self._filters:
            return True
        subject = Subject(self._topic, stream_id.decode(), fields, self._mode)
        try:
            return all(each.matches(subject) for each in self._filters)
        except FilterError:
            self.errors += 1
            return False


async def tally(replay: Replay, first: str, last: str, conditions: Conditions) -> Tally:
    """Count a range, by reading it."""
    counted = Tally()
    after, count = "", PAGE
    while page := await replay.read(first, last, after, count):
        after = page[-1][0].decode()
        matching = sum(conditions.match(*each) for each in page)
        counted = replace(counted, events=counted.events + len(page), matching=counted.matching + matching)
        if len(page) < count:
            break
        count = _next(page)
    return replace(counted, errors=conditions.errors)


class Replayer:
    """One replay of one topic. `no_room` is called again and again while the inbox is full, and may raise to end it."""

    def __init__(
        self,
        replay: Replay,
        trigger: str,
        conditions: Conditions,
        rate: Rate | None,
        clock: Clock,
        no_room: Callable[[], Awaitable[None]],
    ) -> None:
        self._replay = replay
        self._trigger = trigger
        self._conditions = conditions
        self._rate = rate
        self._clock = clock
        self._no_room = no_room
        self._count = PAGE if rate is None else min(rate.piece, PAGE)

    async def step(self, progress: Progress) -> Progress | None:
        """Bring the next piece, and wait as the rate says. Returns how far it is now; None where it was given up.

        May be repeated after any failure: what an earlier call brought is not brought again.
        """
        if not await self._replay.has_room():
            return await self._wait(progress)
        page = await self._replay.read(progress.first, progress.last, progress.cursor, self._count)
        records: list[Record] = []
        size = seen = 0
        cursor = progress.cursor
        for stream_id, fields in page:
            size += sum(map(len, fields))
            # One that is larger than a call may be has the call for itself.
            if seen and size > limits.BYTES:
                break
            seen += 1
            cursor = stream_id.decode()
            if self._conditions.match(stream_id, fields):
                records.append(replayed(self._trigger, self._replay.topic, cursor, fields, progress.id))
        if seen == len(page) < self._count:
            cursor = progress.last
        moved = await self._replay.move(progress, cursor, seen, records)
        if moved is Moved.GONE:
            return None
        if moved is Moved.FULL:
            return await self._wait(progress)
        if moved is Moved.BEFORE:
            return await self._replay.progress(progress.id)
        if page:
            self._count = _next(page) if self._rate is None else min(_next(page), self._rate.piece)
        if self._rate is not None and records:
            await self._clock.sleep(self._rate.pause(len(records)))
        return replace(progress, cursor=cursor, seen=progress.seen + seen, replayed=progress.replayed + len(records))

    async def _wait(self, progress: Progress) -> Progress:
        await self._no_room()
        await self._clock.sleep(ROOM_LOOK)
        return progress


def _next(page: list[tuple[bytes, list[bytes]]]) -> int:
    """How many events like these fill a call."""
    size = sum(sum(map(len, fields)) for _, fields in page) // len(page)
    return max(min(limits.EMITS, limits.BYTES // max(size, 1)), 1)
