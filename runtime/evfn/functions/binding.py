"""Which argument each parameter gets, decided once from the signature."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evfn.errors import LoadError
from evfn.event import Entry, decode, json_body
from evfn.functions.annotation import Asks, resolve
from evfn.functions.context import Context
from evfn.functions.exact_data import exact_reader
from evfn.functions.invocation import Invocation
from evfn.functions.typed_data import reader
from evfn.trigger import DataMode

Argument = Callable[[Invocation, DataMode, Context | None], Any]
Call = Callable[[Invocation, DataMode, Context | None], Any]

_CONTEXT_NAMES = ("context", "ctx")
_ASKABLE = "a function may ask for the event (event), its data (any annotated parameter) and the context (context)"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Binding:
    """How a function is called. `call` passes an invocation's event, data and context as the signature asks for them.

    `call` raises InvalidData where the data do not fit, and whatever the function raises.
    `wants_context` says whether it needs a context; without, None will do. `is_async` says whether calling it gives a
    coroutine or an asynchronous generator, as far as the function itself tells.
    """

    call: Call
    wants_context: bool
    is_async: bool


def bind(function: Callable[..., Any]) -> Binding:
    """Decide the arguments. Raises LoadError that lists what may be asked for."""
    asked = _asked(function)
    positional = [(kind, argument) for kind, name, argument in asked if name is None]
    keywords = {name: argument for _, name, argument in asked if name is not None}
    kinds = [kind for kind, _ in positional]
    arguments = [argument for _, argument in positional]
    return Binding(
        _call(function, kinds, arguments, keywords),
        any(kind is Asks.CONTEXT for kind, _, _ in asked),
        is_async(function),
    )


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine or an asynchronous generator; partials and `__call__` are looked through."""
    while hasattr(function, "func") and not inspect.isroutine(function):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _asked(function: Callable[..., Any]) -> list[tuple[Asks, str | None, Argument]]:
    """What each bound parameter asks for, the keyword it is passed by (None for positional), and how it is made."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        raise LoadError("the signature of this callable cannot be read; wrap it in a function of your own") from None
    asked: list[tuple[Asks, str | None, Argument]] = []
    skipped = False
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        found = _decide(parameter, [kind for kind, _, _ in asked], function)
        if found is None:
            skipped = skipped or parameter.kind in _POSITIONAL
            continue
        by_name = skipped or parameter.kind is inspect.Parameter.KEYWORD_ONLY
        if by_name and parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise LoadError(f"{parameter.name!r} cannot be passed: it comes after a positional-only default")
        asked.append((found[0], parameter.name if by_name else None, found[1]))
    if not asked and any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        # A decorator without functools.wraps hides the signature behind *args: what it wraps most likely takes the
        # event.
        asked.append((Asks.EVENT, None, _event))
    return asked


def _decide(
    parameter: inspect.Parameter, before: list[Asks], function: Callable[..., Any]
) -> tuple[Asks, Argument] | None:
    """What this parameter gets; None where it is left to its default."""
    name, required = parameter.name, parameter.default is inspect.Parameter.empty
    annotated = parameter.annotation is not inspect.Parameter.empty
    kind, annotation = Asks.DATA, parameter.annotation
    if annotated:
        try:
            kind, annotation = resolve(parameter.annotation, function, name)
        except LoadError:
            if required:
                raise
    if kind is Asks.CONTEXT or (kind is not Asks.EVENT and name in _CONTEXT_NAMES):
        return Asks.CONTEXT, _context
    if kind is Asks.EVENT or (name == "event" and not annotated):
        return Asks.EVENT, _event
    if not required:
        return None
    if annotated and Asks.DATA not in before:
        return Asks.DATA, _data(annotation, name)
    if not annotated and Asks.EVENT not in before and Asks.DATA not in before:
        return Asks.EVENT, _event
    if not annotated and Asks.CONTEXT not in before:
        return Asks.CONTEXT, _context
    raise LoadError(f"nothing is passed for the parameter {name!r}; {_ASKABLE}; give anything else a default")


def _event(invocation: Invocation, mode: DataMode, context: Context | None) -> Any:
    return decode(invocation.topic, invocation.stream_id, invocation.fields, mode)


def _context(invocation: Invocation, mode: DataMode, context: Context | None) -> Any:
    return context


def _data(annotation: Any, name: str) -> Argument:
    read = reader(annotation, name)
    exact = exact_reader(annotation)

    def data(invocation: Invocation, mode: DataMode, context: Context | None) -> Any:
        if exact is not None and (body := json_body(invocation.fields)) is not None:
            # What fits as it stands needs no more.
            with suppress(ValueError, RecursionError):
                return exact(body)
        return read(Entry(invocation.topic, invocation.stream_id, invocation.fields), mode)

    return data


def _call(
    function: Callable[..., Any], kinds: list[Asks], arguments: list[Argument], keywords: dict[str, Argument]
) -> Call:
    """The call itself, with as little between frame and function as each common shape of signature allows."""
    if not keywords and kinds == [Asks.EVENT]:
        return lambda invocation, mode, context: function(
            decode(invocation.topic, invocation.stream_id, invocation.fields, mode)
        )
    if not keywords and kinds == [Asks.EVENT, Asks.CONTEXT]:
        return lambda invocation, mode, context: function(
            decode(invocation.topic, invocation.stream_id, invocation.fields, mode), context
        )
    if not keywords and len(arguments) == 1:
        first = arguments[0]
        return lambda invocation, mode, context: function(first(invocation, mode, context))
    return lambda invocation, mode, context: function(
        *[argument(invocation, mode, context) for argument in arguments],
        **{name: argument(invocation, mode, context) for name, argument in keywords.items()},
    )
