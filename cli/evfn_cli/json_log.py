"""What `evfn serve` prints: one JSON object a line, as `evfn_cli.log_events` lists them.

Plain successes of a period are one line a trigger, and a trigger that has too much to say has the rest counted.
"""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evfn.listener import (
    Captured,
    FilterFailed,
    Happening,
    Invoked,
    LeaseLost,
    LeaseUncertain,
    NotReloaded,
    Reloaded,
    ReloadEnded,
    Reloading,
    Started,
    StateChanged,
    Stopped,
    Stopping,
    SucceededMany,
    TriggersChanged,
    TriggerState,
    Unbound,
    Unreachable,
    Warned,
    Watched,
)
from evfn.outcome import Crashed, Failed, Failure, Rejected, Succeeded, TimedOut
from evfn.settlement import Ack, DeadLetter, Release, RetryAt
from evfn.traceback import format_failure
from evfn_cli.log_events import EVENTS
from evfn_cli.log_line import pack
from evfn_cli.masks import Masks

PERIOD_SECONDS = 10.0
LINES = {"output": 1_000, "attempt_succeeded": 100, "attempt_failed": 100, "dead_lettered": 100}
"""Lines of each event that a trigger may have in a period."""
_WRITTEN = {"text", "data", "message", "traceback"}
"""Fields that hold what functions write, raise, and are given."""


