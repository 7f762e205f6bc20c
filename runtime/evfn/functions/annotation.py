"""What a parameter's annotation asks for, written as a class, as a string, or as a name only type checkers know."""

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any

from evfn.errors import LoadError
from evfn.event import Event
from evfn.functions.context import Context


class Asks(Enum):
    """The kinds of arguments a function can have."""

    EVENT = "event"
    CONTEXT = "context"
    DATA = "data"


_NAMED = re.compile(r"(?:(?:typing\.)?Optional\[)?(?:[A-Za-z_][\w.]*\.)?(Event|Context)\]?(?:\s*\|\s*None)?").fullmatch


def resolve(annotation: Any, function: Callable[..., Any], parameter: str) -> tuple[Asks, Any]:
    """What the annotation asks for, and the type itself.

    A string that cannot be evaluated still counts where it names Event or Context: imports under TYPE_CHECKING are
    not there at run time. Raises LoadError for any other such string.
    """
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, _globals(function))  # noqa: S307 - the user's own annotation, in his module
        except Exception as error:
            named = _NAMED(annotation.strip().strip("'\""))
            if named is not None:
                return (Asks.EVENT if named[1] == "Event" else Asks.CONTEXT), annotation
            raise LoadError(
                f"the annotation of {parameter!r} cannot be evaluated: {annotation} ({type(error).__name__}: {error}); "
                "import what it names at run time, not only under TYPE_CHECKING"
            ) from None
        if isinstance(annotation, str | typing.ForwardRef):
            forward = annotation if isinstance(annotation, str) else annotation.__forward_arg__
            return resolve(forward, function, parameter)
    plain = _without_none(annotation)
    if inspect.isclass(plain):
        if issubclass(plain, Event):
            return Asks.EVENT, plain
        if issubclass(plain, Context):
            return Asks.CONTEXT, plain
    if isinstance(plain, typing.ForwardRef):
        return resolve(plain.__forward_arg__, function, parameter)
    return Asks.DATA, annotation


def _without_none(annotation: Any) -> Any:
    """`Event` of `Event | None`, of `Optional[Event]` and of `Annotated[Event, …]`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _without_none(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return _without_none(kinds[0]) if len(kinds) == 1 else annotation
    return annotation


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The names that the function's own module knows, whatever decorators and partials are around it."""
    inner: Any = function
    while True:
        if hasattr(inner, "func") and not hasattr(inner, "__globals__"):
            inner = inner.func
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif hasattr(inner, "__func__"):
            inner = inner.__func__
        elif not hasattr(inner, "__globals__") and hasattr(type(inner).__call__, "__globals__"):
            inner = type(inner).__call__
        else:
            break
    found = getattr(inner, "__globals__", None)
    if isinstance(found, dict):
        return found
    module = sys.modules.get(getattr(inner, "__module__", None) or "")
    return dict(vars(module)) if module is not None else {}
