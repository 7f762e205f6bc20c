"""A YAML document as it was written: every scalar is text, and everything knows its place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from evfn.manifest.text import Place


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as the text written. `start` and `end` are indexes in the manifest's text, `style` is YAML's mark for
    quotes or a block (`'`, `"`, `>`, `|`), empty for a plain one."""

    value: str
    place: Place
    start: int = 0
    end: int = 0
    style: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in the order written; keys are unique."""

    place: Place
    entries: dict[str, tuple[Scalar, "Node"]] = field(default_factory=dict)


Node = Scalar | Items | Mapping
Path = tuple[str | int, ...]


def plain(node: Node) -> object:
    """The document without places: str, list and dict."""
    match node:
        case Scalar(value):
            return value
        case Items(_, items):
            return [plain(item) for item in items]
        case Mapping(_, entries):
            return {name: plain(value) for name, (_, value) in entries.items()}


def find(root: Node, path: Sequence[str | int]) -> Node:
    """The node at `path`, or the last one on the way there that exists."""
    node = root
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            node = node.entries[str(step)][1]
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            break
    return node


def has(root: Node, path: Sequence[str | int]) -> bool:
    """Whether a key stands at the end of `path`."""
    node = root
    for step in path:
        if not isinstance(node, Mapping) or step not in node.entries:
            return False
        node = node.entries[str(step)][1]
    return True


def place_of_key(root: Node, path: Sequence[str | int]) -> Place:
    """The place of the key at the end of `path`; where it is no key, that of what contains it."""
    parent = find(root, path[:-1])
    if path and isinstance(parent, Mapping) and path[-1] in parent.entries:
        return parent.entries[str(path[-1])][0].place
    return parent.place if len(path) < 2 else place_of_key(root, path[:-1])


def describe(node: Node) -> str:
    """What stands there, for a message."""
    match node:
        case Scalar(value):
            return f"{value!r:.60}" if value else "nothing"
        case Items():
            return "a list"
        case Mapping():
            return "a mapping"
