"""The name somebody probably meant: for messages only, never to decide anything."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The one of `names` most like `word`, or None if none is near enough to be what was meant.

    Case does not count. Words longer than 64 characters have no nearest name: comparing them costs more than it helps.
    """
    if len(word) > 64:
        return None
    # Sorted, so that of two equally near names the same one is told every time.
    by_lower = {name.lower(): name for name in sorted(names, reverse=True)}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`" (did you mean x?)"`, or nothing where no name is near: ready to stand at the end of a message."""
    name = nearest(word, names)
    return f" (did you mean {name}?)" if name is not None else ""
