"""The workers of one trigger: scaled with the backlog, fed with frames, watched until each event is accounted for."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from evfn.clock import Clock
from evfn.outcome import EmitForm, Outcome
from evfn.trigger import Workers
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.frame import SLOTS
from evfn.workers.member import LOAD_SECONDS, Member
from evfn.workers.pace import Pace
from evfn.workers.protocol import LoadFailed, Ready, WorkerConfig
from evfn.workers.template_process import ForkRefused, Template
from evfn.workers.waiting import Waiting

TICK = timedelta(milliseconds=25)
MAX_LOAD_BACKOFF = timedelta(seconds=30)


Ended = tuple[Delivery, Outcome, timedelta]
"""An attempt that is over: of which event, how it ended, and how long it ran."""


class PoolOwner(Protocol):
    """Who gets the results. Calls are made from the event loop and must not block."""

    def succeeded(self, deliveries: Deliveries, took: timedelta | None = None) -> None:
        """These returned with nothing to report; `took` is what one of them took, on average, where it is known."""

    def emitted(self, form: EmitForm, entries: Entries, own: Sequence[Sequence[bytes]], took: timedelta | None) -> None:
        """These returned with one emit of this form each, `own` its values in the same order; `took` as above."""

    def ended(self, attempts: Sequence[Ended]) -> None:
        """These ended in some other way, or with emits, in this order."""

    def released(self, deliveries: list[Delivery]) -> None:
        """These were not begun and will not be, for now."""

    def output(self, delivery: Delivery | None, stream: str, text: str) -> None:
        """One captured line; None where no event was running."""

    def loaded(self, ready: Ready, took: timedelta | None) -> None:
        """The function loads: the trigger is ok. `took` is how long after it was asked for a worker had it; None where
        there is no worker, for another pool's has tried it."""

    def broken(self, message: str, traceback: str) -> None:
        """The function does not load."""

    def short(self, why: str) -> None:
        """One worker more is wanted and cannot be had; those that are there go on."""

    def imported(self, modules: Mapping[str, str]) -> None:
        """While it ran, the function imported more of the project; these are all its modules and their files."""


