"""One revision of a trigger's function: the workers that run it, and how one revision follows another.

A new one has to load before it takes over. The one before begins nothing more then, ends what runs on its own code, and
hands on what it has not begun: no attempt is burnt, and nothing goes back to the server.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from evfn.clock import Clock
from evfn.outcome import EmitForm
from evfn.services.job_pool import JobPool
from evfn.services.kept import Code, Kept
from evfn.trigger import Trigger, Workers
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.pool import Ended, Pool
from evfn.workers.protocol import LoadFailed, Ready, WorkerConfig
from evfn.workers.template_process import Template


class Results(Protocol):
    """Who decides on what came of the deliveries, whichever revision ran them."""

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None: ...
    def emitted(
        self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None
    ) -> None: ...
    def ended(self, attempts: Sequence[Ended], revision: str) -> None: ...
    def released(self, deliveries: list[Delivery]) -> None: ...
    def output(self, delivery: Delivery | None, stream: str, text: str) -> None: ...
    def loaded(self, revision: "Revision", ready: Ready, took: timedelta | None) -> None: ...
    def broken(self, revision: "Revision", failed: LoadFailed) -> None: ...
    def short(self, why: str) -> None: ...


class Revision:
    """The pool of one trigger as it is defined now, from its first load to its last delivery.

    `keep` holds what the first worker loaded, and every later one loads the same, even if the disk holds something else
    by then: an edit takes effect for all workers or for none. With `jobs` the workers here only load the function, and
    jobs run it.
    """

    def __init__(
        self,
        trigger: Trigger,
        config: WorkerConfig,
        template: Template,
        results: Results,
        clock: Clock,
        *,
        keep: Kept,
        jobs: "Callable[[Pool, Revision], JobPool] | None" = None,
    ) -> None:
        self.trigger = trigger
        self.config = config
        self.name = ""
        self.files: frozenset[Path] = frozenset()
        workers = trigger.workers if jobs is None else Workers(idle=trigger.workers.idle)
        pool = Pool(template, lambda: self._pinned, workers, trigger.timeout, self, clock)
        self.pool: Pool | JobPool = pool if jobs is None else jobs(pool, self)
        self._loader = pool
        self._template = template
        self._results = results
        self._keep = keep
        self._code: Code | None = None
        # What is loaded for jobs runs elsewhere.
        self._pinned = msgspec.structs.replace(config, kept=jobs is None)
        self._successor: Revision | None = None
        self._queue: deque[Delivery] | None = None
        self._draining = False
        self._load: asyncio.Future[Ready | LoadFailed] = asyncio.get_running_loop().create_future()
        self._handing_over: asyncio.Task[None] | None = None

    async def load(self) -> Ready | LoadFailed:
        """Have one worker import the function; how that went the first time."""
        self.pool.warm_up()
        return await asyncio.shield(self._load)

    def warm_up(self, also: "Iterable[Revision]" = (), *, brief: bool = False) -> None:
        """Have one worker import the function, and try those of others; see `Pool.warm_up`."""
        self.pool.warm_up([each._loader for each in also], brief=brief)

    def submit(self, deliveries: Entries | Iterable[Delivery]) -> None:
        """Run these, in this order where one worker serves the trigger."""
        if self._queue is None:
            self.pool.submit(deliveries)
        else:
            self._queue.extend(deliveries)

    def take_over(self, before: "Revision") -> "asyncio.Task[None]":
        """Run from now on what comes, and what `before` has not begun. The task ends when `before` has nothing left.

        Where one worker serves the trigger it begins when the last event on the code before has ended: events keep
        their order, and the function is never run twice at a time.
        """
        before._successor = self
        if self.trigger.workers.max == 1 and self.trigger.workers.concurrency == 1:
            self._queue = deque()
        before.drain()
        self._handing_over = asyncio.create_task(self._after(before))
        return self._handing_over

    def drain(self) -> None:
        """Begin nothing any more; what has not begun goes to the revision that follows, or back to the server."""
        self._draining = True
        if self._queue is not None:
            queue, self._queue = self._queue, None
            self.released(list(queue))
        self.pool.drain()

    async def close(self) -> None:
        """No worker is started any more, and the present ones end when they are idle."""
        if self._handing_over is not None:
            self._handing_over.cancel()
            await asyncio.gather(self._handing_over, return_exceptions=True)
        await self.pool.close()
        if self._pinned.kept:
            self._template.forget(self._pinned, self.name)

    async def discard(self) -> None:
        """It never served, and is not needed: not even its import is waited for."""
        self.pool.abort()
        await self.close()

    async def _after(self, before: "Revision") -> None:
        if before._handing_over is not None:
            # Edited twice in a row: what runs on the code before that one counts as well.
            await asyncio.wait([before._handing_over])
        await before.pool.drained()
        if self._queue is not None:
            queue, self._queue = self._queue, None
            self.pool.submit(queue)
        await before.close()

    # --- what the pool says ----------------------------------------------------------------------------------------

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None:
        self._results.succeeded(deliveries, took)

    def emitted(self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None) -> None:
        self._results.emitted(form, entries, own, took)

    def ended(self, attempts: Sequence[Ended]) -> None:
        self._results.ended(attempts, self.name)

    def released(self, deliveries: list[Delivery]) -> None:
        """Whoever follows runs these before all that came later."""
        if self._successor is None:
            self._results.released(deliveries)
        else:
            self._successor._take_back(deliveries)

    def output(self, delivery: Delivery | None, stream: str, text: str) -> None:
        self._results.output(delivery, stream, text)

    def loaded(self, ready: Ready, took: timedelta | None) -> None:
        """The function has been loaded. The first time decides what this revision is."""
        if not self.name:
            self.name = ready.revision
            self._code = code = self._keep.code(Path(self.config.project_dir), ready)
            self.files = code.files
            if code.pinned is not None:
                self._pinned = msgspec.structs.replace(self._pinned, pinned=code.pinned)
        if not self._load.done():
            self._load.set_result(ready)
        self._results.loaded(self, ready, took)

    def broken(self, message: str, traceback: str) -> None:
        """The function does not load."""
        failed = LoadFailed(message, traceback)
        if not self._load.done():
            self._load.set_result(failed)
        self._results.broken(self, failed)

    def short(self, why: str) -> None:
        """The system gives no worker more."""
        self._results.short(why)

    def imported(self, modules: Mapping[str, str]) -> None:
        """A function imported more of the project while it ran: that belongs to its code as well."""
        self.files |= frozenset(map(Path, modules.values()))

    def _take_back(self, deliveries: list[Delivery]) -> None:
        if self._draining:
            self.released(deliveries)
        elif self._queue is None:
            self.pool.submit_first(deliveries)
        else:
            self._queue.extendleft(reversed(deliveries))
