"""Reads `.env`: one KEY=VALUE a line, as shells and other tools write it, without any substitution.

# a comment
export PLAIN=value            # and one after a value
SINGLE='kept as it is'
DOUBLE="with \\n, \\t, \\" and \\\\"
"""

import re
from pathlib import Path

from evfn.errors import UsageError

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPORT = re.compile(r"export[ \t]+")
_DOUBLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class EnvFileError(UsageError):
    """The `.env` file cannot be read as one. The message is `file:line:column: error: …` for each mistake."""


def read(path: Path) -> dict[str, str]:
    """The variables of the file, in its order, a later one winning; none where there is no file.

    Raises EnvFileError with every mistake in the file at once; values are never part of a message.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        at = error.object.count(b"\n", 0, error.start) + 1
        raise EnvFileError(f"{path}:{at}:1: error: the file is not UTF-8") from error
    except OSError as error:
        raise EnvFileError(f"{path}: error: {error.strerror}") from error
    variables: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        try:
            pair = _parse(line)
        except _Mistake as mistake:
            problems.append(f"{path}:{number}:{mistake.column}: error: {mistake}")
        else:
            if pair is not None:
                variables[pair[0]] = pair[1]
    if problems:
        raise EnvFileError("\n".join(problems))
    return variables


class _Mistake(Exception):  # noqa: N818 - never leaves this file
    def __init__(self, column: int, text: str) -> None:
        super().__init__(text)
        self.column = column


def _parse(line: str) -> tuple[str, str] | None:
    position = len(line) - len(line.lstrip())
    if position == len(line) or line[position] == "#":
        return None
    export = _EXPORT.match(line, position)
    if export:
        position = export.end()
    key = _KEY.match(line, position)
    if key is None:
        raise _Mistake(position + 1, "expected NAME=VALUE; a name is letters, digits and _, and begins with no digit")
    position = key.end()
    while position < len(line) and line[position] in " \t":
        position += 1
    if position == len(line) or line[position] != "=":
        raise _Mistake(position + 1, f"expected = after {key.group()}")
    position += 1
    while position < len(line) and line[position] in " \t":
        position += 1
    return key.group(), _value(line, position)


def _value(line: str, start: int) -> str:
    if start == len(line) or line[start] not in "'\"":
        # A # begins a comment only after a blank: colours and URLs hold bare ones.
        return "" if line[start : start + 1] == "#" else re.split(r"[ \t]#", line[start:], maxsplit=1)[0].rstrip()
    quote = line[start]
    value: list[str] = []
    position = start + 1
    while position < len(line) and line[position] != quote:
        character = line[position]
        if quote == '"' and character == "\\" and position + 1 < len(line):
            position += 1
            character = _DOUBLE_ESCAPES.get(line[position], "\\" + line[position])
        value.append(character)
        position += 1
    if position == len(line):
        raise _Mistake(start + 1, f"the {quote} that opens here is not closed on this line")
    rest = line[position + 1 :].strip()
    if rest and not rest.startswith("#"):
        raise _Mistake(position + 2, "nothing but a comment may follow the closing quote")
    return "".join(value)
