"""Shared memory between the dispatcher and one worker: what became of every event the worker holds.

One status byte, one start time and, where spans are made, one end time a slot; and an arena a frame for what is to be
said. The worker writes around each call, so the page says, even after the worker's sudden death, which event ran and
which were finished. Only the dispatcher resets slots.

RECALLED is the only final status that the dispatcher writes while the worker lives. It may take an event back for
certain only if the event *before* it was still running after the mark was written: the worker reads the mark after that
event's final byte, and a processor's store buffer is far shorter than the instructions an interpreter runs in between.
A recalled slot that the worker reaches becomes SKIPPED.
"""

import mmap
import os
from enum import IntEnum

from evfn.workers import arena
from evfn.workers.arena import Arena

_TIME = 8
"""Bytes of a time in nanoseconds."""
SLOTS_PER_FRAME = 512


class Status(IntEnum):
    FREE = 0
    WAITING = 1
    RUNNING = 2
    DONE = 3
    """Finished with nothing to report: settled by this byte alone."""
    REPLIED = 4
    """Finished, and its reply was written in full before: settled only from the reply."""
    RECALLED = 5
    SKIPPED = 6


def _size(slots: int) -> int:
    frames = -(-slots // SLOTS_PER_FRAME)
    return slots * (1 + 2 * _TIME) + frames * arena.BYTES


class Ledger:
    """A view on the shared page; both sides make their own from the same descriptor."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self.slots = slots
        self.memory = mmap.mmap(descriptor, _size(slots))
        times = memoryview(self.memory)[slots : slots * (1 + 2 * _TIME)].cast("Q")
        self.starts = times[:slots]
        """When each slot's call began, on the monotonic clock in nanoseconds."""
        self.ends = times[slots:]
        times.release()

    @staticmethod
    def create(slots: int) -> int:
        """A new descriptor, closed on exec, whose page is all FREE."""
        descriptor = os.memfd_create("evfn-ledger", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _size(slots))
        return descriptor

    def arena(self, first: int) -> Arena:
        """Where the replies of the frame in the slots from `first` on stand."""
        return Arena(self.memory, self.slots * (1 + 2 * _TIME) + first // SLOTS_PER_FRAME * arena.BYTES)

    def status(self, slot: int) -> Status:
        return Status(self.memory[slot])

    def mark(self, slot: int, status: Status) -> None:
        self.memory[slot] = status

    def begin(self, slot: int, now_ns: int) -> None:
        """Running from now on: the start is written before the byte, so that a reader never sees an old start."""
        self.starts[slot] = now_ns
        self.memory[slot] = Status.RUNNING

    def started_ns(self, slot: int) -> int:
        """When the slot's call began, on the monotonic clock in nanoseconds."""
        return self.starts[slot]

    def end(self, slot: int, now_ns: int) -> None:
        """The slot's call is over; to be written before its final byte."""
        self.ends[slot] = now_ns

    def ran_ns(self, slot: int) -> tuple[int, int] | None:
        """From when to when the slot's call ran, on the monotonic clock in nanoseconds; None where its end is not
        written."""
        started, ended = self.starts[slot], self.ends[slot]
        # What an earlier event left there was before this one began.
        return (started, ended) if ended >= started else None

    def close(self) -> None:
        self.starts.release()
        self.ends.release()
        self.memory.close()
