"""A filter that is ready to be asked about events."""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evfn.filter import lookup
from evfn.filter.engine import engine
from evfn.filter.errors import FilterError, FilterSyntaxError
from evfn.filter.explanation import conjuncts, one_line, sentence
from evfn.filter.failure import explain_failure, explain_refusal
from evfn.filter.lookup import ABSENT, Subject
from evfn.filter.members import Member, flatten
from evfn.filter.result import not_boolean
from evfn.filter.slips import doubts, refuse_slips
from evfn.filter.tokens import Kind, Token, is_operator, tokenize

MAX_LENGTH = 4096
"""Characters a filter may have."""

_MAX_DEPTH = 100
"""How deep a value handed to CEL may be nested: its conversion overflows the C stack at some thousands."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A trigger's condition: CEL over `event`, of which only the members it names are ever looked at.

    `members` are their paths below `event`. `warnings` are places that are valid, but rarely meant so.
    """

    source: str
    members: frozenset[tuple[str, ...]]
    warnings: tuple[FilterSyntaxError, ...]
    _bindings: tuple[Member, ...]
    _program: Any  # a cel.Program

    @classmethod
    def compile(cls, source: str) -> "Filter":
        """Read a filter. Raises FilterSyntaxError for the first thing wrong with it."""
        if not source.strip():
            raise FilterSyntaxError("the filter is empty; leave it out to take every event")
        if len(source) > MAX_LENGTH:
            raise FilterSyntaxError(f"the filter has {len(source)} characters; at most {MAX_LENGTH} are allowed")
        tokens = tokenize(source)
        refuse_slips(source, tokens)
        # As it was written first, for the places in the error; what is run is the text with flat variables.
        _compile(source)
        _check_literals(source, tokens)
        flat, bindings = flatten(source, tokens)
        program = _compile(flat)
        result = not_boolean(tokens)
        if result is None and not bindings:
            result = _constant(program)
        if result is not None:
            raise FilterSyntaxError(f"a filter is true or false, but this gives {result}; compare it with something")
        members = frozenset(member.path for member in bindings)
        return cls(source, members, tuple(doubts(source, tokens)), bindings, program)

    def matches(self, subject: Subject) -> bool:
        """Whether the event passes. Raises FilterError where it is neither true nor false, naming why."""
        values = {}
        data: object = ABSENT
        for member in self._bindings:
            path = member.path
            if path[0] == "data":
                if data is ABSENT:
                    data = lookup.data(subject)
                value = data
            else:
                value = lookup.attribute(subject, path[0])
            if len(path) > 1:
                value = lookup.below(value, path, member.presence)
            elif member.presence:
                value = value is not ABSENT and value is not None
            # What is absent stays unbound: CEL's own && and || then decide whether it matters.
            if value is not ABSENT:
                if isinstance(value, (dict, list)):
                    _check_depth(value, member)
                values[member.variable] = value
        try:
            result = self._program.execute(values)
        except Exception as error:
            raise FilterError(explain_failure(error, self._bindings, values, subject)) from error
        if result is True or result is False:
            return result
        raise FilterError(f"the result is neither true nor false but {result!r:.60}")

    def explain(self, subject: Subject) -> str:
        """Why an event for which `matches` is False does not pass: the part that is false, with the values seen.

        Never raises. It reads the filter anew each time: for people, not for every event.
        """
        for part in conjuncts(self.source):
            with suppress(FilterError, FilterSyntaxError):
                condition = Filter.compile(part)
                if not condition.matches(subject):
                    return sentence(part, condition._bindings, subject)
        return sentence(one_line(self.source), self._bindings, subject)


def _compile(source: str) -> Any:
    try:
        return engine().compile(source)
    except ValueError as error:
        raise explain_refusal(source, str(error)) from None


def _check_literals(source: str, tokens: tuple[Token, ...]) -> None:
    # A wrong pattern, time or duration written into the filter fails on every event, so it is tried out at once.
    for index, token in enumerate(tokens):
        if token.kind is Kind.NAME and is_operator(tokens, index + 1, "(") and is_operator(tokens, index + 3, ")"):
            call = {"matches": "''.matches({})", "timestamp": "timestamp({})", "duration": "duration({})"}.get(
                token.text
            )
            literal = tokens[index + 2]
            if call is None or literal.kind is not Kind.STRING:
                continue
            try:
                _compile(call.format(literal.text)).execute({})
            except (RuntimeError, OverflowError) as error:
                what = {
                    "matches": "is no regular expression in RE2's syntax",
                    "timestamp": "is no time like '2026-01-31T12:00:00Z'",
                    "duration": "is no duration like '1h30m' (h, m, s, ms)",
                }[token.text]
                reason = re.search(r"\nerror: (.*?)\.? Check", str(error), re.DOTALL)
                because = f": {reason[1]}" if reason and token.text == "matches" else ""
                raise FilterSyntaxError.at(source, literal.start, f"{literal.text} {what}{because}") from None


def _constant(program: Any) -> str | None:
    try:
        result = program.execute({})
    except Exception as error:
        raise FilterSyntaxError(f"this fails on every event: {str(error).partition('. ')[0]}") from None
    return None if isinstance(result, bool) else f"{result!r:.60}"


def _check_depth(value: object, member: Member) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise FilterError(f"{member} is nested more than {_MAX_DEPTH} levels deep")
