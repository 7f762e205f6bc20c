"""What an instance knows of its triggers and the server does not: kept beside its lock file for `evfn status`."""

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

from evfn import instance_lock
from evfn.listener import Happening, Listener, Started, StateChanged, TriggersChanged, TriggerState

_WORST_LAST = [
    TriggerState.OK.value,
    TriggerState.DISABLED.value,
    TriggerState.LOADING.value,
    TriggerState.BLOCKED.value,
    TriggerState.BROKEN.value,
]


class States:
    """A listener that writes each trigger's state down and passes everything on.

    Of a thousand triggers, all of which are ready within a second, not every change is written at once: at most a tenth
    of the time goes into writing.
    """

    def __init__(self, folder: Path, then: Listener) -> None:
        self._folder = folder / "instances"
        self._then = then
        self._path: Path | None = None
        self.triggers: dict[str, dict[str, str | None]] = {}
        self._next = 0.0
        self._later: asyncio.TimerHandle | None = None

    def tell(self, happening: Happening) -> None:
        if isinstance(happening, Started):
            self.forget()
            self._path = self._folder / f"{happening.instance}.json"
            for each in happening.watched:
                state = TriggerState.LOADING if each.enabled else TriggerState.DISABLED
                self.triggers.setdefault(each.trigger, {"state": state.value, "problem": None})
            self._write()
        elif isinstance(happening, StateChanged):
            self.triggers[happening.trigger] = {"state": happening.state.value, "problem": happening.problem}
            self._write()
        elif isinstance(happening, TriggersChanged):
            for name in happening.removed:
                self.triggers.pop(name, None)
            for each in happening.added:
                state = TriggerState.LOADING if each.enabled else TriggerState.DISABLED
                self.triggers[each.trigger] = {"state": state.value, "problem": None}
            self._write()
        self._then.tell(happening)

    def forget(self) -> None:
        """The instance ended."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._path is None or self._later is not None:
            return
        began = time.monotonic()
        if began < self._next:
            self._later = asyncio.get_running_loop().call_later(self._next - began, self._write_late)
            return
        # A listener never raises; a full disk costs only what `status` would have said.
        with contextlib.suppress(OSError):
            new = self._path.with_suffix(".json.new")
            new.write_text(json.dumps(self.triggers))
            new.rename(self._path)
        ended = time.monotonic()
        self._next = ended + 9 * (ended - began)

    def _write_late(self) -> None:
        self._later, self._next = None, 0.0
        self._write()


def read(folder: Path) -> dict[str, dict[str, str | None]]:
    """Trigger → its state and problem, the worst of all instances that run in this folder."""
    found: dict[str, dict[str, str | None]] = {}
    for each in instance_lock.living(folder):
        with contextlib.suppress(OSError, ValueError):
            said: dict[str, Any] = json.loads((folder / "instances" / f"{each.instance}.json").read_text())
            for trigger, state in said.items():
                if trigger not in found or _badness(state) > _badness(found[trigger]):
                    found[trigger] = state
    return found


def problems(folder: Path) -> dict[str, str]:
    """Trigger → why its events wait, for those that are broken or blocked in an instance of this folder."""
    waits = (TriggerState.BROKEN.value, TriggerState.BLOCKED.value)
    return {trigger: state["problem"] or "" for trigger, state in read(folder).items() if state["state"] in waits}


def _badness(state: dict[str, str | None]) -> int:
    word = state["state"]
    return _WORST_LAST.index(word) if word in _WORST_LAST else 0
