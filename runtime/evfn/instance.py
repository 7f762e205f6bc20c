"""One instance: everything that lives and dies with one lease, built, run and taken down."""

import asyncio
import contextlib
import os
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from pathlib import Path

from evfn import instance_lock
from evfn.broker.connection import Connection, mask
from evfn.broker.group import Group, Source
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.promote import any_waiting
from evfn.broker.topics import SLOW_KEYS, is_slow
from evfn.broker.watch import Watch
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.filter import Filter
from evfn.instance_lock import InstanceLock
from evfn.listener import Listener, Started, Stopping, Warned, Watched
from evfn.services.claimer import Claimer
from evfn.services.discovery import Discovery
from evfn.services.dispatcher import Dispatcher
from evfn.services.promoter import Promoter
from evfn.services.reports import Reports
from evfn.services.settler import Settler
from evfn.services.subscription import Subscription
from evfn.services.watcher import Watcher
from evfn.trigger import DataMode, Project, Trigger
from evfn.workers.config import worker_config
from evfn.workers.pool import Pool
from evfn.workers.template_process import Template

DRAIN = timedelta(seconds=30)
"""How long running functions get to finish after the first signal."""
DISCOVER = timedelta(seconds=1)
LOAD_PATIENCE = 0.25
"""Seconds one function may take to load before the next one begins; a slow import is not alone for long."""
IDLE_LOOK = timedelta(milliseconds=50)


class Ended(Enum):
    """Why an instance stopped by itself or on command."""

    IDLE = "idle"
    DRAINED = "drained"
    ABORTED = "aborted"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project lives, which server it uses, and what its `.env` adds to the functions' environment."""

    project_dir: Path
    functions_dir: Path
    state_dir: Path
    server: str
    env_file: Mapping[str, str]


