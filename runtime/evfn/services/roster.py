"""The triggers an instance serves: a dispatcher each, subscribed to its topics, and exchanged while events flow."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from evfn.broker.connection import Connection, later
from evfn.broker.group import Group, Source
from evfn.broker.keys import Keys
from evfn.broker.start import Started
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.filter import Filter
from evfn.listener import Listener, Warned
from evfn.services.discovery import Discovery, unexpected
from evfn.services.dispatcher import Dispatcher
from evfn.services.fetcher import Lease
from evfn.services.job_pool import JobPool
from evfn.services.kept import Kept
from evfn.services.loads import load_all
from evfn.services.reports import Reports
from evfn.services.revision import Revision
from evfn.services.settler import Settler
from evfn.services.subscription import Subscription
from evfn.services.watcher import Watcher
from evfn.tracing.tracer import Tracer
from evfn.trigger import DataMode, Isolation, Project, Trigger
from evfn.workers.config import worker_config
from evfn.workers.pool import Pool
from evfn.workers.protocol import WorkerConfig
from evfn.workers.template_process import Template

if TYPE_CHECKING:
    from evfn.jobs.queue import JobQueue

DISCOVER = timedelta(seconds=1)
"""How often streams are looked for that match a pattern and did not exist before."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project lives and which server it uses. `definition` are manifest and `.env`, for who watches them."""

    project_dir: Path
    functions_dir: Path
    state_dir: Path
    server: str
    definition: tuple[Path, ...] = ()


