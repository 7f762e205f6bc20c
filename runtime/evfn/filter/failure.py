"""What went wrong in CEL, in words for the person who wrote the filter. Pure but for asking the event once more."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from evfn.errors import InvalidData
from evfn.filter.errors import FilterSyntaxError
from evfn.filter.lookup import Subject
from evfn.filter.members import Member, shown
from evfn.filter.slips import ATTRIBUTES

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")
_UNEXPECTED = re.compile(
    r"(?:extraneous input|mismatched input|no viable alternative at input) '(.*?)'(?: expecting|$)"
)
_MOST_FIELDS = 12


def explain_refusal(source: str, message: str) -> FilterSyntaxError:
    """The error for a text that the CEL package refused with `message`."""
    found = _PLACE.search(message)
    if found is None:
        return FilterSyntaxError("this is no CEL expression")
    line, column, reason = int(found[1]) - 1, max(int(found[2]) - 1, 0), found[3]
    unexpected = _UNEXPECTED.match(reason)
    if "Incomplete `ExprContext` for `_?_:_`" in message:
        text = "? is not followed by both results: condition ? value : other"
    elif unexpected is not None and unexpected[1] == "<EOF>":
        text = "the filter ends too soon; something is missing here"
    elif unexpected is not None and re.fullmatch(r"\.[a-z]+", unexpected[1]):
        text = f'{unexpected[1][1:]} is a word of CEL; for a field of this name write ["{unexpected[1][1:]}"]'
    elif unexpected is not None:
        text = f"{unexpected[1]} is not expected here"
    elif "Recursion limit" in reason:
        text = "the filter is nested too deep"
    elif "invalid argument to has()" in reason:
        text = "has() takes a field written with a dot: has(event.data.name)"
    elif "token recognition error" in reason:
        text = f"{reason.partition('at: ')[2].strip() or 'this'} is not CEL"
    else:
        text = reason.replace("<EOF>", "its end")
    return FilterSyntaxError(text, line, column)


def explain_failure(error: Exception, members: Sequence[Member], values: Mapping[str, object], subject: Subject) -> str:
    """Why the evaluation failed on this event. `values` are the variables that were bound."""
    text = str(error)
    named = re.match(r"Undefined variable or function: '(.*?)'", text)
    if named is not None:
        for member in members:
            if member.variable == named[1]:
                return _missing(member.path, subject)
        return f"{named[1]}() cannot be called so: {_types(members, values)}"
    if isinstance(error, KeyError):
        return f"no field {error.args[0]!r}"
    if isinstance(error, TypeError):
        return f"the types do not fit together: {_types(members, values)}"
    # The package ends its messages with advice about its own API.
    return re.split(r"\. (?=CEL |Check |Convert )", text)[0].partition("\n")[0]


def _missing(path: tuple[str, ...], subject: Subject) -> str:
    name = path[0]
    if name == "data":
        value = subject.data()
    else:
        try:
            value = subject.attribute(name)
        except KeyError:
            return f"no attribute {name!r} (has: {', '.join(_attributes(subject))})"
    for depth, field in enumerate(path[1:], start=1):
        if not isinstance(value, dict):
            return f"no field {field!r}: {shown(path[:depth])} is {_kind(value)}, it has no fields"
        if field not in value:
            names = sorted(f"{key!s:.40}" for key in value)
            more = [f"{len(names) - _MOST_FIELDS} more"] if len(names) > _MOST_FIELDS else []
            there = ", ".join(names[:_MOST_FIELDS] + more) or "none"
            below = f" in {shown(path[:depth])}" if depth > 1 else ""
            return f"no field {field!r}{below} (has: {there})"
        value = value[field]
    return f"{shown(path)} cannot be read"


def _attributes(subject: Subject) -> list[str]:
    there = []
    for name in sorted(ATTRIBUTES - {"data"}):
        with suppress(KeyError, InvalidData):
            if subject.attribute(name) is not None:
                there.append(name)
    return there


def _types(members: Sequence[Member], values: Mapping[str, object]) -> str:
    bound = [member for member in members if member.variable in values and not member.presence]
    told = ", ".join(f"{member} is {_kind(values[member.variable])}" for member in bound) or "no member is to blame"
    kinds = {_kind(values[member.variable]) for member in bound}
    if "text" in kinds:
        return f"{told} (double(…) makes a number of text)"
    if kinds & {"a whole number", "a fraction"}:
        return f"{told} (arithmetic takes two whole numbers or two fractions: double(…) makes a fraction)"
    return told


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "a whole number"
        case float():
            return "a fraction"
        case str():
            return "text"
        case bytes():
            return "bytes"
        case dict():
            return "an object"
        case list():
            return "a list"
        case datetime():
            return "a time"
        case _:
            return type(value).__name__
