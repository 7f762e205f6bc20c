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
from evfn.workers.protocol import FrameDone, Stop, Work, WorkEntries
from evfn.workers.reply import reply
from evfn.workers.runs import Runs


def serve(function: Runs, channel: Channel, ledger: Ledger, capture: Capture, imports: LateImports) -> None:
    """Work off frames until told to stop."""
    for message in channel.messages():
        if isinstance(message, WorkEntries):
            # One after the other: the objects of a whole frame would keep the garbage collector busy.
            entries = enumerate(map(message.invocation, message.entries), message.first)
            _run(message.frame, entries, function, channel, ledger, capture)
            imports.look()
        elif isinstance(message, Work):
            invocations = [(invocation.slot, invocation) for invocation in message.invocations]
            _run(message.frame, invocations, function, channel, ledger, capture)
            imports.look()
        elif isinstance(message, Stop):
            return


def _run(
    frame: int,
    invocations: Iterable[tuple[int, Invocation]],
    function: Runs,
    channel: Channel,
    ledger: Ledger,
    capture: Capture,
) -> None:
    # This loop is what an event costs: names are local, and a plain success is nothing but its byte.
    run, begin, memory, tally = function.run, ledger.begin, ledger.memory, capture.tally
    clock, current_pid, pid = time.monotonic_ns, os.getpid, os.getpid()
    recalled, skipped, done, replied = map(int, (Status.RECALLED, Status.SKIPPED, Status.DONE, Status.REPLIED))
    began = clock()
    for slot, invocation in invocations:
        # Read after the byte of the event before was written: what the dispatcher may conclude depends on it.
        if memory[slot] == recalled:
            memory[slot] = skipped
            continue
        started = clock()
        begin(slot, started)
        tally.slot = slot
        try:
            outcome = run(invocation, started)
        except (SystemExit, KeyboardInterrupt) as error:
            leaving.by_the_function(error, capture, tally, pid)
        if current_pid() != pid:
            # The function forked and this is the child coming back: the event is its parent's.
            os._exit(0)
        if tally.used:
            capture.finish(tally)
        if outcome is NOTHING:
            memory[slot] = done
        else:
            channel.send(reply(slot, outcome))
            memory[slot] = replied
    tally.slot = NO_SLOT
    channel.send(FrameDone(frame, clock() - began))
