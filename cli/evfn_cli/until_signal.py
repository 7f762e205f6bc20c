"""Runs what goes on until Ctrl-C: whatever it does at that moment, the process ends within a second, by that signal.

Looking at things must never need `kill -9`: not where the server stands still, not where whoever reads our output does,
and not where the shell that started us in the background had SIGINT ignored.
"""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLEAN_UP_SECONDS = 0.7
"""How long the work may take to close what it opened. The embedded server, where we run it, ends by itself after us."""


def until_signal(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it to its end, or until a signal, which then ends this process: SIGINT, SIGTERM, SIGHUP, or SIGPIPE.

    SIGPIPE as soon as nobody reads the pipe that is our standard output any more, even while nothing is printed.
    """
    end = _End()
    try:
        asyncio.run(_race(work, end))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if end.by is not None:
        _end_by(end.by)


class _End:
    """The first request asks the work to end; a second one, or too long a clean-up, ends the process on the spot."""

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        self.asked = asyncio.Event()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        # Handlers of our own and not the loop's: these are called even while a write to a full pipe holds up the loop.
        def on_signal(number: int, _: FrameType | None) -> None:
            if self.by is not None:
                _end_by(self.by)
            self.ask(signal.Signals(number))
            loop.call_soon_threadsafe(self.asked.set)

        def on_alarm(number: int, _: FrameType | None) -> None:
            _end_by(self.by or signal.Signals(number))

        for number in SIGNALS:
            # SIGHUP is ignored by who wrote `nohup`, SIGINT also by shells that only meant to start us with `&`.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, on_signal)
        signal.signal(signal.SIGALRM, on_alarm)

    def ask(self, by: signal.Signals) -> None:
        self.by = by
        signal.setitimer(signal.ITIMER_REAL, CLEAN_UP_SECONDS)


async def _race(work: Callable[[], Coroutine[Any, Any, None]], end: _End) -> None:
    loop = asyncio.get_running_loop()
    end.listen(loop)
    with _reader_watched(loop, end):
        task = asyncio.create_task(work())
        asked = asyncio.create_task(end.asked.wait())
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if end.by is None:
            await task
            return
        # One that holds out is left to the alarm; what goes wrong on the way out nobody asked about.
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()


@contextlib.contextmanager
def _reader_watched(loop: asyncio.AbstractEventLoop, end: _End) -> Iterator[None]:
    """Ask for the end when standard output is a pipe that nobody reads any more."""
    try:
        descriptor = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (AttributeError, OSError, ValueError):
        is_pipe = False
    if not is_pipe:
        yield
        return

    def on_error() -> None:
        loop.remove_reader(descriptor)
        end.ask(signal.SIGPIPE)
        end.asked.set()

    # Nothing is ever to be read at the writing end: what wakes this is the error that the lost reader leaves there.
    loop.add_reader(descriptor, on_error)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


def _end_by(number: signal.Signals) -> NoReturn:
    """End as every program does that does not handle this signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)
