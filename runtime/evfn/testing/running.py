"""A project that runs for a test: events go in, and what they cause comes out, settled."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from evfn.broker import dead_letters as stored
from evfn.broker.connection import Connection
from evfn.broker.dead_letter import DeadLetter as StoredLetter
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, publish
from evfn.clock import SystemClock
from evfn.embedded import EmbeddedServer
from evfn.errors import BrokerError, EvfnError, InvalidData, LoadError, UsageError
from evfn.event import Entry, Event, encode, followed, new_trace
from evfn.nearest import did_you_mean
from evfn.project import OpenedProject
from evfn.runtime import Ended, Place, Runtime
from evfn.services.discovery import Discovery
from evfn.services.follower import Ended as Followed
from evfn.services.follower import Follower
from evfn.testing import tree_text
from evfn.testing.caused import AtTrigger, Caused, DeadLetter, Error, NotSettled
from evfn.testing.overheard import Overheard
from evfn.testing.own_loop import OwnLoop
from evfn.testing.project import Project
from evfn.testing.sample_event import complete
from evfn.trace import trace
from evfn.trace.report import Place as Stored
from evfn.trace.tree import Branch, Standing, Tree
from evfn.trigger import DataMode, Isolation

T = TypeVar("T")


class RunningProject:
    """Made by `Project.running` and by the fixture `evfn_project`."""

    def __init__(self, project: Project, opened: OpenedProject, show: Callable[[str], None], loop: OwnLoop) -> None:
        self.project = project
        self._definition = opened.project
        self._keys = Keys(opened.project.settings.key_prefix)
        self._modes = {topic: rules.data for topic, rules in opened.project.topics}
        self._show = show
        self._loop = loop
        self._overheard: Overheard
        self._connection: Connection
        self._serving: asyncio.Task[Ended]

    @classmethod
    @contextmanager
    def start(cls, project: Project, opened: OpenedProject, show: Callable[[str], None]) -> Iterator["RunningProject"]:
        """Ready when the block begins, gone without a trace when it ends. Raises LoadError, EmbeddedServerFailed."""
        __tracebackhide__ = True
        loop = OwnLoop()
        running = cls(project, opened, show, loop)
        # Below it lies the server's socket as well, whose path must be short.
        with tempfile.TemporaryDirectory(prefix="evfn-") as folder:
            serving = running._serve(opened, Path(folder))
            try:
                loop.run(_enter(serving))
                try:
                    yield running
                finally:
                    loop.run(_leave(serving))
            finally:
                loop.close()

    def emit(self, topic: str, data: object = None, *, timeout: timedelta | float = 10.0, **attributes: Any) -> Caused:
        """Publish an event, wait until everything it causes is settled, and say what that was.

        `data` may be an `Event`; `attributes` are those of Event: type, subject, extensions and so on. `timeout` is in
        seconds, or a timedelta. Raises NotSettled where the time is up, UsageError where no trigger listens on the
        topic, InvalidData for data that cannot be stored.
        """
        __tracebackhide__ = True
        patience = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
        return self._ask(self._emit(topic, data, attributes, patience))

    def events(self, topic: str) -> list[Event]:
        """Every event on a topic, oldest first. Raises InvalidData where the data of one cannot be read."""
        __tracebackhide__ = True
        return self._ask(self._events(topic))

    def dead_letters(self, trigger: str) -> list[DeadLetter]:
        """Every dead letter of a trigger, oldest first. Raises UsageError for a trigger that there is not."""
        __tracebackhide__ = True
        return self._ask(self._dead_letters(trigger))

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        __tracebackhide__ = True
        try:
            return self._loop.run(self._while_serving(work))
        except EvfnError as error:
            # Where in evfn it was raised says nothing to who reads the report of his test.
            raise error.with_traceback(None) from None

    @asynccontextmanager
    async def _serve(self, opened: OpenedProject, folder: Path) -> AsyncIterator[None]:
        server = EmbeddedServer(folder / "state", {**os.environ, "XDG_RUNTIME_DIR": str(folder)})
        await server.start()
        try:
            self._overheard = Overheard(opened.project)
            self._connection = await Connection.open(server.url, clock=SystemClock())
            place = Place(self.project.folder, self.project.functions, folder / "state", server.url)
            runtime = Runtime(_here(opened), place, self._overheard)
            self._serving = asyncio.create_task(runtime.run())
            try:
                await self._while_serving(self._overheard.known.wait())
                self._check_loaded()
                yield
            finally:
                runtime.abort()
                await asyncio.gather(self._serving, return_exceptions=True)
                await self._connection.close()
        finally:
            await server.stop()

    async def _while_serving(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result. Raises what ended the project before."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._serving}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise self._serving.exception() or BrokerError("the project under test ended")
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _check_loaded(self) -> None:
        if self._overheard.broken:
            said = [f"{trigger} cannot run: {problem}" for trigger, problem in self._overheard.broken.items()]
            raise LoadError("\n".join(said))

    async def _emit(self, topic: str, data: object, attributes: dict[str, Any], patience: timedelta) -> Caused:
        event = complete(topic, data, attributes)
        trace_id, found = new_trace(), trace.Trace(self._definition)
        if not found.listeners.on(topic):
            topics = {each for trigger in self._definition.triggers for each in trigger.topics}
            raise UsageError(
                f"no trigger listens on {topic!r}{did_you_mean(topic, topics)}; topics: {', '.join(sorted(topics))}"
            )
        fields = followed(encode(event), trace_id)
        published = await publish(self._connection, self._keys, Publication(topic, event.source, event.id, fields))
        if published.repeated:
            raise UsageError(f"an event {event.id!r} of {event.source} was emitted on {topic} before: give another id")
        follower = Follower(
            self._connection, self._definition, trace_id, found, problems=lambda: self._overheard.broken
        )
        follower.published(Stored(topic, published.stream_id))
        ended = await follower.follow(patience)
        self._check_loaded()
        if found.tree is None:
            raise UsageError(f"the event caused more than {trace.LARGEST_TREE:,} others: too many to tell in a test")
        caused = await self._caused(published.stream_id, found.tree)
        self._show("\n".join([caused.tree, *self._overheard.lines()]))
        if ended is not Followed.SETTLED:
            raise NotSettled(f"not settled after {patience.total_seconds():g} s:\n{caused.tree}")
        return caused

    async def _caused(self, stream_id: str, tree: Tree) -> Caused:
        # Its group may not be there yet, and then it is told to begin later: it does not begin at all.
        disabled = {each.name: "disabled in the manifest" for each in self._definition.triggers if not each.enabled}
        outcomes: dict[tuple[Stored, str, str], AtTrigger] = {}
        absent: dict[str, str] = {}
        for branch in tree:
            if branch.told is not None:
                outcomes[branch.place, branch.project, branch.trigger] = await self._at_trigger(branch)
            elif branch.absent is not None:
                absent[branch.trigger] = disabled.get(branch.trigger, branch.absent.reason)

        def say(branch: Branch) -> str:
            outcome = outcomes.get((branch.place, branch.project, branch.trigger))
            if outcome is not None:
                return str(outcome)
            return "waiting" if branch.standing is Standing.WAITING else absent[branch.trigger]

        text = "\n".join(tree_text.lines(tree, say))
        return Caused(stream_id, tuple(outcomes.values()), text, absent)

    async def _at_trigger(self, branch: Branch) -> AtTrigger:
        assert branch.told is not None  # noqa: S101 - only asked of those of which something is told
        report, letter = branch.told.report, branch.told.letter
        error = None if report.error is None else Error(*report.error)
        if letter and error is not None:
            kept = await self._letters(report.trigger, report.topic).get(letter)
            error = error if kept is None else Error(error.type, error.message, error.place, kept.error.traceback)
        emits = [await self._event(each) for each in branch.told.emitted]
        return AtTrigger(
            report.trigger,
            report.topic,
            report.fate,
            report.reason,
            report.attempt,
            error,
            tuple(emits),
            dropped=report.unemitted,
        )

    async def _event(self, place: Stored) -> Event:
        key = self._keys.topic(place.topic)
        ((_, fields),) = await self._connection.call("XRANGE", key, place.stream_id, place.stream_id)
        return self._read(place.topic, place.stream_id, fields)

    async def _events(self, topic: str) -> list[Event]:
        entries = await self._connection.call("XRANGE", self._keys.topic(topic), "-", "+")
        return [self._read(topic, entry_id.decode(), fields) for entry_id, fields in entries]

    async def _dead_letters(self, trigger: str) -> list[DeadLetter]:
        self.project.trigger(trigger)
        topics = (await Discovery(self._connection, self._definition).topics())[trigger]
        places = [self._letters(trigger, topic) for topic in sorted(topics)]
        count = sum([await each.count() for each in places])
        return [self._letter(each) for each in reversed(await stored.newest_first(places, count))] if count else []

    def _letters(self, trigger: str, topic: str) -> stored.DeadLetters:
        return stored.DeadLetters(self._connection, self._keys, topic, self._definition.group(trigger))

    def _letter(self, letter: StoredLetter) -> DeadLetter:
        event = None
        if letter.record is not None:
            with suppress(InvalidData):
                event = self._read(letter.topic, letter.record.stream_id, letter.record.fields)
        error = Error(letter.error.type, letter.error.message, traceback=letter.error.traceback)
        reason = letter.reason if isinstance(letter.reason, str) else letter.reason.value
        return DeadLetter(letter.id, letter.trigger, letter.topic, reason, error, letter.attempts, letter.log, event)

    def _read(self, topic: str, stream_id: str, fields: list[bytes]) -> Event:
        return Entry(topic, stream_id, fields).event(self._modes.get(topic, DataMode.AUTO))


def _here(opened: OpenedProject) -> OpenedProject:
    """A test starts no RQ workers: what would be a job runs in a process, which ends in the same ways."""
    triggers = tuple(
        replace(each, isolation=Isolation.PROCESS, workers=replace(each.workers, max=min(each.workers.max, 2)))
        if each.isolation is Isolation.JOB
        else each
        for each in opened.project.triggers
    )
    return replace(opened, project=replace(opened.project, triggers=triggers))


async def _enter(context: Any) -> None:
    await context.__aenter__()


async def _leave(context: Any) -> None:
    await context.__aexit__(None, None, None)
