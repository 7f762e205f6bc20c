"""What is wrong where YAML cannot be read, and what to write instead. Pure."""

import re

import yaml

from evfn.manifest.problem import Problem
from evfn.manifest.text import Place, Text

_KEY_VALUE = re.compile(r"""\s*(?:-\s+)?["']?(?P<key>[\w.-]+)["']?\s*:\s+(?P<value>\S.*)""")

_MEANINGS = (
    ("mapping values are not allowed", "a second `: ` on this line, or a line that is indented too far"),
    ("found unexpected end of stream", "a quote that is never closed"),
    ("violates indentation", "a tab; YAML indents with spaces only"),
    ("unknown escape character", r"a backslash that means nothing in double quotes; use single quotes, or write \\"),
    ("did not find expected ',' or", "a bracket that is never closed"),
    ("expected ',' or", "a bracket that is never closed"),
    ("could not find expected ':'", "a line without `key: value`"),
    ("did not find expected key", "something after the end of a value, or a line that is indented differently"),
    ("expected <block end>", "something after the end of a value, or a line that is indented differently"),
    ("did not find expected '-' indicator", "a key on the level of a list"),
    ("<document start>", "something after the end of the document"),
    (
        "expected comment or line break",
        "text behind > or |, which begin a block; the text of a block begins on the next line",
    ),
    ("alphabetic or numeric character", "a value that begins with * or &, which YAML keeps for aliases and anchors"),
)

# For these the place where it began helps, not the one where the parser gave up.
_FROM_THE_START = ("quoted scalar", "flow sequence", "flow mapping", "simple key", "an alias", "an anchor")


def explain(text: Text, error: yaml.YAMLError) -> Problem:
    """The problem for what the parser raised, with the line and a mark below the place."""
    problem = str(getattr(error, "problem", None) or error)
    context = str(getattr(error, "context", None) or "")
    mark = getattr(error, "problem_mark", None)
    if getattr(error, "context_mark", None) is not None and context.endswith(_FROM_THE_START):
        mark = getattr(error, "context_mark", None)
    index = min(mark.index, len(text.content)) if mark is not None else 0
    place = text.place(index)
    character = text.content[index] if index < len(text.content) else ""
    if "cannot start any token" in problem:
        meaning = (
            "a tab; YAML indents with spaces only"
            if character == "\t"
            else f"a value that begins with {character}; quote it"
        )
    else:
        meaning = next((meaning for sign, meaning in _MEANINGS if sign in problem), problem)
    if "\u00a0" in text.line(place.line):
        meaning += "; there is a non-breaking space (U+00A0) on this line"
    return Problem(place, f"this is not YAML: {meaning}{_instead(text, place)}{_excerpt(text, place)}")


def explain_alias(text: Text, index: int) -> Problem:
    """The problem for an alias or anchor, which a manifest does not have, at `index`."""
    place = text.place(index)
    kind = "aliases (*name)" if text.content[index] == "*" else "anchors (&name)"
    instead = _instead(text, place) or "; quote it if it is text; `defaults:` holds what triggers share"
    return Problem(place, f"{kind} are not allowed{instead}")


def explain_tag(text: Text, index: int) -> Problem:
    """The problem for a tag, which a manifest does not have, at `index`."""
    place = text.place(index)
    tag = re.match(r"\S*", text.content[index:])
    shown = f"{tag[0]:.60}" if tag is not None else "!"
    instead = _instead(text, place) or "; every value is the text written; quote it if it is text that begins with !"
    return Problem(place, f"tags ({shown}) are not allowed{instead}")


def _instead(text: Text, place: Place) -> str:
    line = _KEY_VALUE.match(text.line(place.line))
    if line is None:
        return ""
    key, value = line["key"], line["value"].strip()
    if key == "filter":
        return f"; as a block no rule of YAML applies, write\n    filter: >-\n      {value:.200}"
    starred = re.search(r"(?:^|[\[,\s])(\*[^\s,\]}#]*)", value)
    if key in ("topic", "emits") and starred is not None:
        return f"; a leading * has to be quoted: '{starred[1]:.100}'"
    if key in ("topic", "emits"):
        return "; quote the topic"
    return ""


def _excerpt(text: Text, place: Place) -> str:
    line = text.line(place.line)
    # The marker has to stand below the place on a terminal, so a tab above it stays one.
    space = "".join("\t" if character == "\t" else " " for character in line[: place.column - 1])
    return f"\n    {line}\n    {space}^" if len(line) <= 200 else ""
