"""Reads events from a file of JSON lines: each is an event's data, or a whole CloudEvent where it has `specversion`."""

import json
from collections.abc import Iterator
from typing import IO

from evfn.errors import InvalidData, UsageError
from evfn.event import Event, from_json, parse


def check(file: IO[bytes], name: str) -> int:
    """How many events the file holds; afterwards it stands at its beginning again.

    Raises UsageError with the place of the first mistake: a file is published whole or not at all.
    """
    count = sum(1 for _ in read(file, name))
    file.seek(0)
    return count


def read(file: IO[bytes], name: str) -> Iterator[tuple[Event, bytes | None, int]]:
    """Each event, its data as they stand in the file where they are the whole line, and its length in bytes."""
    for number, line in enumerate(file, 1):
        text = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not text:
            continue
        try:
            value = parse(text)
            if isinstance(value, dict) and "specversion" in value:
                yield from_json(value), None, len(line)
            else:
                yield Event(), text, len(line)
        except InvalidData as error:
            raise UsageError(f"{name}:{number}:{_column(text)}: error: {error}; nothing was published") from error


def _column(text: bytes) -> int:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.colno
    except (ValueError, RecursionError):
        pass
    return 1
