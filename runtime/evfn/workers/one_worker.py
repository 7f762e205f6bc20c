"""One event at a time, in a worker as every dispatcher uses it: for whoever runs a function by hand, or as a job."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from evfn.clock import SystemClock
from evfn.outcome import EmitForm, Outcome, Succeeded
from evfn.trigger import Trigger, Workers
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.pool import Ended, Pool
from evfn.workers.protocol import Ready, WorkerConfig
from evfn.workers.template_process import Template


@dataclass(frozen=True, slots=True)
class Broken:
    """The function does not load: why, and where in the user's code."""

    message: str
    traceback: str


class OneWorker:
    """A pool of one worker for one trigger. `on_output` gets the stream and each line that the function writes."""

    def __init__(
        self, config: WorkerConfig, trigger: Trigger, template: Template, on_output: Callable[[str, str], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._load: asyncio.Future[Ready | Broken] = loop.create_future()
        self._end: asyncio.Future[tuple[Outcome, timedelta]] = loop.create_future()
        self._on_output = on_output
        limits = Workers(max=1, concurrency=trigger.workers.concurrency, memory=trigger.workers.memory)
        self._pool = Pool(template, lambda: config, limits, trigger.timeout, self, SystemClock())

    async def load(self) -> Ready | Broken:
        """Import and bind the function."""
        self._pool.warm_up()
        return await self._load

    async def invoke(self, delivery: Delivery) -> tuple[Outcome, timedelta]:
        """Run the function on this event, once."""
        self._pool.submit([delivery])
        return await self._end

    def abort(self) -> None:
        """Kill it; what runs ends as Interrupted."""
        self._pool.abort()

    async def close(self) -> None:
        await self._pool.close()

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None:
        """The pool says: it returned nothing."""
        self._ended(Succeeded(), took or timedelta())

    def emitted(self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None) -> None:
        """Never said here: what runs alone stands alone."""

    def ended(self, attempts: Sequence[Ended]) -> None:
        """The pool says: it returned a value, or failed."""
        for _, outcome, elapsed in attempts:
            self._ended(outcome, elapsed)

    def released(self, deliveries: list[Delivery]) -> None:
        """The pool says: it will not run it, for the function does not load, which `load` has told."""

    def output(self, delivery: Delivery | None, stream: str, text: str) -> None:
        """The pool says: it wrote a line."""
        self._on_output(stream, text)

    def loaded(self, ready: Ready, took: timedelta | None) -> None:
        """The pool says: the function is there."""
        if not self._load.done():
            self._load.set_result(ready)

    def broken(self, message: str, traceback: str) -> None:
        """The pool says: the function does not load."""
        if not self._load.done():
            self._load.set_result(Broken(message, traceback))

    def short(self, why: str) -> None:
        """The pool says: there is no worker more; one is all that is needed."""

    def imported(self, modules: Mapping[str, str]) -> None:
        """The pool says: it imported more while it ran."""

    def _ended(self, outcome: Outcome, elapsed: timedelta) -> None:
        if not self._end.done():
            self._end.set_result((outcome, elapsed))
