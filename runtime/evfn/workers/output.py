"""What a function prints and logs, caught line by line and tagged with the invocation it belongs to."""

import io
import logging
import os
import sys
import threading
from contextvars import ContextVar
from typing import Any

from evfn.workers.channel import Channel
from evfn.workers.protocol import Output

MAX_BYTES = 64 * 1024
"""Kept of one invocation; the rest is counted."""
MAX_LINE_BYTES = 8 * 1024
NO_SLOT = -1
"""The slot of output that belongs to no invocation, as that of imports."""
_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class Tally:
    """One invocation's output so far. `used` is False as long as there was none."""

    __slots__ = ("dropped", "kept", "partial", "slot", "used")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.used = False
        self.kept = 0
        self.dropped = 0
        self.partial: dict[str, bytearray] = {}


class Capture:
    """Takes the place of standard output, standard error and the root logger's handlers.

    `tally` is the one of the invocation that runs alone; in async functions each task has its own, set with `use`.
    """

    def __init__(self, channel: Channel) -> None:
        self.tally = Tally(NO_SLOT)
        self._channel = channel
        self._of_task: ContextVar[Tally | None] = ContextVar("tally", default=None)
        self._lock = threading.RLock()

    def install(self) -> None:
        """Catch everything from now on."""
        sys.stdout = sys.__stdout__ = self._stream("stdout")  # type: ignore[misc]  # final only to type checkers
        sys.stderr = sys.__stderr__ = self._stream("stderr")  # type: ignore[misc]
        root = logging.getLogger()
        root.handlers[:] = [_Handler(self)]
        root.setLevel(logging.INFO)

    def use(self, tally: Tally) -> None:
        """What the current task writes belongs to this invocation."""
        self._of_task.set(tally)

    def write(self, stream: str, content: bytes) -> None:
        """Keep these bytes: complete lines are sent, the rest waits for its end."""
        if self._channel.abandoned:
            # A process that the function forked: its output is the dispatcher's to drain, below all this.
            os.write(_DESCRIPTORS.get(stream, 2), content)
            return
        with self._lock:
            tally = self._of_task.get() or self.tally
            tally.used = True
            if tally.kept >= MAX_BYTES:
                tally.dropped += len(content)
                return
            pending = tally.partial.setdefault(stream, bytearray())
            pending += content
            if b"\n" not in content and len(pending) <= MAX_LINE_BYTES:
                return
            *lines, rest = pending.split(b"\n")
            tally.partial[stream] = rest
            for line in lines:
                self._keep(tally, stream, line)
            self._cut(tally, stream, rest)

    def finish(self, tally: Tally) -> None:
        """The invocation ended: send what is left of it and make the tally ready for the next."""
        with self._lock:
            for stream, rest in tally.partial.items():
                if rest:
                    self._keep(tally, stream, rest)
            if tally.dropped:
                notice = f"… output capped, {tally.dropped} bytes not kept"
                self._channel.send(Output(tally.slot, "stderr", notice))
            tally.partial.clear()
            tally.used = False
            tally.kept = tally.dropped = 0

    def say(self, tally: Tally, text: str) -> None:
        """A line of evfn's own among the output."""
        self._channel.send(Output(tally.slot, "stderr", text))

    def _keep(self, tally: Tally, stream: str, line: bytearray) -> None:
        self._cut(tally, stream, line)
        self._send(tally, stream, line)

    def _cut(self, tally: Tally, stream: str, line: bytearray) -> None:
        """Send the beginning of a line that is too long for one, piece by piece."""
        while len(line) > MAX_LINE_BYTES:
            # Not in the middle of a character: continuation bytes begin with the bits 10.
            cut = next(at for at in range(MAX_LINE_BYTES, 0, -1) if line[at] & 0xC0 != 0x80 or at < MAX_LINE_BYTES - 3)
            self._send(tally, stream, line[:cut])
            del line[:cut]

    def _send(self, tally: Tally, stream: str, line: bytearray) -> None:
        if tally.kept >= MAX_BYTES:
            tally.dropped += len(line) + 1
            return
        tally.kept += len(line) + 1
        self._channel.send(Output(tally.slot, stream, line.decode("utf-8", "replace")))

    def _stream(self, name: str) -> io.TextIOWrapper:
        return io.TextIOWrapper(_Sink(self, name), encoding="utf-8", errors="backslashreplace", write_through=True)


class _Sink(io.BufferedIOBase):
    """The binary layer below `sys.stdout`, so that `sys.stdout.buffer` is caught as well."""

    def __init__(self, capture: Capture, name: str) -> None:
        self._capture = capture
        self.name = f"<{name}>"
        self._stream_name = name

    def write(self, content: Any, /) -> int:
        taken = bytes(content)
        self._capture.write(self._stream_name, taken)
        return len(taken)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _DESCRIPTORS[self._stream_name]

    def isatty(self) -> bool:
        return False


class _Handler(logging.Handler):
    """The root logger's only handler."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._capture.write("log", text.encode("utf-8", "backslashreplace") + b"\n")
