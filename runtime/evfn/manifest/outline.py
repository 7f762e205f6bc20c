"""The names in a manifest, whether or not all of it is right: what a shell offers while a command is being typed."""

from dataclasses import dataclass
from pathlib import Path

from evfn import topic
from evfn.manifest import document
from evfn.manifest.node import Items, Mapping, Node, Scalar, find
from evfn.manifest.text import MAX_BYTES, Text, TextError
from evfn.name import is_name


@dataclass(frozen=True, slots=True)
class Outline:
    """`topics` are those that triggers take or emit to, patterns left out; `functions` are as written."""

    triggers: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


def outline(path: Path) -> Outline:
    """What stands in the file, in its order, each once. Empty where it cannot be read or is no YAML; never raises."""
    try:
        with path.open("rb") as file:
            root, _ = document.read(Text.decode(file.read(MAX_BYTES + 1)))
    except (OSError, TextError):
        return Outline()
    if root is None:
        return Outline()
    triggers = _entries(root, "triggers")
    sections = [section for section in triggers.values() if isinstance(section, Mapping)]
    topics = [text for section in sections for key in ("topic", "emits") for text in _texts(section, key)]
    functions = [text for section in sections for text in _texts(section, "function")]
    return Outline(
        tuple(name for name in triggers if is_name(name)),
        tuple(name for name in dict.fromkeys([*topics, *_entries(root, "topics")]) if topic.is_name(name)),
        tuple(text for text in dict.fromkeys(functions) if text.isprintable()),
    )


def _entries(root: Mapping, key: str) -> dict[str, Node]:
    section = find(root, (key,))
    if section is root or not isinstance(section, Mapping):
        return {}
    return {name: node for name, (_, node) in section.entries.items()}


def _texts(section: Mapping, key: str) -> list[str]:
    if key not in section.entries:
        return []
    node = section.entries[key][1]
    nodes = node.items if isinstance(node, Items) else [node]
    return [each.value for each in nodes if isinstance(each, Scalar)]
