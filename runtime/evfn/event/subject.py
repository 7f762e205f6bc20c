"""What a filter looks at: one event's attributes and data, decoded only as far as the filter asks."""

from datetime import datetime
from typing import Any

from evfn.errors import InvalidData
from evfn.event.entry import Entry
from evfn.event.event import instant
from evfn.trigger import DataMode

MAX_PREVIEW = 2000
"""Characters of an event that are enough for a person to recognise it."""
_UNREAD: Any = object()


class Subject:
    """An entry under a filter. Cheap to make; the data are read once."""

    __slots__ = ("_data", "_entry", "_fields", "_mode", "_stream_id", "_topic")

    def __init__(self, topic: str, stream_id: str, fields: list[bytes], mode: DataMode) -> None:
        self._topic = topic
        self._stream_id = stream_id
        self._fields = fields
        self._mode = mode
        self._entry: Entry | None = None
        self._data: Any = _UNREAD

    def attribute(self, name: str) -> str | datetime | dict[str, str] | None:
        """An event's attribute other than its data, or an extension by its own name.

        An attribute that this event does not give is None. Raises KeyError for a name that is neither.
        """
        if name == "topic":
            return self._topic
        if name == "stream_id":
            return self._stream_id
        entry = self._view()
        match name:
            case "type":
                return entry.attribute(name) or self._topic
            case "id":
                return entry.attribute(name) or self._stream_id
            case "source":
                return entry.attribute(name) or "stream/" + self._topic
            case "time":
                time = entry.attribute(name)
                return None if time is None else instant(time)
            case "subject" | "datacontenttype" | "dataschema":
                return entry.attribute(name)
            case "extensions":
                return entry.extensions
        return entry.extensions[name]

    def data(self) -> Any:
        """The event's data. Raises InvalidData where they are not what the entry or the topic's rule says."""
        if self._data is _UNREAD:
            self._data = self._view().data(self._mode)
        return self._data

    def preview(self) -> str:
        """The event's data in short, for a person; never fails."""
        try:
            body = self._view().as_bytes()
        except InvalidData as error:
            return str(error)
        shown = body[: MAX_PREVIEW * 4].decode("utf-8", "backslashreplace")
        return shown if len(shown) <= MAX_PREVIEW else shown[: MAX_PREVIEW - 1] + "…"

    def _view(self) -> Entry:
        if self._entry is None:
            self._entry = Entry(self._topic, self._stream_id, self._fields)
        return self._entry
