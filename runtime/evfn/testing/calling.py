"""Calls a function in the test's own process, with all that evfn does around it and without a server."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Any

import evfn
from evfn.errors import LoadError, UsageError
from evfn.event import Entry, Event, Subject, encode
from evfn.filter import Filter, FilterError
from evfn.functions.function import Function
from evfn.functions.invocation import invocation_id
from evfn.functions.loading import load
from evfn.functions.reference import parse
from evfn.functions.results import Origin
from evfn.retry import RetryPolicy
from evfn.testing.own_loop import off_loop
from evfn.testing.project import Project
from evfn.testing.sample_event import complete
from evfn.topic import Pattern, is_pattern
from evfn.trigger import DataMode, Trigger
from evfn.workers.delivery import Delivery

STREAM_ID = "1-0"
"""Where an event stands that no stream holds."""
_NAME = "test"
_AROUND = tuple(module.__path__[0] + os.sep for module in (evfn, asyncio, futures))


@dataclass(frozen=True, slots=True)
class Called:
    """What came of a call that raised nothing.

    `emits` are the events that would be stored, in their order. `dropped` says that a value was not emitted for lack of
    `emits`. `skipped` says why the trigger's filter keeps the function from running; None where it ran.
    """

    emits: tuple[Event, ...] = ()
    dropped: bool = False
    skipped: str | None = None


def call(
    function: Callable[..., Any] | str,
    data: object = None,
    *,
    topic: str = "",
    emits: str | Sequence[str] | None = None,
    attempt: int = 1,
    attempts: int | None = None,
    timeout: timedelta | float | None = None,
    trigger: str = "",
    project: Project | None = None,
) -> Called:
    """Call `function` with `data`, or an `Event`, exactly as evfn would.

    `function` is a callable, or the name of a trigger, whose filter, emits and settings then count, or `module:name`;
    names are looked up in `project`, by default that of the current folder. `topic`, `emits`, `attempts`, `timeout`
    (seconds or timedelta; only told to the function) and the name `trigger` win over the trigger's own.

    What the function raises comes out unchanged. Raises InvalidData for data that do not fit, InvalidResult for what
    cannot be stored, LoadError for a function that does not load, UsageError for a name that there is not.
    """
    __tracebackhide__ = True
    try:
        return _called(function, data, topic, emits, attempt, attempts, timeout, trigger, project)
    except Exception as error:
        # What evfn does around the function says nothing to who reads the report of his test.
        error.__traceback__ = _of_the_user(error.__traceback__)
        raise


def _called(
    function: Callable[..., Any] | str,
    data: object,
    topic: str,
    emits: str | Sequence[str] | None,
    attempt: int,
    attempts: int | None,
    timeout: timedelta | float | None,
    trigger: str,
    project: Project | None,
) -> Called:
    if isinstance(function, str):
        project = project or Project()
        chosen = _named(project, function)
    else:
        chosen = Trigger(trigger or _NAME, (), getattr(function, "__name__", _NAME))
    retry = replace(chosen.retry, attempts=max(attempt, attempts or chosen.retry.attempts))
    if attempts is not None and attempt > attempts:
        raise UsageError(f"attempt {attempt} is beyond the {attempts} that there are")
    chosen = replace(
        chosen,
        name=trigger or chosen.name,
        emits=chosen.emits if emits is None else (emits,) if isinstance(emits, str) else tuple(emits),
        retry=retry,
        timeout=chosen.timeout if timeout is None else _duration(timeout),
    )
    topic = _topic(chosen, topic, data)
    delivery = Delivery(
        topic=topic,
        stream_id=STREAM_ID,
        attempt=attempt,
        invocation_id=invocation_id(chosen.name, topic, STREAM_ID),
        fields=encode(complete(topic, data, {})),
    )
    modes = {} if project is None else {name: rules.data for name, rules in project.opened.project.topics}
    skipped = _skipped(chosen, delivery, modes)
    if skipped is not None:
        return Called(skipped=skipped)
    with _environment(project, chosen):
        return off_loop(lambda: _run(function, chosen, delivery, modes, project))


def _run(
    function: Callable[..., Any] | str,
    trigger: Trigger,
    delivery: Delivery,
    modes: Mapping[str, DataMode],
    project: Project | None,
) -> Called:
    name = _NAME
    if project is not None:
        name = project.opened.project.name
    if isinstance(function, str):
        assert project is not None  # noqa: S101 - a name was looked up in it
        function = load(parse(trigger.function), project.folder, project.functions)
    try:
        loaded = Function(
            function,
            Origin(name, trigger.name, trigger.emits),
            attempts=trigger.retry.attempts,
            timeout=trigger.timeout,
            modes=modes,
        )
    except LoadError as error:
        raise LoadError(f"{trigger.function}: {error}") from None
    try:
        ended = loaded.run_raising(delivery)
    finally:
        loaded.close()
    events = tuple(Entry(each.topic, "", list(each.fields)).event(DataMode.AUTO) for each in ended.emits)
    return Called(events, dropped=ended.unemitted)


def _named(project: Project, name: str) -> Trigger:
    if ":" in name:
        return Trigger(_NAME, (), name, retry=RetryPolicy())
    return project.trigger(name)


def _topic(trigger: Trigger, topic: str, data: object) -> str:
    """The one that is named, else the event's own, else the trigger's."""
    chosen = topic or (data.topic if isinstance(data, Event) else "")
    if not trigger.topics:
        return chosen or _NAME
    if not chosen:
        names = [each for each in trigger.topics if not is_pattern(each)]
        if not names:
            raise UsageError(f"{trigger.name} listens on {', '.join(trigger.topics)}: name one topic with topic=")
        return names[0]
    if not any(Pattern.compile(each).matches(chosen) for each in trigger.topics):
        raise UsageError(f"{trigger.name} does not listen on {chosen!r}, but on {', '.join(trigger.topics)}")
    return chosen


def _skipped(trigger: Trigger, delivery: Delivery, modes: Mapping[str, DataMode]) -> str | None:
    if trigger.filter is None:
        return None
    condition = Filter.compile(trigger.filter)
    mode = modes.get(delivery.topic, DataMode.AUTO)
    subject = Subject(delivery.topic, delivery.stream_id, delivery.fields, mode)
    try:
        return None if condition.matches(subject) else condition.explain(subject)
    except FilterError as error:
        return f"filter error: {error}"


@contextmanager
def _environment(project: Project | None, trigger: Trigger) -> Iterator[None]:
    """What the function finds in `os.environ`, as long as the call takes."""
    extra = {} if project is None else {**project.opened.env_file, **dict(trigger.env)}
    before = {name: os.environ.get(name) for name in extra}
    os.environ.update(extra)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _of_the_user(traceback: TracebackType | None) -> TracebackType | None:
    """From the first frame on that is neither evfn's nor of what evfn runs functions with."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_AROUND):
        traceback = traceback.tb_next
    return traceback


def _duration(given: timedelta | float) -> timedelta:
    return given if isinstance(given, timedelta) else timedelta(seconds=given)
