"""From the manifest's text to a tree of nodes, refusing what a manifest never needs: tags, anchors, aliases, depth."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from evfn.manifest.node import Items, Mapping, Node, Scalar
from evfn.manifest.problem import Problem
from evfn.manifest.text import Place, Text
from evfn.manifest.yaml_mistake import explain, explain_alias, explain_tag

MAX_DEPTH = 20
"""How deep mappings and lists may be nested."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser where PyYAML was built with it

_ODD_SPACES = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u202f\u205f\u3000\ufeff"
)


class _Fatal(Exception):  # noqa: N818 - never leaves this module
    """Reading cannot go on after this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet; `key` is a mapping's key that waits for its value."""

    node: Mapping | Items
    key: Scalar | None = None


def read(text: Text) -> tuple[Mapping | None, list[Problem]]:
    """The document's tree, or None where it is no mapping at all, and every problem YAML itself has with it.

    The parser's events are used, not its trees: nothing recurses, so no depth of nesting can overflow a stack.
    """
    problems: list[Problem] = []
    try:
        root = _build(text, problems)
    except yaml.YAMLError as error:
        return None, [*problems, explain(text, error)]
    except _Fatal as error:
        return None, [*problems, error.problem]
    expected = "a manifest is a mapping that begins with version: 1, name: … and triggers:"
    if root is None:
        return None, [*problems, Problem(Place(), f"the file is empty; {expected}")]
    if not isinstance(root, Mapping):
        found = "a list" if isinstance(root, Items) else f"the text {root.value!r:.60}"
        return None, [*problems, Problem(root.place, f"found {found} at the top; {expected}")]
    return root, problems


def _build(text: Text, problems: list[Problem]) -> Node | None:
    root: Node | None = None
    stack: list[_Open] = []
    documents = 0
    for event in _events(text):
        at, end = _span(event)
        match event:
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    message = "a second document begins here (---); a manifest is a single one"
                    raise _Fatal(Problem(text.place(at), message))
            case yaml.AliasEvent():
                problems.append(explain_alias(text, at))
                root = _add(stack, Scalar("", text.place(at), at, end, "*"), problems, root)
            case yaml.ScalarEvent():
                problem = _refused(text, event, at) or _odd_space(text, event, at, end)
                if problem is not None:
                    problems.append(problem)
                # A value that was refused is kept, but marked, so that it is not complained of twice.
                style = "!" if problem is not None else (event.style or "")
                scalar = Scalar(event.value, text.place(at), at, end, style)
                root = _add(stack, scalar, problems, root)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                problem = _refused(text, event, at)
                if problem is not None:
                    problems.append(problem)
                if len(stack) == MAX_DEPTH:
                    raise _Fatal(Problem(text.place(at), f"nested more than {MAX_DEPTH} levels deep"))
                place = text.place(at)
                node = Mapping(place) if isinstance(event, yaml.MappingStartEvent) else Items(place)
                root = _add(stack, node, problems, root)
                stack.append(_Open(node))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                stack.pop()
    return root


def _events(text: Text) -> Iterator[yaml.Event]:
    return yaml.parse(text.content, Loader=_Loader)


def _span(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark is not None and event.end_mark is not None  # noqa: S101, PT018 - parsers always set both
    return event.start_mark.index, event.end_mark.index


def _add(stack: list[_Open], node: Node, problems: list[Problem], root: Node | None) -> Node | None:
    if not stack:
        # Only comments, or nothing, after `---` is an empty document, not an empty text.
        return None if isinstance(node, Scalar) and not node.value and not node.style else node
    top = stack[-1]
    if isinstance(top.node, Items):
        top.node.items.append(node)
    elif top.key is None:
        if not isinstance(node, Scalar):
            raise _Fatal(
                Problem(node.place, "a list or mapping stands where a key was expected; quote it if it is text")
            )
        if node.value == "<<" and not node.style:
            problems.append(
                Problem(node.place, "merge keys (<<) are not allowed; `defaults:` holds what triggers share")
            )
        top.key = node
    else:
        key, top.key = top.key, None
        if key.value in top.node.entries:
            first = top.node.entries[key.value][0].place
            where = f"line {first.line}, column {first.column}"
            problems.append(Problem(key.place, f"the key {key.value!r:.60} stands here twice, first in {where}"))
        elif key.value != "<<":
            top.node.entries[key.value] = (key, node)
    return root


def _refused(text: Text, event: yaml.NodeEvent, at: int) -> Problem | None:
    if event.anchor is not None:
        return explain_alias(text, at)
    tag = getattr(event, "tag", None)
    return explain_tag(text, at) if tag is not None else None


def _odd_space(text: Text, event: yaml.ScalarEvent, start: int, end: int) -> Problem | None:
    if event.style or event.value.isascii():
        return None
    for index in range(start, end):
        character = text.content[index]
        if character in _ODD_SPACES:
            name = "a non-breaking space" if character == "\u00a0" else "a space that is none to YAML"
            message = (
                f"{name} (U+{ord(character):04X}) at byte offset {text.offset(index)}; write a plain space, or quote"
            )
            return Problem(text.place(index), message)
    return None