class Pool:
    """Runs deliveries in worker processes. `config` is asked anew for every worker, `template` forks it."""

    def __init__(
        self,
        template: Template,
        config: Callable[[], WorkerConfig],
        workers: Workers,
        timeout: timedelta,
        owner: PoolOwner,
        clock: Clock,
    ) -> None:
        self.pace = Pace()
        self.timeout = timeout
        self.limits = workers
        self.owner = owner
        self.clock = clock
        self.waiting = Waiting()
        self.members: list[Member] = []
        self.is_async = False
        self.running = 0
        self._template = template
        self._config = config
        self._starting: asyncio.Task[None] | None = None
        self._failures = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._feeding = False
        self._closed = False
        self._draining = False
        self._drained = asyncio.Event()
        self._also: list[Pool] = []
        self.brief = False
        """Whether its first worker ends as soon as it has loaded the function, unless it is one of the `min`."""

    @property
    def held(self) -> int:
        """Deliveries given to this pool and not yet accounted for."""
        return len(self.waiting) + self.running

    @property
    def active(self) -> int:
        """Workers that take events, or will once their function is loaded, but for those that are to be replaced."""
        return sum(not member.retiring and not member.spent for member in self.members)

    @property
    def target(self) -> int:
        """How many deliveries this pool can make use of at a time."""
        return self.pace.appetite(self.limits.concurrency if self.is_async else 1) * self.limits.max

    @property
    def startable(self) -> int:
        """How many deliveries could be begun at once, each in a worker of its own."""
        busy = sum(bool(member.held) for member in self.members if not member.retiring)
        return max(0, self.limits.max - busy - len(self.waiting))

    def submit(self, deliveries: Entries | Iterable[Delivery]) -> None:
        """Run these, in this order where one worker serves the trigger."""
        self.waiting.add(deliveries)
        self.feed()

    def submit_first(self, deliveries: Iterable[Delivery]) -> None:
        """Run these before what waits."""
        self.waiting.put_back(deliveries)
        self.feed()

    def warm_up(self, also: Sequence["Pool"] = (), *, brief: bool = False) -> None:
        """Start one worker, so that the function is loaded (again) and its state is known.

        `also` are pools whose functions are of the same module, under the same environment: that worker tries theirs,
        too. Where it ends before it has told how that went, each starts one of its own.
        """
        self._also.extend(also)
        self.brief = brief
        if not self.active:
            self._start_worker()

    def feed(self) -> None:
        """Hand waiting deliveries to workers with room, and start another worker where that is not enough."""
        if self._feeding:
            return
        self._feeding = True
        try:
            ready = [] if self._must_wait() else [member for member in self.members if member.accepts]
            # The emptiest first, frame by frame, so that no worker takes all while another has nothing.
            while self.waiting and ready:
                member = min(ready, key=lambda candidate: candidate.held)
                taken = member.take(self.waiting)
                self.running += taken
                if not taken or not member.accepts:
                    ready.remove(member)
        finally:
            self._feeding = False
        if (self.waiting and self._wants_another()) or (self.running and self._replaces()):
            self._start_worker()
        if self.running and self._ticker is None:
            self._schedule_tick()

    def accounted(self, count: int) -> None:
        """A member accounted for so many deliveries."""
        self.running -= count
        self._look_if_drained()

    def gave_back(self, deliveries: list[Delivery]) -> None:
        """A member did not begin these; they run before what came later."""
        self.running -= len(deliveries)
        self.waiting.put_back(deliveries)
        if self._draining:
            self._release_waiting()
            self._look_if_drained()

    def left(self, member: Member, *, loaded: bool, cause: str) -> None:
        """A worker process ended. One that never got ready counts as a failure to load."""
        if member in self.members:
            self.members.remove(member)
        self._each_alone()
        if self._closed:
            return
        if not loaded:
            self._load_failed(LoadFailed(f"the process ended while it imported the function: {cause}"))
        self._refill()
        self.feed()

    def loaded_too(self, answers: Mapping[str, Ready | LoadFailed]) -> None:
        """A worker of this pool has tried the functions of others."""
        also, self._also = self._also, []
        for pool in also:
            answer = answers.get(pool.function)
            if answer is None:
                pool.warm_up()
            elif not pool._closed:
                pool.load_answer(answer, None)
                pool._refill()

    @property
    def function(self) -> str:
        """What its workers load."""
        return self._config().function

    def load_answer(self, answer: Ready | LoadFailed, took: timedelta | None) -> None:
        """How loading went, and so long after it was asked for; None where it was another pool's worker that did."""
        self.brief = False
        if isinstance(answer, Ready):
            self._failures = 0
            self.is_async = answer.is_async
            self.owner.loaded(answer, took)
            self._retire_spent(1)
            self.feed()
        else:
            self._load_failed(answer)

    def drain(self) -> None:
        """Begin nothing any more: all that no worker has begun goes back to the owner, now or when it is known."""
        self._draining = True
        for member in self.members:
            member.recall()
        self._release_waiting()
        self._look_if_drained()

    async def drained(self) -> None:
        """Until nothing runs here any more, after `drain`; all that ran was told to the owner."""
        await self._drained.wait()

    def abort(self) -> None:
        """Kill every worker; what runs is reported as Interrupted."""
        for member in list(self.members):
            member.interrupt("evfn was stopped")

    async def close(self) -> None:
        """No new workers; the present ones end when they are idle, or with the template."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._ticker is not None:
            self._ticker.cancel()
        for member in list(self.members):
            member.retire()

    def spent(self) -> None:
        """A worker has served enough: another takes its place, as soon as there is anything for it."""
        if self._failures == 0 and (self.held or self.active < self.limits.min):
            self._start_worker()

    def retired(self) -> None:
        """A worker takes nothing more; another takes its place where one is wanted."""
        self._refill()

    def may_retire(self) -> bool:
        """Whether an idle worker is one more than must be kept."""
        return self.active > self.limits.min

    def _refill(self) -> None:
        if self._failures == 0 and (self.active < self.limits.min or (self.waiting and self._wants_another())):
            self._start_worker()

    def _wants_another(self) -> bool:
        if any(not member.loaded for member in self.members):
            return False
        return self.pace.needs_another(self.held, self.active)

    def _replaces(self) -> bool:
        """Whether a worker is to be replaced, and none is on its way: where nothing ever waits it would serve on."""
        return any(member.spent and not member.retiring for member in self.members) and all(
            member.loaded for member in self.members
        )

    def _must_wait(self) -> bool:
        """Whether the worker before still has events: where there may be one only, the next does not overtake it."""
        return self.limits.max == 1 and any(member.held for member in self.members if member.retiring)

    def _retire_spent(self, most: int) -> None:
        for member in [member for member in self.members if member.spent and not member.retiring][:most]:
            member.retire()

    def _start_worker(self) -> None:
        if self._closed or self._draining or self._starting is not None or self.active >= self.limits.max:
            return
        self._starting = asyncio.create_task(self._fork())

    async def _fork(self) -> None:
        try:
            if self._failures:
                await self.clock.sleep(min(timedelta(seconds=2.0 ** (self._failures - 1)), MAX_LOAD_BACKOFF))
            config = self._config()
            asked = self.clock.monotonic()
            worker = await self._template.fork(config, [pool.function for pool in self._also])
            member = Member(worker, self, SLOTS, asked)
            self.members.append(member)
            if self._also:
                asyncio.get_running_loop().call_later(LOAD_SECONDS, self._too_long_too, member)
        except ForkRefused as error:
            text = f"the system refused another process: {error}"
            if any(not member.retiring for member in self.members):
                # Those that are there go on; one more is tried again later, and later each time.
                self._failures += 1
                self.owner.short(text)
            else:
                self._load_failed(LoadFailed(text))
            self._each_alone()
            asyncio.get_running_loop().call_soon(self._retry_start)
        finally:
            self._starting = None

    def _too_long_too(self, member: Member) -> None:
        """Where it has not told of the others by now, one of them keeps it."""
        if self._also and member in self.members:
            member.worker.kill()

    def _each_alone(self) -> None:
        also, self._also = self._also, []
        for pool in also:
            pool.warm_up()

    def _retry_start(self) -> None:
        if self.waiting:
            self._start_worker()

    def _load_failed(self, answer: LoadFailed) -> None:
        self._failures += 1
        self._retire_spent(len(self.members))
        self.owner.broken(answer.message, answer.traceback)
        self._release_waiting()

    def _look_if_drained(self) -> None:
        if self._draining and self.running == 0:
            self._drained.set()

    def _release_waiting(self) -> None:
        if deliveries := self.waiting.clear():
            self.owner.released(deliveries)

    def _schedule_tick(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(TICK.total_seconds(), self._tick)

    def _tick(self) -> None:
        self._ticker = None
        now_ns = int(self.clock.monotonic() * 1e9)
        for member in list(self.members):
            member.watch(now_ns)
        if self.running or any(not member.loaded for member in self.members):
            self._schedule_tick()
        self.feed()
