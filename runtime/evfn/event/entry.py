"""A stream entry as an event: attributes from raw fields, data only when and as they are asked for."""

import re
from collections.abc import Callable
from typing import Any

from evfn.errors import InvalidData
from evfn.event.content import OPENING, body, charset, decode_text, from_base64, media_mode, read, text_or_bytes
from evfn.event.event import RESERVED, Event, instant, text, timestamp
from evfn.event.json_data import dump, parse
from evfn.trigger import DataMode

_EXTENSION = re.compile(rb"[a-z0-9_]+").fullmatch
_STORED = frozenset(name.encode() for name in RESERVED)
MAX_KNOWN_EXTENSIONS = 1000
_known_extensions: dict[bytes, str] = {}
"""Names seen before: the same few come with every event."""
_JSON = b"application/json"


class Entry:
    """A view on one entry's fields (alternating name and value), nothing decoded yet.

    With a `specversion` field it is a CloudEvent, whose fields are attributes; any other entry is a plain one, whose
    body is its single field `data`, or else the mapping of all its fields.
    """

    __slots__ = ("_attributes", "fields", "is_cloud_event", "stream_id", "topic")

    def __init__(self, topic: str, stream_id: str, fields: list[bytes]) -> None:
        self.topic = topic
        self.stream_id = stream_id
        self.fields = fields
        self._attributes: dict[bytes, bytes] = {}
        self.is_cloud_event = bool(fields) and (fields[0] == b"specversion" or b"specversion" in fields[::2])
        if self.is_cloud_event:
            pairs = iter(fields)
            self._attributes = dict(zip(pairs, pairs, strict=False))

    @property
    def body(self) -> bytes | None:
        """The data as stored; None where a CloudEvent has none and where the data are all fields of a plain entry.

        Raises InvalidData where a field `data_base64` is not base64.
        """
        if self.is_cloud_event:
            stored = self._attributes.get(b"data")
            if stored is None and b"data_base64" in self._attributes:
                return from_base64(self._attributes[b"data_base64"])
            return stored
        return self.fields[1] if len(self.fields) == 2 and self.fields[0] == b"data" else None

    def attribute(self, name: str) -> str | None:
        """An attribute as text, None where the entry does not give it: also `data…` members and extensions."""
        value = self._attributes.get(name.encode())
        return None if value is None else text(value)

    @property
    def extensions(self) -> dict[str, str]:
        """Every lower-case attribute that CloudEvents do not define."""
        return _extensions(self._attributes, text)

    def declares(self) -> DataMode | None:
        """What the entry itself says its body is; None where it does not say."""
        content_type = self._attributes.get(b"datacontenttype")
        if content_type is None:
            return None
        return DataMode.JSON if content_type == _JSON else media_mode(text(content_type))

    def data(self, mode: DataMode) -> Any:
        """The data; `mode` decides where the entry does not say what it holds.

        Raises InvalidData where they are not what the entry or the mode says.
        """
        body = self._attributes.get(b"data") or self.body
        if body is None:
            return None if self.is_cloud_event else self._mapping()
        declared = self.declares()
        if declared is DataMode.JSON:
            return parse(body)
        if declared is None:
            return read(body, mode)
        if declared is DataMode.TEXT:
            return decode_text(body, charset(self.attribute("datacontenttype") or ""))
        return read(body, declared)

    def as_bytes(self) -> bytes:
        """The body as stored; for a mapping of all fields its JSON; empty where there is none."""
        body = self.body
        if body is not None:
            return body
        if self.is_cloud_event:
            return b""
        shown = {name: text(value) if isinstance(value, bytes) else value for name, value in self._mapping().items()}
        return dump(shown)

    def as_text(self, mode: DataMode) -> str:
        """The body's text. JSON that is a single string is that string, so that an emitted text comes back as it was.

        Raises InvalidData where it is not text.
        """
        body = self.as_bytes()
        declared = self.declares()
        if (declared or mode) is DataMode.JSON and body[:1] == b'"':
            value = parse(body)
            return value if isinstance(value, str) else decode_text(body)
        if declared is DataMode.TEXT:
            return decode_text(body, charset(self.attribute("datacontenttype") or ""))
        return decode_text(body)

    def event(self, mode: DataMode) -> Event:
        """The whole event, data included. Raises InvalidData as `data` does."""
        topic, stream_id = self.topic, self.stream_id
        data = self.data(mode)
        if not self.is_cloud_event:
            return Event(data, topic, topic, None, stream_id, "stream/" + topic, stream_id)
        return _cloud_event(topic, stream_id, data, self._attributes)

    def _mapping(self) -> dict[str, str | bytes]:
        fields = self.fields
        return {text(name): text_or_bytes(value) for name, value in zip(fields[::2], fields[1::2], strict=False)}


