"""RQ workers side by side on one machine: started, replaced when they die, drained on SIGTERM."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

from evfn.broker.connection import later
from evfn.broker.rq_client import FAILURES, rq_client
from evfn.broker.url import parse
from evfn.errors import EvfnError
from evfn.jobs.home import Home
from evfn.jobs.rq_worker import JobWorker, speak
from evfn.jobs.told import Noted, Told
from evfn.workers import kinship

ABORT_SECONDS = 5.0
"""How long a job that is ended gets to say so."""
_DRAINED = "exit code 0"
_STOPS = (signal.SIGTERM, signal.SIGINT)
_HEARD = {*_STOPS, signal.SIGHUP, signal.SIGCHLD}


@dataclass(frozen=True, slots=True)
class Ended:
    """`finished` where all that ran came to its end; `by` is the signal that aborted it, None where the time was up."""

    finished: bool
    by: signal.Signals | None = None


class Crew:
    """One process for each of `queues`; a queue may be there several times.

    `reopen` reads the project anew, and which queues there are then, for SIGHUP. Raises UsageError with every mistake.
    """

    def __init__(
        self,
        home: Home,
        queues: Sequence[str],
        drain: timedelta,
        tell: Callable[[Told], None],
        reopen: Callable[[], tuple[Home, Sequence[str]]],
    ) -> None:
        self._home = home
        self._queues = queues
        self._drain = drain
        self._tell = tell
        self._reopen = reopen
        self._members: dict[int, str] = {}
        self._leaving: set[int] = set()
        self._deaths = 0

    def run(self) -> Ended:
        """Until a signal; the first finishes what runs, the second ends it."""
        speak(self._tell)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        try:
            for queue in self._queues:
                self._start(queue)
            stopped_by = self._work()
            return self._stop(stopped_by)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _work(self) -> signal.Signals:
        while True:
            missing = (Counter(self._queues) - Counter(self._members.values())).elements()
            queue = next(missing, None)
            heard = signal.sigtimedwait(_HEARD, later(self._deaths, 1.0).total_seconds() if queue else 60.0)
            if heard is None and queue is not None:
                self._start(queue)
            number = signal.Signals(heard.si_signo) if heard is not None else None
            if number in _STOPS:
                return number
            if number is signal.SIGHUP:
                self._renew()
            for queue, how in self._reap():
                if how != _DRAINED:
                    self._deaths += 1
                    self._tell(Noted(f"an RQ worker of queue {queue} ended ({how}); another takes its place"))

    def _renew(self) -> None:
        """Each finishes what it runs, and another follows it, which knows the project as it is defined by now."""
        try:
            self._home, self._queues = self._reopen()
        except EvfnError as error:
            self._tell(Noted(f"SIGHUP: the project cannot be used as it is now, all stays as it was: {error}"))
            return
        self._tell(
            Noted(f"SIGHUP: the project is read anew; queues: {', '.join(sorted(set(self._queues)))}", grave=False)
        )
        self._finish()

    def _stop(self, cause: signal.Signals) -> Ended:
        self._tell(Noted(f"{cause.name}: finishing what runs", grave=False))
        self._finish()
        deadline = time.monotonic() + self._drain.total_seconds()
        aborted: signal.Signals | None = None
        while self._members:
            heard = signal.sigtimedwait(_HEARD, max(deadline - time.monotonic(), 0.05))
            if heard is not None and heard.si_signo in _STOPS and aborted is None:
                aborted = signal.Signals(heard.si_signo)
            self._reap()
            if aborted is None and time.monotonic() >= deadline:
                self._tell(Noted(f"not finished within {self._drain.total_seconds():g} s: it is run again elsewhere"))
                aborted = signal.SIGTERM
            if aborted is not None and self._members:
                self._abort()
                return Ended(False, aborted if heard is not None and heard.si_signo in _STOPS else None)
        return Ended(True)

    def _abort(self) -> None:
        self._signal(signal.SIGTERM)
        end = time.monotonic() + ABORT_SECONDS
        while self._members and time.monotonic() < end:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            self._reap()
        self._signal(signal.SIGKILL)
        while self._members:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            self._reap()

    def _start(self, queue: str) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._members[pid] = queue
            return
        code = 1
        try:
            if kinship.die_with_parent(parent, signal.SIGTERM):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, _leave)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                _serve(self._home, queue, self._tell)
                code = 0
        finally:
            os._exit(code)

    def _finish(self) -> None:
        """Each ends with what it runs. Those that know it already are not told twice: that would end what they run."""
        for pid in self._members.keys() - self._leaving:
            os.kill(pid, signal.SIGTERM)
        self._leaving.update(self._members)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._members:
            os.kill(pid, number)

    def _reap(self) -> list[tuple[str, str]]:
        """The queues whose workers have ended, and how."""
        ended = []
        for pid in list(self._members):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                ended.append((self._members.pop(pid), how))
                self._leaving.discard(pid)
        return ended


def _serve(home: Home, queue: str, tell: Callable[[Told], None]) -> None:
    """One RQ worker after the other, for RQ's own gives up where the server stays away; until it is told to stop."""
    connection = rq_client(parse(home.server))
    tries = 0
    while True:
        worker: JobWorker | None = None
        try:
            worker = JobWorker(queue, home, connection, tell)
            worker.work(logging_level=None)
            tries = 0
        except FAILURES as error:
            if tries == 0 and not (worker is not None and worker.stop_asked):
                tell(Noted(f"the server is away: {' '.join(str(error).split())[:200]}; trying until it is back"))
        finally:
            # The worker that is over would hear the signal for itself alone.
            signal.signal(signal.SIGTERM, _leave)
        if worker is not None and worker.stop_asked:
            return
        time.sleep(later(tries, 0.5).total_seconds())
        tries += 1


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM where nothing runs and nothing is fetched."""
    os._exit(0)
