"""What `evfn replay` does: finds the range on every topic, and drives the replay until it is finished."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from evfn.broker import position
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.replay import INBOX_LIMIT, Kept, Progress, Replay
from evfn.broker.stream import Streams
from evfn.clock import SystemClock
from evfn.errors import BrokerUnavailable, EvfnError, UsageError
from evfn.filter import Filter
from evfn.nearest import did_you_mean
from evfn.services.discovery import Discovery
from evfn.services.replayer import Conditions, Replayer, Tally, tally
from evfn.trigger import DataMode, Trigger
from evfn_cli.opened import Opened
from evfn_cli.progress import bar
from evfn_cli.render import escape, out, say
from evfn_cli.replay_request import Asked, Range, condition, rate
from evfn_cli.served import is_served
from evfn_cli.server import again, connected

Begun = tuple[Replay, Progress]
"""A replay on one of its topics, and how far it is there."""

NOBODY_SECONDS = 5.0
"""How long a replay waits for room in the inbox while no instance runs: one may be on its way back."""


class Replaying:
    """One command. Raises UsageError for what is no place, rate, filter or topic, and where another replay waits."""

    def __init__(self, opened: Opened, trigger: Trigger, asked: Asked, *, as_json: bool) -> None:
        self._opened = opened
        self._trigger = trigger
        self._asked = asked
        self._as_json = as_json
        self._rate = None if asked.rate is None else rate(asked.rate)
        self._condition = None if asked.condition is None else condition(asked.condition)
        self._range = Range(asked)
        self._keys = Keys(opened.project.settings.key_prefix)
        self._errors = 0
        self._nobody_since: float | None = None
        self._said_full = False

    # --- what the command line asks for ------------------------------------------------------------------------------

    async def count(self) -> int:
        """Say how many events the range has, and how many of them the trigger would take; change nothing."""
        async with connected(self._opened) as connection:
            ranges = await again(lambda: self._ranges(connection))
            own = None if self._trigger.filter is None else Filter.compile(self._trigger.filter)
            found: dict[str, tuple[Tally, Tally]] = {}
            for replay, first, last in ranges:
                mode = self._mode(replay.topic)
                wanted = await again(
                    partial(tally, replay, first, last, Conditions(replay.topic, mode, self._condition))
                )
                taken = wanted
                if own is not None:
                    both = Conditions(replay.topic, mode, self._condition, own)
                    taken = await again(partial(tally, replay, first, last, both))
                found[replay.topic] = wanted, taken
        total = sum(wanted.matching for wanted, _ in found.values())
        passing = sum(taken.matching for _, taken in found.values())
        if self._as_json:
            by_topic = {topic: wanted.matching for topic, (wanted, _) in found.items()}
            out(json.dumps({"version": 1, "would_replay": total, "passing": passing, "topics": by_topic}))
        else:
            out(f"{total:,} would be replayed")
        self._say_errors(sum(wanted.errors for wanted, _ in found.values()))
        if own is not None:
            say(f"the filter of {self._trigger.name} lets {passing:,} of them through")
        return 0

    async def begin(self) -> int:
        """Begin, or go on where the same command was interrupted; then until all is done."""
        async with connected(self._opened) as connection:
            unfinished = await again(lambda: self._unfinished(connection))
            if unfinished:
                self._same(unfinished)
                return await self._go_on(connection, unfinished)
            ranges = await again(lambda: self._ranges(connection))
            begun = await self._begin(connection, ranges)
            return await self._drive(connection, begun)

    async def resume(self) -> int:
        """Go on with the unfinished one, whoever began it."""
        async with connected(self._opened) as connection:
            unfinished = await again(lambda: self._unfinished(connection))
            if not unfinished:
                raise EvfnError(f"{self._trigger.name} has no replay that is not finished")
            return await self._go_on(connection, unfinished)

    async def cancel(self) -> int:
        """Give the unfinished one up."""
        async with connected(self._opened) as connection:
            unfinished = await again(lambda: self._unfinished(connection))
            if not unfinished:
                raise EvfnError(f"{self._trigger.name} has no replay that is not finished")
            for replay, progress in unfinished:
                await again(partial(replay.end, progress.id))
        replayed = sum(progress.replayed for _, progress in unfinished)
        if self._as_json:
            out(json.dumps({"version": 1, "replay": unfinished[0][1].id, "cancelled": True, "replayed": replayed}))
        else:
            out(f"{unfinished[0][1].id} is given up after {replayed:,} replayed")
        return 0

    # --- finding and beginning ---------------------------------------------------------------------------------------

    async def _topics(self, connection: Connection) -> set[str]:
        """The trigger's. Raises UsageError for one that is asked for and that it does not have."""
        there = (await Discovery(connection, self._opened.project).topics())[self._trigger.name]
        for topic in self._asked.topics:
            if topic not in there:
                has = f"; it has: {', '.join(map(escape, sorted(there)))}" if there else ", nor any other yet"
                hint = did_you_mean(topic, there) or has
                raise UsageError(f"{self._trigger.name} has no topic {escape(topic)!r}{hint}")
        if not there:
            patterns = ", ".join(self._trigger.topics)
            raise UsageError(f"{self._trigger.name} has no topic to replay: none matches {patterns} yet")
        return there

    def _replay(self, connection: Connection, topic: str) -> Replay:
        return Replay(connection, self._keys, topic, self._opened.project.group(self._trigger.name))

    async def _unfinished(self, connection: Connection) -> list[Begun]:
        """Of the trigger, on any of its topics, whether this command names it or not."""
        replays = [self._replay(connection, topic) for topic in sorted(await self._topics(connection))]
        found = [(replay, progress) for replay in replays if (progress := await replay.unfinished()) is not None]
        # Two people who began different ones at the same moment, on different topics first, have one after the other.
        return [each for each in found if each[1].id == found[0][1].id]

    async def _ranges(self, connection: Connection) -> list[tuple[Replay, str, str]]:
        """Each topic's first and last id. Says what of it is gone."""
        now = await Streams(connection, self._keys).now()
        self._range.ids(now)
        topics = await self._topics(connection)
        ranges = []
        for topic in sorted(self._asked.topics or topics):
            replay = self._replay(connection, topic)
            kept = await replay.kept()
            if kept is None:
                say(f"there is no event on {escape(topic)}")
                continue
            first, last = self._range.of(kept, now)
            if kept.removed and position.numbers(first) < position.numbers(kept.oldest):
                say(_before(topic, kept))
            ranges.append((replay, first, last))
        return ranges

    async def _begin(self, connection: Connection, ranges: list[tuple[Replay, str, str]]) -> list[Begun]:
        replay_id = f"r{secrets.token_hex(4)}"
        new = []
        for replay, first, last in ranges:
            every = await again(partial(tally, replay, first, last, Conditions(replay.topic, DataMode.AUTO)))
            if every.events:
                new.append((replay, first, last, every.events))
        topics = "\n".join(replay.topic for replay, *_ in new)
        begun: list[Begun] = []
        for replay, first, last, total in new:
            progress = Progress(
                id=replay_id,
                asked=self._asked.text,
                topics=topics,
                first=first,
                last=last,
                condition=self._asked.condition or "",
                rate=self._asked.rate or "",
                total=total,
            )
            unfinished = await again(partial(replay.begin, progress))
            if unfinished != replay_id:
                # Somebody was quicker: it is theirs from here on, or another one.
                for mine, _ in begun:
                    await again(partial(mine.end, replay_id))
                theirs = await again(lambda: self._unfinished(connection))
                self._same(theirs)
                return await again(partial(self._completed, connection, theirs))
            begun.append((replay, progress))
        return begun

    def _same(self, unfinished: list[Begun]) -> None:
        """Raises UsageError where another command began one of these."""
        for replay, progress in unfinished:
            if progress.asked != self._asked.text:
                name = self._trigger.name
                raise UsageError(
                    f"{name} has a replay of {escape(replay.topic)} that is not finished"
                    f" ({progress.seen:,} of {progress.total:,} events); go on with it by"
                    f" `evfn replay {name} --resume`, or give it up by `evfn replay {name} --cancel`"
                )

    async def _completed(self, connection: Connection, unfinished: list[Begun]) -> list[Begun]:
        """Begin it also where whoever began it did not come to. Where all that is left is done, the rest was ended."""
        if all(progress.done for _, progress in unfinished):
            return unfinished
        model = unfinished[0][1]
        complete: list[Begun] = []
        for topic in model.topics.split("\n"):
            replay = self._replay(connection, topic)
            progress = await replay.progress(model.id)
            if progress is None:
                every = await tally(replay, model.first, model.last, Conditions(topic, DataMode.AUTO))
                progress = replace(model, total=every.events, cursor="", seen=0, replayed=0)
                if await replay.begin(progress) != model.id:
                    # Finished by somebody else since we looked.
                    continue
            complete.append((replay, progress))
        return complete

    # --- driving -----------------------------------------------------------------------------------------------------

    async def _go_on(self, connection: Connection, unfinished: list[Begun]) -> int:
        model = unfinished[0][1]
        every = await again(partial(self._completed, connection, unfinished))
        self._condition = condition(model.condition) if model.condition else None
        if self._rate is None and model.rate:
            self._rate = rate(model.rate)
        seen, total = (sum(getattr(progress, name) for _, progress in every) for name in ("seen", "total"))
        say(f"going on with {model.id}, which has come to {seen:,} of {total:,} events")
        return await self._drive(connection, every)

    async def _drive(self, connection: Connection, begun: list[Begun]) -> int:
        total = sum(progress.total - progress.seen for _, progress in begun)
        finished: dict[str, Progress] = {}
        elsewhere = False
        try:
            with bar(f"to {self._trigger.name}", total, events=True) as advance:
                for replay, progress in begun:
                    now, ended = await self._one(connection, replay, progress, advance)
                    finished[replay.topic] = now
                    elsewhere |= ended
        except (asyncio.CancelledError, EvfnError):
            if begun:
                say(f"not finished; `evfn replay {self._trigger.name} --resume` goes on with it")
            raise
        # Only when all are done: what is left of them says that each was begun.
        for replay, progress in begun:
            await again(partial(replay.end, progress.id))
        await self._report(connection, finished, begun[0][1].id if begun else None, elsewhere=elsewhere)
        return 0

    async def _one(
        self, connection: Connection, replay: Replay, progress: Progress, advance: Callable[[int], None]
    ) -> tuple[Progress, bool]:
        """One topic to its end; and whether that was reached, or the replay given up, elsewhere."""
        conditions = Conditions(replay.topic, self._mode(replay.topic), self._condition)
        replayer = Replayer(
            replay, self._trigger.name, conditions, self._rate, SystemClock(), lambda: self._no_room(connection)
        )
        while not progress.done:
            try:
                now = await replayer.step(progress)
            except BrokerUnavailable as error:
                say(f"{escape(str(error))}; going on as soon as it is back")
                await connection.wait_ready()
                continue
            if now is None:
                return progress, True
            advance(now.seen - progress.seen)
            progress = now
        self._errors += conditions.errors
        return progress, False

    async def _no_room(self, connection: Connection) -> None:
        """Raises EvfnError when nobody runs who could make room."""
        if await self._running(connection):
            self._nobody_since = None
        elif self._nobody_since is None:
            self._nobody_since = time.monotonic()
        elif time.monotonic() - self._nobody_since > NOBODY_SECONDS:
            raise EvfnError(
                f"{INBOX_LIMIT:,} events wait in the inbox of {self._trigger.name}, which is full, and no instance is"
                " running to take them: start one (evfn run)"
            )
        if not self._said_full:
            self._said_full = True
            say(f"{INBOX_LIMIT:,} events wait in the inbox of {self._trigger.name}; the next ones follow as these run")

    async def _running(self, connection: Connection) -> bool:
        return await is_served(connection, self._opened, self._trigger.name)

    def _mode(self, topic: str) -> DataMode:
        modes = {name: rules.data for name, rules in self._opened.project.topics}
        return modes.get(topic, DataMode.AUTO)

    # --- telling -----------------------------------------------------------------------------------------------------

    async def _report(
        self, connection: Connection, finished: dict[str, Progress], replay: str | None, *, elsewhere: bool
    ) -> None:
        replayed = sum(progress.replayed for progress in finished.values())
        if self._as_json:
            by_topic: dict[str, Any] = {
                topic: {
                    "first": progress.first,
                    "last": progress.last,
                    "events": progress.total,
                    "replayed": progress.replayed,
                    "trimmed": progress.trimmed,
                }
                for topic, progress in finished.items()
            }
            about = {"replay": replay, "replayed": replayed, "ended_elsewhere": elsewhere, "topics": by_topic}
            out(json.dumps({"version": 1, **about}))
        else:
            out(f"{replayed:,} replayed")
        if elsewhere:
            say("somebody else finished this replay meanwhile, or gave it up")
        self._say_errors(self._errors)
        for topic, progress in finished.items():
            if progress.trimmed:
                say(f"{progress.trimmed:,} events of {escape(topic)} were trimmed before the replay came to them")
        if replayed and not await again(lambda: self._running(connection)):
            say("no instance is running: they will run at the next evfn run")

    def _say_errors(self, errors: int) -> None:
        if errors:
            say(f"{errors:,} events are left out, for --filter had an error on them")


def _before(topic: str, kept: Kept) -> str:
    ms, _ = position.numbers(kept.oldest)
    try:
        when = f" of {datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        when = ""
    return (
        f"the range starts before the oldest kept entry of {escape(topic)}, {kept.oldest}{when}: what was before it"
        " is gone"
    )
