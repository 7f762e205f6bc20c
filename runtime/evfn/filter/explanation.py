"""Why a filter is false for an event: its first part that is, with the values seen. For people, never to decide."""

import json
from collections.abc import Sequence

from evfn.filter.lookup import ABSENT, Subject, value_at
from evfn.filter.members import Member, shown
from evfn.filter.tokens import Kind, Token, closing, is_operator, tokenize

_MOST_TEXT = 160
_MOST_VALUE = 60
_MOST_VALUES = 4


def conjuncts(source: str) -> list[str]:
    """The parts of a valid filter that must all be true, in their order, each on one line and without its comments.

    A filter is cut at every && that is not inside a call, a list or an alternative; brackets around a part are taken
    off where that changes nothing.
    """
    return [_text(part) for part in _parts(tokenize(source))]


def one_line(source: str) -> str:
    """A filter without its lines and comments."""
    return _text(tokenize(source))


def sentence(part: str, members: Sequence[Member], subject: Subject) -> str:
    """That `part` is false for this event, and what the members it names hold."""
    paths = list(dict.fromkeys(member.path for member in members))
    seen = [_seen(path, subject) for path in paths[:_MOST_VALUES]]
    if len(paths) > _MOST_VALUES:
        seen.append(f"and {len(paths) - _MOST_VALUES} more")
    return f"{_cut(part, _MOST_TEXT)} is false" + (f" ({', '.join(seen)})" if seen else "")


def _parts(tokens: tuple[Token, ...]) -> list[tuple[Token, ...]]:
    inner = tokens
    while is_operator(inner, 0, "(") and closing(inner, 0) == len(inner) - 1:
        inner = inner[1:-1]
    cuts = [-1]
    index = 0
    while index < len(inner):
        if is_operator(inner, index, "||") or is_operator(inner, index, "?"):
            # Both bind looser than &&, so what stands around them is one part, and inside it nothing must be true.
            return [inner]
        if is_operator(inner, index, "&&"):
            cuts.append(index)
        opens = inner[index].kind is Kind.OPERATOR and inner[index].text in "([{"
        index = closing(inner, index) + 1 if opens else index + 1
    if len(cuts) == 1:
        return [inner]
    ends = [*cuts[1:], len(inner)]
    return [part for cut, end in zip(cuts, ends, strict=True) for part in _parts(inner[cut + 1 : end])]


def _text(tokens: tuple[Token, ...]) -> str:
    pieces: list[str] = []
    end = tokens[0].start if tokens else 0
    for token in tokens:
        # Lines and comments between two words become a space.
        pieces += [" " if token.start > end else "", token.text]
        end = token.end
    return "".join(pieces)


def _seen(path: tuple[str, ...], subject: Subject) -> str:
    value = value_at(subject, path)
    return f"{shown(path)} is {'missing' if value is ABSENT else _short(value)}"


def _short(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    try:
        return _cut(json.dumps(value, ensure_ascii=False, default=str), _MOST_VALUE)
    except (ValueError, RecursionError):
        return "too deep or too large to show"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
