"""Runs one function on one event, as `evfn invoke` asks, and shows what came of it."""

import asyncio
import json
from datetime import timedelta

from evfn.errors import LoadError, UsageError
from evfn.event import Subject
from evfn.filter import Filter, FilterError
from evfn.nearest import did_you_mean
from evfn.outcome import Outcome, Succeeded
from evfn.topic import is_pattern
from evfn.trigger import DataMode, Trigger
from evfn.workers.delivery import Delivery
from evfn.workers.one_worker import Broken
from evfn.workers.template_process import Template
from evfn_cli import debugger, sample
from evfn_cli.one_worker import one_worker
from evfn_cli.opened import Opened
from evfn_cli.render import escape, out, say
from evfn_cli.sample import Sample
from evfn_cli.verdict import RETURNED, as_object, show


def invoke(
    opened: Opened, target: str, data: str | None, file: str | None, *, as_json: bool, debug: bool = False
) -> bool:
    """Run the trigger's function, or the function named itself; whether it succeeded.

    With `debug` it runs in a process that has the terminal, and a debugger opens where it fails.

    Raises UsageError where there is no such thing or no such event, LoadError where the function does not load.
    """
    trigger = _trigger(opened, target)
    topic = next((text for text in trigger.topics if not is_pattern(text)), "invoke")
    event = sample.from_data(data, topic) if file is None else sample.from_file(file, topic)
    verdict = _filtered(opened, trigger, event)
    if debug:
        return debugger.start(opened, trigger, _delivery(trigger, event))
    outcome, elapsed = asyncio.run(_invoke(opened, trigger, event))
    if as_json:
        out(json.dumps({**as_object(trigger, outcome, elapsed), "filter": verdict}))
    else:
        show(opened.location.folder, trigger, outcome, elapsed)
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


def _filtered(opened: Opened, trigger: Trigger, event: Sample) -> bool | str | None:
    """Say what the trigger's filter decides: True, False, `error: …`, or None where there is no filter."""
    if trigger.filter is None:
        return None
    topic = event.publication.topic
    modes = {name: rules.data for name, rules in opened.project.topics}
    subject = Subject(topic, event.stream_id, list(event.publication.fields), modes.get(topic, DataMode.AUTO))
    condition = Filter.compile(trigger.filter)
    try:
        if condition.matches(subject):
            say("filter: true")
            return True
    except FilterError as error:
        say(f"filter: error, {escape(str(error))}: `evfn run` would skip it")
        return f"error: {error}"
    say(f"filter: false, {escape(condition.explain(subject))}: `evfn run` would skip it")
    return False


async def _invoke(opened: Opened, trigger: Trigger, event: Sample) -> tuple[Outcome, timedelta]:
    template = Template()
    worker = one_worker(opened, trigger, template, lambda _, text: say("│ " + escape(text)))
    try:
        loaded = await worker.load()
        if isinstance(loaded, Broken):
            trace = f"\n{loaded.traceback.rstrip()}" if loaded.traceback else ""
            raise LoadError(f"{trigger.function} does not load: {loaded.message}{trace}")
        return await worker.invoke(_delivery(trigger, event))
    finally:
        await worker.close()
        await template.stop()


def _delivery(trigger: Trigger, event: Sample) -> Delivery:
    topic = event.publication.topic
    return Delivery(
        topic=topic,
        stream_id=event.stream_id,
        attempt=event.attempt,
        invocation_id=event.invocation_id or f"{trigger.name}:{topic}:{event.stream_id}",
        fields=list(event.publication.fields),
    )
