"""An exception as data: what leaves a function's process in place of the exception itself."""

import functools
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from evfn.outcome import Failure, Frame

MAX_MESSAGE_BYTES = 8 * 1024
MAX_CAUSES = 20
MAX_FRAMES = 100
"""Of a deeper stack the outermost and the innermost frames are kept."""
OUTER_FRAMES = 20

_IMPORTS = ("<frozen importlib", str(Path(importlib.__file__).parent) + os.sep)
_OWN = str(Path(__file__).parents[1]) + os.sep
"""Frames of evfn itself and of the import system say nothing to the author of a function."""


def describe(error: BaseException) -> Failure:
    """The exception and what it came from. Never fails, whatever the exception's own methods do."""
    causes = tuple(_alone(cause) for cause in _causes(error))
    return _alone(error, causes)


def full_name(kind: type) -> str:
    """`module.Class`, without the module for Python's own."""
    name = clean(str(getattr(kind, "__qualname__", kind.__name__)))
    module = getattr(kind, "__module__", None)
    if not isinstance(module, str) or module == "builtins":
        return name
    # evfn's own are known to users by the name under which they import them.
    return f"evfn.{name}" if module.startswith("evfn.") else f"{clean(module)}.{name}"


def message(error: BaseException) -> str:
    """`str(error)` with its notes, capped; says so where the exception cannot be shown."""
    try:
        text = str(error)
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, list):
            text = "\n".join([text, *(note for note in notes if isinstance(note, str))])
    except BaseException as broken:
        return f"<str() of the exception failed: {full_name(type(broken))}>"
    return clean(text)


def clean(text: str) -> str:
    """Text that is UTF-8 and no longer than a message may be."""
    encoded = text[: MAX_MESSAGE_BYTES + 1].encode("utf-8", "backslashreplace")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return encoded.decode()
    return encoded[: MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"


def frames(traceback: TracebackType | None) -> tuple[Frame, ...]:
    """The frames of user code, outermost first, raw: source text is added only where it is shown."""
    found: list[Frame] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file = code.co_filename
        if not file.startswith(_OWN) and not file.startswith(_IMPORTS):
            found.append(Frame(clean(file), traceback.tb_lineno, clean(code.co_qualname)))
        traceback = traceback.tb_next
    if len(found) > MAX_FRAMES:
        found = found[:OUTER_FRAMES] + found[OUTER_FRAMES - MAX_FRAMES :]
    return tuple(found)


def _alone(error: BaseException, causes: tuple[Failure, ...] = ()) -> Failure:
    kind: type = type(error)
    bases = _bases(kind)
    return Failure(bases[0], message(error), bases, frames(error.__traceback__), causes)


@functools.lru_cache(256)
def _bases(kind: type) -> tuple[str, ...]:
    """The full names of a class and all its bases but `object`. Cached: most failures are of the same few classes."""
    return tuple(full_name(base) for base in kind.__mro__[:-1])


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What it was raised from, nearest first, and the members of groups; each once, however they are linked."""
    seen = {id(error)}
    pending = [error]
    count = 0
    while pending:
        current = pending.pop(0)
        linked: list[BaseException | None] = [
            current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        ]
        if isinstance(current, BaseExceptionGroup):
            linked += current.exceptions
        for cause in linked:
            if cause is None or id(cause) in seen:
                continue
            if count == MAX_CAUSES:
                return
            seen.add(id(cause))
            count += 1
            pending.append(cause)
            yield cause
