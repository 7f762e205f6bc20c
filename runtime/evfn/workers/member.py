"""One worker within its pool: what it holds, how long it has run, and what to conclude when it ends."""

import asyncio
import signal
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

from evfn.failpoint import reached
from evfn.outcome import (
    Crashed,
    Failed,
    FormedEmit,
    Interrupted,
    Outcome,
    Succeeded,
    TimedOut,
)
from evfn.traceback import format_failure
from evfn.workers.channel import CONTROL_LOST
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Deliveries, Entries
from evfn.workers.frame import FormedReplies, Frame
from evfn.workers.ledger import SLOTS_PER_FRAME, Status
from evfn.workers.process import Worker
from evfn.workers.protocol import (
    Cancel,
    FailedReply,
    FrameDone,
    FromWorker,
    Imported,
    Invocation,
    LoadedToo,
    LoadFailed,
    Output,
    Ready,
    RejectedReply,
    Stop,
    SucceededReply,
    Work,
    WorkEntries,
)
from evfn.workers.reply import outcome_of
from evfn.workers.waiting import Waiting

if TYPE_CHECKING:
    from evfn.workers.pool import Ended, Pool

_BEGUN = bytes((Status.RUNNING, Status.DONE, Status.REPLIED))
RECALL_AFTER_NS = 100_000_000
"""A frame whose event has run this long gives the events behind it to others."""
STACK_PATIENCE_NS = 50_000_000
"""How long a worker gets to write its stack before it is killed."""
CANCEL_PATIENCE_NS = 1_000_000_000
"""How long an async function gets to end after its task was cancelled."""
TOGETHER = 16
"""Successes with an emit are told and settled together from so many on; fewer are shown one by one."""
MEMORY_EVERY_NS = 250_000_000
LOAD_SECONDS = 60.0
"""How long importing a function may take; then its trigger is broken."""


