"""Running an async function: up to `concurrency` events at once, on one event loop for the worker's whole life."""

import asyncio
import os
import time
from collections import deque

from evfn.functions.function import NOTHING
from evfn.functions.invocation import Invocation
from evfn.workers import leaving
from evfn.workers.channel import Channel
from evfn.workers.late_imports import LateImports
from evfn.workers.ledger import Ledger, Status
from evfn.workers.output import Capture, Tally
from evfn.workers.own_process import OwnProcess
from evfn.workers.protocol import Cancel, FrameDone, Stop, Work, WorkEntries
from evfn.workers.reply import reply
from evfn.workers.runs import Runs


class _Frame:
    """A frame's number, how many of its events have no final byte yet, and the time spent on it."""

    __slots__ = ("busy_ns", "left", "number")

    def __init__(self, number: int, left: int) -> None:
        self.number = number
        self.left = left
        self.busy_ns = 0


class SideBySide:
    def __init__(
        self,
        function: Runs,
        channel: Channel,
        ledger: Ledger,
        capture: Capture,
        imports: LateImports,
        concurrency: int,
    ) -> None:
        self._imports = imports
        self._function = function
        self._channel = channel
        self._ledger = ledger
        self._capture = capture
        self._concurrency = max(1, concurrency)
        self._waiting: deque[tuple[int, Invocation, _Frame]] = deque()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._own = OwnProcess()
        self._stopping = False
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        """Work off frames until told to stop and nothing runs."""
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._receive)
        await self._stopped.wait()

    def _receive(self) -> None:
        for message in self._channel.arrived():
            match message:
                case Work():
                    frame = _Frame(message.frame, len(message.invocations))
                    self._waiting.extend((invocation.slot, invocation, frame) for invocation in message.invocations)
                case WorkEntries():
                    frame = _Frame(message.frame, len(message.entries))
                    self._waiting.extend(
                        (slot, message.invocation(entry), frame)
                        for slot, entry in enumerate(message.entries, message.first)
                    )
                case Cancel(slot):
                    task = self._running.get(slot)
                    if task is not None:
                        task.cancel()
                case Stop():
                    self._stopping = True
        self._start_more()

    def _start_more(self) -> None:
        while self._waiting and len(self._running) < self._concurrency:
            slot, invocation, frame = self._waiting.popleft()
            self._running[slot] = asyncio.get_running_loop().create_task(self._run(slot, invocation, frame))
        if self._stopping and not self._running:
            self._stopped.set()

    async def _run(self, slot: int, invocation: Invocation, frame: _Frame) -> None:
        ledger = self._ledger
        if ledger.memory[slot] == Status.RECALLED:
            self._ended(slot, Status.SKIPPED, frame)
            return
        started = time.monotonic_ns()
        ledger.begin(slot, started)
        tally = Tally(slot)
        self._capture.use(tally)
        try:
            outcome = await self._function.run_async(invocation, started)
        except (SystemExit, KeyboardInterrupt) as error:
            leaving.by_the_function(error, self._capture, tally, self._own)
        if not self._own:
            os._exit(0)
        frame.busy_ns += time.monotonic_ns() - started
        if tally.used:
            self._capture.finish(tally)
        if outcome is NOTHING:
            self._ended(slot, Status.DONE, frame)
        else:
            self._channel.send(reply(slot, outcome))
            self._ended(slot, Status.REPLIED, frame)

    def _ended(self, slot: int, status: Status, frame: _Frame) -> None:
        self._ledger.mark(slot, status)
        del self._running[slot]
        frame.left -= 1
        if not frame.left:
            self._channel.send(FrameDone(frame.number, frame.busy_ns))
            self._imports.look()
        self._start_more()
