"""Topic names and the patterns that triggers write for many of them. Pure.

A topic's name is split into segments by dots. In a pattern `*` stands for exactly one segment and `**` for any
number of them, none included: `readings.*` matches `readings.a`; `readings.**` matches `readings`, `readings.a`
and `readings.a.b`. A wildcard is always a whole segment.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
"""What a topic's name looks like; it must match as a whole."""

RESERVED = ("evfn:", "rq:")
"""Keys that begin so belong to evfn and RQ themselves."""

_LITERAL = re.compile(r"[A-Za-z0-9._:/-]+")
_GLOB_SPECIAL = re.compile(r"([\\*?\[\]^-])")

_MOST_STARS = 3
"""Wildcards passed on to the server; what follows the last one is matched here.

Before its fixes for CVE-2022-36021 Redis took exponential time for a glob with many stars.
"""


def check_name(name: str) -> None:
    """Raise ValueError, saying why, unless `name` is the name of one topic."""
    _check_text(name)
    if is_pattern(name):
        raise ValueError(f"{_shown(name)} is a pattern; here the name of one topic is needed")
    _check_characters(name)


def is_name(text: str) -> bool:
    """Whether `text` is the name of one topic."""
    return NAME.fullmatch(text) is not None and not text.startswith(RESERVED)


def is_pattern(text: str) -> bool:
    """Whether `text`, in a trigger's `topic`, names more than one topic."""
    return "*" in text


@dataclass(frozen=True, slots=True)
class Pattern:
    """A topic name or pattern, checked and ready to match; a plain name matches itself alone."""

    text: str
    segments: tuple[str, ...]

    @classmethod
    def compile(cls, text: str) -> "Pattern":
        """Read a topic name or pattern. Raises ValueError, saying what to write instead."""
        if not is_pattern(text):
            check_name(text)
            return cls(text, tuple(text.split(".")))
        _check_text(text)
        segments = text.split(".")
        for segment in segments:
            if "*" in segment and segment not in ("*", "**"):
                shape = "**" if "**" in segment else "*"
                whole = ".".join(shape if part == segment else part for part in segments)
                raise ValueError(
                    f"{_shown(segment)} in {_shown(text)}: * is one whole segment and ** any number of them, so write "
                    f"{whole}, and pick by a filter on event.topic"
                )
        _check_characters(text.replace("*", "x"), shown=text)
        return cls(text, tuple(segments))

    def matches(self, topic: str) -> bool:
        """Whether this names the topic. Keys that cannot be topics (evfn's own, say) match nothing."""
        if self.text == topic:
            return True
        return is_pattern(self.text) and _fits(self.segments, topic)


def scan_glob(pattern: str, *, prefix: str = "") -> str:
    """A glob for SCAN's MATCH that finds at least every key which `prefix` + a matching topic can be.

    Redis globs know no segments, so what SCAN returns still has to pass `Pattern.matches`.
    """
    glob = _escape(prefix)
    # `**.**` says what `**` says, and is left out so that each `**` has at most one dot to take with it.
    written = pattern.split(".")
    segments = [part for part, before in zip(written, ["", *written], strict=False) if (part, before) != ("**", "**")]
    stars = 0
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment in ("*", "**"):
            stars += 1
            if segment == "**" and last:
                glob = glob.removesuffix(".")  # `a.**` matches `a` too
            glob += "*"
            if stars == _MOST_STARS:
                return glob
            if segment == "**":
                continue  # `**.a` matches `a` too: the dot after it need not be there
        else:
            glob += _escape(segment)
        if not last:
            glob += "."
    return glob


@lru_cache(maxsize=1 << 14)
def _fits(segments: tuple[str, ...], topic: str) -> bool:
    """Asked every second anew, of all topics there are."""
    return is_name(topic) and _match(segments, topic.split("."))


def _match(pattern: tuple[str, ...], topic: list[str]) -> bool:
    # The greedy two-pointer match: on a mismatch the last `**` takes one segment more. A regular expression would
    # backtrack exponentially for patterns with several `**`.
    at = to = 0
    star = resume = -1
    while to < len(topic):
        if at < len(pattern) and pattern[at] == "**":
            star, resume = at, to
            at += 1
        elif at < len(pattern) and pattern[at] in ("*", topic[to]):
            at += 1
            to += 1
        elif star >= 0:
            resume += 1
            at, to = star + 1, resume
        else:
            return False
    return all(segment == "**" for segment in pattern[at:])


def _check_text(text: str) -> None:
    if not text:
        raise ValueError("a topic's name is empty")
    if len(text) > 128:
        raise ValueError(f"{_shown(text)} has {len(text)} characters; a topic's name has at most 128")


def _check_characters(name: str, *, shown: str | None = None) -> None:
    whole = _shown(name if shown is None else shown)
    for prefix in RESERVED:
        if name.startswith(prefix):
            raise ValueError(f"{whole} begins with {prefix}, which is kept for {prefix[:-1]} itself")
    if NAME.fullmatch(name) is None:
        if _LITERAL.fullmatch(name) is not None:
            raise ValueError(f"{whole} begins with {name[0]!r}; a topic's name begins with a letter or a digit")
        wrong = next(character for character in name if _LITERAL.fullmatch(character) is None)
        raise ValueError(f"{whole} has {wrong!r} in it; a topic's name is made of A-Z a-z 0-9 and . _ : / -")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _escape(text: str) -> str:
    return _GLOB_SPECIAL.sub(r"\\\1", text)
