"""Durations as the manifest writes them: `500ms`, `30s`, `1h30m`, `7d`. Pure."""

import re
from datetime import timedelta
from difflib import get_close_matches

UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
"""Milliseconds in each unit, from the largest, which is the order they stand in."""

PATTERN = "(?=[0-9])" + "".join(rf"(?:([0-9]{{1,15}}){unit}(?![a-z]))?" for unit in UNITS)
"""What a duration looks like: whole numbers, the larger unit first, each unit once, no spaces."""

_DURATION = re.compile(PATTERN)
_LOOSE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z\u00b5]*)[\s,]*")
_WORDS = {
    **dict.fromkeys(("ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "wk", "week", "weeks"), "w"),
}


def parse(text: str) -> timedelta:
    """Read a duration. Raises ValueError that names the allowed forms and the one that was probably meant."""
    match = _DURATION.fullmatch(text)
    if match is None:
        meant = _meant(text)
        hint = f" (did you mean {meant}?)" if meant is not None else ""
        raise ValueError(f"{text!r:.60} is no duration{hint}; write such as 500ms, 30s, 5m, 1h30m, 7d, 2w")
    milliseconds = sum(
        int(count) * size for count, size in zip(match.groups(), UNITS.values(), strict=True) if count is not None
    )
    try:
        return timedelta(milliseconds=milliseconds)
    except OverflowError:
        return timedelta.max


def render(duration: timedelta) -> str:
    """The shortest text that reads as this duration, which must be whole milliseconds and not negative.

    Weeks are never used: a week is told as 7d.
    """
    milliseconds = duration // timedelta(milliseconds=1)
    pieces = []
    for unit, size in list(UNITS.items())[1:]:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            pieces.append(f"{count}{unit}")
    return "".join(pieces) or "0s"


def _meant(text: str) -> str | None:
    # A number alone is most often meant in seconds; a word for a unit may be misspelt.
    total = 0.0
    at = 0
    text = text.strip()
    while at < len(text):
        match = _LOOSE.match(text, at)
        if match is None or len(match[1]) > 15:
            return None
        word = match[2].lower() or "s"
        close = [word] if word in _WORDS else get_close_matches(word, _WORDS, n=1, cutoff=0.8)
        if not close:
            return None
        total += float(match[1]) * UNITS[_WORDS[close[0]]]
        at = match.end()
    if not text or not total.is_integer() or total > 1e15:
        return None
    return render(timedelta(milliseconds=total))
