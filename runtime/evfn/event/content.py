"""What the bytes of a body mean: JSON, text or bytes, by content type, by rule, or by how they begin."""

import base64
import binascii
import re
from typing import Any

from evfn.errors import InvalidData
from evfn.event.json_data import decode_json, dump, parse
from evfn.trigger import DataMode

_MEDIA_JSON = re.compile(r"(?:application|text)/(?:[\w.+-]+\+)?json|[\w.-]+/[\w.+-]+\+json").fullmatch
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""").search
OPENING = frozenset({b"{", b"["})
"""What an object and a list begin with."""
_AUTO = DataMode.AUTO
"""Looking a member up costs half as much as decoding a small body."""


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
    if mode is _AUTO:
        if body[:1] in OPENING:
            try:
                # What goes wrong here is told from what is no JSON at all by `parse`, which costs a call.
                return decode_json(body)
            except (ValueError, RecursionError):
                return _json_or_text(body)
        return text_or_bytes(body)
    if mode is DataMode.JSON:
        return parse(body)
    return decode_text(body) if mode is DataMode.TEXT else body


def _json_or_text(body: bytes) -> Any:
    try:
        return parse(body)
    except InvalidData:
        return text_or_bytes(body)


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


def text_or_bytes(value: bytes) -> str | bytes:
    """Text where it is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