class JsonLog:
    """A listener. `write` takes one line; `folder` is the project's; `masks` may be exchanged at any time."""

    def __init__(
        self, write: Callable[[str], None], folder: Path, masks: Masks, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.masks = masks
        self._write = write
        self._folder = f"{folder}/"
        self._clock = clock
        self._since = clock()
        self._succeeded: Counter[str] = Counter()
        self._emitted: Counter[str] = Counter()
        self._lines: Counter[tuple[str, str]] = Counter()

    def tell(self, happening: Happening) -> None:
        """Write it down, or count it."""
        match happening:
            case Started(project, instance, server, watched):
                self.say("started", project=project, instance=instance, server=server, version=version("evfn"))
                for each in watched:
                    self.say("watching", **_described(each))
            case SucceededMany(trigger, count, emitted=emitted):
                self._succeeded[trigger] += count
                self._emitted[trigger] += emitted
            case Invoked():
                self._invoked(happening)
            case Captured(trigger, invocation_id, stream, text):
                if self._room(trigger, "output"):
                    self.say("output", trigger=trigger, stream=stream, text=text, invocation_id=invocation_id)
            case StateChanged():
                self._state(happening)
            case FilterFailed(trigger, topic, stream_id, failure, event):
                error = _error(failure, "")
                self.say("filter_failed", trigger=trigger, topic=topic, stream_id=stream_id, error=error, data=event)
            case Warned(text, trigger):
                self.say("warning", text=text, trigger=trigger)
            case TriggersChanged(added, removed):
                for each in added:
                    self.say("trigger_added", **_described(each))
                for name in removed:
                    self.say("trigger_removed", trigger=name)
            case Unbound(file, lines):
                self.say("file_unused", file=str(file).removeprefix(self._folder), text=lines)
            case Unreachable() | LeaseUncertain() | LeaseLost():
                self._server(happening)
            case Reloading() | Reloaded() | NotReloaded() | ReloadEnded():
                self._reload(happening)
            case Stopping(cause, running):
                self.say("stopping", cause=cause, running=running)
            case Stopped(cause, interrupted):
                self.flush()
                level = "warning" if interrupted else "info"
                self.say("stopped", level, cause=cause, interrupted=interrupted)

    def say(self, event: str, level: str = "", **fields: Any) -> None:
        """Write one line; fields that are None are left out. Without `level` it is the event's own."""
        self._write(self.line(event, level, **fields))

    def line(self, event: str, level: str = "", **fields: Any) -> str:
        """The line, not written."""
        return pack(
            {
                "time": _instant(datetime.now(UTC)),
                "level": level or EVENTS[event].level,
                "event": event,
                **{name: self._masked(name, value) for name, value in fields.items() if value is not None},
            }
        )

    def mask(self, text: str) -> str:
        """The text without what is secret now."""
        return self.masks.mask(text)

    def tick(self) -> None:
        """To be called every second or so: writes what was counted when a period is over."""
        if self._clock() - self._since >= PERIOD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was counted so far; a new period begins."""
        seconds = round(self._clock() - self._since, 1)
        succeeded, emitted, lines = self._succeeded, self._emitted, self._lines
        self._succeeded, self._emitted, self._lines = Counter(), Counter(), Counter()
        self._since = self._clock()
        for trigger, count in succeeded.items():
            self.say("succeeded", trigger=trigger, count=count, emitted=emitted[trigger], seconds=seconds)
        for (trigger, event), count in lines.items():
            if count > LINES[event]:
                self.say("suppressed", trigger=trigger, of=event, count=count - LINES[event], seconds=seconds)

    def _invoked(self, invoked: Invoked) -> None:
        settlement = invoked.settlement
        if isinstance(settlement, Ack) and invoked.attempt == 1:
            self._succeeded[invoked.trigger] += 1
            self._emitted[invoked.trigger] += len(settlement.emits)
            return
        took = None if invoked.duration is None else round(invoked.duration.total_seconds() * 1000, 3)
        which: dict[str, Any] = {
            "trigger": invoked.trigger,
            "topic": invoked.topic,
            "stream_id": invoked.stream_id,
            "invocation_id": invoked.invocation_id,
            "attempt": invoked.attempt,
            "attempts": invoked.attempts,
            "outcome": _word(invoked),
            "duration_ms": took,
        }
        match settlement:
            case Ack(emits):
                if self._room(invoked.trigger, "attempt_succeeded"):
                    self.say("attempt_succeeded", **which, emitted=len(emits))
            case RetryAt(due, failure):
                if self._room(invoked.trigger, "attempt_failed"):
                    # Those between the first and the last fail as a rule in the same place.
                    error = _error(failure, _stack(invoked) if invoked.attempt == 1 else "")
                    self.say("attempt_failed", **which, next_attempt_at=_instant(due), error=error)
            case DeadLetter(reason, failure):
                if self._room(invoked.trigger, "dead_lettered"):
                    error = _error(failure, _stack(invoked))
                    self.say("dead_lettered", **which, reason=reason.value, error=error)
            case Release():
                pass  # Nothing came of it; it is delivered again.

    def _state(self, changed: StateChanged) -> None:
        bad = changed.state in (TriggerState.BROKEN, TriggerState.BLOCKED)
        self.say(
            "trigger_state",
            "error" if bad else "info",
            trigger=changed.trigger,
            state=changed.state.value,
            problem=changed.problem,
            place=changed.place or None,
            traceback=changed.traceback or None,
        )

    def _server(self, happening: Unreachable | LeaseUncertain | LeaseLost) -> None:
        match happening:
            case Unreachable(problem):
                self.say("unreachable", problem=problem)
            case LeaseUncertain(None):
                self.say("lease_renewed")
            case LeaseUncertain(problem):
                self.say("lease_uncertain", problem=problem)
            case LeaseLost(why):
                self.say("lease_lost", problem=why)

    def _reload(self, happening: Reloading | Reloaded | NotReloaded | ReloadEnded) -> None:
        match happening:
            case Reloading(cause):
                self.say("reloading", cause=cause)
            case Reloaded(triggers, dead):
                self.say("reloaded", triggers=list(triggers), dead=dict(dead) or None)
            case NotReloaded(problem, triggers, traceback):
                names = list(triggers) or None
                self.say("not_reloaded", problem=problem, triggers=names, traceback=traceback or None)
            case ReloadEnded(refused):
                self.say("reload_ended", refused=refused)

    def _room(self, trigger: str, event: str) -> bool:
        self._lines[trigger, event] += 1
        return self._lines[trigger, event] <= LINES[event]

    def _masked(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return self.masks.mask_written(value) if name in _WRITTEN else self.masks.mask(value)
        if isinstance(value, dict):
            return {key: self._masked(key, each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._masked(name, each) for each in value]
        return value


def _described(each: Watched) -> dict[str, Any]:
    return {
        "trigger": each.trigger,
        "topics": list(each.topics),
        "function": each.function,
        "enabled": each.enabled,
        "filter": each.filter,
        "emits": list(each.emits) or None,
    }


def _word(invoked: Invoked) -> str:
    match invoked.outcome:
        case Succeeded():
            return "succeeded"
        case TimedOut():
            return "timed_out"
        case Crashed():
            return "crashed"
        case Rejected():
            return "rejected"
        case _:
            return "failed"


def _error(failure: Failure, traceback: str) -> dict[str, str]:
    error = {"type": failure.type, "message": failure.message}
    return {**error, "traceback": traceback} if traceback else error


def _stack(invoked: Invoked) -> str:
    match invoked.outcome:
        case Failed(failure) | Rejected(failure=failure):
            return format_failure(failure) if failure.frames else ""
        case TimedOut(stack=stack) | Crashed(stack=stack):
            return stack
        case _:
            return ""


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
