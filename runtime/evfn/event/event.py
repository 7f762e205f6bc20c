"""The event itself: an immutable fact with CloudEvents attributes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

HOPS = "evfnhops"
"""The extension that counts how many functions an event came through, so that a loop of emits ends."""

RESERVED = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64"}
)
"""Names that are no extensions: the attributes of CloudEvents and the members that hold the data."""


class Event(msgspec.Struct, frozen=True):
    """An event as a function gets it, or as it returns one: `Event(data={...}, type="alert", subject="north")`.

    `data` is what the event carries: values as in JSON, text, or bytes. `id` and `source` together name it; `time`,
    where given, is when it happened (aware). `topic` and `stream_id` say where it is stored. `extensions` are further
    attributes, text by lower-case name. In an event that a function makes, everything left empty is filled in: the
    topic is the first of `emits`, the type the topic's name.
    """

    data: Any = None
    type: str = ""
    topic: str = ""
    subject: str | None = None
    id: str = ""
    source: str = ""
    stream_id: str = ""
    time: datetime | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, str] = {}

    def __getitem__(self, key: object) -> NoReturn:
        """Not its data: raises TypeError that says how the data are read."""
        raise TypeError(f"an event is not its data: write event.data[{key!r}]")

    def __contains__(self, key: object) -> NoReturn:
        """Not its data: raises TypeError that says how the data are read."""
        raise TypeError(f"an event is not its data: write {key!r} in event.data")

    def __getattr__(self, name: str) -> NoReturn:
        # Only called for names that no event has.
        if name.startswith("__"):
            raise AttributeError(name)
        has = ", ".join(self.__struct_fields__)
        raise AttributeError(f"an event has no attribute {name!r} (it has: {has}); its data are in event.data")

    def replace(self, **changes: Any) -> "Event":
        """A copy with other attributes. Raises TypeError for a name that events do not have."""
        return msgspec.structs.replace(self, **changes)


def text(value: bytes) -> str:
    """An attribute as text; what is no UTF-8 is shown as `\\xff`, because a bad attribute must not stop an event."""
    return str(value, "utf-8", "backslashreplace")


def instant(value: str) -> datetime | None:
    """An RFC 3339 time, taken as UTC where it names no zone; None where it is no time at all."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def timestamp(time: datetime) -> str:
    """RFC 3339 text of an instant, with `Z` for UTC."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    written = time.isoformat(timespec="auto" if time.microsecond % 1000 else "milliseconds")
    return written[:-6] + "Z" if written.endswith("+00:00") else written
