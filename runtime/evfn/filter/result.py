"""Whether a filter can be true or false at all, as far as its text alone tells. Pure."""

from evfn.filter.tokens import Kind, Token, closing, is_operator

_DECIDING = frozenset({"&&", "||", "==", "!=", "<", "<=", ">", ">=", "?"})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%"})

_GIVES = {
    **dict.fromkeys(("size", "int", "uint", "double"), "a number"),
    **dict.fromkeys(("string", "bytes"), "text"),
    **dict.fromkeys(("map", "filter"), "a list"),
    "timestamp": "a time",
    "duration": "a duration",
    "type": "a type",
}

_TEXT_ATTRIBUTES = frozenset(
    {"id", "source", "specversion", "type", "topic", "subject", "datacontenttype", "dataschema"}
)


def not_boolean(tokens: tuple[Token, ...]) -> str | None:
    """What a valid filter gives where that is surely neither true nor false, else None.

    Only what is plain from the outermost operator, call or literal is told; a field may hold a boolean.
    """
    while is_operator(tokens, 0, "(") and closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    outer = _outermost(tokens)
    if any(token.text in _DECIDING or (token.kind is Kind.NAME and token.text == "in") for token in outer):
        return None
    if is_operator(tokens, 0, "!"):
        return None
    if any(token.kind is Kind.OPERATOR and token.text in _ARITHMETIC for token in outer):
        return "the result of arithmetic"
    first, last = tokens[0], tokens[-1]
    if len(tokens) == 1:
        return {Kind.NUMBER: "a number", Kind.STRING: "text"}.get(first.kind) or (
            "null" if first.text == "null" else None
        )
    if is_operator(tokens, len(tokens) - 1, ")"):
        call = _last_call(tokens)
        return "a number" if call.startswith("get") else _GIVES.get(call)
    if closing(tokens, 0) == len(tokens) - 1 and first.text in "[{":
        return "a list" if first.text == "[" else "an object"
    if len(tokens) == 3 and first.text == "event" and last.text in _TEXT_ATTRIBUTES:
        return "text"
    return None


def _outermost(tokens: tuple[Token, ...]) -> list[Token]:
    outer = []
    index = 0
    while index < len(tokens):
        outer.append(tokens[index])
        opens = tokens[index].kind is Kind.OPERATOR and tokens[index].text in "([{"
        index = closing(tokens, index) + 1 if opens else index + 1
    return outer


def _last_call(tokens: tuple[Token, ...]) -> str:
    for index, token in enumerate(tokens):
        if token.kind is Kind.OPERATOR and token.text == "(" and closing(tokens, index) == len(tokens) - 1:
            return tokens[index - 1].text if index else ""
    return ""
