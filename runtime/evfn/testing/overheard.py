"""What a running project tells while a test runs: which triggers are ready or broken, and what functions write."""

import asyncio

from evfn.listener import Captured, Happening, StateChanged, TriggerState, Warned
from evfn.trigger import Project


class Overheard:
    """A listener. `broken` maps triggers to why their function does not load; `known` is set once that is decided of
    all."""

    def __init__(self, project: Project) -> None:
        self.known = asyncio.Event()
        self.broken: dict[str, str] = {}
        self._loading = {trigger.name for trigger in project.triggers if trigger.enabled}
        self._lines: list[str] = []
        if not self._loading:
            self.known.set()

    def tell(self, happening: Happening) -> None:
        match happening:
            case StateChanged(trigger, state, problem, traceback, place):
                self._state(trigger, state, f"{problem}{f' ({place})' if place else ''}\n{traceback}".rstrip())
            case Captured(trigger, _, _, text):
                self._lines.append(f"{trigger} │ {text}")
            case Warned(text):
                self._lines.append(f"warning: {text}")

    def lines(self) -> list[str]:
        """What was written since this was asked last."""
        lines, self._lines = self._lines, []
        return lines

    def _state(self, trigger: str, state: TriggerState, problem: str) -> None:
        if state is TriggerState.BROKEN:
            self.broken[trigger] = problem
        else:
            self.broken.pop(trigger, None)
        if state is not TriggerState.LOADING:
            self._loading.discard(trigger)
        if not self._loading:
            self.known.set()
