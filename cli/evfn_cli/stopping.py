"""How signals end an instance: the first one drains it, a second one aborts it, and then the process dies of it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from evfn.runtime import Runtime


class Stopping:
    """`runtime` is set once there is something to drain; before, the first signal ends the process at once."""

    def __init__(self, *signals: signal.Signals) -> None:
        self.runtime: Runtime | None = None
        self._signals = signals
        self._by: signal.Signals | None = None

    async def during(self, work: Callable[[], Awaitable[int | None]], at_end: Callable[[], None]) -> int:
        """Do the work and return its exit code; where it has none it was aborted, and the process dies of the signal.

        `at_end` is called in any case, before that.
        """
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        for number in self._signals:
            loop.add_signal_handler(number, self._signalled, number, main)
        try:
            code = await work()
        except asyncio.CancelledError:
            if self._by is None:
                raise
            code = None
        finally:
            at_end()
            for number in self._signals:
                loop.remove_signal_handler(number)
        if code is None and self._by is not None:
            signal.signal(self._by, signal.SIG_DFL)
            os.kill(os.getpid(), self._by)
        return code or 0

    def _signalled(self, number: signal.Signals, main: "asyncio.Task[Any] | None") -> None:
        first, self._by = self._by is None, number
        if self.runtime is None:
            if main is not None:
                main.cancel()
        elif first:
            self.runtime.drain(number.name)
        else:
            self.runtime.abort()
