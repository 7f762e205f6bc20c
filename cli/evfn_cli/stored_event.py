"""An event as it is stored, to be looked at: whatever its fields hold, there is something to show."""

import json
from datetime import UTC, datetime
from typing import Any

from evfn.errors import InvalidData
from evfn.event import Entry, Event, decode, to_json
from evfn.trigger import DataMode, Project
from evfn_cli.render import escape, fit

LEAST_DATA = 24
"""Columns that an event's data have on the narrowest terminal; there the line takes two rows."""


def read(entry: Entry, project: Project) -> Event:
    """The event. Data that cannot be read as they were declared are the bytes they are."""
    modes = {topic: rules.data for topic, rules in project.topics}
    mode = modes.get(entry.topic, DataMode.AUTO)
    try:
        return decode(entry.topic, entry.stream_id, entry.fields, mode)
    except InvalidData:
        kept = [
            part
            for name, value in zip(entry.fields[::2], entry.fields[1::2], strict=False)
            if name not in (b"datacontenttype", b"data", b"data_base64")
            for part in (name, value)
        ]
        data = dict(zip(entry.fields[::2], entry.fields[1::2], strict=False))
        raw = data.get(b"data", data.get(b"data_base64", b""))
        kind = [b"datacontenttype", b"application/octet-stream"] if entry.is_cloud_event else []
        return decode(entry.topic, entry.stream_id, [*kept, *kind, b"data", raw], DataMode.BYTES)


def as_object(event: Event) -> dict[str, Any]:
    """The event in the CloudEvents format, and where it is stored: its attributes `topic` and `streamid`."""
    return {**to_json(event), "topic": event.topic, "streamid": event.stream_id}


def as_line(event: Event, *, topics: int, now: datetime, width: int | None) -> str:
    """The event in one line: when it was stored, where, its type where that is not the topic's name, its data.

    `topics` is the width of the topic column; `width` the terminal's, None where data need not be shortened.
    """
    kind = "" if event.type == event.topic else f"{event.type}  "
    start = escape(f"{_when(event.stream_id, now)}  {event.topic:{topics}}  {event.stream_id}  {kind}")
    shown = to_json(event)
    data = shown["data"] if "data" in shown else shown.get("data_base64")
    text = escape(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))
    return start + (text if width is None else fit(text, max(width - len(start), LEAST_DATA)))


def _when(stream_id: str, now: datetime) -> str:
    """The local time in the id, with its day where that is not today."""
    try:
        when = datetime.fromtimestamp(int(stream_id.partition("-")[0]) / 1000, UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        # An id somebody wrote by hand need not be an instant at all.
        return "--:--:--"
    return f"{when:%H:%M:%S}" if when.date() == now.astimezone().date() else f"{when:%Y-%m-%d %H:%M:%S}"
