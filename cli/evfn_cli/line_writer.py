"""Writes lines to a descriptor from a thread of its own: a reader that stands still, or a full disk, delays nobody."""

import contextlib
import errno
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

ROOM = 8 * 1024 * 1024
"""Bytes that may wait; what comes beyond that is lost, and counted."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_AGAIN_SECONDS = 1.0


class LineWriter:
    """Each line goes out with one write, so that writers to the same file or pipe do not tear each other's.

    Where lines were lost, `on_lost` makes the line that says how many; `on_closed` is called once when nobody reads
    any more.
    """

    def __init__(self, descriptor: int, *, on_lost: Callable[[int], str], on_closed: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_lost = on_lost
        self._on_closed = on_closed
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._lost = 0
        self._torn = False
        self._open = True
        self._closing = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Have it written, as soon as that is possible; never blocks and never raises."""
        packed = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._news:
            if not self._open:
                return
            if self._waiting + len(packed) > ROOM:
                self._lost += 1
                return
            self._lines.append(packed)
            self._waiting += len(packed)
            self._news.notify()

    def close(self, patience_seconds: float = 1.0) -> None:
        """Wait until all is written, this long at most."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(patience_seconds)

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._lines and not self._closing:
                    self._news.wait()
                if not self._lines:
                    return
                line = self._lines.popleft()
                self._waiting -= len(line)
                lost, self._lost = self._lost, 0
            if lost and not self._put(self._on_lost(lost).encode() + b"\n"):
                self._lost += lost
            if not self._put(line):
                if not self._open:
                    return
                self._lost += 1

    def _put(self, line: bytes) -> bool:
        """Whether it is written, all of it."""
        if self._torn:
            line = b"\n" + line
        left = memoryview(line)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._torn = self._torn or 0 < len(left) < len(line)
                if error.errno in _FULL:
                    if not self._closing:
                        time.sleep(_AGAIN_SECONDS)
                    return False
                self._close()
                return False
        self._torn = False
        return True

    def _close(self) -> None:
        with self._news:
            self._open = False
            self._lines.clear()
        with contextlib.suppress(OSError):
            self._on_closed()
