"""The template process: imports what every worker needs, runs no user code, and forks workers in milliseconds.

Started as `python -m evfn.workers.template FD`, where FD is its end of a socket pair to the dispatcher. It is
single-threaded, so that a fork copies no locked lock; it reaps its workers, tells how each ended, and ends whatever a
worker left behind. When the dispatcher is gone it kills all workers and goes, too.
"""

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from typing import NoReturn

from evfn.workers import child, kinship
from evfn.workers.protocol import Exited, Fork, Forked, ForkFailed, FrameReader, FromTemplate, encode
from evfn.workers.surroundings import Descriptors

READ_BYTES = 1 << 16
END_PATIENCE_SECONDS = 5.0
"""A process that the kernel cannot end by then is left to it."""
DESCRIPTORS_PER_FORK = 4
"""Control socket, output pipe, ledger, stack; each Fork's arrive with the first byte of its frame."""


class Template:
    """The process's only object. `control` is the socket to the dispatcher, `parent` the dispatcher's pid."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._reader = FrameReader()
        self._descriptors: deque[int] = deque()
        self._workers: dict[int, int] = {}
        self._wakeup, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def serve(self) -> NoReturn:
        """Fork and reap until the dispatcher is gone."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        # SIGTERM also comes from the kernel when the dispatcher ends, and from whoever stops the whole service at once:
        # the workers may be needed for a drain then, so only the dispatcher's end counts.
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        # SIGUSR1 asks a worker for its stack; it must not end one that cannot answer yet.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        kinship.adopt_orphans()
        if not kinship.die_with_parent(self._parent, signal.SIGTERM):
            self._end()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, READ_BYTES)
                if os.getppid() != self._parent:
                    self._end()
                self._reap()
            if self._control.fileno() in ready:
                self._receive()

    def _receive(self) -> None:
        try:
            chunk, descriptors, _, _ = socket.recv_fds(
                self._control, READ_BYTES, 64 * DESCRIPTORS_PER_FORK, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            self._end()
        if not chunk:
            self._end()
        self._descriptors.extend(descriptors)
        for message in self._reader.feed(chunk):
            if isinstance(message, Fork):
                self._fork(message, [self._descriptors.popleft() for _ in range(DESCRIPTORS_PER_FORK)])

    def _fork(self, order: Fork, descriptors: list[int]) -> None:
        # Nothing that lives now will ever be collected in a child, so no child touches (and copies) these pages.
        gc.freeze()
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._close(descriptors)
            self._send(ForkFailed(order.worker, f"the system refused another process: {error.strerror}"))
            return
        if pid == 0:
            # The objects go on existing here; without their descriptors they cannot close what is opened later.
            self._control.detach()
            child.main(order.config, order.also, Descriptors(*descriptors), template)
        self._workers[pid] = order.worker
        pidfd = os.pidfd_open(pid)
        self._close(descriptors)
        self._send(Forked(order.worker, pid), pidfd)
        os.close(pidfd)

    def _reap(self) -> None:
        """Take note of every process that ended, workers and adopted strays alike, and end what they leave behind."""
        reaped = False
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            worker = self._workers.pop(ended.si_pid, None)
            if worker is not None:
                # Before the reaping: until then the group's number cannot be anybody else's.
                self._kill_group(ended.si_pid)
            os.waitpid(ended.si_pid, 0)
            reaped = True
            if worker is not None:
                status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                self._send(Exited(worker, status))
        if reaped:
            self._kill_strays()

    def _kill_strays(self) -> None:
        """End what left its worker's process group.

        A worker adopts its own orphans, so a child of ours that is no worker was adopted from one that is dead. What
        that stray itself leaves behind is ours as soon as it ends, and is found then.
        """
        for pid in kinship.children():
            if pid not in self._workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _end(self) -> NoReturn:
        """Nobody is left to work for: take every worker and its descendants along."""
        for pid in self._workers:
            self._kill_group(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._workers.clear()
        # Again and again, because the kernel's list may miss one that is only just becoming ours.
        deadline = time.monotonic() + END_PATIENCE_SECONDS
        wakeup = select.poll()
        wakeup.register(self._wakeup, select.POLLIN)
        while kinship.children() and time.monotonic() < deadline:
            self._kill_strays()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            wakeup.poll(5)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup, READ_BYTES)
        os._exit(0)

    def _send(self, message: FromTemplate, pidfd: int | None = None) -> None:
        frame = encode(message)
        try:
            sent = 0 if pidfd is None else socket.send_fds(self._control, [frame], [pidfd])
            self._control.sendall(frame[sent:])
        except OSError:
            self._end()

    def _kill_group(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    def _close(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)


def main() -> NoReturn:
    parent = os.getppid()
    descriptor = int(sys.argv[1])
    fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    control = socket.socket(fileno=descriptor)
    control.setblocking(True)
    # `-m` put the folder evfn was started in on the path; a function's imports come from its project, nowhere else.
    if not sys.flags.safe_path:
        del sys.path[0]
    gc.disable()
    Template(control, parent).serve()


if __name__ == "__main__":
    main()
