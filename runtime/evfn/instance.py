"""One instance: everything that lives and dies with one lease, built, run and taken down."""

import asyncio
import contextlib
import os
import random
import socket
import uuid
from datetime import timedelta
from enum import Enum
from functools import partial

from evfn import instance_lock
from evfn.broker.connection import Connection, mask
from evfn.broker.group import Group, Source
from evfn.broker.instances import About, Instances
from evfn.broker.keys import Keys
from evfn.broker.promote import any_waiting
from evfn.broker.topics import SLOW_KEYS, is_slow
from evfn.broker.watch import Watch
from evfn.clock import ServerClock
from evfn.errors import BrokerError
from evfn.instance_lock import InstanceLock
from evfn.listener import LeaseLost, LeaseUncertain, Listener, Started, Stopped, Stopping, Warned, Watched
from evfn.project import OpenedProject, Reopen
from evfn.services.claimer import Claimer
from evfn.services.dispatcher import Dispatcher
from evfn.services.foreign_trims import ForeignTrims
from evfn.services.heartbeat import Heartbeat
from evfn.services.neighbours import Neighbours
from evfn.services.orphans import Orphans
from evfn.services.promoter import Promoter
from evfn.services.reloader import Reloader
from evfn.services.roster import Place, Roster
from evfn.services.trimmer import Trimmer
from evfn.services.watcher import Watcher
from evfn.tracing.tracer import Tracer
from evfn.vitals import TriggerVitals
from evfn.workers.template_process import Template

DRAIN = timedelta(seconds=30)
"""How long running functions get to finish after the first signal, unless somebody says otherwise."""
IDLE_LOOK = timedelta(milliseconds=50)


class Ended(Enum):
    """Why an instance stopped by itself or on command."""

    IDLE = "idle"
    DRAINED = "drained"
    OVERDUE = "overdue"
    """Drained, but what still ran when the time for it was up was killed."""
    ABORTED = "aborted"
    FENCED = "fenced"


