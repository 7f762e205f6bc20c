"""`evfn emit --wait`: publishes, follows what that causes to its end, and says how it ended."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.position import numbers
from evfn.broker.publish import Publication
from evfn.errors import UsageError
from evfn.event import followed, new_trace, trace_of
from evfn.listener import TriggerState
from evfn.manifest import duration
from evfn.services.follower import Ended, Follower
from evfn.trace.report import Fate, Place, Told
from evfn.trace.trace import Open, Trace
from evfn.trace.tree import Standing
from evfn_cli import ndjson, states
from evfn_cli.audience import is_running, say_nobody
from evfn_cli.draft import Attributes, content_type, publication_of_body
from evfn_cli.opened import Opened
from evfn_cli.outcome_lines import of_end
from evfn_cli.publishing import body_of, opened_file, publications, store
from evfn_cli.render import escape, out, say, seconds
from evfn_cli.screen import Screen
from evfn_cli.server import again, connected
from evfn_cli.trace_tree import present_ms, told

NAMED = 3
"""Outstanding events that are named when the time is up."""

Chunks = Iterator[tuple[list[Publication], int]]


def patience(text: str) -> timedelta:
    """What `--timeout` says. Raises UsageError for what is no time to wait."""
    try:
        found = duration.parse(text)
    except ValueError as error:
        raise UsageError(f"--timeout: {escape(str(error))}") from error
    if not found:
        raise UsageError("--timeout: to wait no time at all, leave out --wait; else write such as 30s or 5m")
    return found


def follow_one(
    opened: Opened,
    topic: str,
    data: str | None,
    kind: str | None,
    attributes: Attributes,
    *,
    most: timedelta,
    as_json: bool,
) -> int:
    """Publish one event and follow it, no longer than `most`; the exit code.

    `data` is `-` for stdin, `kind` what `--as` said.
    """
    body = body_of(data, kind)
    declared = None if body is None else content_type(body, kind)
    one = publication_of_body(topic, body, declared, attributes)
    return asyncio.run(_Following(opened, topic, many=False, as_json=as_json).run(iter([([one], 0)]), most))


def follow_file(
    opened: Opened, topic: str, file: str, attributes: Attributes, *, most: timedelta, as_json: bool
) -> int:
    """Publish a file of JSON lines as one trace and follow it; the exit code."""
    with opened_file(file) as (lines, _, name):
        count = ndjson.check(lines, name)
        chunks = publications(topic, lines, name, attributes)
        return asyncio.run(_Following(opened, topic, many=True, as_json=as_json, total=count).run(chunks, most))


class _Following:
    """One `emit --wait`. `total` is how many events are published."""

    def __init__(self, opened: Opened, topic: str, *, many: bool, as_json: bool, total: int = 1) -> None:
        self._opened = opened
        self._topic = topic
        self._as_json = as_json
        self._many = many
        self._total = total
        self._id = new_trace()
        self._trace = Trace(opened.project, many=many)
        self._screen = Screen(self._trace, total, as_json=as_json)
        self._published = 0
        self._newest = (0, 0)
        self._problem: str | None = None
        self._before = 0
        self._dead: dict[str, None] = {}

    async def run(self, chunks: Chunks, most: timedelta) -> int:
        async with connected(self._opened) as connection:
            follower = Follower(
                connection,
                self._opened.project,
                self._id,
                self._trace,
                problems=self._broken,
                on_told=self._on_told,
                on_problem=self._trouble,
            )
            try:
                async with self._screen:
                    ended = await self._follow(connection, follower, chunks, most)
            except (asyncio.CancelledError, OSError):
                # Ctrl-C, or a standard output that cannot be written.
                if self._published:
                    what = f"{self._published:,} events are" if self._many else "the event is"
                    say(f"{what} stored, and all goes on without you")
                raise
        return self._conclude(ended, most)

    async def _follow(self, connection: Connection, follower: Follower, chunks: Chunks, most: timedelta) -> Ended:
        follower.complete = False
        following: asyncio.Task[Ended] | None = None
        try:
            for events, _ in chunks:
                await self._publish(connection, follower, events)
                # Followed from the first ones on: of a large file much is done before the last event is published.
                following = following or asyncio.create_task(follower.follow(most))
            if self._many:
                self._say_published()
            if following is None:
                return Ended.SETTLED
            follower.complete = True
            await self._say_who_is_missing(connection)
            return await following
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _publish(self, connection: Connection, follower: Follower, events: list[Publication]) -> None:
        keys = Keys(self._opened.project.settings.key_prefix)
        events = [replace(each, fields=followed(each.fields, self._id)) for each in events]
        stored = await store(connection, keys, events)
        places = [Place(event.topic, each.stream_id) for event, each in zip(events, stored, strict=True)]
        # What was found stored was published before, or by a try of ours whose reply was lost.
        found = {place for place, each in zip(places, stored, strict=True) if each.repeated}
        others = found - await self._ours(connection, keys, list(found))
        # The same event twice in a file is one; ids only grow, so what an earlier piece held is not above its newest.
        new = [place for place in dict.fromkeys(places) if numbers(place.stream_id) > self._newest]
        for place in new:
            if place not in others:
                follower.published(place)
        self._newest = max([self._newest, *(numbers(place.stream_id) for place in new)])
        self._published += len(events)
        self._before += len(others)
        self._screen.published = self._published
        if others and not self._many:
            (place,) = others
            say(
                f"it had been published before and is stored once, as {escape(place.topic)} {place.stream_id};"
                " what that one caused cannot be followed: see evfn status"
            )

    async def _ours(self, connection: Connection, keys: Keys, places: list[Place]) -> set[Place]:
        commands = [("XRANGE", keys.topic(place.topic), place.stream_id, place.stream_id) for place in places]
        replies = await again(lambda: connection.pipeline(commands))
        return {
            place
            for place, reply in zip(places, replies, strict=True)
            if isinstance(reply, list) and reply and trace_of(reply[0][1]) == self._id
        }

    def _say_published(self) -> None:
        say(f"{self._total:,} event{'' if self._total == 1 else 's'} published to {self._topic}")
        if self._before:
            say(f"{self._before:,} of {self._total:,} had been published before; what they caused is not followed")

    async def _say_who_is_missing(self, connection: Connection) -> None:
        if not self._trace.listeners.on(self._topic):
            say_nobody(self._opened, self._topic)
        if self._trace.counts.waiting and not await is_running(connection, self._opened):
            say("no instance is running: start one with evfn run or evfn serve")

    def _broken(self) -> dict[str, str]:
        return {
            trigger: state["problem"] or ""
            for trigger, state in states.read(self._opened.location.state).items()
            if state["state"] == TriggerState.BROKEN.value
        }

    def _on_told(self, told: Told) -> None:
        report = told.report
        if report.fate is Fate.DEAD_LETTERED and report.project == self._opened.project.name:
            self._dead[report.trigger] = None
        self._screen.told(told)

    def _trouble(self, problem: str | None) -> None:
        if problem is not None and problem != self._problem:
            say(f"{escape(problem)}; trying again")
        self._problem = problem

    def _conclude(self, ended: Ended, most: timedelta) -> int:
        counts = self._trace.counts
        code = 1 if ended is not Ended.SETTLED or self._before else 3 if counts.dead_lettered else 0
        if self._as_json:
            out(json.dumps(of_end(self._trace, code)))
        for trigger in self._dead:
            say(f"to see why: evfn dlq show {trigger}")
        if ended is Ended.TIME_UP:
            say(f"time is up after {seconds(most.total_seconds())}; outstanding: {self._outstanding()}")
            say("nothing is lost: it goes on without you")
        elif ended is Ended.STUCK:
            stuck = {each.trigger: each.reason for each in self._trace.open() if each.standing is Standing.STUCK}
            for trigger, reason in stuck.items():
                say(f"{trigger} is {escape(reason)}")
        return code

    def _outstanding(self) -> str:
        waiting = [each for each in self._trace.open() if each.standing is Standing.WAITING]
        more = f" and {len(waiting) - NAMED:,} more" if len(waiting) > NAMED else ""
        return ", ".join(map(_name, waiting[:NAMED])) + more


def _name(each: Open) -> str:
    if not each.stream_id:
        return f"{each.count:,} of {escape(each.topic)} at {escape(each.trigger)}"
    text = f"{escape(each.trigger)} on {escape(f'{each.topic} {each.stream_id}')}"
    return text if each.told is None else f"{text} ({told(each.told, present_ms())})"
