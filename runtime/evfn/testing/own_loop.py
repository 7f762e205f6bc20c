"""An event loop for a test that may, or may not, run on an event loop itself."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def off_loop(work: Callable[[], T]) -> T:
    """Carry it out here, or in a thread where an event loop runs already; returns when it is done either way."""
    if not _loop_runs_here():
        return work()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


class OwnLoop:
    """A loop that runs only while something is asked of it; its tasks stand still in between.

    It runs in the test's own thread, for what is started there must not outlive a lesser one.
    """

    def __init__(self) -> None:
        # With a factory the runner leaves alone what asyncio holds to be this thread's current loop.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._thread: ThreadPoolExecutor | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result. From a test that is a coroutine it blocks that test's loop."""
        if not _loop_runs_here():
            return self._runner.run(work)
        if self._thread is None:
            # One for as long as the loop lives: a process started from it ends with it.
            self._thread = ThreadPoolExecutor(1)
        return self._thread.submit(self._runner.run, work).result()

    def close(self) -> None:
        """End the loop and cancel what is left on it."""
        off_loop(self._runner.close)
        if self._thread is not None:
            self._thread.shutdown()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
