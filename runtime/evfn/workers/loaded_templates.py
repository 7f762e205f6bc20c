"""The loaded templates as the template sees them: a few, of the functions that were needed last."""

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

from evfn.workers.forker import READ_BYTES, Forker, close
from evfn.workers.protocol import (
    Exited,
    Fork,
    ForkAgain,
    Forked,
    ForkFailed,
    ForkLoaded,
    FrameReader,
    Loaded,
    Message,
    WorkerConfig,
    encode,
    identity,
)

MOST = 16
"""Each costs about 2 MB."""
PATIENCE_SECONDS = 5.0
"""A loaded template that has not forked by then never will: what its function registered around forks hangs."""
LOOK_MS = 1000

Order = Fork | ForkAgain
Key = tuple[bytes, str]
"""Of a config that loads a function, and the revision that it loads."""


class LoadedTemplates:
    """`forker` tells the dispatcher what it has to know, `fork` is the way without a loaded template; `poll` is to wake
    whoever calls `receive`."""

    def __init__(self, forker: Forker, fork: Callable[[Order, list[int]], None], poll: select.poll) -> None:
        self._forker = forker
        self._fork = fork
        self._poll = poll
        self._homes: dict[int, _Home] = {}
        self._kept: dict[Key, _Home] = {}
        """The one that was needed longest ago first."""
        self._forks = 0
        self._refused: dict[Key, int] = {}
        """At which of their forks a function was refused a place among them, last time."""

    @property
    def pids(self) -> set[int]:
        """Children of the template that are no workers, and no strays."""
        return {home.pid for home in self._homes.values()}

    @property
    def patience_ms(self) -> int | None:
        """How long the template may sleep."""
        return LOOK_MS if any(home.waiting for home in self._homes.values()) else None

    def expect(self, config: WorkerConfig) -> socket.socket | None:
        """Where a process that is about to import this can say that it left a loaded template; None: it need not.

        Functions that are needed again after their first load come before those that may never be.
        """
        if not config.kept:
            return None
        present = [home for home in self._homes.values() if not home.retired]
        if config.pinned is not None and any(home.is_of(config) for home in present):
            return None
        if len(present) >= MOST and (
            config.pinned is None or self._all_needed((identity(config), config.pinned.revision))
        ):
            return None
        near, far = socket.socketpair()
        near.setblocking(False)
        self._homes[near.fileno()] = _Home(near, config)
        self._poll.register(near.fileno(), select.POLLIN)
        return far

    def fork(self, order: Order, descriptors: list[int]) -> bool:
        """Have a loaded template fork this worker; False where there is none."""
        key = _key(order)
        home = None if key is None else self._kept.pop(key, None)
        if home is None:
            return False
        self._kept[home.key] = home
        self._forks += 1
        home.forked = self._forks
        try:
            socket.send_fds(home.near, [encode(ForkLoaded(order.worker))], descriptors)
        except OSError:
            return False
        home.waiting[order.worker] = (order, descriptors, time.monotonic())
        return True

    def forget(self, key: Key) -> None:
        """It will not be asked for any more."""
        self._refused.pop(key, None)
        home = self._kept.pop(key, None)
        if home is not None:
            home.retire()

    def receive(self, ready: Iterable[int]) -> bool:
        """Take in what they say at these descriptors; whether a worker of theirs has ended."""
        ended = False
        for descriptor in list(self._homes.keys() & ready):
            home = self._homes[descriptor]
            messages = home.receive()
            for message in messages:
                self._said(home, message)
                ended |= isinstance(message, Exited)
            if home.gone:
                self._lose(home)
        return ended

    def receive_all(self) -> None:
        """Take in what they have said until now."""
        self.receive(self._homes.keys())

    def end_overdue(self) -> None:
        """Kill those that do not fork: another way is taken then."""
        for home in self._homes.values():
            since = min((asked for _, _, asked in home.waiting.values()), default=time.monotonic())
            if time.monotonic() - since > PATIENCE_SECONDS:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(home.pid, signal.SIGKILL)

    def let_go(self) -> None:
        """In a fork: these objects go on existing there, and must not close what is opened later."""
        for home in self._homes.values():
            home.near.detach()

    def _all_needed(self, key: Key) -> bool:
        """Whether each of them was needed since this function was refused a place last time.

        Where more functions are busy than have a place, the one that was needed longest ago is needed again soon: they
        would take each other's for ever, and all of them be imported anew each time.
        """
        oldest = next(iter(self._kept.values()), None)
        if oldest is None or oldest.forked <= self._refused.pop(key, 0):
            return False
        self._refused[key] = self._forks
        return True

    def _said(self, home: "_Home", message: Message) -> None:
        match message:
            case Loaded(pid, revision):
                home.pid, home.revision = pid, revision
                if home.key in self._kept:
                    home.retire()
                else:
                    self._kept[home.key] = home
                while len(self._kept) > MOST:
                    self._kept.pop(next(iter(self._kept))).retire()
            case Forked(worker, pid):
                _, descriptors, _ = home.waiting.pop(worker)
                close(descriptors)
                self._forker.workers[pid] = worker
                pidfd = home.pidfds.popleft()
                self._forker.send(Forked(worker, pid, loaded=home.key in self._kept), pidfd)
                os.close(pidfd)
            case ForkFailed(worker):
                order, descriptors, _ = home.waiting.pop(worker)
                self._fork(order, descriptors)
            case Exited(worker):
                for pid in [pid for pid, number in self._forker.workers.items() if number == worker]:
                    del self._forker.workers[pid]
                self._forker.send(message)

    def _lose(self, home: "_Home") -> None:
        """It is gone, or never came to be: what it was asked for and did not do is done without it."""
        del self._homes[home.near.fileno()]
        self._poll.unregister(home.near.fileno())
        home.near.close()
        if home.key in self._kept and self._kept[home.key] is home:
            del self._kept[home.key]
        for order, descriptors, _ in home.waiting.values():
            self._fork(order, descriptors)


