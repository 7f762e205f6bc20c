"""A process that has imported a function, and forks workers that need not: a fork takes as long whatever imports cost.

The worker that imported forks it before it runs its first event, by way of a process between the two that ends at
once, so that the template becomes its parent: the worker's end is not its own. It runs nothing of the user's any more,
but what was registered to be run around forks.
"""

import contextlib
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from evfn.workers import kinship, signal_mask
from evfn.workers.forker import Forker
from evfn.workers.protocol import ForkLoaded, Loaded, encode
from evfn.workers.signal_mask import Mask
from evfn.workers.surroundings import NONE, Descriptors, leave, rearrange

NAME = b"evfn-loaded"
"""What the kernel calls a loaded template."""
ADOPTION_LOOK_SECONDS = 0.0002

Live = Callable[[Descriptors, Mask], NoReturn]
"""Gets the signals that the worker has to block once it can deal with the others."""


def leave_behind(revision: str, own: Descriptors, home: socket.socket, template: int, live: Live) -> None:
    """Make a loaded template of what this process has imported; `live` is the life of its workers.

    The process `template` is told at `home` whose parent it is now. Where the system refuses, there is none.
    """
    gc.freeze()
    kinship.adopt_orphans(False)
    try:
        with contextlib.suppress(OSError):
            between = os.fork()
            if between == 0:
                _fork_template(revision, own, home, template, live)
            os.waitpid(between, 0)
    finally:
        kinship.adopt_orphans()


def _fork_template(revision: str, own: Descriptors, home: socket.socket, template: int, live: Live) -> NoReturn:
    between = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            LoadedTemplate(own, home, template, live).serve(between)
        home.sendall(encode(Loaded(pid, revision)))
    finally:
        os._exit(0)


class LoadedTemplate:
    """The process's only object. `template` is the process that it belongs to, and hears orders from at `home`."""

    def __init__(self, own: Descriptors, home: socket.socket, template: int, live: Live) -> None:
        self._template = template
        self._live = live
        self._pid = os.getpid()
        self._home = home.fileno()
        os.setsid()
        self._name = _name()
        kinship.be_called(NAME)
        faulthandler.disable()  # It writes where the worker has its stack.
        null = os.open(os.devnull, os.O_WRONLY)
        for standard in (1, 2):
            os.dup2(null, standard)
        for descriptor in (null, own.ledger, own.stack):
            os.close(descriptor)
        # Whatever the import made of signals is its workers' alone, and as it was.
        self._mask = signal_mask.block_all()
        self._forker = Forker(home, _leave)
        self._poll = select.poll()
        self._poll.register(self._home, select.POLLIN)
        self._workers: set[int] = set()
        """The descriptors that tell their ends."""

    def serve(self, between: int) -> NoReturn:
        """Fork and reap until there is nobody to do it for."""
        while os.getppid() == between:
            # Only when this is the template's child the kernel can be told whose end is its own, too.
            time.sleep(ADOPTION_LOOK_SECONDS)
        if not kinship.die_with_parent(self._template, signal.SIGKILL):
            _leave()
        wanted = True
        while wanted or self._workers:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if ended := ready & self._workers:
                self._forker.reap()
                for descriptor in ended:
                    self._poll.unregister(descriptor)
                    os.close(descriptor)
                self._workers -= ended
            if self._home in ready:
                wanted = self._receive()
                if not wanted:
                    # Workers that live are served to their end.
                    self._poll.unregister(self._home)
        _leave()

    def _receive(self) -> bool:
        try:
            for order, descriptors in self._forker.orders():
                if isinstance(order, ForkLoaded):
                    pidfd = self._forker.fork(order.worker, descriptors, self._begin)
                    if pidfd != NONE:
                        self._workers.add(pidfd)
                        self._poll.register(pidfd, select.POLLIN)
        except EOFError:
            return False
        return True

    def _begin(self, descriptors: Descriptors) -> NoReturn:
        """In the worker: away from here, then live."""
        try:
            kinship.be_called(self._name)
            leave(self._pid)
            _draw_other_numbers()
            self._live(rearrange(descriptors, (self._home, *self._workers)), self._mask)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(1)


def _leave() -> NoReturn:
    os._exit(0)


def _name() -> bytes:
    with open("/proc/self/comm", "rb") as file:  # noqa: PTH123 - bytes, once
        return file.read().rstrip(b"\n")


def _draw_other_numbers() -> None:
    """Python's own generator sees to itself after a fork; NumPy's does not, and all workers would draw the same."""
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        with contextlib.suppress(Exception):  # Whatever goes by that name, the worker does without.
            numbers.seed()
