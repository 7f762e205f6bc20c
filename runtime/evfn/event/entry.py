"""A stream entry as an event: attributes from raw fields, data only when and as they are asked for."""

import base64
import binascii
import re
from typing import Any

from evfn.errors import InvalidData
from evfn.event.event import RESERVED, Event, instant, text, timestamp
from evfn.event.json_data import dump, parse
from evfn.trigger import DataMode

_EXTENSION = re.compile(rb"[a-z0-9_]+").fullmatch
_STORED = frozenset(name.encode() for name in RESERVED)
_MEDIA_JSON = re.compile(r"(?:application|text)/(?:[\w.+-]+\+)?json|[\w.-]+/[\w.+-]+\+json").fullmatch
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""").search
_OPENING = (0x7B, 0x5B)
"""`{` and `[`."""


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
            self._attributes = dict(zip(fields[::2], fields[1::2], strict=False))

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
        attributes = self._attributes
        names = attributes.keys() - _STORED
        return {name.decode(): text(attributes[name]) for name in names if _EXTENSION(name)} if names else {}

    def declares(self) -> DataMode | None:
        """What the entry itself says its body is; None where it does not say."""
        content_type = self._attributes.get(b"datacontenttype")
        if content_type is None:
            return None
        return DataMode.JSON if content_type == b"application/json" else media_mode(text(content_type))

    def data(self, mode: DataMode) -> Any:
        """The data; `mode` decides where the entry does not say what it holds.

        Raises InvalidData where they are not what the entry or the mode says.
        """
        body = self.body
        if body is None:
            return None if self.is_cloud_event else self._mapping()
        declared = self.declares()
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
        topic = self.topic
        if not self.is_cloud_event:
            return Event(self.data(mode), topic, topic, None, self.stream_id, "stream/" + topic, self.stream_id)
        get = self._attributes.get
        kind, name, source = get(b"type"), get(b"id"), get(b"source")
        subject, time, content_type, schema = get(b"subject"), get(b"time"), get(b"datacontenttype"), get(b"dataschema")
        return Event(
            self.data(mode),
            text(kind) if kind else topic,
            topic,
            None if subject is None else text(subject),
            text(name) if name else self.stream_id,
            text(source) if source else "stream/" + topic,
            self.stream_id,
            None if time is None else instant(text(time)),
            None if content_type is None else text(content_type),
            None if schema is None else text(schema),
            self.extensions,
        )

    def _mapping(self) -> dict[str, str | bytes]:
        fields = self.fields
        return {text(name): _text_or_bytes(value) for name, value in zip(fields[::2], fields[1::2], strict=False)}


def decode(topic: str, stream_id: str, fields: list[bytes], mode: DataMode) -> Event:
    """The event that an entry holds. Raises InvalidData where its data are not what the entry or `mode` says."""
    if len(fields) == 2 and fields[0] == b"data":
        # The plain entry, ready at once: this is what most producers write.
        return Event(read(fields[1], mode), topic, topic, None, stream_id, "stream/" + topic, stream_id)
    return Entry(topic, stream_id, fields).event(mode)


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


def body(data: object, content_type: str) -> bytes:
    """Data as they are stored under this content type. Raises InvalidData where they do not go together."""
    if media_mode(content_type) is DataMode.JSON:
        if isinstance(data, bytes | bytearray):
            raise InvalidData('not JSON: $ is bytes (bytes need a datacontenttype, as "application/octet-stream")')
        return dump(data)
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if isinstance(data, str):
        try:
            return data.encode(charset(content_type) or "utf-8")
        except (UnicodeError, LookupError):
            raise InvalidData(f"the text cannot be written as {content_type}") from None
    raise InvalidData(f"data of type {content_type} must be bytes or text, not {type(data).__name__}")


def read(body: bytes, mode: DataMode) -> Any:
    """A body as `mode` says; AUTO never fails: JSON where it begins and parses as such, else text, else bytes."""
    if mode is DataMode.AUTO:
        if body and body[0] in _OPENING:
            try:
                return parse(body)
            except InvalidData:
                return _text_or_bytes(body)
        return _text_or_bytes(body)
    if mode is DataMode.JSON:
        return parse(body)
    return decode_text(body) if mode is DataMode.TEXT else body


def media_mode(content_type: str) -> DataMode:
    """How data of this content type are read."""
    media = content_type.partition(";")[0].strip().lower()
    if _MEDIA_JSON(media):
        return DataMode.JSON
    return DataMode.TEXT if media.startswith("text/") else DataMode.BYTES


def charset(content_type: str) -> str | None:
    found = _CHARSET(content_type.lower())
    return found[1] if found else None


def decode_text(body: bytes, encoding: str | None = None) -> str:
    """Raises InvalidData where the bytes are no text in this encoding, by default UTF-8."""
    try:
        return body.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidData(f"not text: no {error.encoding.upper()} at byte {error.start}") from None
    except (LookupError, ValueError):
        raise InvalidData(f"not text that can be read: unknown charset {encoding!r}") from None


def from_base64(value: bytes | str) -> bytes:
    """Raises InvalidData where it is not base64."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidData("data_base64 is not base64") from None


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _attribute(name: bytes, value: object) -> bytes:
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif not isinstance(value, str | int):
        raise InvalidData(f"the attribute {name.decode()} must be text, not {type(value).__name__}")
    return str(value).encode("utf-8", "backslashreplace")