def _key(order: Order) -> Key | None:
    if isinstance(order, ForkAgain):
        return order.identity, order.revision
    pinned = order.config.pinned
    return None if pinned is None else (identity(order.config), pinned.revision)


class _Home:
    """One loaded template, from before its birth. `pid` is 0 until then."""

    def __init__(self, near: socket.socket, config: WorkerConfig) -> None:
        self.near = near
        self.pid = 0
        self.revision = "" if config.pinned is None else config.pinned.revision
        self.waiting: dict[int, tuple[Order, list[int], float]] = {}
        """The workers that it was asked for, by their numbers, and since when."""
        self.pidfds: deque[int] = deque()
        self.forked = 0
        """Which of all forks of loaded templates was its last one; 0 where it has made none."""
        self.retired = False
        self.gone = False
        self._identity = identity(config)
        self._reader = FrameReader()

    @property
    def key(self) -> Key:
        return self._identity, self.revision

    def is_of(self, config: WorkerConfig) -> bool:
        """Whether it is, or will be, what a worker of this config needs."""
        return config.pinned is not None and self.key == (identity(config), config.pinned.revision)

    def retire(self) -> None:
        """It forks no more, and ends with the last of its workers."""
        self.retired = True
        with contextlib.suppress(OSError):
            self.near.shutdown(socket.SHUT_WR)

    def receive(self) -> list[Message]:
        """What it has said, without waiting."""
        messages: list[Message] = []
        while not self.gone:
            try:
                chunk, pidfds, _, _ = socket.recv_fds(self.near, READ_BYTES, 64, socket.MSG_CMSG_CLOEXEC)
                self.pidfds.extend(pidfds)
                messages += self._reader.feed(chunk)
            except BlockingIOError:
                break
            except (OSError, ValueError):
                chunk = b""
            self.gone = not chunk
        return messages