class Roster:
    """`on_end` gets each task of a part when it is over: one that ended by an error must not pass unseen.

    `served` are the triggers with their topics that this process has served so far, under whatever lease: on these
    nothing may be left out, also where the server has forgotten all of it.
    """

    def __init__(
        self,
        project: Project,
        env_file: Mapping[str, str],
        place: Place,
        connection: Connection,
        template: Template,
        lease: Lease,
        watcher: Watcher,
        listener: Listener,
        clock: Clock,
        random: Callable[[], float],
        served: set[tuple[str, str]],
        *,
        on_due: Callable[[Subscription, int], None],
        on_end: Callable[[asyncio.Task[None]], None],
        tracer: Tracer | None = None,
    ) -> None:
        self.project = project
        self.dispatchers: list[Dispatcher] = []
        self._env_file = env_file
        self._place = place
        self._connection = connection
        self._keys = Keys(project.settings.key_prefix)
        self._template = template
        self._lease = lease
        self._watcher = watcher
        self._listener = listener
        self._clock = clock
        self._random = random
        self._served = served
        self._on_due = on_due
        self._on_end = on_end
        self._tracer = tracer
        self._discovery = Discovery(connection, project)
        self._kept = Kept()
        self._fetching: dict[Dispatcher, asyncio.Task[None]] = {}
        self._queues: dict[str, JobQueue] = {}

    @property
    def has_patterns(self) -> bool:
        """Whether some trigger listens on topics that may yet appear."""
        return self._discovery.has_patterns

    def find(self, name: str) -> Dispatcher | None:
        """The dispatcher of this trigger."""
        return next((each for each in self.dispatchers if each.trigger.name == name), None)

    # --- from start to end -------------------------------------------------------------------------------------------

    async def fill(self) -> None:
        """Have a dispatcher for every trigger, each subscribed to its topics. Raises BrokerError."""
        for trigger in self.project.triggers:
            self.dispatchers.append(self._dispatcher(trigger))
        topics = await self._discovery.topics()
        enabled = [each for each in self.dispatchers if each.trigger.enabled]
        # The watch has not begun: when it does, it looks whether anything came since their groups were started.
        await self._subscribe([(each, topics[each.trigger.name]) for each in enabled], watched=False)

    async def load(self) -> None:
        """Fetch, and load every function once, so that each trigger's state is known; a slow one delays no other."""
        enabled = [dispatcher for dispatcher in self.dispatchers if dispatcher.trigger.enabled]
        for dispatcher in enabled:
            self._begin(dispatcher)
        await load_all(enabled)

    async def keep_discovering(self) -> None:
        """Subscribe to streams that appear and match a pattern, until cancelled."""
        while True:
            await self._clock.sleep(DISCOVER)
            if not self._discovery.has_patterns:
                continue
            try:
                topics = await self._discovery.topics()
                for dispatcher in list(self.dispatchers):
                    new = topics.get(dispatcher.trigger.name, set()) - dispatcher.subscriptions.keys()
                    if dispatcher.trigger.enabled and new:
                        await self._subscribe([(dispatcher, new)])
            except BrokerError:
                continue  # The dispatchers say what is wrong with the server.

    async def close(self) -> None:
        """Let go of everything; what is unsettled stays pending for the next owner."""
        for task in self._fetching.values():
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)
        for dispatcher in self.dispatchers:
            await dispatcher.close()
        for queue in self._queues.values():
            queue.close()

    # --- while events flow -------------------------------------------------------------------------------------------

    def define(self, project: Project, env_file: Mapping[str, str]) -> None:
        """The project as it is defined from now on; what is served changes by the calls below."""
        self.project = project
        self._env_file = env_file
        self._discovery = Discovery(self._connection, project)

    def config(self, trigger: Trigger) -> WorkerConfig:
        """All that a worker of this trigger is told."""
        return worker_config(
            self.project,
            trigger,
            folder=self._place.project_dir,
            functions=self._place.functions_dir,
            environ=os.environ,
            env_file=self._env_file,
            traced=self._tracer is not None,
        )

    def revise(self, dispatcher: Dispatcher, trigger: Trigger) -> Revision:
        """A revision that may take over once it has loaded."""
        return Revision(
            trigger,
            self.config(trigger),
            self._template,
            dispatcher,
            self._clock,
            keep=self._kept,
            jobs=self._jobs if trigger.isolation is Isolation.JOB else None,
        )

    async def adopt(self, dispatcher: Dispatcher, revision: Revision) -> None:
        """Let a loaded revision take over, and the trigger as it was defined for it."""
        before = dispatcher.trigger
        dispatcher.adopt(revision, _condition(revision.trigger))
        if (before.topics, before.start) != (revision.trigger.topics, revision.trigger.start):
            await self._resubscribe(dispatcher)

    async def add(self, trigger: Trigger) -> Dispatcher:
        """Serve a trigger that was not there, its function not loaded yet."""
        dispatcher = self._dispatcher(trigger)
        self.dispatchers.append(dispatcher)
        if trigger.enabled:
            await self._resubscribe(dispatcher)
            self._begin(dispatcher)
            dispatcher.pool.warm_up()
        return dispatcher

    async def remove(self, dispatcher: Dispatcher) -> None:
        """Serve it no more: what runs is finished and settled, what has not begun goes back to the server."""
        dispatcher.drain()
        await dispatcher.finished()
        task = self._fetching.pop(dispatcher, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for subscription in dispatcher.subscriptions.values():
            self._watcher.remove(subscription)
        await dispatcher.close()
        self.dispatchers.remove(dispatcher)
        # Whoever adds it again later decides its start anew.
        self._served.difference_update({each for each in self._served if each[0] == dispatcher.trigger.name})

    # --- inside ------------------------------------------------------------------------------------------------------

    def _dispatcher(self, trigger: Trigger) -> Dispatcher:
        dispatcher = Dispatcher(
            trigger,
            _condition(trigger),
            self._mode,
            Reports(self.project.name, trigger, self._place.project_dir),
            self._lease,
            self._listener,
            self._clock,
            self._random,
            self._on_due,
            self._tracer,
        )
        dispatcher.serve(self.revise(dispatcher, trigger))
        return dispatcher

    def _jobs(self, loader: Pool, revision: Revision) -> JobPool:
        # Here, for it brings RQ along, which no other trigger needs.
        from evfn.jobs.queue import JobQueue

        name = self.project.queue(revision.trigger)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = JobQueue(self._place.server, name)
        return JobPool(
            loader,
            queue,
            self.project,
            revision.trigger,
            lambda: revision.name,
            revision,
            self._listener,
            self._clock,
            self._random,
            self._on_end,
        )

    def _begin(self, dispatcher: Dispatcher) -> None:
        task = self._fetching[dispatcher] = asyncio.create_task(dispatcher.fetcher.run())
        task.add_done_callback(self._on_end)

    def _mode(self, topic: str) -> DataMode:
        return next((rules.data for name, rules in self.project.topics if name == topic), DataMode.AUTO)

    async def _resubscribe(self, dispatcher: Dispatcher) -> None:
        """Bring the topics that it fetches from in line with its trigger, as soon as the server serves."""
        for tries in count():
            try:
                topics = (await self._discovery.topics())[dispatcher.trigger.name]
                await self._subscribe([(dispatcher, topics)])
                break
            except BrokerError:
                await self._clock.sleep(later(tries, self._random()))
        for topic in dispatcher.subscriptions.keys() - topics:
            subscription = dispatcher.subscriptions[topic]
            dispatcher.remove(subscription)
            self._watcher.remove(subscription)
        # A group that was moved back has events to deliver that no watch tells of.
        dispatcher.wake_all()

    async def _subscribe(self, places: list[tuple[Dispatcher, set[str]]], *, watched: bool = True) -> None:
        """Make the groups on these topics where they are missing, and fetch from those not fetched from before.

        Where nothing is `watched` yet, only from those with something to fetch: that of the others is found later.
        """
        found = await self._discovery.start([(each.trigger, sorted(topics)) for each, topics in places], self._served)
        for (dispatcher, topics), groups in zip(places, found, strict=True):
            for text in unexpected(dispatcher.trigger, groups, served=self._served):
                self._listener.tell(Warned(text))
            self._served.update((dispatcher.trigger.name, topic) for topic in topics)
            ends = {each.topic: each.ends for each in groups if isinstance(each, Started)}
            for topic in sorted(topics - dispatcher.subscriptions.keys()):
                subscription = self._subscription(dispatcher, topic)
                known = {} if watched else ends.get(topic, {})
                subscription.hot.difference_update(source for source, end in known.items() if not end.unread)
                dispatcher.add(subscription)
                self._watcher.add(dispatcher, subscription, {source: end.newest for source, end in known.items()})

    def _subscription(self, dispatcher: Dispatcher, topic: str) -> Subscription:
        group = Group(self._connection, self._keys, topic, self.project.group(dispatcher.trigger.name), self._lease.id)
        subscription = Subscription(topic, group, {})
        for source in Source:
            subscription.settlers[source] = Settler(
                group,
                source,
                self._clock,
                self._random,
                on_settled=dispatcher.settled,
                on_fenced=self._lease.fenced,
                on_gone=partial(dispatcher.fetcher.recreate, subscription),
                on_problem=partial(dispatcher.blocked, subscription, source),
                on_end=self._on_end,
            )
        return subscription


def _condition(trigger: Trigger) -> Filter | None:
    return None if trigger.filter is None else Filter.compile(trigger.filter)
