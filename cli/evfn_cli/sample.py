"""The event that `evfn invoke` runs a function on: made from data, or read from a file."""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evfn.broker.publish import Publication
from evfn.errors import InvalidData, UsageError
from evfn.event import from_json, parse
from evfn_cli.draft import Attributes, content_type, publication, publication_of_body


@dataclass(frozen=True, slots=True)
class Sample:
    """`topic` and `attempt` are what a dead letter says; None and 1 for an event that is none."""

    publication: Publication
    topic: str | None
    attempt: int
    invocation_id: str | None
    stream_id: str


def from_data(data: str | None, topic: str) -> Sample:
    """An event with these data, read as `evfn emit` reads them; `-` is stdin. Raises UsageError."""
    body = _stdin() if data == "-" else None if data is None else data.encode("utf-8", "surrogateescape")
    declared = None if body is None else content_type(body, None)
    return Sample(publication_of_body(topic, body, declared, Attributes()), None, 1, None, _now())


def from_file(name: str, topic: str) -> Sample:
    """The event in a file: a CloudEvent in JSON, or a dead letter as `evfn dlq show --json` prints it.

    Raises UsageError with the place of what is wrong.
    """
    try:
        content = _stdin() if name == "-" else Path(name).read_bytes()
        document = parse(content)
        letter = document if isinstance(document, dict) and "reason" in document and "event" in document else None
        event = from_json(document if letter is None else _event_of(letter))
    except InvalidData as error:
        raise UsageError(f"{name}: error: {error}") from error
    if letter is None:
        return Sample(publication(topic, event, Attributes()), None, 1, None, _now())
    known = str(letter.get("topic") or topic)
    invocation = str(letter.get("invocation_id") or "")
    stream_id = invocation.rpartition(":")[2] or _now()
    return Sample(publication(known, event, Attributes()), known, _attempt_of(letter), invocation or None, stream_id)


def _event_of(letter: dict[str, Any]) -> dict[str, Any]:
    event = letter["event"]
    if not isinstance(event, dict):
        raise InvalidData(f"this dead letter has no event to run: {json.dumps(event)[:40]}")
    return event


def _attempt_of(letter: dict[str, Any]) -> int:
    """The last attempt's number: what is run is what failed."""
    attempts = letter.get("attempts")
    return attempts if isinstance(attempts, int) and attempts > 0 else 1


def _stdin() -> bytes:
    return sys.stdin.buffer.read() if sys.stdin is not None else b""


def _now() -> str:
    return f"{int(datetime.now(UTC).timestamp() * 1000)}-0"
