"""The worker's end of its control socket: plain blocking reads and writes; where it breaks, the process ends."""

import mmap
import os
import socket
import threading
from collections.abc import Iterator
from typing import NoReturn

from evfn.workers.protocol import FrameReader, FromWorker, Message, encode

CONTROL_LOST = 97
"""Exit code of a worker whose control socket is gone: the dispatcher ended, or the function closed the descriptor."""
READ_BYTES = 1 << 18


class Channel:
    """Messages to and from the dispatcher. Any thread may send."""

    def __init__(self, descriptor: int) -> None:
        self._sending = threading.Lock()
        # Always the same memory, of which only what is needed is ever touched: taken anew for each frame of events, the
        # kernel would empty as many pages for each.
        self._chunk = memoryview(mmap.mmap(-1, READ_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.open(descriptor)

    def open(self, descriptor: int) -> None:
        """Speak to the dispatcher here from now on: in the worker that a loaded template forked."""
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)
        self._reader = FrameReader()
        self.abandoned = False

    def send(self, message: FromWorker) -> None:
        """Written in full when this returns."""
        frame = encode(message)
        try:
            with self._sending:
                self._socket.sendall(frame)
        except OSError:
            lost()

    def messages(self) -> Iterator[Message]:
        """Everything the dispatcher says, as it comes; blocks in between."""
        while True:
            yield from self._receive(0)

    def arrived(self) -> Iterator[Message]:
        """What has come by now, without blocking."""
        return self._receive(socket.MSG_DONTWAIT)

    def fileno(self) -> int:
        return self._socket.fileno()

    def abandon(self) -> None:
        """In a process that the function forked: this channel is the worker's alone."""
        self.abandoned = True
        self._socket.close()

    def _receive(self, flags: int) -> Iterator[Message]:
        try:
            size = self._socket.recv_into(self._chunk, 0, flags)
        except BlockingIOError:
            return
        except OSError:
            lost()
        if not size:
            lost()
        try:
            yield from self._reader.feed(self._chunk[:size])
        except ValueError:
            lost()


def lost() -> NoReturn:
    """End the process at once: nothing it does can be reported any more."""
    os._exit(CONTROL_LOST)
