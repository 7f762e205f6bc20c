"""Places in a stream, as ids: what is delivered first, and what was the last before it."""

import re
from datetime import UTC, datetime

from evfn.errors import UsageError
from evfn.trigger import Start, StartAt

BEGINNING = "0-0"
NEWEST = "$"
_LAST = (1 << 64) - 1
_ID = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?")


def text(start: Start) -> str:
    """A start as one writes it in the manifest."""
    if isinstance(start, StartAt):
        return start.value
    return start.isoformat() if isinstance(start, datetime) else start


def after(start: Start) -> str:
    """The last id that is not delivered when a group begins at this start; `$` for the newest there is."""
    if start is StartAt.NEW:
        return NEWEST
    if start is StartAt.EARLIEST:
        return BEGINNING
    if isinstance(start, datetime):
        return before(f"{int(start.timestamp() * 1000)}-0")
    return before(str(start))


def before(stream_id: str) -> str:
    """The id just below this one. Raises UsageError where it is none."""
    ms, sequence = numbers(stream_id)
    if sequence > 0:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{_LAST}" if ms > 0 else BEGINNING


def numbers(stream_id: str) -> tuple[int, int]:
    """Milliseconds and sequence of a stream id, which compare as the ids do. Raises UsageError where it is none."""
    match = _ID.fullmatch(stream_id)
    if match is None or int(match[1]) > _LAST or int(match[2] or 0) > _LAST:
        raise UsageError(f"{stream_id!r} is no stream id; write milliseconds-sequence as in 1763881200000-0")
    return int(match[1]), int(match[2] or 0)


def instant(stream_id: bytes) -> datetime | None:
    """When the server made this id, by its own clock; None where somebody wrote it by hand and it is no instant."""
    ms = int(stream_id.partition(b"-")[0])
    try:
        return datetime.fromtimestamp(ms / 1000, UTC) if ms else None
    except (ValueError, OverflowError, OSError):
        return None
