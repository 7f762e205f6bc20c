"""Types that JSON can fit as it stands: numbers, text, lists, objects and dataclasses of them. They are read at once.

pydantic, which knows all types and takes `"31.5"` for a float, needs a decoded value first and five times as long. What
fits a type exactly is the same to both.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec

_SCALARS = (int, float, str, bool, types.NoneType)


def exact_reader(annotation: Any) -> Callable[[bytes], Any] | None:
    """Reads JSON as this type; None where the type may mean more than its plain parts, as one with validators does.

    The reader raises ValueError or RecursionError for all that does not fit exactly: then it is for pydantic to decide,
    and to say why not.
    """
    try:
        return msgspec.json.Decoder(annotation).decode if _is_exact(annotation, set()) else None
    except Exception:
        # Hints that cannot be resolved, for one: pydantic says what is wrong with them.
        return None


def _is_exact(annotation: Any, seen: set[type]) -> bool:
    if annotation in _SCALARS:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return _is_exact(arguments[0], seen)
    if origin is dict:
        return arguments[0] is str and _is_exact(arguments[1], seen)
    if origin in (typing.Union, types.UnionType):
        others = [each for each in arguments if each is not types.NoneType]
        return len(others) == 1 and _is_exact(others[0], seen)
    return isinstance(annotation, type) and _is_plain_dataclass(annotation, seen)


def _is_plain_dataclass(kind: type, seen: set[type]) -> bool:
    """Whether nothing happens when one is made but that its fields are set."""
    if kind in seen:
        return True
    seen.add(kind)
    if not all(base is object or "__dataclass_params__" in vars(base) for base in kind.__mro__):
        return False
    parameters = kind.__dataclass_params__  # type: ignore[attr-defined]  # every dataclass has them
    own = {"__post_init__", "__new__", "__pydantic_config__", "__pydantic_validator__", "__get_pydantic_core_schema__"}
    if (
        not parameters.init
        or type(kind) is not type
        or any(name in vars(base) for base in kind.__mro__[:-1] for name in own)
    ):
        return False
    if not parameters.frozen and any("__setattr__" in vars(base) for base in kind.__mro__[:-1]):
        return False
    hints = typing.get_type_hints(kind, include_extras=True)
    return not any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()) and all(
        each.init and not type(each.default).__module__.startswith("pydantic") and _is_exact(hints[each.name], seen)
        for each in dataclasses.fields(kind)
    )
