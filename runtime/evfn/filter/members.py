"""Which members of an event a filter names, and the filter rewritten so that each of them is a variable. Pure.

Handing CEL a whole event costs about ten times the evaluation, because every field is converted. So
`event.data.celsius > 30` becomes `_m0 > 30`, and only that one value is handed over.
"""

from dataclasses import dataclass

from evfn.filter.tokens import Kind, Token, closing, is_operator

MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
"""Methods whose first argument is the name of a variable."""


@dataclass(frozen=True, slots=True)
class Member:
    """One place of an event: its path below `event`, and the variable that stands for it.

    With `presence` the variable does not hold the value but whether there is one: it stands for `has(…)`.
    """

    variable: str
    path: tuple[str, ...]
    presence: bool = False

    def __str__(self) -> str:
        return shown(self.path)


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in the filter that names a member: the tokens from `first` to before `end`."""

    path: tuple[str, ...]
    first: int
    end: int
    indexed: bool = False
    """Whether the attribute itself was written as event["name"]."""


def shown(path: tuple[str, ...]) -> str:
    """A member as a filter names it: event.data.celsius, event.data["a b"]."""
    return "event" + "".join(f".{name}" if name.isidentifier() else f'["{name}"]' for name in path)


def references(tokens: tuple[Token, ...]) -> list[Reference]:
    """Every member named, in the order of the text; the path is empty where `event` stands alone."""
    return [
        _reference(tokens, index)
        for index, token in enumerate(tokens)
        if token.kind is Kind.NAME and token.text == "event" and not is_operator(tokens, index - 1, ".")
    ]


def variables(tokens: tuple[Token, ...]) -> list[tuple[str, int, int]]:
    """The variables that macros such as `exists(x, …)` bind: name, and the tokens between which it is bound."""
    return [
        (tokens[index + 2].text, index + 2, closing(tokens, index + 1))
        for index, token in enumerate(tokens)
        if token.kind is Kind.NAME
        and token.text in MACROS
        and is_operator(tokens, index - 1, ".")
        and is_operator(tokens, index + 1, "(")
        and index + 2 < len(tokens)
        and tokens[index + 2].kind is Kind.NAME
        and is_operator(tokens, index + 3, ",")
    ]


def flatten(source: str, tokens: tuple[Token, ...]) -> tuple[str, tuple[Member, ...]]:
    """The filter with a variable for each member, and those members.

    The text must be a valid expression that nowhere binds a variable `event` nor uses `event` alone: see `slips`.
    """
    prefix = "_m"
    while prefix in source:
        prefix += "_"
    members: dict[tuple[tuple[str, ...], bool], Member] = {}
    pieces = []
    done = 0
    for reference in references(tokens):
        presence = _is_presence(tokens, reference)
        first, end = (reference.first - 2, reference.end + 1) if presence else (reference.first, reference.end)
        key = (reference.path, presence)
        member = members.setdefault(key, Member(f"{prefix}{len(members)}", reference.path, presence))
        # The space keeps what follows apart: `event.data["a"]in x`.
        pieces += [source[done : tokens[first].start], member.variable, " "]
        done = tokens[end - 1].end
    return "".join([*pieces, source[done:]]), tuple(members.values())


def _reference(tokens: tuple[Token, ...], first: int) -> Reference:
    path: list[str] = []
    at = first + 1
    indexed = False
    while True:
        if (
            is_operator(tokens, at, ".")
            and at + 1 < len(tokens)
            and tokens[at + 1].kind is Kind.NAME
            and not is_operator(tokens, at + 2, "(")  # that is a method, not a field
        ):
            path.append(tokens[at + 1].text)
            at += 2
        elif is_operator(tokens, at, "[") and is_operator(tokens, at + 2, "]") and _is_plain(tokens[at + 1]):
            indexed = indexed or not path
            path.append(tokens[at + 1].text[1:-1])
            at += 3
        else:
            return Reference(tuple(path), first, at, indexed)


def _is_plain(token: Token) -> bool:
    # Anything with a prefix, an escape or three quotes is left to CEL: then the part before it is bound as a whole.
    return (
        token.kind is Kind.STRING
        and token.text[0] in "'\""
        and "\\" not in token.text
        and token.text[1:3] != token.text[0] * 2
    )


def _is_presence(tokens: tuple[Token, ...], reference: Reference) -> bool:
    return (
        is_operator(tokens, reference.first - 1, "(")
        and reference.first >= 2
        and tokens[reference.first - 2].text == "has"
        and not is_operator(tokens, reference.first - 3, ".")
        and is_operator(tokens, reference.end, ")")
        and tokens[reference.end - 1].kind is Kind.NAME
    )
