"""A dead letter as people and programs get it."""

import json
from datetime import UTC, datetime
from shlex import quote
from typing import Any

from evfn.broker.dead_letters import DeadLetter
from evfn.broker.record import Record
from evfn.event import Entry, Event, to_json
from evfn.settlement import Reason
from evfn.trigger import Project
from evfn_cli.render import escape, escape_lines, shorten
from evfn_cli.stored_event import read

SHOWN_DATA = 2_000
"""Characters of an event's data that `dlq show` prints; `--json` has all of them."""


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


def as_line(letter: DeadLetter) -> list[str]:
    """A row of `dlq ls`."""
    error = f"{letter.error.type.rpartition('.')[2]}: {letter.error.message}"
    return [
        letter.trigger,
        letter.id,
        _reason(letter),
        str(letter.attempts),
        _when(letter.dead_ms),
        shorten(error, 100),
    ]


def as_text(letter: DeadLetter, project: Project) -> str:
    """All of it, ending with the commands that are likely next."""
    lines = [
        f"{letter.trigger}  {letter.id}  {_reason(letter)} after {letter.attempts} attempts",
        f"invocation       {letter.invocation_id}",
        f"topic            {letter.topic}",
        f"first delivered  {_when(letter.first_delivered_ms)}",
        f"dead             {_when(letter.dead_ms)}",
    ]
    shown = [escape(line) for line in lines]
    for each in letter.history:
        text = f"  attempt {each.number}  {each.outcome}  {_when(each.ended_ms)}  {shorten(each.message)}"
        shown.append(escape(text))
    if letter.record is not None:
        event = _event(letter.record, project)
        shown += ["", "event", *(f"  {escape(line)}" for line in _attributes(event))]
    trace = letter.error.traceback or f"{letter.error.type}: {letter.error.message}"
    shown += ["", "error", _indented(trace)]
    if letter.log:
        shown += ["", "what it wrote", _indented(letter.log)]
    if letter.record is not None:
        trigger, name = quote(letter.trigger), quote(letter.id)
        shown += [
            "",
            f"run it here      evfn dlq show {trigger} {name} --json | evfn invoke {trigger} --event -",
            f"send it back     evfn dlq redrive {trigger} {name}",
        ]
    return "\n".join(shown)


def _event(record: Record, project: Project) -> Event:
    return read(Entry(record.topic, record.stream_id, record.fields), project)


def _attributes(event: Event) -> list[str]:
    shown = to_json(event)
    data = json.dumps(shown.pop("data", shown.pop("data_base64", None)), ensure_ascii=False)
    return [f"{name}  {value}" for name, value in shown.items()] + [f"data  {shorten(data, SHOWN_DATA)}"]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in escape_lines(text).splitlines())


def _reason(letter: DeadLetter) -> str:
    return letter.reason.value if isinstance(letter.reason, Reason) else letter.reason


def _when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