class Instance:
    """One lease's worth of work: everything below lives and dies with the instance's field in Redis."""

    def __init__(
        self,
        opened: OpenedProject,
        place: Place,
        connection: Connection,
        heart: Connection,
        template: Template,
        listener: Listener,
        clock: ServerClock,
        reopen: Reopen | None,
        served: set[tuple[str, str]],
        *,
        watch: bool,
        drain: timedelta,
        tracer: Tracer | None = None,
    ) -> None:
        self.id = f"{uuid.uuid4().hex[:12]}"
        project = opened.project
        keys = Keys(project.settings.key_prefix)
        self._place = place
        self._connection = connection
        self._keys = keys
        self._listener = listener
        self._clock = clock
        self._patience = drain
        self._instances = Instances(connection, keys, clock)
        self._ending: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        draw = random.Random().random
        self._promoter = Promoter(lambda: self.dispatchers, partial(any_waiting, connection, keys), clock, draw)
        self._watch = Watch(connection, on_warning=self._warn)
        self._watcher = Watcher(self._watch, lambda: self.dispatchers, clock)
        self._claimer = Claimer(
            self._instances,
            self.id,
            project.settings.lease,
            place.state_dir,
            lambda: self.dispatchers,
            clock,
            Neighbours(project.settings.lease, lambda: self._roster.project, self._warn).saw,
        )
        self._started = clock.now()
        self._heartbeat = Heartbeat(
            heart,
            keys,
            self.id,
            project.settings.lease,
            self._about,
            self._claimer,
            clock,
            draw,
            self.fenced,
            self._beats_fail,
        )
        self._roster = Roster(
            project,
            opened.env_file,
            place,
            connection,
            template,
            self,
            self._watcher,
            listener,
            clock,
            draw,
            served,
            on_due=self._promoter.expect,
            on_end=self._duty_ended,
            tracer=tracer,
        )
        self._reloader = None
        if reopen is not None:
            self._reloader = Reloader(
                self._roster,
                reopen,
                place.definition,
                place.functions_dir,
                listener,
                clock,
                self._claimer.look_soon,
                watch=watch,
            )
        self._cause = ""
        self._interrupted = 0
        self._abort = False
        self._lost = False
        self.began = False
        """Whether it ever had its lease."""

    @property
    def dispatchers(self) -> list[Dispatcher]:
        """One for each trigger that is served now."""
        return self._roster.dispatchers

    @property
    def vitals(self) -> dict[str, TriggerVitals]:
        """Every trigger that is served now, by name."""
        return {each.trigger.name: each.vitals for each in self.dispatchers}

    async def run(self, *, until_idle: bool) -> Ended:
        """Serve until told to end, fenced, or (if asked) idle. Raises what stopped a part that must not stop."""
        lock = InstanceLock.acquire(self._place.state_dir, self.id, self._place.server)
        try:
            await self._instances.register(self.id)
            self.began = True
            beating = asyncio.create_task(self._heartbeat.run())
            beating.add_done_callback(self._duty_ended)
            try:
                return await self._serve(until_idle=until_idle)
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
        finally:
            lock.release()

    def end(self, how: Ended, cause: str) -> None:
        """Begin to stop: the first word counts, except that an abort overrides a drain."""
        self._cause = cause
        if not self._ending.done():
            self._ending.set_result(how)

    def reload(self, cause: str) -> None:
        """Read manifest, `.env` and functions anew, where this instance may."""
        if self._reloader is not None:
            self._reloader.ask(cause)

    @property
    def reload_asked(self) -> str:
        """The cause of a reload that was asked for and has not ended; nothing where there is none."""
        return "" if self._reloader is None else self._reloader.asked

    async def _serve(self, *, until_idle: bool) -> Ended:
        await self._roster.fill()
        if self._roster.has_patterns and await is_slow(self._connection):
            self._warn(
                f"the server holds more than {SLOW_KEYS:,} keys: finding new streams for patterns takes noticeably"
                " long; exact topic names need no search"
            )
        await self._say_who_shares()
        self._listener.tell(Started(self._roster.project.name, self.id, mask(self._place.server), self._watched()))
        foreign_trims = ForeignTrims(
            self._connection,
            self._keys,
            lambda: self.dispatchers,
            self._listener,
            self._clock,
            lambda: self._watch.connected,
        )
        # Once something is fetched, the server cannot tell any more what was trimmed before.
        await foreign_trims.run_once()
        loads = asyncio.create_task(self._roster.load())
        orphans = Orphans(lambda: self.dispatchers, self._roster.project.settings.lease, self._clock)
        trimmer = Trimmer(
            self._connection,
            self._keys,
            lambda: self._roster.project,
            self._clock,
            random.random,
            self._warn,
        )
        duties = [
            trimmer.run(),
            self._promoter.run(),
            self._watcher.run(),
            self._claimer.run(),
            orphans.run(),
            foreign_trims.run(),
            self._roster.keep_discovering(),
        ]
        if until_idle:
            duties.append(self._end_when_idle(loads))
        reloads = [] if self._reloader is None else [asyncio.create_task(self._reloader.run(loads))]
        tasks = [*reloads, *(asyncio.create_task(duty) for duty in duties)]
        for task in tasks:
            task.add_done_callback(self._duty_ended)
        try:
            how = await self._ending
            # What an edit adds would begin to take events while everything else gives its own back.
            for task in reloads:
                task.cancel()
            if how is not Ended.FENCED:
                await self._drain(how)
            # One that gave up is dead for others at once, too, with all it held.
            if how is Ended.FENCED or not self._lost:
                await self._deregister()
            if how is not Ended.FENCED:
                self._listener.tell(Stopped(self._cause, self._interrupted))
            if self._abort:
                return Ended.ABORTED
            return Ended.OVERDUE if self._interrupted else how
        finally:
            for task in [loads, *tasks]:
                task.cancel()
            await asyncio.gather(loads, *tasks, return_exceptions=True)
            await self._roster.close()

    async def _deregister(self) -> None:
        """What is left is anybody's at the next beat; where the server does not take it, after the lease."""
        with contextlib.suppress(BrokerError):
            await self._instances.deregister(self.id)

    async def _say_who_shares(self) -> None:
        """Before anything is taken: instances elsewhere that serve the same groups get a part of the events."""
        here = set(instance_lock.ids(self._place.state_dir))
        elsewhere = set(await self._instances.all()) - here
        sharing: set[str] = set()
        if elsewhere:
            groups = [each.group for dispatcher in self.dispatchers for each in dispatcher.subscriptions.values()]
            found = await Group.consumers_of([(group, Source.TOPIC) for group in groups])
            sharing = {consumer.name for consumers in found for consumer in consumers} & elsewhere
            # One that has not asked for events yet is no consumer, but says what it serves.
            ours = {dispatcher.trigger.name for dispatcher in self.dispatchers if dispatcher.trigger.enabled}
            for name, about in (await self._instances.told()).items():
                if name in elsewhere and about.project == self._roster.project.name and ours & about.functions.keys():
                    sharing.add(name)
        if sharing:
            self._warn(
                f"instances of {self._roster.project.name} elsewhere serve the same triggers"
                f" ({', '.join(sorted(sharing))}): the events are divided between you;"
                " --name with another name gives this one a copy of all events"
            )

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
        running = sum(dispatcher.running for dispatcher in self.dispatchers)
        if how is not Ended.IDLE:
            self._listener.tell(Stopping(self._cause, running))
        for dispatcher in self.dispatchers:
            dispatcher.drain()
        deadline = self._clock.monotonic() + (self._patience.total_seconds() if how is not Ended.ABORTED else 0.0)
        killed = False
        while any(dispatcher.unsettled for dispatcher in self.dispatchers):
            if not killed and self._clock.monotonic() >= deadline:
                killed = True
                self._interrupted = sum(dispatcher.running for dispatcher in self.dispatchers)
                for dispatcher in self.dispatchers:
                    dispatcher.abort()
            if self._lost or (killed and self._clock.monotonic() >= deadline + 5):
                break  # No lease, or no answer from the server: what is unsettled is delivered again.
            await self._clock.sleep(timedelta(milliseconds=5))
            if self._abort:
                deadline = min(deadline, self._clock.monotonic())

    def abort(self) -> None:
        """Stop now: kill what runs, burn no attempt."""
        self._abort = True
        self.end(Ended.ABORTED, "aborted")

    async def check(self) -> bool:
        """Whether this instance may still settle; where not, it ends. Raises BrokerError."""
        if self.id in await self._instances.all():
            return True
        self.fenced()
        return False

    def fenced(self) -> None:
        """Another took over: what runs here is killed, for it cannot be settled any more."""
        self.start_over("this instance lost its lease; it starts over with a new one")

    def start_over(self, why: str) -> None:
        """What runs here is killed, nothing of it is settled; the next instance has a lease of its own."""
        if self._lost:
            return
        self._lost = True
        if self._ending.done():
            # Told to finish what runs, it could not.
            self._interrupted = sum(dispatcher.running for dispatcher in self.dispatchers)
        for dispatcher in self.dispatchers:
            dispatcher.abort()
        if not self._ending.done():
            self._listener.tell(LeaseLost(why))
            self.end(Ended.FENCED, "fenced")

    def _duty_ended(self, task: asyncio.Task[None]) -> None:
        """A part that ends by an error would leave the instance alive and idle: end it loudly instead."""
        if not task.cancelled() and (error := task.exception()) is not None and not self._ending.done():
            self._ending.set_exception(error)

    def _about(self) -> About:
        project = self._roster.project
        return About(
            host=socket.gethostname(),
            pid=os.getpid(),
            started_ms=int(self._started.timestamp() * 1000),
            project=project.name,
            lease_ms=int(project.settings.lease.total_seconds() * 1000),
            functions={each.name: each.function for each in project.triggers if each.enabled},
        )

    def _beats_fail(self, problem: str | None) -> None:
        self._listener.tell(LeaseUncertain(problem))

    def _watched(self) -> tuple[Watched, ...]:
        triggers = self._roster.project.triggers
        return tuple(Watched(t.name, t.topics, t.function, t.filter, t.emits, t.enabled) for t in triggers)

    def _warn(self, text: str) -> None:
        self._listener.tell(Warned(text))
