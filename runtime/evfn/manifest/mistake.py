"""From what pydantic refused to a problem with a place, in words for the person who wrote the manifest."""

from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from evfn.filter import FilterSyntaxError
from evfn.manifest.models import InstanceSection, ManifestSection, RetrySection, Section, SourceSection, WorkersSection
from evfn.manifest.node import Mapping, Node, Path, Scalar, describe, find, place_of_key
from evfn.manifest.problem import Problem
from evfn.manifest.scalar_place import place_within
from evfn.manifest.text import Place, Text
from evfn.nearest import did_you_mean


def explain(text: Text, root: Mapping, error: ErrorDetails) -> Problem | None:
    """The problem, or None where the value was already complained of when it was read."""
    path: Path = tuple(error["loc"])
    if path and path[-1] == "[key]":
        return Problem(place_of_key(root, path[:-1]), _reason(error))
    node = find(root, path)
    if isinstance(node, Scalar) and node.style in ("!", "*"):
        return None
    match error["type"]:
        case "extra_forbidden":
            return Problem(place_of_key(root, path), _unknown_key(path))
        case "missing":
            name = path[-1]
            place = place_of_key(root, path[:-1]) if len(path) > 1 else root.place
            where = f" in {'.'.join(str(step) for step in path[:-1])}" if len(path) > 1 else ""
            return Problem(place, f"the key {name!r} is missing{where}")
        case "value_error" if isinstance(cause := error.get("ctx", {}).get("error"), FilterSyntaxError):
            return _filter_mistake(text, node, cause)
        case "value_error":
            return Problem(_place(root, path, node), _reason(error))
        case "not_text":
            return Problem(_place(root, path, node), f"{error['msg']}, found {describe(node)}{_quote(path)}")
        case "too_short":
            return Problem(_place(root, path, node), "there is no trigger; write at least one below triggers:")
        case _:
            return Problem(_place(root, path, node), f"expected a mapping{_keys(path)}, found {describe(node)}")


def _reason(error: ErrorDetails) -> str:
    return str(error.get("ctx", {}).get("error") or error["msg"])


def _place(root: Mapping, path: Path, node: Node) -> Place:
    # An empty value has no place worth pointing at.
    empty = isinstance(node, Scalar) and node.start == node.end
    return place_of_key(root, path) if empty else node.place


def _quote(path: Path) -> str:
    if path[-1] == "filter":
        return "; write it as a block: `filter: >-` and the expression on the next line, indented"
    return "; quote it if it is text" if "env" in path else ""


def _filter_mistake(text: Text, node: Node, cause: FilterSyntaxError) -> Problem:
    if not isinstance(node, Scalar):
        return Problem(node.place, f"filter: {cause.message}")
    place = place_within(text, node, cause.offset_line, cause.offset_column)
    hint = ""
    if not node.style and " #" in text.line(text.place(node.end).line)[text.place(node.end).column - 1 :]:
        hint = "; YAML ends a value at ` #`: write the filter as a block, `filter: >-`"
    return Problem(place, f"filter: {cause.message}{hint}")


def _unknown_key(path: Path) -> str:
    name = str(path[-1])
    allowed = list(_fields(path[:-1]))
    if path[0] == "defaults" and len(path) == 2 and name in SourceSection.model_fields:
        return f"{name} belongs to each trigger, not to defaults (allowed: {', '.join(allowed)})"
    where = _home(path, name)
    hint = did_you_mean(name, allowed) if len(name) < 40 else ""
    return f"unknown key {name!r:.80}{where or hint}; allowed: {', '.join(allowed)}"


def _home(path: Path, name: str) -> str:
    # A key that exists elsewhere is most often only indented wrongly.
    sections: dict[str, type[Section]] = {"retry": RetrySection, "workers": WorkersSection, "settings": InstanceSection}
    home = next((section for section, model in sections.items() if name in model.model_fields), None)
    if home is not None and home not in path:
        return f" (it belongs below {home}:)"
    if name in ManifestSection.model_fields and len(path) > 1:
        return f" ({name}: belongs to the top, without indent)"
    return ""


def _keys(path: Path) -> str:
    names = ", ".join(_fields(path))
    return f" with any of {names}" if names else " of names to values"


def _fields(path: Path) -> dict[str, Any]:
    """The keys allowed in the section at `path`; none where any name may stand."""
    kind: Any = ManifestSection
    for step in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(step))
            kind = field.annotation if field is not None else None
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            return {}
    return dict(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
