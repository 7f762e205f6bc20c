"""What every template does: fork workers on orders from a socket, and tell there how each of them ended.

A template has a single thread, so that a fork copies no locked lock.
"""

import contextlib
import gc
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import NoReturn

from evfn.workers.protocol import (
    Exited,
    Fork,
    ForkAgain,
    Forked,
    ForkFailed,
    ForkLoaded,
    FrameReader,
    FromTemplate,
    encode,
)
from evfn.workers.protocol import Message as Order
from evfn.workers.surroundings import Descriptors

READ_BYTES = 1 << 16
DESCRIPTORS_PER_FORK = 4
"""Control socket, output pipe, ledger, stack; each Fork's arrive with the first byte of its frame."""


class Forker:
    """`control` is the socket to whoever gives the orders; `lost` is called where nobody is there to be told."""

    def __init__(self, control: socket.socket, lost: Callable[[], NoReturn]) -> None:
        self.control = control
        self.workers: dict[int, int] = {}
        """The numbers of the workers that live, by their pids."""
        self._lost = lost
        self._reader = FrameReader()
        self._descriptors: deque[int] = deque()

    def orders(self) -> Iterator[tuple[Order, list[int]]]:
        """What arrived, each order with its descriptors. Raises EOFError where nothing will arrive any more."""
        try:
            chunk, descriptors, _, _ = socket.recv_fds(
                self.control, READ_BYTES, 64 * DESCRIPTORS_PER_FORK, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            raise EOFError from None
        if not chunk:
            raise EOFError
        self._descriptors.extend(descriptors)
        for message in self._reader.feed(chunk):
            count = DESCRIPTORS_PER_FORK if isinstance(message, Fork | ForkAgain | ForkLoaded) else 0
            yield message, [self._descriptors.popleft() for _ in range(count)]

    def fork(self, worker: int, descriptors: list[int], live: Callable[[Descriptors], NoReturn]) -> int:
        """A new worker, whose life is `live`; the descriptor that tells its end, -1 where there is no worker."""
        # Nothing that lives now will ever be collected in a child, so no child touches (and copies) these pages.
        gc.freeze()
        try:
            pid = os.fork()
        except OSError as error:
            close(descriptors)
            self.send(ForkFailed(worker, f"the system refused another process: {error.strerror}"))
            return -1
        if pid == 0:
            # The object goes on existing here; without its descriptor it cannot close what is opened later.
            self.control.detach()
            live(Descriptors(*descriptors))
        self.workers[pid] = worker
        pidfd = os.pidfd_open(pid)
        close(descriptors)
        self.send(Forked(worker, pid), pidfd)
        return pidfd

    def reap(self) -> bool:
        """Take note of every child that ended, workers and others alike; whether there was one."""
        reaped = False
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            worker = self.workers.pop(ended.si_pid, None)
            if worker is not None:
                # Before the reaping: until then the group's number cannot be anybody else's.
                kill_group(ended.si_pid)
            os.waitpid(ended.si_pid, 0)
            reaped = True
            if worker is not None:
                status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                self.send(Exited(worker, status))
        return reaped

    def send(self, message: FromTemplate, pidfd: int | None = None) -> None:
        """Tell it; a Forked with the handle of its process."""
        frame = encode(message)
        try:
            sent = 0 if pidfd is None else socket.send_fds(self.control, [frame], [pidfd])
            self.control.sendall(frame[sent:])
        except OSError:
            self._lost()


def kill_group(pid: int) -> None:
    """End a worker with its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