def decode(topic: str, stream_id: str, fields: list[bytes], mode: DataMode) -> Event:
    """The event that an entry holds. Raises InvalidData where its data are not what the entry or `mode` says."""
    # The two kinds that nearly all events are, with no view in between.
    if len(fields) == 2 and fields[0] == b"data":
        return Event(read(fields[1], mode), topic, topic, None, stream_id, "stream/" + topic, stream_id)
    if fields and fields[0] == b"specversion":
        pairs = iter(fields)
        attributes = dict(zip(pairs, pairs, strict=False))
        if attributes.get(b"datacontenttype") == _JSON and b"data" in attributes:
            return _cloud_event(topic, stream_id, parse(attributes[b"data"]), attributes)
    return Entry(topic, stream_id, fields).event(mode)


def json_body(fields: list[bytes]) -> bytes | None:
    """The body of an entry that is JSON, or a plain one that begins like an object or a list; None where that has to be
    looked at more closely, or the body is none of these."""
    if len(fields) == 2 and fields[0] == b"data":
        return fields[1] if fields[1][:1] in OPENING else None
    if fields and fields[0] == b"specversion" and _JSON in fields:
        attributes = dict(zip(fields[::2], fields[1::2], strict=False))
        return attributes.get(b"data") if attributes.get(b"datacontenttype") == _JSON else None
    return None


def encode(event: Event) -> list[bytes]:
    """The fields that store an event, alternating name and value. What is empty is left out.

    Raises InvalidData where the data are not JSON (or what `datacontenttype` says), or an extension's name is none.
    """
    content_type = event.datacontenttype or "application/json"
    fields = [b"specversion", b"1.0"]
    for name, value in (
        (b"id", event.id),
        (b"source", event.source),
        (b"type", event.type),
        (b"subject", event.subject),
        (b"time", None if event.time is None else timestamp(event.time)),
        (b"datacontenttype", content_type),
        (b"dataschema", event.dataschema),
    ):
        if value:
            fields += (name, _attribute(name, value))
    for extension, content in event.extensions.items():
        name = str(extension).encode("utf-8", "backslashreplace")
        if name in _STORED or not _EXTENSION(name):
            raise InvalidData(f"{extension!r} is no name for an extension: lower-case letters and digits are")
        fields += (name, _attribute(name, content))
    fields += (b"data", body(event.data, content_type))
    return fields


def _cloud_event(topic: str, stream_id: str, data: Any, attributes: dict[bytes, bytes]) -> Event:
    try:
        return _with_attributes(topic, stream_id, data, attributes.copy(), bytes.decode)
    except UnicodeDecodeError:
        return _with_attributes(topic, stream_id, data, attributes.copy(), text)


def _with_attributes(
    topic: str, stream_id: str, data: Any, attributes: dict[bytes, bytes], text: Callable[[bytes], str]
) -> Event:
    """Takes the attributes out of the mapping one by one; what is left are extensions."""
    pop = attributes.pop
    kind, name, source = pop(b"type", None), pop(b"id", None), pop(b"source", None)
    subject, time = pop(b"subject", None), pop(b"time", None)
    content_type, schema = pop(b"datacontenttype", None), pop(b"dataschema", None)
    pop(b"data", None)
    pop(b"specversion", None)
    return Event(
        data,
        text(kind) if kind else topic,
        topic,
        None if subject is None else text(subject),
        text(name) if name else stream_id,
        text(source) if source else "stream/" + topic,
        stream_id,
        None if time is None else instant(text(time)),
        None if content_type is None else text(content_type),
        None if schema is None else text(schema),
        _extensions(attributes, text) if attributes else {},
    )


def _extensions(attributes: dict[bytes, bytes], text: Callable[[bytes], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for stored, value in attributes.items():
        name = _known_extensions.get(stored)
        if name is None:
            if stored in _STORED or not _EXTENSION(stored):
                continue
            name = stored.decode()
            if len(_known_extensions) < MAX_KNOWN_EXTENSIONS:
                _known_extensions[stored] = name
        found[name] = text(value)
    return found


def _attribute(name: bytes, value: object) -> bytes:
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif not isinstance(value, str | int):
        raise InvalidData(f"the attribute {name.decode()} must be text, not {type(value).__name__}")
    return str(value).encode("utf-8", "backslashreplace")
