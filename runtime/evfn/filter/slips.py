"""What people write in a filter when they mean something else, and what to write instead. Pure."""

from collections.abc import Iterator

from evfn.filter.errors import FilterSyntaxError
from evfn.filter.members import MACROS, Reference, references, variables
from evfn.filter.tokens import Kind, Token, is_operator
from evfn.nearest import did_you_mean, nearest

ATTRIBUTES = frozenset(
    {
        "id",
        "source",
        "specversion",
        "type",
        "topic",
        "subject",
        "time",
        "data",
        "datacontenttype",
        "dataschema",
        "stream_id",
        "extensions",
    }
)
"""What an event may have without extensions."""

EXTENSIONS = frozenset(
    {"traceparent", "tracestate", "partitionkey", "sequence", "sequencetype", "sampledrate", "dataref"}
)
"""Extensions that CloudEvents itself describes: naming them is no reason to warn."""

FUNCTIONS = frozenset(
    {
        *("size", "contains", "startsWith", "endsWith", "matches"),
        *("string", "int", "uint", "double", "bytes", "timestamp", "duration", "type", "dyn", "has"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
        *MACROS,
    }
)
"""All functions and methods a filter can call."""

_TYPES = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type"})
# `type` is a type too, but whoever writes `type == "x"` means the event's.
_WORDS = frozenset({"true", "false", "null", "in"})

_WRONG = {
    "=": "= assigns in other languages; write == to compare",
    "=>": "write >= for greater or equal",
    "=<": "write <= for less or equal",
    "===": "write == to compare",
    "!==": "write != to compare",
    "<>": "write != for not equal",
    "**": "CEL has no powers",
    "&": "write && for and",
    "|": "write || for or",
    "#": "a comment begins with // in CEL",
    "`": "write \"…\" or '…' around text",
    "'": "this quote is never closed",
    '"': "this quote is never closed",
    ";": "a filter is one expression, without ;",
    "$": "variables are replaced in env values only, not in a filter",
    "\u00a0": "this is a non-breaking space; write a plain one",
}

_NAMES = {
    "and": "write && for and",
    "or": "write || for or",
    "not": "write ! for not: !(…)",
    "is": "write == to compare",
    "if": "write condition ? value : other",
    "else": "write condition ? value : other",
    "True": "write true",
    "False": "write false",
    "None": "write null",
    "nil": "write null",
    "undefined": "write null, or !has(event.data.…) for a field that is not there",
}

_CALLS = {
    "len": "size",
    "str": "string",
    "float": "double",
    "length": "size",
    "any": "exists",
    "includes": "contains",
    "has_key": "has",
}


def refuse_slips(source: str, tokens: tuple[Token, ...]) -> None:
    """Raise FilterSyntaxError for the first thing in the text that is surely not what was meant."""
    bound = variables(tokens)
    for name, first, _ in bound:
        if name == "event":
            reason = "event is the event itself; give this variable another name"
            raise FilterSyntaxError.at(source, tokens[first].start, reason)
    for index, token in enumerate(tokens):
        message = _slip(source, tokens, index, bound)
        if message is not None:
            raise FilterSyntaxError.at(source, token.start, message)
    for reference in references(tokens):
        message = _attribute_slip(reference)
        if message is not None:
            raise FilterSyntaxError.at(source, tokens[reference.first].start, message)


def doubts(source: str, tokens: tuple[Token, ...]) -> Iterator[FilterSyntaxError]:
    """What may be meant so, but rarely is: attributes that only an extension can be, unless written event["name"].

    They are yielded in the shape of errors for their places, and are to be shown as warnings.
    """
    told = set()
    for reference in references(tokens):
        name = reference.path[0]
        if name not in ATTRIBUTES | EXTENSIONS and not reference.indexed and name not in told:
            told.add(name)
            message = (
                f"event.{name} reads the extension attribute {name!r}; a field of the data is event.data.{name} "
                f'(event["{name}"] says that the extension is meant)'
            )
            yield FilterSyntaxError.at(source, tokens[reference.first].start, message)


def _slip(source: str, tokens: tuple[Token, ...], index: int, bound: list[tuple[str, int, int]]) -> str | None:
    token = tokens[index]
    if token.kind is Kind.WRONG:
        return _instead(token.text, _WRONG[token.text]) if token.text in _WRONG else _wrong_character(token.text)
    if token.kind is not Kind.NAME:
        return None
    if is_operator(tokens, index - 1, "."):
        return _unknown_call(token.text) if is_operator(tokens, index + 1, "(") else None
    if token.text.lower() in ("and", "or", "not") or token.text in _NAMES:
        return _instead(token.text, _NAMES.get(token.text) or _NAMES[token.text.lower()])
    if is_operator(tokens, index + 1, "("):
        return _unknown_call(token.text)
    if token.text in _WORDS | _TYPES | {"event"}:
        return None
    if any(name == token.text and first <= index < end for name, first, end in bound):
        return None
    return _unknown_name(source, tokens, index)


def _instead(text: str, advice: str) -> str:
    return f"{text} is not CEL; {advice}" if advice.startswith("write ") else advice


def _wrong_character(text: str) -> str:
    if text in "\u201c\u201d\u2018\u2019\u00ab\u00bb":
        return f"{text} is a typographic quote; write \" or '"
    return f"CEL has no {text!r} (U+{ord(text):04X})" if not text.isascii() else f"CEL has no {text}"


def _unknown_call(name: str) -> str | None:
    if name in FUNCTIONS:
        return None
    if name in _CALLS:
        return f"there is no function {name}(); write {_CALLS[name]}()"
    close = nearest(name, FUNCTIONS)
    if close is not None:
        return f"there is no function {name}() (did you mean {close}()?)"
    return f"there is no function {name}() (there are: {', '.join(sorted(FUNCTIONS))})"


def _unknown_name(source: str, tokens: tuple[Token, ...], index: int) -> str:
    name = tokens[index].text
    if name in ATTRIBUTES:
        end = index + 1
        while is_operator(tokens, end, ".") and end + 1 < len(tokens) and tokens[end + 1].kind is Kind.NAME:
            end += 2
        return (
            f"write event.{source[tokens[index].start : tokens[end - 1].end]}: everything an event has is below event"
        )
    if nearest(name, ["event"]) is not None:
        return f"there is no {name} (did you mean event?)"
    return f"there is no {name}; a field of the data is event.data.{name}, and text stands in quotes: '{name}'"


def _attribute_slip(reference: Reference) -> str | None:
    if not reference.path:
        return "event alone is no value; name what you mean of it, such as event.data or event.type"
    name = reference.path[0]
    if name in ATTRIBUTES or reference.indexed:
        return None
    if not (name.isascii() and name.isalnum() and name.islower()):
        hint = did_you_mean(name, ATTRIBUTES) or f" (a field of the data is event.data.{name})"
        return f"events have no attribute {name!r}{hint}"
    close = nearest(name, ATTRIBUTES)
    if close is not None and name not in EXTENSIONS and _is_typo(name, close):
        return (
            f"events have no attribute {name!r} (did you mean event.{close}? "
            f'If it is an extension, write event["{name}"]; a field of the data is event.data.{name})'
        )
    return None


def _is_typo(name: str, meant: str) -> bool:
    # One letter too many, too few or exchanged: more than that may well be an extension of its own.
    if sorted(name) == sorted(meant):
        return True
    longer, shorter = sorted((name, meant), key=len, reverse=True)
    return len(longer) - len(shorter) == 1 and any(
        longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer))
    )