class Member:
    """A worker process with its frames. `asked` is when it was asked for, on the monotonic clock in seconds.

    One that has served enough is `spent`: it goes on until another has loaded the function. One that is `retiring`
    takes nothing more and ends.
    """

    def __init__(self, worker: Worker, pool: "Pool", slots: int, asked: float) -> None:
        self.worker = worker
        self.loaded = False
        self.held = 0
        self._pool = pool
        self._frames: dict[int, Frame] = {}
        self._regions = deque(range(0, slots, SLOTS_PER_FRAME))
        self._numbers = count(1)
        self._served = 0
        self._asked = asked
        self.spent = False
        self.retiring = False
        self._alone = False
        self._ending: dict[int, Outcome] = {}
        self._ending_others: Outcome | None = None
        self._dumping: tuple[int, int, int] | None = None
        self._cancelled: dict[int, int] = {}
        self._memory_checked_ns = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._load_timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            LOAD_SECONDS, self._load_too_long
        )
        worker.on_message = self._message
        worker.on_raw_output = self._raw_output
        worker.on_end = self._ended

    @property
    def accepts(self) -> bool:
        """Whether another frame may be handed over."""
        return (
            self.loaded
            and not self.worker.ended
            and not self.retiring
            and not self._alone
            and self._ending_others is None
            and bool(self._regions)
            and self.held < self._appetite()
        )

    def take(self, waiting: Waiting) -> int:
        """Move the next frame's worth from `waiting` to the worker; how many."""
        if waiting.suspect:
            # A suspect may take its neighbours down: it gets a frame, and the worker, to itself.
            if self._frames:
                return 0
            self._alone = True
            size = 1
        else:
            size = min(self._pool.pace.frame_size(), len(waiting), self._appetite() - self.held)
            if self._pool.is_async:
                size = max(size, min(self._pool.limits.concurrency - self.held, len(waiting)))
            size = min(size, SLOTS_PER_FRAME)
        deliveries = waiting.take(size)
        first = self._regions.popleft()
        frame = Frame(next(self._numbers), first, deliveries)
        frame.arena = self.worker.ledger.arena(first)
        frame.arena.clear()
        memory = self.worker.ledger.memory
        memory[first : first + len(deliveries)] = bytes((Status.WAITING,)) * len(deliveries)
        self._frames[frame.number] = frame
        self.held += len(deliveries)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self.worker.send(_work(frame, deliveries))
        reached("after the hand-over")
        return len(deliveries)

    def recall(self) -> None:
        """Take back what the worker has not begun. What it may just be beginning comes back when it skips it."""
        ledger = self.worker.ledger
        left = [(frame, slot, status) for frame in self._frames.values() for slot, status in frame.left(ledger)]
        running = next((slot for _, slot, status in left if status is Status.RUNNING), None)
        started = 0 if running is None else ledger.started_ns(running)
        marked = [(frame, slot) for frame, slot, status in left if status is Status.WAITING]
        for _, slot in marked:
            ledger.mark(slot, Status.RECALLED)
        # A sync worker works its frames off in order: while it is still in the call it was in before the marks,
        # it has begun none of them.
        if (
            running is not None
            and not self._pool.is_async
            and ledger.status(running) is Status.RUNNING
            and ledger.started_ns(running) == started
        ):
            back = [delivery for frame, slot in marked if (delivery := frame.take(slot)) is not None]
            self.held -= len(back)
            self._pool.gave_back(back)

    def watch(self, now_ns: int) -> None:
        """Look for events that run too long, too big, or hold others up."""
        if self.worker.ended or not self._frames:
            return
        longest = 0
        for frame in list(self._frames.values()):
            for slot in frame.running(self.worker.ledger):
                ran = now_ns - self.worker.ledger.started_ns(slot)
                longest = max(longest, ran)
                self._check_timeout(slot, ran, now_ns)
        if longest > RECALL_AFTER_NS:
            self._harvest()
            if self._pool.limits.max > 1 and self.held > 1:
                self.recall()
        if self._pool.limits.memory is not None and now_ns - self._memory_checked_ns > MEMORY_EVERY_NS:
            self._memory_checked_ns = now_ns
            self._check_memory(self._pool.limits.memory)

    def interrupt(self, cause: str) -> None:
        """Kill the process; what runs in it is Interrupted."""
        if self._ending_others is None:
            self._ending_others = Interrupted(cause)
        self.worker.kill()

    def retire(self) -> None:
        """Let the process end once it has worked off what it holds."""
        if not self.retiring:
            self.retiring = True
            self.worker.send(Stop())
            self._pool.retired()

    def _appetite(self) -> int:
        return self._pool.pace.appetite(self._pool.limits.concurrency if self._pool.is_async else 1)

    def _message(self, message: FromWorker) -> None:
        match message:
            case FrameDone(number, busy_ns):
                self._frame_done(number, busy_ns)
            case SucceededReply() | FailedReply() | RejectedReply():
                if (frame := self._frame_of(message.slot)) is not None:
                    # What stands in shared memory came before it, and emits keep their order.
                    self._hear(frame, self._pace_before(frame))
                    self._replied(frame, [(message.slot, outcome_of(message))])
            case Output(slot, stream, text):
                self._pool.owner.output(self._delivery(slot), stream, text)
            case Imported(modules):
                self._pool.owner.imported(modules)
            case Ready() | LoadFailed():
                self._load_answer(message)
            case LoadedToo(answers):
                self._pool.loaded_too(answers)

    def _load_answer(self, answer: Ready | LoadFailed) -> None:
        if self._load_timer is not None:
            self._load_timer.cancel()
            self._load_timer = None
        self.loaded = True
        if isinstance(answer, LoadFailed):
            self.retiring = True
            self.worker.kill()
        else:
            self._start_idle_timer()
            if self._pool.brief and self._pool.may_retire():
                self.retire()
        self._pool.load_answer(answer, timedelta(seconds=self._pool.clock.monotonic() - self._asked))

    def _load_too_long(self) -> None:
        self._load_timer = None
        self._load_answer(LoadFailed(f"importing the function took longer than {LOAD_SECONDS:g} s"))

    def _replied(self, frame: Frame, replies: Iterable[tuple[int, Outcome]]) -> None:
        """What became of the events in these slots of the frame, in their order."""
        ended: list[tuple[Delivery, Outcome, int]] = []
        for slot, outcome in replies:
            delivery = frame.take(slot) if slot in frame else None
            if delivery is None:
                continue
            cancelled = self._cancelled.pop(slot, None) is not None
            ended.append((delivery, self._timed_out(outcome) if cancelled else outcome, slot))
        if ended:
            self._account(ended, frame)

    def _timed_out(self, outcome: Outcome) -> Outcome:
        """What an async function came to that was cancelled at its timeout."""
        if isinstance(outcome, Succeeded):
            return outcome
        # What it was cancelled with shows where it stood.
        return TimedOut(self._pool.timeout, format_failure(outcome.failure) if isinstance(outcome, Failed) else "")

    def _account(self, ended: list[tuple[Delivery, Outcome, int]], frame: Frame | None = None) -> None:
        """`frame` is that of all of them, where it is not over yet."""
        self.held -= len(ended)
        ledger = self.worker.ledger
        now_ns = int(self._pool.clock.monotonic() * 1e9)
        attempts: list[Ended] = []
        for delivery, outcome, slot in ended:
            started_ns = ledger.started_ns(slot)
            ended_ns = self._following_ns(frame, slot) or now_ns
            if delivery.traceparent is not None:
                delivery.ran_ns = ledger.ran_ns(slot) or (started_ns, ended_ns)
            ran_ns = max(0, ended_ns - started_ns)
            attempts.append((delivery, outcome, timedelta(microseconds=ran_ns / 1000)))
        self._pool.owner.ended(attempts)
        self._pool.accounted(len(ended))

    def _following_ns(self, frame: Frame | None, slot: int) -> int | None:
        """When a sync function went on to the event behind this one, if it has: what it said may be read much later."""
        if frame is None or self._pool.is_async or slot + 1 not in frame:
            return None
        ledger = self.worker.ledger
        return ledger.started_ns(slot + 1) if ledger.memory[slot + 1] in _BEGUN else None

    def _harvest(self) -> None:
        """Settle what is done in frames that are not."""
        for frame in list(self._frames.values()):
            self._hear(frame, self._pace_before(frame))
            self._done(frame, self._pace_before(frame))
            if next(frame.left(self.worker.ledger), None) is not None and not self._pool.is_async:
                # Of this one more is to come, before what has been said of the next.
                return

    def _hear(self, frame: Frame, took: timedelta | None) -> bool:
        """Take in what the worker has said of the frame's events by now; False where that cannot be read."""
        try:
            said = frame.heard()
        except ValueError:
            # What wrote over this may have written over anything.
            self.worker.kill()
            return False
        # Emits keep their order; all else that was said in a row is settled together.
        others: list[tuple[int, Outcome]] = []
        for each in said:
            if isinstance(each, FormedReplies):
                self._replied(frame, others)
                others = []
                self._emitted(frame, each, took)
            else:
                others.append((each.slot, outcome_of(each)))
        self._replied(frame, others)
        return True

    def _emitted(self, frame: Frame, replies: FormedReplies, took: timedelta | None) -> None:
        taken = frame.take_entries(replies) if len(replies.slots) >= TOGETHER else None
        if taken is None:
            values = zip(replies.slots, zip(*replies.own, strict=True), strict=True)
            emits = [(slot, FormedEmit(replies.form, own, frame.delivery(slot).stream_id)) for slot, own in values]
            self._replied(frame, [(slot, Succeeded((emit,))) for slot, emit in emits])
            return
        entries, own = taken
        if entries:
            self.held -= len(entries)
            self._pool.owner.emitted(replies.form, entries, own, took)
            self._pool.accounted(len(entries))

    def _pace_before(self, frame: Frame) -> timedelta | None:
        """What a call of this frame took on average, up to the one that runs; None where the ledger does not tell."""
        if self._pool.is_async:
            return None
        ledger = self.worker.ledger
        running = next(frame.running(ledger), None)
        if running is None or running == frame.first:
            return None
        ran_ns = ledger.started_ns(running) - ledger.started_ns(frame.first)
        return timedelta(microseconds=ran_ns / (running - frame.first) / 1000)

    def _done(self, frame: Frame, took: timedelta | None = None) -> None:
        if frame.traced:
            frame.time_done(self.worker.ledger)
        done = frame.take_done(self.worker.ledger)
        if done:
            self.held -= len(done)
            self._pool.owner.succeeded(done, took)
            self._pool.accounted(len(done))

    def _frame_done(self, number: int, busy_ns: int) -> None:
        frame = self._frames.get(number)
        if frame is None:
            return
        took = timedelta(microseconds=busy_ns / len(frame) / 1000)
        if not self._hear(frame, took):
            return  # What it ran is accounted for at its end: given back, it would run again and again.
        self._pool.pace.measured(len(frame), busy_ns)
        self._served += len(frame)
        self._done(frame, took)
        skipped = [delivery for slot, _ in list(frame.left(self.worker.ledger)) if (delivery := frame.take(slot))]
        if skipped:
            self.held -= len(skipped)
            self._pool.gave_back(skipped)
        del self._frames[number]
        self._regions.append(frame.first)
        self._alone = False
        if not self._frames:
            self._start_idle_timer()
        if self._served >= self._pool.limits.recycle_after and not self.spent:
            self.spent = True
            self._pool.spent()
        self._pool.feed()

    def _start_idle_timer(self) -> None:
        idle = self._pool.limits.idle.total_seconds()
        if self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(idle, self._idle_too_long)

    def _idle_too_long(self) -> None:
        self._idle_timer = None
        if not self._frames and (self.spent or self._pool.may_retire()):
            self.retire()

    def _check_timeout(self, slot: int, ran_ns: int, now_ns: int) -> None:
        limit_ns = int(self._pool.timeout.total_seconds() * 1e9)
        if ran_ns < limit_ns or self._ending_others is not None:
            return
        if self._pool.is_async:
            since = self._cancelled.setdefault(slot, now_ns)
            if since == now_ns:
                self.worker.send(Cancel(slot))
                return
            if now_ns - since < CANCEL_PATIENCE_NS:
                return
        started = self.worker.ledger.started_ns(slot)
        if self._dumping is None or self._dumping[:2] != (slot, started):
            self._dumping = (slot, started, now_ns)
            self.worker.request_stack()
            return
        if now_ns - self._dumping[2] < STACK_PATIENCE_NS:
            return
        # Once more: the call may have returned while its stack was being written.
        if self.worker.ledger.status(slot) is Status.RUNNING and self.worker.ledger.started_ns(slot) == started:
            self._ending[slot] = TimedOut(self._pool.timeout, self.worker.stack())
            self._ending_others = Interrupted("its process was killed for another event's timeout")
            self.worker.kill()

    def _check_memory(self, limit: int) -> None:
        used = self.worker.resident_bytes()
        if used > limit and self._ending_others is None:
            mib = 1 << 20
            self._ending_others = Crashed(
                f"memory limit: the process used {used / mib:.0f} MiB of {limit / mib:.0f} MiB (workers.memory)"
            )
            self.worker.kill()

    def _ended(self, status: int | None) -> None:
        """The process is gone and all it sent is read: account for everything it held."""
        for timer in (self._idle_timer, self._load_timer):
            if timer is not None:
                timer.cancel()
        ledger = self.worker.ledger
        unbegun: list[Delivery] = []
        ran: list[tuple[int, Delivery]] = []
        for frame in self._frames.values():
            self._hear(frame, self._pace_before(frame))
            self._done(frame, self._pace_before(frame))
            for slot, state in list(frame.left(ledger)):
                delivery = frame.take(slot)
                if delivery is None:
                    continue
                # An answer that cannot be read is none.
                if state in (Status.RUNNING, Status.REPLIED):
                    ran.append((slot, delivery))
                else:
                    unbegun.append(delivery)
        cause = _cause(CONTROL_LOST if self.worker.control_lost else status)
        ended: list[tuple[Delivery, Outcome, int]] = []
        for slot, delivery in ran:
            if slot in self._ending:
                ended.append((delivery, self._ending[slot], slot))
            elif self._ending_others is not None:
                ended.append((delivery, self._ending_others, slot))
            elif len(ran) > 1:
                # Any of them may have done it: each runs again, alone, and no attempt is burnt.
                delivery.suspect = True
                unbegun.append(delivery)
            else:
                ended.append((delivery, Crashed(cause, status, self.worker.stack()), slot))
        self._frames.clear()
        self.held -= len(unbegun)
        self._pool.gave_back(unbegun)
        self._account(ended)
        self._pool.left(self, loaded=self.loaded, cause=cause)

    def _frame_of(self, slot: int) -> Frame | None:
        for frame in self._frames.values():
            if slot in frame:
                return frame
        return None

    def _delivery(self, slot: int) -> Delivery | None:
        frame = self._frame_of(slot) if slot >= 0 else None
        return frame.delivery(slot) if frame is not None else None

    def _raw_output(self, line: str) -> None:
        running = None
        for frame in self._frames.values():
            for slot in frame.running(self.worker.ledger):
                running = frame.delivery(slot)
        self._pool.owner.output(running, "stdout", line)


def _work(frame: Frame, deliveries: Deliveries) -> Work | WorkEntries:
    if isinstance(deliveries, Entries):
        return WorkEntries(frame.number, frame.first, deliveries.trigger, deliveries.topic, deliveries.pairs)
    return Work(
        frame.number,
        [
            Invocation(slot, d.topic, d.stream_id, d.attempt, d.invocation_id, d.fields, d.traceparent)
            for slot, d in enumerate(deliveries, frame.first)
        ],
    )


def _cause(status: int | None) -> str:
    """What a person should know of a process that ended in the middle of a call."""
    if status is None:
        return "the worker process ended"
    if status == CONTROL_LOST:
        return "the worker lost its control channel (did the function close file descriptors?)"
    if status >= 0:
        return (
            f"the function ended its process with exit code {status} (sys.exit, os._exit?): no result is never success"
        )
    name = signal.Signals(-status).name if -status in set(signal.Signals) else "?"
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"the worker process was ended by signal {-status}, {name}{hint}"
