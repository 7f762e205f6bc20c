"""Where in the file a character of a value stands: blocks are indented and folded, quotes doubled. Pure."""

from evfn.manifest.node import Scalar
from evfn.manifest.text import Place, Text


def place_within(text: Text, scalar: Scalar, line: int, column: int) -> Place:
    """The place of the character at `line` and `column`, both from 0, of the scalar's value.

    Folding and quoting change only white space, backslashes and doubled quotes, so the visible characters of the value
    are met again in the text in the same order. Where they are not (escapes such as \\u00e9), it is the scalar's place.
    """
    lines = scalar.value.split("\n")
    offset = sum(len(before) + 1 for before in lines[:line]) + column
    at = scalar.start
    if scalar.style in (">", "|"):
        # The line with the mark itself is no part of the value, though a comment on it may look like one.
        at = text.index(Place(scalar.place.line + 1)) if scalar.place.line < text.lines else scalar.end
    elif scalar.style in ("'", '"'):
        at += 1
    behind = at
    for index, character in enumerate(scalar.value):
        if index == offset:
            break
        if character.isspace():
            continue
        found = text.content.find(character, at, scalar.end)
        if found < 0:
            return scalar.place
        at = behind = found + 1
    # The character itself, if it is there to be seen; else the place right behind the last one.
    if offset < len(scalar.value) and not scalar.value[offset].isspace():
        found = text.content.find(scalar.value[offset], at, scalar.end)
        return text.place(found) if found >= 0 else scalar.place
    return text.place(behind)
