"""A dead letter as people and programs get it."""

import json
from datetime import UTC, datetime
from shlex import quote
from typing import Any

import click

from evfn.broker.dead_letters import DeadLetter
from evfn.broker.record import Attempt, Record
from evfn.event import Entry, Event, to_json
from evfn.settlement import Reason
from evfn.trigger import Project
from evfn_cli.opened import Opened
from evfn_cli.render import escape, escape_lines, fit, shorten
from evfn_cli.stored_event import read
from evfn_cli.user_frames import of_the_user

SHOWN_DATA = 2_000
"""Characters of an event's data that `dlq show` prints; `--json` has all of them."""
NARROW, TALL = 76, 40
"""Columns of data that stand in one line; lines of data that are set apart."""


def as_object(letter: DeadLetter, project: Project) -> dict[str, Any]:
    """The dead letter of the JSON contract; its event is in the CloudEvents format, None where it has none."""
    return {
        "id": letter.id,
        "trigger": letter.trigger,
        "topic": letter.topic,
        "invocation_id": letter.invocation_id,
        "event": None if letter.record is None else to_json(_event(letter.record, project)),
        "reason": _reason(letter),
        "error": {
            "type": letter.error.type,
            "message": letter.error.message,
            "traceback": letter.error.traceback,
        },
        "attempts": letter.attempts,
        "history": [
            {"attempt": each.number, "outcome": each.outcome, "ended_at": _when(each.ended_ms), "message": each.message}
            for each in letter.history
        ],
        "first_delivered_at": _when(letter.first_delivered_ms),
        "dead_at": _when(letter.dead_ms),
        "instance": letter.instance,
        "revision": letter.revision,
        "log": letter.log,
    }


def as_line(letter: DeadLetter, name: str) -> list[str]:
    """A row of `dlq ls`; `name` is what the commands call it."""
    error = f"{letter.error.type.rpartition('.')[2]}: {letter.error.message}"
    return [
        letter.trigger,
        name,
        _reason(letter),
        str(letter.attempts),
        _when(letter.dead_ms),
        shorten(error, 100),
    ]


def as_text(letter: DeadLetter, name: str, opened: Opened, *, command: str, width: int | None) -> str:
    """All of it, ending with the commands that are likely next; these begin with `command` and call it `name`.

    `width` is the terminal's, None where lines may be as long as they like.
    """
    error = f"{letter.error.type.rpartition('.')[2]}: {letter.error.message.partition(chr(10))[0]}"
    count = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}"
    shown = [
        click.style(escape(f"{letter.trigger}  {name}  {_reason(letter)} after {count}"), bold=True),
        click.style(escape(error if width is None else fit(escape(error), width)), fg="red"),
        f"  first delivered  {_when(letter.first_delivered_ms)}",
        f"  dead since       {_when(letter.dead_ms)}",
        escape(f"  invocation       {letter.invocation_id}"),
    ]
    if letter.record is not None:
        event = _event(letter.record, opened.project)
        title = f"event  {letter.record.topic} {letter.record.stream_id}"
        shown += ["", _heading(escape(title)), *_attributes(event)]
    trace = letter.error.traceback or f"{letter.error.type}: {letter.error.message}"
    shown += ["", _heading("error"), _indented("\n".join(of_the_user(trace, opened.location.folder)))]
    if letter.history:
        shown += ["", _heading("attempts"), *(_attempt(each, width) for each in letter.history)]
    if letter.log:
        shown += ["", _heading("what it wrote"), _indented(letter.log)]
    if letter.record is not None:
        trigger, name = quote(letter.trigger), quote(name)
        shown += [
            "",
            _heading("run it here, with a debugger where it fails"),
            f"  {command} dlq show {trigger} {name} --json | {command} invoke {trigger} --event - --debug",
            _heading("send it back to its trigger"),
            f"  {command} dlq redrive {trigger} {name}",
        ]
    return "\n".join(shown)


def _heading(text: str) -> str:
    return click.style(text, bold=True)


def _attempt(attempt: Attempt, width: int | None) -> str:
    text = escape(f"  {attempt.number}  {_when(attempt.ended_ms)}  {attempt.outcome}  {shorten(attempt.message)}")
    return text if width is None else fit(text, width)


def _event(record: Record, project: Project) -> Event:
    return read(Entry(record.topic, record.stream_id, record.fields), project)


def _attributes(event: Event) -> list[str]:
    """What is worth to be known of the event, its data last."""
    shown = to_json(event)
    data = shown.pop("data", shown.pop("data_base64", None))
    usual = {"specversion": "1.0", "datacontenttype": "application/json", "type": event.topic}
    told = {name: value for name, value in shown.items() if usual.get(name) != value}
    wide = max(map(len, told), default=0)
    lines = [escape(f"  {name:{wide}}  {value}") for name, value in told.items()]
    return [*lines, *(f"  {escape(line)}" for line in _data(data))]


def _data(data: Any) -> list[str]:
    """In one line where that is short, one member a line where that is not long."""
    text = json.dumps(data, ensure_ascii=False)
    if len(text) <= NARROW:
        return [text]
    lines = json.dumps(data, ensure_ascii=False, indent=2).splitlines() if len(text) <= SHOWN_DATA else []
    if 1 < len(lines) <= TALL:
        return lines
    return [shorten(text, SHOWN_DATA)]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in escape_lines(text).splitlines())


def _reason(letter: DeadLetter) -> str:
    return letter.reason.value if isinstance(letter.reason, Reason) else letter.reason


def _when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
