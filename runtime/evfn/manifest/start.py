"""Where a new trigger begins, as the manifest writes it: a word, a time or a stream id. Pure."""

import re
from datetime import UTC, datetime

from evfn.trigger import Start, StartAt

_STREAM_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MEANT = {
    "$": "new",
    "latest": "new",
    "now": "new",
    "last": "new",
    "end": "new",
    "0": "earliest",
    "0-0": "earliest",
    "oldest": "earliest",
    "first": "earliest",
    "beginning": "earliest",
    "all": "earliest",
}
_FORMS = "new, earliest, a time such as 2026-11-01T00:00:00Z or a stream id such as 1763881200000-0"


def parse(text: str) -> Start:
    """Read a `start`. A date alone is its midnight in UTC. Raises ValueError that names the allowed forms."""
    if text in ("new", "earliest"):
        return StartAt(text)
    stream_id = _STREAM_ID.fullmatch(text)
    if stream_id is not None and text != "0-0":
        if max(int(stream_id[1]), int(stream_id[2])) >= 2**64:
            raise ValueError(f"{text!r} is no stream id: its numbers are below 2**64")
        return text
    if _DATE.fullmatch(text) is not None:
        return _instant(text).replace(tzinfo=UTC)
    time = _TIME.fullmatch(text)
    if time is not None:
        if time[2] is None:
            raise ValueError(f"{text!r} does not say of which time zone it is; write {text}Z for UTC, or {text}+01:00")
        return _instant(text.upper())
    meant = _MEANT.get(text.lower()) or (f"{text}-0" if re.fullmatch(r"[0-9]{10,20}", text) else None)
    hint = f" (did you mean {meant}?)" if meant is not None else ""
    raise ValueError(f"{text!r:.60} is no start{hint}; write {_FORMS}")


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: {error}") from None
