"""What came of an attempt, for people and for programs."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from evfn.event import Entry
from evfn.event import to_json as event_as_json
from evfn.outcome import Crashed, Emit, Failed, Failure, Interrupted, Outcome, Rejected, Succeeded, TimedOut
from evfn.settlement import describe
from evfn.traceback import format_failure
from evfn.trigger import DataMode, Trigger
from evfn_cli.render import escape, escape_lines, out, say, seconds

RETURNED = "returned"
"""The topic that takes what a function returns which is run without a trigger."""


def show(folder: Path, trigger: Trigger, outcome: Outcome, elapsed: timedelta) -> None:
    """Emits on stdout, all else on stderr. `folder` is the project's, to shorten the names of files."""
    took = f" {seconds(elapsed.total_seconds())}" if elapsed else ""
    if isinstance(outcome, Succeeded):
        for emit in outcome.emits:
            event = _event(emit)
            data = json.dumps(event.get("data", event.get("data_base64")), ensure_ascii=False)
            out(escape(data if emit.topic == RETURNED else f"→ {emit.topic}  {data}"))
        say(f"ok{took}" + ("" if outcome.emits or outcome.unemitted else ", nothing returned"))
        if outcome.unemitted:
            say(f"it returned a value, which is dropped: {trigger.name} has no `emits`")
        return
    failure = _failure(outcome)
    say(escape_lines(format_failure(failure).replace(f"{folder}/", "")))
    if isinstance(outcome, TimedOut | Crashed) and outcome.stack:
        say(escape_lines(outcome.stack))
    say(f"{_word(outcome)}{took}")


def as_object(trigger: Trigger, outcome: Outcome, elapsed: timedelta) -> dict[str, Any]:
    """One object; its events are in the CloudEvents format."""
    failure = None if isinstance(outcome, Succeeded) else _failure(outcome)
    return {
        "version": 1,
        "trigger": trigger.name if trigger.topics else None,
        "function": trigger.function,
        "outcome": _word(outcome),
        "seconds": elapsed.total_seconds(),
        "emits": [{"topic": emit.topic, "event": _event(emit)} for emit in outcome.emits]
        if isinstance(outcome, Succeeded)
        else [],
        "error": None
        if failure is None
        else {"type": failure.type, "message": failure.message, "traceback": format_failure(failure)},
    }


def _event(emit: Emit) -> dict[str, Any]:
    return event_as_json(Entry(emit.topic, "", list(emit.fields)).event(DataMode.AUTO))


def _failure(outcome: Outcome) -> Failure:
    match outcome:
        case Failed(failure) | Rejected(_, failure):
            return failure
        case TimedOut() | Crashed():
            return describe(outcome)
        case Interrupted(cause):
            return Failure("evfn.Interrupted", cause)
        case Succeeded():
            raise ValueError("a success is no failure")


def _word(outcome: Outcome) -> str:
    match outcome:
        case Succeeded():
            return "succeeded"
        case Failed():
            return "failed"
        case Rejected(reason):
            return reason
        case TimedOut():
            return "timed_out"
        case Crashed():
            return "crashed"
        case Interrupted():
            return "interrupted"
