"""The jobs of one trigger: enqueued at RQ, watched in their mailboxes, told as a pool of workers tells.

It holds the deliveries, and decides on nothing: RQ's own status is never asked for. Jobs outlive it: whoever takes the
deliveries over finds the mailboxes as they are.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from evfn.broker.connection import later
from evfn.broker.mailbox import Mailbox, Mailboxes, Run
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.jobs import report
from evfn.jobs.job import Job
from evfn.listener import Listener
from evfn.outcome import Crashed, Interrupted, Outcome, Succeeded
from evfn.services import settling
from evfn.services.held import Held, held_of
from evfn.trigger import Project, Trigger
from evfn.workers.delivery import Delivery
from evfn.workers.pool import Pool, PoolOwner

if TYPE_CHECKING:
    from evfn.jobs.queue import JobQueue

LOOK = timedelta(milliseconds=100)
"""How often the mailboxes are looked at while jobs are queued or run."""
FIRST_PAUSE = timedelta(milliseconds=500)
"""Before a job that no machine would run is enqueued again; it doubles, up to a lease."""
UNTAKEN = 2
"""So often a job may vanish from its queue, and nobody take it, before a person should know."""
NOBODY = timedelta(seconds=5)
"""A job that waits longer makes it worth a word that no RQ worker listens."""


@dataclass(slots=True)
class _Watched:
    """A delivery; `since` when (by the monotonic clock) its mailbox has been as it was `seen` last.

    It is enqueued no sooner than `after`: where a machine did not run it, something has to be mended there first. With
    `again` RQ may still know of a job that did not run it. `asked` is when it was first enqueued, `untaken` how often a
    job of it went from the queue and took nothing.
    """

    held: Held
    run: Run
    seen: Mailbox
    since: float
    enqueued: bool = False
    again: bool = False
    refusals: int = 0
    overdue: bool = False
    untaken: int = 0
    asked: float = 0.0
    after: float = 0.0


class JobPool:
    """In the place of a pool of workers; `loader` imports the function here too, so that a broken one is known.

    `revision` names what was loaded; `queue` is where RQ workers look. `on_end` gets the watching task when it is over:
    one that ended by an error must not pass unseen.
    """

    def __init__(
        self,
        loader: Pool,
        queue: "JobQueue",
        project: Project,
        trigger: Trigger,
        revision: Callable[[], str],
        owner: PoolOwner,
        listener: Listener,
        clock: Clock,
        random: Callable[[], float],
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self.limits = trigger.workers
        self.members = loader.members
        self._loader = loader
        self._queue = queue
        self._project = project
        self._trigger = trigger
        self._revision = revision
        self._owner = owner
        self._listener = listener
        self._clock = clock
        self._random = random
        self._on_end = on_end
        self._watched: dict[Held, _Watched] = {}
        self._task: asyncio.Task[None] | None = None
        self._said: set[str] = set()
        self._next_look = 0.0
        self._tries = 0

    # --- as a pool of workers ----------------------------------------------------------------------------------------

    @property
    def target(self) -> int:
        """How many deliveries may be queued or run at a time."""
        return self.limits.max

    @property
    def startable(self) -> int:
        """How many more could be enqueued at once."""
        return max(0, self.limits.max - len(self._watched))

    @property
    def running(self) -> int:
        """What ends with this process: no job does."""
        return 0

    def warm_up(self, also: Sequence[Pool] = (), *, brief: bool = False) -> None:
        """Load the function here, so that its state is known; see `Pool.warm_up`."""
        self._loader.warm_up(also, brief=brief)

    def submit(self, deliveries: Iterable[Delivery]) -> None:
        """Have these run, or go on watching those that run already."""
        now = self._clock.monotonic()
        for delivery in deliveries:
            held = held_of(delivery)
            self._watched[held] = _Watched(held, Run(held.source, held.entry_id), Mailbox(), now)
        if self._task is None and self._watched:
            self._task = asyncio.create_task(self._watch())
            self._task.add_done_callback(self._on_end)

    def submit_first(self, deliveries: Iterable[Delivery]) -> None:
        """The same: RQ's queue knows no first."""
        self.submit(deliveries)

    def drain(self) -> None:
        """Let go of all deliveries; their jobs run on, and wait for who takes the deliveries over."""
        self._loader.drain()
        self._let_go()

    async def drained(self) -> None:
        """Nothing has to be waited for."""

    def abort(self) -> None:
        """As `drain`: what runs elsewhere is not ours to kill."""
        self._loader.abort()
        self._let_go()

    async def close(self) -> None:
        """Watch no more."""
        self._watched.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._loader.close()

    def _let_go(self) -> None:
        held: list[Delivery] = list(self._watched)
        self._watched.clear()
        if held:
            self._owner.released(held)

    # --- watching ----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        try:
            while self._watched:
                try:
                    await self._look()
                    self._tries = 0
                except BrokerError as error:
                    self._say(f"jobs are waited for: {error}")
                    await self._clock.sleep(later(self._tries, self._random()))
                    self._tries += 1
                    # What is not seen to move while nobody can look has not stood still.
                    now = self._clock.monotonic()
                    for each in self._watched.values():
                        each.since = now
                else:
                    await self._clock.sleep(LOOK)
        finally:
            self._task = None

    async def _look(self) -> None:
        new: list[_Watched] = []
        overdue: list[_Watched] = []
        for boxes, group in _by_pair(self._watched.values()):
            for watched, box in zip(group, await boxes.read([each.run for each in group]), strict=True):
                if watched.held not in self._watched:
                    continue  # Let go of meanwhile.
                if await self._judge(boxes, watched, box):
                    (overdue if watched.again else new).append(watched)
        if new:
            await self._enqueue(new, self._queue.enqueue)
        if overdue and (runnable := await self._without_gone(overdue)):
            await self._enqueue(runnable, self._queue.enqueue_again)
        await self._look_for_workers()

    async def _without_gone(self, some: Iterable[_Watched]) -> list[_Watched]:
        """Those that a job can still take. What is off its group's list, for somebody deleted stream or group, is let
        go of: it would be waited for in vain."""
        found: list[_Watched] = []
        for boxes, group in _by_pair(some):
            for watched, takes in zip(group, await boxes.can_be_taken([each.run for each in group]), strict=True):
                if takes:
                    found.append(watched)
                elif self._watched.pop(watched.held, None) is not None:
                    self._owner.released([watched.held])
        return found

    async def _judge(self, boxes: Mailboxes, watched: _Watched, box: Mailbox) -> bool:
        """Whether a job has to be enqueued. What has ended is told."""
        now = self._clock.monotonic()
        if box != watched.seen:
            watched.seen, watched.since = box, now
        still = now - watched.since >= self._project.settings.lease.total_seconds()
        if box.report is not None:
            return await self._reported(boxes, watched, box)
        if box.refusal:
            self._say(f"a job was not run by {box.refusal}; it is enqueued again")
            if await boxes.reset(watched.run, ""):
                pause = min(FIRST_PAUSE * 2**watched.refusals, self._project.settings.lease)
                watched.enqueued, watched.after = False, now + pause.total_seconds()
                watched.refusals += 1
            return False
        if not box.by:
            watched.overdue = still and watched.enqueued
            return now >= watched.after and (still or not watched.enqueued)
        if still:
            await self._died(boxes, watched, box)
        return False

    async def _reported(self, boxes: Mailboxes, watched: _Watched, box: Mailbox) -> bool:
        try:
            found = report.unpack(box.report or b"")
            outcome, elapsed, output = found.outcome, found.elapsed, found.output
        except ValueError as error:
            outcome, elapsed, output = Crashed(f"its job reported what cannot be read: {error}"), timedelta(), []
        if isinstance(outcome, Interrupted):
            if await boxes.reset(watched.run, box.by):
                watched.enqueued = False
            return not watched.enqueued
        if self._watched.pop(watched.held, None) is None:
            return False
        if watched.held.traceparent is not None:
            # When it ran is known to the other machine's clock; how long is what counts.
            now_ns = int(self._clock.monotonic() * 1e9)
            watched.held.ran_ns = now_ns - int(elapsed / timedelta(microseconds=1)) * 1000, now_ns
        for line in output:
            self._owner.output(watched.held, line.stream, line.text)
        self._tell(watched.held, outcome, elapsed)
        return False

    async def _died(self, boxes: Mailboxes, watched: _Watched, box: Mailbox) -> None:
        """Its beats stood still for a lease. One whose function was not called yet burns no attempt."""
        if not box.begun:
            if await boxes.reset(watched.run, box.by, beats=box.beats):
                self._say(f"a job ended on {box.by} before it called the function; it is enqueued again")
                watched.enqueued = False
            return
        lease = self._project.settings.lease.total_seconds()
        crashed = Crashed(f"its RQ worker, or the machine it ran on, is gone: no beat of {box.by} for {lease:g} s")
        await boxes.report(watched.run, box.by, report.pack(crashed, timedelta(), []), beats=box.beats)

    def _tell(self, held: Held, outcome: Outcome, elapsed: timedelta) -> None:
        if outcome == Succeeded():
            self._owner.succeeded([held], elapsed)
        else:
            self._owner.ended([(held, outcome, elapsed)])

    # --- enqueuing ---------------------------------------------------------------------------------------------------

    async def _enqueue(self, some: Sequence[_Watched], how: Callable[[Iterable[Job]], Collection[str] | None]) -> None:
        jobs = [self._job(each.held) for each in some]
        gone = await asyncio.to_thread(how, jobs) or ()
        now = self._clock.monotonic()
        for each, job in zip(some, jobs, strict=True):
            each.asked = each.asked or now
            each.enqueued, each.again, each.since = True, True, now
            each.untaken += each.overdue and job.id in gone
            if each.untaken == UNTAKEN:
                self._say(f"a job was enqueued {UNTAKEN + 1} times, and not begun: see the log of evfn rq-worker")

    def _job(self, held: Held) -> Job:
        settings = self._project.settings
        return Job(
            project=self._project.name,
            key_prefix=settings.key_prefix,
            trigger=self._trigger.name,
            topic=held.subscription.topic,
            source=held.source,
            entry=held.entry_id.decode(),
            attempt=held.attempt,
            lease_ms=int(settings.lease.total_seconds() * 1000),
            revision=self._revision(),
            traceparent=held.traceparent,
        )

    async def _look_for_workers(self) -> None:
        """Where jobs wait and nobody is there to run them, a person should know."""
        now = self._clock.monotonic()
        waited = [now - each.asked for each in self._watched.values() if each.enqueued and not each.seen.by]
        if max(waited, default=0.0) < NOBODY.total_seconds() or now < self._next_look:
            return
        self._next_look = now + NOBODY.total_seconds()
        if await asyncio.to_thread(self._queue.workers) == 0:
            self._say(f"no RQ worker listens on queue {self._queue.name}: start `evfn rq-worker` here or elsewhere")

    def _say(self, text: str) -> None:
        """Once each: what goes on happens every tenth of a second."""
        if text not in self._said:
            self._said.add(text)
            settling.warn(self._listener, self._trigger.name, text)


def _by_pair(some: Iterable[_Watched]) -> list[tuple[Mailboxes, list[_Watched]]]:
    pairs: dict[Mailboxes, list[_Watched]] = {}
    for each in some:
        pairs.setdefault(each.held.subscription.group.mailboxes, []).append(each)
    return list(pairs.items())
