"""One job from its mailbox to its report: RQ's work horse, a process of its own that runs nothing of the user's itself.

The function runs in a worker as those of an instance do, so timeouts, crashes, floods of output and what it leaves
behind are dealt with in the same way, and the horse lives to tell.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from random import random
from typing import TypeVar

from evfn.broker.connection import Connection, later
from evfn.broker.keys import Keys
from evfn.broker.limits import too_large
from evfn.broker.mailbox import Mailboxes, Untaken
from evfn.broker.record import unpack
from evfn.broker.source import Source
from evfn.clock import Clock, SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.jobs.home import Home
from evfn.jobs.job import Job
from evfn.jobs.report import OUTPUT_LINES, Line, pack
from evfn.jobs.told import Noted, Told
from evfn.outcome import Crashed, Failed, Failure, Interrupted, Outcome, Rejected, Succeeded, TimedOut
from evfn.trigger import Trigger
from evfn.workers.config import worker_config
from evfn.workers.delivery import Delivery
from evfn.workers.one_worker import Broken, OneWorker
from evfn.workers.template_process import Template

BEATS_A_LEASE = 5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ran:
    """What RQ is told, and shows: whether all is well, and a word about it."""

    well: bool
    text: str


class Horse:
    """`me` is this job's name in its mailbox, `tell` gets what a person should know."""

    def __init__(self, job: Job, home: Home, me: str, tell: Callable[[Told], None]) -> None:
        self._job = job
        self._home = home
        self._me = me
        self._tell = tell
        self._clock: Clock = SystemClock()
        self._output: list[Line] = []
        self._ending = asyncio.Event()
        self._lost = False

    async def run(self) -> Ran:
        """Until it is reported; takes nothing that is not to be run here. Raises BrokerError for what will not pass."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._ending.set)
        connection = await Connection.open(self._home.server, clock=self._clock)
        try:
            keys = Keys(self._job.key_prefix)
            return await self._run(Mailboxes(connection, keys, self._job.topic, self._job.group))
        finally:
            await connection.close()

    async def _run(self, boxes: Mailboxes) -> Ran:
        run = self._job.run
        taken = await self._patiently(lambda: boxes.take(run, self._me))
        if taken is Untaken.GONE:
            return Ran(True, "its event is settled already: nothing to do")
        if taken is Untaken.TAKEN:
            return Ran(True, "another job runs it already: nothing to do")
        try:
            trigger = self._home.trigger(self._job)
        except ValueError as error:
            return await self._refuse(boxes, str(error))
        beating = asyncio.create_task(self._beat(boxes))
        try:
            delivery = None if isinstance(taken, Untaken) else _delivery(self._job, taken)
            if delivery is None:
                gone = Failure("evfn.Trimmed", "its entry was trimmed by somebody before the job could read it")
                return await self._report(boxes, Rejected("rejected", gone), timedelta())
            return await self._attempt(boxes, trigger, delivery)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _attempt(self, boxes: Mailboxes, trigger: Trigger, delivery: Delivery) -> Ran:
        home, run = self._home, self._job.run
        config = worker_config(
            home.project,
            trigger,
            folder=home.folder,
            functions=home.functions,
            environ=os.environ,
            env_file=home.env_file,
            traced=self._job.traceparent is not None,
        )
        template = Template()
        worker = OneWorker(config, trigger, template, self._keep)
        try:
            loaded = await self._unless_ending(worker.load())
            if loaded is None:
                await self._patiently(lambda: boxes.reset(run, self._me, refusal=self._here("it was stopped")))
                return Ran(False, "stopped before the function was called")
            if isinstance(loaded, Broken):
                return await self._refuse(boxes, f"the function does not load: {loaded.message}")
            if loaded.revision != self._job.revision:
                here = f"revision {loaded.revision} runs here, the dispatcher has {self._job.revision}"
                self._tell(Noted(f"{trigger.name}: {here}"))
            if not await self._patiently(lambda: boxes.beat(run, self._me, begun=True)):
                return Ran(True, "it was given up for dead before it began, and runs elsewhere")
            attempt = asyncio.ensure_future(worker.invoke(delivery))
            if await self._unless_ending(attempt) is None:
                worker.abort()
            outcome, elapsed = await attempt
            if self._lost:
                return Ran(False, "it was given up for dead while it ran: what it did is not settled")
            return await self._report(boxes, outcome, elapsed)
        finally:
            await worker.close()
            await template.stop()

    async def _report(self, boxes: Mailboxes, outcome: Outcome, elapsed: timedelta) -> Ran:
        if isinstance(outcome, Succeeded) and (why := too_large(outcome.emits)) is not None:
            outcome = Rejected("too_large", Failure("evfn.TooLarge", why))
        packed = pack(outcome, elapsed, self._output)
        if not await self._patiently(lambda: boxes.report(self._job.run, self._me, packed)):
            return Ran(False, "it was given up for dead while it ran: what it did is not settled")
        return _told(outcome, elapsed)

    async def _refuse(self, boxes: Mailboxes, why: str) -> Ran:
        """Leave what was taken to another machine, or to a later time; the dispatcher says why."""
        await self._patiently(lambda: boxes.reset(self._job.run, self._me, refusal=self._here(why)))
        return Ran(False, why)

    async def _beat(self, boxes: Mailboxes) -> None:
        every = timedelta(milliseconds=self._job.lease_ms) / BEATS_A_LEASE
        while True:
            await self._clock.sleep(every)
            try:
                mine = await boxes.beat(self._job.run, self._me)
            except BrokerError:
                continue  # Nobody else can look into the mailbox either.
            if not mine:
                self._lost = True
                self._ending.set()
                return

    async def _unless_ending(self, work: Awaitable[_T]) -> _T | None:
        """Its result; None where the job is to end before it is there."""
        task = asyncio.ensure_future(work)
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait([task, ending], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        return task.result() if task.done() else None

    async def _patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Until the server serves. What is run is not lost by an outage, however long."""
        tries = 0
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                await self._clock.sleep(later(tries, random()))
                tries += 1

    def _keep(self, stream: str, text: str) -> None:
        if len(self._output) < OUTPUT_LINES:
            self._output.append(Line(stream, text))

    def _here(self, why: str) -> str:
        return f"{socket.gethostname()}: {why}"


def _delivery(job: Job, fields: list[bytes]) -> Delivery:
    """As the dispatcher made it. Raises ValueError for an inbox entry that is none of evfn's."""
    if job.source is Source.TOPIC:
        invocation = f"{job.trigger}:{job.topic}:{job.entry}"
        return Delivery(
            topic=job.topic,
            stream_id=job.entry,
            attempt=1,
            invocation_id=invocation,
            fields=fields,
            traceparent=job.traceparent,
        )
    record = unpack(fields[1])
    return Delivery(
        topic=record.topic,
        stream_id=record.stream_id,
        attempt=record.attempt,
        invocation_id=record.invocation_id,
        fields=record.fields,
        traceparent=job.traceparent,
    )


def _told(outcome: Outcome, elapsed: timedelta) -> Ran:
    match outcome:
        case Succeeded(emits):
            more = f", {len(emits)} emitted" if emits else ""
            return Ran(True, f"succeeded in {elapsed.total_seconds():.3f} s{more}")
        case Failed(failure) | Rejected(_, failure):
            return Ran(False, f"{failure.type}: {failure.message}")
        case TimedOut(after):
            return Ran(False, f"timed out after {after.total_seconds():g} s")
        case Crashed(cause) | Interrupted(cause):
            return Ran(False, cause)
