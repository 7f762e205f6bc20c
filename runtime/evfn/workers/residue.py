"""What an import left in its process that a fork of it would share with the original, or lack.

Two processes with one socket, one place in a file, or one page of memory take each other's data; threads, timers and
child processes are not there after a fork; what is to be done once at the end would be done at the end of each.
"""

import atexit
import os
import signal
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from evfn.workers import kinship

_MULTIPROCESSING = "multiprocessing.util"
"""Registers something for the end that knows whose end it is."""


def threads() -> int:
    """How many there are beside the main one."""
    return len(os.listdir("/proc/self/task")) - 1  # noqa: PTH208 - at a tenth of the time


class Residue:
    """Made before the import, asked after it. `own` are the worker's descriptors above the standard three."""

    def __init__(self, own: Iterable[int]) -> None:
        self._own = {0, *own} - {1, 2}
        self._output = os.fstat(1)
        self._endings = atexit._ncallbacks() + (_MULTIPROCESSING not in sys.modules)

    def found(self) -> str:
        """The first such thing, in words; empty where there is none."""
        try:
            return self._found()
        except OSError as error:
            return f"what the system does not tell ({error.strerror})"

    def _found(self) -> str:
        if threads():
            return "a thread"
        if kinship.children():
            return "a child process"
        if any(signal.getitimer(which) != (0.0, 0.0) for which in (0, 1, 2)):
            return "a timer"
        if atexit._ncallbacks() > self._endings - (_MULTIPROCESSING not in sys.modules):
            return "something to be done at the end of its process"
        if any(map(self._is_foreign, map(int, os.listdir("/proc/self/fd")))):  # noqa: PTH208
            return "an open file or socket"
        if b" rw-s " in Path("/proc/self/maps").read_bytes():
            return "memory that processes share"
        return ""

    def _is_foreign(self, descriptor: int) -> bool:
        if descriptor in self._own:
            return False
        try:
            found = os.fstat(descriptor)
        except OSError:
            return False  # That of the listing itself.
        if descriptor in (1, 2):
            return (found.st_dev, found.st_ino) != (self._output.st_dev, self._output.st_ino)
        # Such as /dev/urandom: there is nothing in it to share.
        return not stat.S_ISCHR(found.st_mode)
