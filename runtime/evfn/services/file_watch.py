"""Says that something in a project's folders changed. A hint, never the truth: whoever hears it looks for himself."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from evfn.clock import Clock

STEP_MS = 30
"""A burst of changes ends when nothing changed for so long: editors write a file in several steps."""
BURST_MS = 200
SWEEP = timedelta(seconds=5)
"""How often a change is assumed anyway: not every file system tells."""
POLL_MS = 300


class FileWatch:
    """Watches the functions folder with all below it, and other folders without. `on_change` must be quick."""

    def __init__(
        self, functions_dir: Path, on_change: Callable[[], None], on_warning: Callable[[str], None], clock: Clock
    ) -> None:
        self._functions_dir = functions_dir
        self._on_change = on_change
        self._on_warning = on_warning
        self._clock = clock
        self._folders: frozenset[Path] = frozenset()
        self._other = asyncio.Event()
        self._polling = False

    def watch(self, folders: Iterable[Path]) -> None:
        """Watch these folders too, instead of those named before; what is in the functions folder is watched anyway."""
        others = frozenset(each for each in folders if not each.is_relative_to(self._functions_dir))
        if others != self._folders:
            self._folders = others
            self._other.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        parts = [
            asyncio.create_task(self._deep()),
            asyncio.create_task(self._shallow()),
            asyncio.create_task(self._sweep()),
        ]
        try:
            await asyncio.gather(*parts)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _deep(self) -> None:
        while True:
            if self._functions_dir.is_dir():
                await self._listen([self._functions_dir], recursive=True)
            await self._clock.sleep(timedelta(milliseconds=POLL_MS))

    async def _shallow(self) -> None:
        while True:
            self._other.clear()
            listening = asyncio.create_task(
                self._listen([each for each in self._folders if each.is_dir()], recursive=False)
            )
            changing = asyncio.create_task(self._other.wait())
            try:
                await asyncio.wait([listening, changing], return_when=asyncio.FIRST_COMPLETED)
            finally:
                listening.cancel()
                changing.cancel()
                await asyncio.gather(listening, changing, return_exceptions=True)
            # What changed while nobody listened was missed.
            self._on_change()
            await self._clock.sleep(timedelta(milliseconds=STEP_MS))

    async def _listen(self, folders: list[Path], *, recursive: bool) -> None:
        """Returns when a folder cannot be watched any more."""
        from watchfiles import awatch  # Here, for it takes 40 ms of a start that need not wait for it.

        if not folders:
            await asyncio.Event().wait()
        try:
            async for _ in awatch(
                *folders,
                recursive=recursive,
                step=STEP_MS,
                debounce=BURST_MS,
                force_polling=self._polling or None,
                poll_delay_ms=POLL_MS,
                ignore_permission_denied=True,
            ):
                self._on_change()
        except FileNotFoundError:
            self._on_change()
        except OSError as error:
            if not self._polling:
                self._polling = True
                self._on_warning(f"the system refuses to watch files ({error}): they are looked at every {POLL_MS} ms")
            else:
                await self._clock.sleep(SWEEP)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP)
            self._on_change()