class Instance:
    """One lease's worth of work: everything below lives and dies with the instance's field in Redis."""

    def __init__(
        self,
        project: Project,
        place: Place,
        connection: Connection,
        template: Template,
        listener: Listener,
        clock: Clock,
    ) -> None:
        self.id = f"{uuid.uuid4().hex[:12]}"
        self.dispatchers: list[Dispatcher] = []
        self._project = project
        self._place = place
        self._connection = connection
        self._keys = Keys(project.settings.key_prefix)
        self._template = template
        self._listener = listener
        self._clock = clock
        self._random = random.Random().random
        self._instances = Instances(connection, self._keys)
        self._discovery = Discovery(connection, project)
        self._modes = {topic: rules.data for topic, rules in project.topics}
        self._ending: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._promoter = Promoter(
            lambda: self.dispatchers, partial(any_waiting, connection, self._keys), clock, self._random
        )
        self._watcher = Watcher(Watch(connection, on_warning=self._warn), lambda: self.dispatchers, clock)
        self._claimer = Claimer(self._instances, self.id, place.state_dir, lambda: self.dispatchers, clock)
        self._cause = ""
        self._abort = False

    async def run(self, *, until_idle: bool) -> Ended:
        """Serve until told to end, fenced, or (if asked) idle. Raises what stopped a part that must not stop."""
        lock = InstanceLock.acquire(self._place.state_dir, self.id, self._place.server)
        try:
            await self._instances.register(self.id)
            return await self._serve(until_idle=until_idle)
        finally:
            lock.release()

    def end(self, how: Ended, cause: str) -> None:
        """Begin to stop: the first word counts, except that an abort overrides a drain."""
        self._cause = cause
        if not self._ending.done():
            self._ending.set_result(how)

    async def _serve(self, *, until_idle: bool) -> Ended:
        for trigger in self._project.triggers:
            self.dispatchers.append(self._dispatcher(trigger))
        await self._discover(first=True)
        if self._discovery.has_patterns and await is_slow(self._connection):
            self._warn(
                f"the server holds more than {SLOW_KEYS:,} keys: finding new streams for patterns takes noticeably"
                " long; exact topic names need no search"
            )
        await self._say_who_shares()
        self._listener.tell(Started(self._project.name, self.id, mask(self._place.server), self._watched()))
        loads = asyncio.create_task(self._load_all())
        duties = [dispatcher.run() for dispatcher in self.dispatchers if dispatcher.trigger.enabled]
        duties += [self._promoter.run(), self._watcher.run(), self._claimer.run(), self._keep_discovering()]
        if until_idle:
            duties.append(self._end_when_idle(loads))
        tasks = [asyncio.create_task(duty) for duty in duties]
        for task in tasks:
            task.add_done_callback(self._duty_ended)
        try:
            how = await self._ending
            if how is not Ended.FENCED:
                await self._drain(how)
                await self._instances.deregister(self.id)
            return Ended.ABORTED if self._abort else how
        finally:
            for task in [loads, *tasks]:
                task.cancel()
            await asyncio.gather(loads, *tasks, return_exceptions=True)
            for dispatcher in self.dispatchers:
                await dispatcher.close()

    async def _say_who_shares(self) -> None:
        """Before anything is taken: instances elsewhere that serve the same groups get a part of the events."""
        here = set(instance_lock.ids(self._place.state_dir))
        elsewhere = set(await self._instances.all()) - here
        sharing: set[str] = set()
        for dispatcher in self.dispatchers if elsewhere else ():
            for subscription in dispatcher.subscriptions.values():
                consumers = await subscription.group.consumers(Source.TOPIC)
                sharing |= {consumer.name for consumer in consumers} & elsewhere
        if sharing:
            self._warn(
                f"{len(sharing)} other instance(s) of {self._project.name!r} serve the same triggers elsewhere"
                f" ({', '.join(sorted(sharing))}): the events are divided between you;"
                " --name with another name gives this one a copy of all events"
            )

    async def _load_all(self) -> None:
        """Load every function once, so that each trigger's state is known; one that takes its time delays no other."""
        enabled = [dispatcher for dispatcher in self.dispatchers if dispatcher.trigger.enabled]
        for dispatcher in enabled:
            dispatcher.pool.warm_up()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOAD_PATIENCE):
                    await dispatcher.known.wait()
        for dispatcher in enabled:
            await dispatcher.known.wait()

    def _dispatcher(self, trigger: Trigger) -> Dispatcher:
        condition = None if trigger.filter is None else Filter.compile(trigger.filter)
        dispatcher = Dispatcher(
            trigger,
            condition,
            self._mode,
            Reports(self._project.name, trigger, self._place.project_dir),
            self.id,
            self._listener,
            self._clock,
            self._random,
            self._promoter.expect,
            self._check_lease,
        )
        config = worker_config(
            self._project,
            trigger,
            folder=self._place.project_dir,
            functions=self._place.functions_dir,
            environ=os.environ,
            env_file=self._place.env_file,
        )
        dispatcher.pool = Pool(
            self._template, lambda: config, trigger.workers, trigger.timeout, dispatcher, self._clock
        )
        return dispatcher

    def _mode(self, topic: str) -> DataMode:
        return self._modes.get(topic, DataMode.AUTO)

    async def _discover(self, *, first: bool) -> None:
        """Subscribe every trigger to those of its topics that it does not serve yet."""
        topics = await self._discovery.topics()
        for dispatcher in self.dispatchers:
            trigger = dispatcher.trigger
            if not trigger.enabled:
                continue
            new = sorted(topics[trigger.name] - dispatcher.subscriptions.keys())
            if first or new:
                for text in await self._discovery.start(trigger, new):
                    self._warn(text)
            for topic in new:
                self._subscribe(dispatcher, topic)

    def _subscribe(self, dispatcher: Dispatcher, topic: str) -> None:
        group = Group(self._connection, self._keys, topic, self._project.group(dispatcher.trigger.name), self.id)
        subscription = Subscription(topic, group, {})
        for source in Source:
            subscription.settlers[source] = Settler(
                group,
                source,
                self._clock,
                self._random,
                on_settled=dispatcher.settled,
                on_fenced=self._fenced,
                on_problem=lambda problem: dispatcher.blocked(subscription, problem),
                on_end=self._duty_ended,
            )
        dispatcher.add(subscription)
        self._watcher.add(dispatcher, subscription)

    async def _keep_discovering(self) -> None:
        while self._discovery.has_patterns:
            await self._clock.sleep(DISCOVER)
            try:
                await self._discover(first=False)
            except BrokerError:
                continue  # The dispatchers say what is wrong with the server.

    async def _end_when_idle(self, loads: asyncio.Task[None]) -> None:
        """End once nothing is waiting, running or due, for us or for any other instance of these triggers."""
        await loads
        while True:
            await self._clock.sleep(IDLE_LOOK)
            if not all(dispatcher.quiet for dispatcher in self.dispatchers):
                continue
            for dispatcher in self.dispatchers:
                dispatcher.wake_all()
            await self._clock.sleep(IDLE_LOOK)
            if all(dispatcher.quiet for dispatcher in self.dispatchers) and await self._nothing_left():
                self.end(Ended.IDLE, "idle")
                return

    async def _nothing_left(self) -> bool:
        for dispatcher in self.dispatchers:
            if not dispatcher.takes:
                continue  # Broken or disabled: its events wait for a person, not for us.
            for subscription in dispatcher.subscriptions.values():
                try:
                    status = await subscription.group.status()
                except BrokerError:
                    return False
                if status.pending or status.due or status.inbox:
                    return False
        return all(dispatcher.quiet for dispatcher in self.dispatchers)

    async def _drain(self, how: Ended) -> None:
        running = sum(dispatcher.pool.running for dispatcher in self.dispatchers)
        if how is not Ended.IDLE:
            self._listener.tell(Stopping(self._cause, running))
        for dispatcher in self.dispatchers:
            dispatcher.drain()
        deadline = self._clock.monotonic() + (DRAIN.total_seconds() if how is not Ended.ABORTED else 0.0)
        killed = False
        while any(dispatcher.unsettled for dispatcher in self.dispatchers):
            if not killed and self._clock.monotonic() >= deadline:
                killed = True
                for dispatcher in self.dispatchers:
                    dispatcher.pool.abort()
            if killed and self._clock.monotonic() >= deadline + 5:
                break  # The server does not answer: what is unsettled is delivered again.
            await self._clock.sleep(timedelta(milliseconds=5))
            if self._abort:
                deadline = min(deadline, self._clock.monotonic())

    def abort(self) -> None:
        """Stop now: kill what runs, burn no attempt."""
        self._abort = True
        self.end(Ended.ABORTED, "aborted")

    async def _check_lease(self) -> bool:
        """Whether this instance may still settle; where not, it ends."""
        if self.id in await self._instances.all():
            return True
        self._fenced()
        return False

    def _fenced(self) -> None:
        if self._ending.done():
            return
        self._warn("this instance lost its lease; it starts over with a new one")
        for dispatcher in self.dispatchers:
            dispatcher.pool.abort()
        self.end(Ended.FENCED, "fenced")

    def _duty_ended(self, task: asyncio.Task[None]) -> None:
        """A part that ends by an error would leave the instance alive and idle: end it loudly instead."""
        if not task.cancelled() and (error := task.exception()) is not None and not self._ending.done():
            self._ending.set_exception(error)

    def _watched(self) -> tuple[Watched, ...]:
        return tuple(
            Watched(t.name, t.topics, t.function, t.filter, t.emits, t.enabled) for t in self._project.triggers
        )

    def _warn(self, text: str) -> None:
        self._listener.tell(Warned(text))
