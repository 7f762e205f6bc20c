"""An event on its way from the command line into a stream: attributes and data as the user gave them, checked."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from evfn.broker.publish import Publication
from evfn.errors import InvalidData, UsageError
from evfn.event import Event, encode, parse

SOURCE = "evfn/cli"
TYPES = {"json": "application/json", "text": "text/plain; charset=utf-8", "bytes": "application/octet-stream"}
_OPENING = (b"{", b"[")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `--type`, `--source` and the like said, for every event that does not say it itself."""

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    id: str | None = None
    time: datetime | None = None
    extensions: tuple[tuple[str, str], ...] = ()


def publication(topic: str, event: Event, attributes: Attributes) -> Publication:
    """A whole event, ready to store. Raises UsageError where it cannot be one."""
    complete = _complete(topic, event, attributes)
    if complete.datacontenttype is None and isinstance(complete.data, bytes | bytearray):
        complete = complete.replace(datacontenttype=TYPES["bytes"])
    return Publication(topic, complete.source, complete.id, _encoded(complete))


def publication_of_body(topic: str, body: bytes | None, declared: str | None, attributes: Attributes) -> Publication:
    """An event whose data are exactly these bytes (None for no data), of the declared content type if there is one."""
    # Encoded as bytes, then declared as what they are: so no number and no blank of the user's changes on the way.
    complete = _complete(topic, Event(b"", datacontenttype=TYPES["bytes"]), attributes)
    fields: list[bytes] = []
    plain = _encoded(complete)
    for name, value in zip(plain[::2], plain[1::2], strict=True):
        if name == b"datacontenttype":
            fields += (name, declared.encode()) if declared is not None and body is not None else ()
        elif name == b"data":
            fields += (name, body) if body is not None else ()
        else:
            fields += (name, value)
    return Publication(topic, complete.source, complete.id, fields)


def content_type(body: bytes, kind: str | None) -> str | None:
    """What to declare of data that the user gave: as `--as` says, else JSON where they begin like it.

    Raises UsageError where they are not what they should be.
    """
    if kind is None:
        if not body.lstrip().startswith(_OPENING):
            return None
        try:
            parse(body)
        except InvalidData as error:
            raise UsageError(
                f"the data are {error}; did the shell take the quotes? --as text sends it as it is"
            ) from error
        return TYPES["json"]
    try:
        if kind == "json":
            parse(body)
        elif kind == "text":
            body.decode()
    except InvalidData as error:
        raise UsageError(f"--as json, but the data are {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--as text, but byte {error.start} of the data is no UTF-8; --as bytes sends them") from error
    return TYPES[kind]


def _complete(topic: str, event: Event, attributes: Attributes) -> Event:
    # What an event of a file says itself wins over the options.
    return event.replace(
        type=event.type or attributes.type or topic,
        source=event.source or attributes.source or SOURCE,
        subject=attributes.subject if event.subject is None else event.subject,
        id=event.id or attributes.id or str(uuid.uuid4()),
        time=event.time or attributes.time or datetime.now(UTC),
        extensions={**dict(attributes.extensions), **event.extensions},
    )


def _encoded(event: Event) -> Sequence[bytes]:
    try:
        return encode(event)
    except InvalidData as error:
        raise UsageError(str(error)) from error
