"""The words of a filter and where they stand. Pure.

The CEL package tells only whether a text is an expression. To know which members of an event it names, and to explain
what was meant by a text that is none, its tokens are needed as well.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a token is. WRONG is anything that CEL does not have."""

    NAME = "name"
    NUMBER = "number"
    STRING = "string"
    OPERATOR = "operator"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `start` and `end` are offsets in the filter's text."""

    kind: Kind
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""
      (?P<space>[\t\n\f\r ]+|//[^\n]*)
    | (?P<string>
          [bB]?[rR](?:'''(?s:.*?)'''|\"\"\"(?s:.*?)\"\"\"|'[^'\r\n]*'|"[^"\r\n]*")
        | [bB]?(?:'''(?s:\\.|[^\\])*?'''|\"\"\"(?s:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\r\n])*'|"(?:\\.|[^"\\\r\n])*")
      )
    | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    # The slips that are made of characters which CEL has, then CEL's own operators.
    | (?P<slip>===|!==|=>|=<|<>|\*\*)
    | (?P<operator>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])
    | (?P<wrong>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_KINDS = {
    "string": Kind.STRING,
    "number": Kind.NUMBER,
    "name": Kind.NAME,
    "slip": Kind.WRONG,
    "operator": Kind.OPERATOR,
    "wrong": Kind.WRONG,
}


def tokenize(source: str) -> tuple[Token, ...]:
    """The tokens of a filter, without space and comments. Never fails: what CEL does not have becomes WRONG."""
    return tuple(
        Token(_KINDS[match.lastgroup], match.group(), match.start(), match.end())
        for match in _TOKEN.finditer(source)
        if match.lastgroup is not None and match.lastgroup != "space"
    )


def is_operator(tokens: tuple[Token, ...], index: int, text: str) -> bool:
    """Whether there is a token at `index` and it is this operator."""
    return 0 <= index < len(tokens) and tokens[index].kind is Kind.OPERATOR and tokens[index].text == text


def closing(tokens: tuple[Token, ...], opening: int) -> int:
    """The index of the bracket that closes the one at `opening`, or the number of tokens if none does."""
    depth = 0
    for index in range(opening, len(tokens)):
        if tokens[index].kind is Kind.OPERATOR:
            if tokens[index].text in "([{":
                depth += 1
            elif tokens[index].text in ")]}":
                depth -= 1
                if depth == 0:
                    return index
    return len(tokens)
