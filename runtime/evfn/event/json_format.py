"""Events in the CloudEvents JSON format: how they are shown, kept in files and read from them."""

import base64
from collections.abc import Mapping
from typing import Any

from evfn.errors import InvalidData
from evfn.event.content import from_base64, media_mode
from evfn.event.event import RESERVED, Event, instant, timestamp
from evfn.event.json_data import parse
from evfn.trigger import DataMode


def to_json(event: Event) -> dict[str, Any]:
    """The event as an object that any JSON writer takes: data that are bytes go into `data_base64`."""
    shown: dict[str, Any] = {"specversion": "1.0", "id": event.id, "source": event.source, "type": event.type}
    optional = {
        "subject": event.subject,
        "time": None if event.time is None else timestamp(event.time),
        "datacontenttype": event.datacontenttype,
        "dataschema": event.dataschema,
    }
    shown |= {name: value for name, value in optional.items() if value is not None}
    shown |= {name: value for name, value in event.extensions.items() if name not in RESERVED}
    data = event.data
    if isinstance(data, bytes | bytearray):
        shown["data_base64"] = base64.b64encode(data).decode()
    elif isinstance(data, Mapping) and any(isinstance(value, bytes) for value in data.values()):
        # A plain entry of several fields, some of which are no text.
        shown["data"] = {
            name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
            for name, value in data.items()
        }
    else:
        shown["data"] = data
    return shown


def from_json(document: Mapping[str, Any] | bytes | str) -> Event:
    """The event in a CloudEvents JSON object. Missing `id`, `source` and `type` are left empty.

    Raises InvalidData naming the member that is wrong.
    """
    if isinstance(document, bytes | str):
        document = parse(document.encode() if isinstance(document, str) else document)
    if not isinstance(document, Mapping):
        raise InvalidData(f"an event in JSON is an object with specversion, not {_kind(document)}")
    version = document.get("specversion")
    if not isinstance(version, str) or not version.startswith("1."):
        raise InvalidData(f'specversion is {version!r}, but an event in JSON says "specversion": "1.0"')
    names = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
    values = {name: _text(name, document.get(name)) for name in names}
    time = values["time"]
    moment = None if time is None else instant(time)
    if time is not None and moment is None:
        raise InvalidData(f"time is {time!r}, not an RFC 3339 time as 2026-11-23T10:00:00Z")
    content_type = values["datacontenttype"]
    return Event(
        data=_data(document, content_type),
        type=values["type"] or "",
        subject=values["subject"],
        id=values["id"] or "",
        source=values["source"] or "",
        time=moment,
        datacontenttype=content_type,
        dataschema=values["dataschema"],
        extensions={
            name: written
            for name, value in document.items()
            if name not in RESERVED and (written := _text(name, value)) is not None
        },
    )


def _data(document: Mapping[str, Any], content_type: str | None) -> Any:
    if "data_base64" not in document:
        return document.get("data")
    if "data" in document:
        raise InvalidData("an event has either data or data_base64, not both")
    encoded = document["data_base64"]
    if not isinstance(encoded, str):
        raise InvalidData(f"data_base64 is {_kind(encoded)}, not text")
    data = from_base64(encoded)
    # JSON may come this way too; it is data like any other once it is read.
    return parse(data) if content_type is not None and media_mode(content_type) is DataMode.JSON else data


def _text(name: str, value: object) -> str | None:
    """An attribute's canonical text; numbers and booleans are allowed in extensions."""
    if value is None or isinstance(value, str):
        return value
    if name not in RESERVED and isinstance(value, bool):
        return "true" if value else "false"
    if name not in RESERVED and isinstance(value, int):
        return str(value)
    raise InvalidData(f"{name} is {_kind(value)}, not text")


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else f"{value!r}"[:40]
