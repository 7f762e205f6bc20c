"""JSON in both directions, strict: what one reader would take differently from another is refused, with its place."""

import json
import math
import re
from typing import Any

import msgspec

from evfn.errors import InvalidData

BOM = b"\xef\xbb\xbf"

MAX_PLAIN_DEPTH = 50

decode_json = msgspec.json.Decoder().decode
"""As `parse`, with msgspec's own errors (all of them ValueError, or RecursionError), for what need not be told why."""
_encoder = msgspec.json.Encoder()
_SCALARS = frozenset({str, int, bool, type(None)})
_BYTE = re.compile(r" ?\(byte (\d+)\)$")


def parse(body: bytes) -> Any:
    """The value that this JSON text stands for; a leading byte order mark is ignored.

    Raises InvalidData with the place of what is wrong: NaN and Infinity, numbers out of range, lone surrogates,
    too deep nesting and bytes that are not UTF-8 included.
    """
    try:
        return decode_json(body)
    except RecursionError:
        raise InvalidData("not JSON that can be read: it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidData(f"not JSON: no UTF-8 at byte {_offset(body, error)}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        if body.startswith(BOM):
            return parse(body[len(BOM) :])
        raise InvalidData(_reason(body, str(error))) from None


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8. Dataclasses, pydantic models and msgspec structs are written as objects.

    Raises InvalidData naming the place (`$.a[3] is a set`) where there is no JSON for a value.
    """
    try:
        if _is_plain(value, MAX_PLAIN_DEPTH):
            return _encoder.encode(value)
        return _encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(f"not JSON: {_culprit(value) or error}") from None


def _plain(value: object) -> object:
    """Called for values that JSON does not know: the object they stand for, if they obviously stand for one."""
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if not isinstance(value, type):
        fields = getattr(value, "__dataclass_fields__", None)
        if fields is not None:
            return {name: getattr(value, name) for name in fields}
        if hasattr(value, "__pydantic_validator__") and hasattr(value, "model_dump"):
            dumped: object = value.model_dump(mode="json")
            return dumped
    raise TypeError(f"{type(value).__name__} is not JSON")


def _is_plain(value: Any, depth: int) -> bool:
    """Whether it consists of nothing but JSON's own types, so that msgspec, ten times as fast, writes it the same."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is float:
        return math.isfinite(value)
    members = value
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        members = value.values()
    elif kind is not list:
        return False
    for member in members:
        if type(member) not in _SCALARS and (depth == 0 or not _is_plain(member, depth - 1)):
            return False
    return True


# json for all else: msgspec would write sets, dates, bytes and NaN in forms that nobody asked for.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


def _culprit(value: Any) -> str | None:
    """The first place that is not JSON, in words. Iterative, so that any depth can be walked."""
    pending: list[tuple[str, Any, tuple[int, ...]]] = [("$", value, ())]
    while pending:
        place, found, above = pending.pop()
        if id(found) in above:
            return f"{place} contains itself"
        if len(above) > 900:
            return f"{place[:40]}… is nested too deeply"
        if isinstance(found, bool | int) or found is None:
            continue
        if isinstance(found, float):
            if not math.isfinite(found):
                return f"{place} is {found}"
        elif isinstance(found, str):
            if not _is_unicode(found):
                return f"{place} holds a lone surrogate"
        elif isinstance(found, dict):
            for key in found:
                if not isinstance(key, str | int | float | bool | None):
                    return f"{place} has a key that is {_kind(key)}"
                if isinstance(key, str) and not _is_unicode(key):
                    return f"{place} has a key with a lone surrogate"
            inner = [(f"{place}.{key}", member, (*above, id(found))) for key, member in found.items()]
            pending.extend(reversed(inner))
        elif isinstance(found, list | tuple):
            inner = [(f"{place}[{index}]", member, (*above, id(found))) for index, member in enumerate(found)]
            pending.extend(reversed(inner))
        else:
            try:
                pending.append((place, _plain(found), (*above, id(found))))
            except Exception:
                return f"{place} is {_kind(found)}"
    return None


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}" if not isinstance(value, bytes) else "bytes"


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(body: bytes, message: str) -> str:
    if not body.strip():
        return "not JSON: it is empty"
    if message == "Input data was truncated":
        return "not JSON: it ends too early, or holds half of a surrogate pair"
    found = _BYTE.search(message)
    if found is None:
        # `Number out of range - at `$.a[...]`` names its place already.
        return f"not JSON that can be read: {message[:1].lower()}{message[1:]}"
    offset = int(found[1])
    line = body.count(b"\n", 0, offset) + 1
    column = offset - (body.rfind(b"\n", 0, offset) + 1) + 1
    what = message[: found.start()].removeprefix("JSON is malformed: ")
    return f"not JSON: {what} (line {line} column {column})"


def _offset(body: bytes, error: UnicodeDecodeError) -> int:
    """Where in the body; the error's own position counts from the start of a string within it."""
    try:
        body.decode()
    except UnicodeDecodeError as whole:
        return whole.start
    return error.start
