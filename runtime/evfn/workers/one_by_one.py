"""Running a sync function: one event after the other, in the main thread, nothing in between."""

import os
import time
from collections.abc import Iterable

from evfn.functions.function import NOTHING
from evfn.functions.invocation import Invocation
from evfn.workers import leaving
from evfn.workers.channel import Channel
from evfn.workers.late_imports import LateImports
from evfn.workers.ledger import Ledger, Status
from evfn.workers.output import NO_SLOT, Capture
from evfn.workers.own_process import OwnProcess
from evfn.workers.protocol import FrameDone, Stop, Work, WorkEntries
from evfn.workers.replier import Replier
from evfn.workers.runs import Runs


class OneByOne:
    def __init__(
        self, function: Runs, channel: Channel, ledger: Ledger, capture: Capture, imports: LateImports
    ) -> None:
        self._function = function
        self._channel = channel
        self._ledger = ledger
        self._capture = capture
        self._imports = imports
        self._own = OwnProcess()
        self._replier = Replier(channel, ledger)

    def serve(self) -> None:
        """Work off frames until told to stop."""
        for message in self._channel.messages():
            match message:
                case WorkEntries():
                    # One after the other: all objects of a frame at once would keep the garbage collector busy.
                    self._replier.begin(message.first)
                    self._run(message.frame, enumerate(map(message.invocation, message.entries), message.first))
                case Work():
                    self._replier.begin(message.invocations[0].slot)
                    self._run(message.frame, ((each.slot, each) for each in message.invocations))
                case Stop():
                    return
            # Before the next is read: its events take the memory that these had.
            del message

    def _run(self, frame: int, invocations: Iterable[tuple[int, Invocation]]) -> None:
        # This loop is what an event costs: names are local, and a plain success is nothing but its byte.
        run, memory, starts, tally = self._function.run, self._ledger.memory, self._ledger.starts, self._capture.tally
        tell = self._replier.tell
        clock, own = time.monotonic_ns, self._own.mark
        recalled, skipped, running, done, replied = map(int, _STATES)
        began = clock()
        for slot, invocation in invocations:
            # Read after the byte of the event before was written: what the dispatcher may conclude depends on it.
            if memory[slot] == recalled:
                memory[slot] = skipped
                continue
            # As Ledger.begin.
            starts[slot] = started = clock()
            memory[slot] = running
            tally.slot = slot
            try:
                outcome = run(invocation, started)
            except (SystemExit, KeyboardInterrupt) as error:
                leaving.by_the_function(error, self._capture, tally, self._own)
            if not own[0]:
                # The function forked and this is the child coming back: the event is its parent's.
                os._exit(0)
            if printed := tally.used:
                self._capture.finish(tally)
            if outcome is NOTHING:
                memory[slot] = done
            else:
                tell(slot, outcome, printed=printed)
                memory[slot] = replied
        tally.slot = NO_SLOT
        self._channel.send(FrameDone(frame, clock() - began))
        self._imports.look()


_STATES = (Status.RECALLED, Status.SKIPPED, Status.RUNNING, Status.DONE, Status.REPLIED)
