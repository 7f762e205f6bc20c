"""Event data as a parameter's annotation wants them: raw, text, or validated into the annotated type."""

import typing
from collections.abc import Callable
from typing import Any

import msgspec

from evfn.errors import InvalidData, LoadError
from evfn.event import Entry
from evfn.trigger import DataMode

Reader = Callable[[Entry, DataMode], Any]
Convert = Callable[[Any], Any]

MAX_PROBLEMS = 5
"""So many places of bad data are named; the rest is counted."""
_OBJECTS = (dict, dict[str, Any])
_LISTS = (list, list[Any])


def reader(annotation: Any, parameter: str) -> Reader:
    """How to read an entry's data as this type.

    `bytes` is the body as stored, `str` its text, `dict`, `list` and `Any` are JSON as it is; every other type is
    validated, in pydantic's lax mode: `"31.5"` fits `float`. Raises LoadError for a type that data cannot have; the
    reader raises InvalidData for data that do not fit, naming the places.
    """
    if annotation is bytes:
        return lambda entry, mode: entry.as_bytes()
    if annotation is str:
        return lambda entry, mode: entry.as_text(mode)
    if annotation in (Any, object):
        return lambda entry, mode: entry.data(mode)
    convert = _converter(annotation, parameter)

    def read(entry: Entry, mode: DataMode) -> Any:
        # The annotation decides over the topic's rule: a type is read from JSON wherever there is JSON.
        return convert(entry.data(DataMode.JSON if mode is DataMode.JSON else DataMode.AUTO))

    return read


def _converter(annotation: Any, parameter: str) -> Convert:
    if annotation in _OBJECTS:
        return _instance_of(dict, "an object")
    if annotation in _LISTS:
        return _instance_of(list, "a list")
    if typing.is_typeddict(annotation) or _is_struct(annotation):
        # pydantic refuses typing.TypedDict before Python 3.12, and never takes a struct.
        return _by_msgspec(annotation, parameter)
    # Imported only here: it takes 70 ms, and most functions do without.
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        validate = TypeAdapter(annotation).validator.validate_python
    except PydanticUserError as error:
        if error.code == "typed-dict-version":
            return _by_msgspec(annotation, parameter)
        raise LoadError(_no_type(annotation, parameter, error)) from None
    except Exception as error:
        raise LoadError(_no_type(annotation, parameter, error)) from None

    def convert(data: Any) -> Any:
        try:
            return validate(data)
        except ValidationError as error:
            raise InvalidData(_problems(error.errors(include_url=False, include_context=False))) from None

    return convert


def _instance_of(kind: type, name: str) -> Convert:
    def convert(data: Any) -> Any:
        if type(data) is kind:
            return data
        raise InvalidData(f"$ should be {name}, not {_kind(data)}")

    return convert


def _by_msgspec(annotation: Any, parameter: str) -> Convert:
    try:
        msgspec.json.Decoder(annotation)
    except Exception as error:
        raise LoadError(_no_type(annotation, parameter, error)) from None

    def convert(data: Any) -> Any:
        try:
            return msgspec.convert(data, annotation, strict=False)
        except msgspec.ValidationError as error:
            what, _, place = str(error).partition(" - at ")
            raise InvalidData(f"{place.strip('`') or '$'}: {what[:1].lower()}{what[1:]}") from None

    return convert


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _problems(errors: list[Any]) -> str:
    """`$.celsius: Input should be a valid number (got 'warm')`, for the first places."""
    shown = []
    for error in errors[:MAX_PROBLEMS]:
        place = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
        got = "" if error["type"] == "missing" else f" (got {_short(error['input'])})"
        shown.append(f"{place}: {error['msg']}{got}")
    more = len(errors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return _kind(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _kind(data: object) -> str:
    if data is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(data), type(data).__name__)


def _no_type(annotation: Any, parameter: str, error: Exception) -> str:
    name = getattr(annotation, "__name__", None) or str(annotation)
    reason = str(error).strip().partition("\n")[0]
    return f"{parameter!r} is annotated {name}, which is no type that data can have: {reason}"
