"""The event of a test: data or an `Event` as the test gives them, completed as a producer would."""

import uuid
from datetime import UTC, datetime
from typing import Any

from evfn.errors import UsageError
from evfn.event import Event
from evfn.topic import check_name

SOURCE = "evfn/testing"


def complete(topic: str, data: object, attributes: dict[str, Any]) -> Event:
    """What is empty is filled in. Raises UsageError for a topic that can be none, or an attribute that events lack."""
    try:
        check_name(topic)
    except ValueError as error:
        raise UsageError(str(error)) from None
    event = data if isinstance(data, Event) else Event(data)
    try:
        event = event.replace(**attributes)
    except TypeError:
        unknown = ", ".join(sorted(attributes.keys() - set(Event.__struct_fields__)))
        raise UsageError(f"an event has no attribute {unknown}; it has {', '.join(Event.__struct_fields__)}") from None
    if event.datacontenttype is None and isinstance(event.data, bytes | bytearray):
        event = event.replace(datacontenttype="application/octet-stream")
    return event.replace(
        topic=topic,
        type=event.type or topic,
        id=event.id or str(uuid.uuid4()),
        source=event.source or SOURCE,
        time=event.time or datetime.now(UTC),
    )
