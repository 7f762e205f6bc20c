"""The template process: imports what workers need, runs no user code, and forks workers in milliseconds.

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
from typing import NoReturn

from evfn.workers import child, kinship
from evfn.workers.forker import READ_BYTES, Forker, close, kill_group
from evfn.workers.loaded_templates import LoadedTemplates, Order
from evfn.workers.preloaded import Preloaded
from evfn.workers.protocol import Forget, Fork, ForkAgain, Lacking
from evfn.workers.surroundings import NONE, Descriptors

END_PATIENCE_SECONDS = 5.0
"""A process that the kernel cannot end by then is left to it."""
LOOK_MS = 5
SPARE_MS = 10
"""Who has had nothing to do for so long has time for what may be of use later."""


class Template:
    """The process's only object. `control` is the socket to the dispatcher, `parent` the dispatcher's pid."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._parent = parent
        self._forker = Forker(control, self._end)
        self._poll = select.poll()
        self._wakeup, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for descriptor in (control.fileno(), self._wakeup):
            self._poll.register(descriptor, select.POLLIN)
        self._loaded = LoadedTemplates(self._forker, self._fork, self._poll)
        self._preloaded = Preloaded()

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
        while True:
            spare = None if self._preloaded.complete else SPARE_MS
            ready = {descriptor for descriptor, _ in self._poll.poll(spare or self._loaded.patience_ms)}
            if spare and not ready:
                self._preloaded.one_more()
            ended = self._loaded.receive(ready)
            if self._wakeup in ready:
                self._empty_wakeup()
                if os.getppid() != self._parent:
                    self._end()
                ended |= self._forker.reap()
            if ended:
                self._kill_strays()
            if self._forker.control.fileno() in ready:
                self._receive()
            self._loaded.end_overdue()

    def _empty_wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, READ_BYTES)

    def _receive(self) -> None:
        try:
            for order, descriptors in self._forker.orders():
                match order:
                    case Fork() | ForkAgain():
                        # What is asked besides only a process that imports can tell.
                        also = isinstance(order, Fork) and order.also
                        if also or not self._loaded.fork(order, descriptors):
                            self._fork(order, descriptors)
                    case Forget(identity, revision):
                        self._loaded.forget((identity, revision))
        except EOFError:
            self._end()

    def _fork(self, order: Order, descriptors: list[int]) -> None:
        """From here, where nothing is imported that is not needed by every worker."""
        if isinstance(order, ForkAgain):
            close(descriptors)
            self._forker.send(Lacking(order.worker))
            return
        template, home = os.getpid(), self._loaded.expect(order.config)

        def live(own: Descriptors) -> NoReturn:
            self._loaded.let_go()
            own = own._replace(home=NONE if home is None else home.detach())
            child.main(order.config, order.also, own, template, self._preloaded)

        pidfd = self._forker.fork(order.worker, descriptors, live)
        if pidfd != NONE:
            os.close(pidfd)
        if home is not None:
            home.close()

    def _kill_strays(self) -> None:
        """End what left its worker's process group.

        A worker adopts its own orphans, so a child of ours that is neither worker nor template was adopted from one
        that is dead. What that stray itself leaves behind is ours as soon as it ends, and is found then.
        """
        # What became of an import is told before its process can be found here.
        self._loaded.receive_all()
        self._kill(set(kinship.children()) - self._forker.workers.keys() - self._loaded.pids)

    def _end(self) -> NoReturn:
        """Nobody is left to work for: take every worker and its descendants along."""
        for pid in self._forker.workers:
            kill_group(pid)
        self._kill(set(self._forker.workers))
        # Again and again, because the kernel's list may miss one that is only just becoming ours.
        deadline = time.monotonic() + END_PATIENCE_SECONDS
        wakeup = select.poll()
        wakeup.register(self._wakeup, select.POLLIN)
        while (left := set(kinship.children())) and time.monotonic() < deadline:
            self._kill(left)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            wakeup.poll(LOOK_MS)
            self._empty_wakeup()
        os._exit(0)

    def _kill(self, pids: set[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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
