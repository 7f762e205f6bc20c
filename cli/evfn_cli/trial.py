"""Runs one function on one event, as `evfn invoke` asks, and shows what came of it."""

import asyncio
import json
from datetime import timedelta
from typing import Any

from evfn.errors import LoadError, UsageError
from evfn.event import Entry, Subject
from evfn.event import to_json as event_as_json
from evfn.filter import Filter, FilterError
from evfn.nearest import did_you_mean
from evfn.outcome import Crashed, Emit, Failed, Failure, Interrupted, Outcome, Rejected, Succeeded, TimedOut
from evfn.settlement import describe
from evfn.topic import is_pattern
from evfn.traceback import format_failure
from evfn.trigger import DataMode, Trigger
from evfn.workers.delivery import Delivery
from evfn.workers.template_process import Template
from evfn_cli import sample
from evfn_cli.one_worker import Broken, OneWorker
from evfn_cli.opened import Opened
from evfn_cli.render import escape, escape_lines, out, say, seconds
from evfn_cli.sample import Sample

RETURNED = "returned"
"""The topic that takes what a function returns which is run without a trigger."""


def invoke(opened: Opened, target: str, data: str | None, file: str | None, *, as_json: bool) -> bool:
    """Run the trigger's function, or the function named itself; whether it succeeded.

    Raises UsageError where there is no such thing or no such event, LoadError where the function does not load.
    """
    trigger = _trigger(opened, target)
    topic = next((text for text in trigger.topics if not is_pattern(text)), "invoke")
    event = sample.from_data(data, topic) if file is None else sample.from_file(file, topic)
    _say_if_skipped(opened, trigger, event)
    outcome, elapsed = asyncio.run(_invoke(opened, trigger, event))
    if as_json:
        out(json.dumps(_as_object(opened, trigger, outcome, elapsed)))
    else:
        _show(opened, trigger, outcome, elapsed)
    return isinstance(outcome, Succeeded)


def _trigger(opened: Opened, target: str) -> Trigger:
    """The trigger of this name, or one made for a function that is named itself."""
    names = [trigger.name for trigger in opened.project.triggers]
    if target in names:
        return opened.trigger(target)
    module = target.partition(":")[0]
    if ":" not in target and not (opened.location.functions / f"{module.replace('.', '/')}.py").exists():
        functions = {trigger.function for trigger in opened.project.triggers}
        hint = did_you_mean(target, {*names, *functions})
        raise UsageError(f"there is no trigger and no function {escape(target)!r}{hint}; triggers: {', '.join(names)}")
    function = target if ":" in target else f"{target}:handle"
    return Trigger("invoke", (), function, emits=(RETURNED,))


def _say_if_skipped(opened: Opened, trigger: Trigger, event: Sample) -> None:
    if trigger.filter is None:
        return
    topic = event.publication.topic
    mode = dict(opened.project.topics).get(topic)
    subject = Subject(
        topic, event.stream_id, list(event.publication.fields), DataMode.AUTO if mode is None else mode.data
    )
    try:
        if not Filter.compile(trigger.filter).matches(subject):
            say(f"the filter of {trigger.name} is false for this event: `evfn run` would skip it")
    except FilterError as error:
        say(f"the filter of {trigger.name} has an error on this event, `evfn run` would skip it: {escape(str(error))}")


async def _invoke(opened: Opened, trigger: Trigger, event: Sample) -> tuple[Outcome, timedelta]:
    template = Template()
    worker = OneWorker(opened, trigger, template, lambda _, text: say("│ " + escape(text)))
    try:
        loaded = await worker.load()
        if isinstance(loaded, Broken):
            trace = f"\n{loaded.traceback.rstrip()}" if loaded.traceback else ""
            raise LoadError(f"{trigger.function} does not load: {loaded.message}{trace}")
        topic = event.publication.topic
        name = event.invocation_id or f"{trigger.name}:{topic}:{event.stream_id}"
        fields = list(event.publication.fields)
        delivery = Delivery(
            topic=topic, stream_id=event.stream_id, attempt=event.attempt, invocation_id=name, fields=fields
        )
        return await worker.invoke(delivery)
    finally:
        await worker.close()
        await template.stop()


def _show(opened: Opened, trigger: Trigger, outcome: Outcome, elapsed: timedelta) -> None:
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
    say(escape_lines(format_failure(failure).replace(f"{opened.location.folder}/", "")))
    if isinstance(outcome, TimedOut | Crashed) and outcome.stack:
        say(escape_lines(outcome.stack))
    say(f"{_word(outcome)}{took}")


def _as_object(opened: Opened, trigger: Trigger, outcome: Outcome, elapsed: timedelta) -> dict[str, Any]:
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
