"""Importing a user's function: the functions folder is an ordinary package, and every mistake says what to write."""

import difflib
import importlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evfn.errors import LoadError
from evfn.functions import failure
from evfn.functions.pinned import is_pinned
from evfn.functions.reference import Reference
from evfn.traceback import place_in


class ImportFailed(LoadError):  # noqa: N818 - what happened
    """The module itself failed. `traceback` is the text of the user's frames only."""

    def __init__(self, message: str, traceback: str) -> None:
        super().__init__(message)
        self.traceback = traceback


def load(reference: Reference, project_dir: Path, functions_dir: Path) -> Callable[..., Any]:
    """The callable that a reference names.

    Puts the project first on `sys.path`. Raises LoadError (ImportFailed where the user's own code failed); nothing that
    the module does while it is imported, SystemExit included, comes out as anything else.
    """
    package = _package(project_dir, functions_dir)
    shown = f"{functions_dir.name}/{reference.path}"
    if not is_pinned(f"{package}.{reference.module}") and not _exists(functions_dir, reference.module):
        raise LoadError(_no_module(reference, functions_dir))
    try:
        module = importlib.import_module(f"{package}.{reference.module}")
    except BaseException as error:
        raise _import_failed(error, shown, package, functions_dir) from None
    try:
        function = getattr(module, reference.name)
    except AttributeError:
        raise LoadError(_no_attribute(module, reference, shown)) from None
    if inspect.isclass(function):
        raise LoadError(f"{reference}: {reference.name} in {shown} is a class; name a function, or an instance of it")
    if not callable(function):
        kind = type(function).__name__
        raise LoadError(f"{reference}: {reference.name} in {shown} is no function but of type {kind}")
    found: Callable[..., Any] = function
    return found


def _package(project_dir: Path, functions_dir: Path) -> str:
    """The functions folder's name as an importable package, its parent and the project first on the path."""
    folder, project = functions_dir.resolve(), project_dir.resolve()
    for path in (str(project), str(folder.parent)):
        if path in sys.path:
            sys.path.remove(path)
        sys.path.insert(0, path)
    name = folder.name
    if not folder.is_dir():
        raise LoadError(f"there is no functions folder {folder}")
    loaded = sys.modules.get(name)
    if name in sys.stdlib_module_names or (loaded is not None and str(folder) not in getattr(loaded, "__path__", [])):
        raise LoadError(f"the functions folder {folder} has the name of another module, {name}: rename the folder")
    if loaded is None and not (folder / "__init__.py").is_file():
        # Made by hand: without __init__.py the import system would prefer any installed package of that name.
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


def _exists(functions_dir: Path, module: str) -> bool:
    path = functions_dir.joinpath(*module.split("."))
    if path.with_name(path.name + ".py").is_file() or path.is_dir():
        return True
    return any(path.parent.glob(path.name + ".*.so")) or path.with_name(path.name + ".so").is_file()


def _no_module(reference: Reference, functions_dir: Path) -> str:
    files = sorted(functions_dir.rglob("*.py"))
    modules = [
        ".".join(path.relative_to(functions_dir).with_suffix("").parts) for path in files if path.stem != "__init__"
    ]
    message = f"{reference}: there is no {functions_dir.name}/{reference.path}"
    nearest = difflib.get_close_matches(reference.module, modules, n=1)
    if nearest:
        return f"{message} (nearest: {nearest[0]}:{reference.name})"
    shown = ", ".join(modules[:10]) + (", …" if len(modules) > 10 else "")
    return f"{message} (the folder has: {shown or 'no Python file'})"


def _no_attribute(module: types.ModuleType, reference: Reference, shown: str) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    message = f"{reference}: {shown} has no function {reference.name!r}"
    nearest = difflib.get_close_matches(reference.name, names, n=1)
    if nearest:
        return f"{message} (nearest: {reference.module}:{nearest[0]})"
    return f"{message} (has: {', '.join(names) or 'no function at all'})"


def _import_failed(error: BaseException, shown: str, package: str, functions_dir: Path) -> ImportFailed:
    """The message begins with the place in the user's own code that failed, as editors want it."""
    text = _traceback(error)
    folder = functions_dir.resolve().parent
    if isinstance(error, SyntaxError) and error.filename:
        file = error.filename.removeprefix(f"{folder}/")
        return ImportFailed(f"{file}:{error.lineno}: {failure.clean(str(error.msg))}", text)
    place = place_in(failure.describe(error), folder) or shown
    if isinstance(error, ModuleNotFoundError) and error.name:
        return ImportFailed(f"{place}: {_missing(error.name, package, functions_dir)}", text)
    during = f"while {'it' if place.startswith(f'{shown}:') else shown} is imported"
    if isinstance(error, SystemExit):
        return ImportFailed(f"{place}: sys.exit({error.code!r}) ends the process {during}", text)
    kind = failure.full_name(type(error))
    reason = failure.message(error).strip()
    return ImportFailed(f"{place}: {kind}{': ' + reason if reason else ''}, {during}", text)


def _missing(name: str, package: str, functions_dir: Path) -> str:
    """What to do about a module that is not there."""
    top = name.partition(".")[0]
    if top == package:
        return f"there is no module {name}"
    if _exists(functions_dir, top):
        return f"no module named {name!r}; write `from .{name} import …` for {functions_dir.name}/{top}.py"
    return f"no module named {name!r}; install it into the environment that evfn runs in ({sys.prefix})"


def _traceback(error: BaseException) -> str:
    """The traceback as Python prints it, less the frames of evfn and of the import system; never fails."""
    current = error.__traceback__
    own = {(frame.file, frame.line) for frame in failure.frames(current)}
    try:
        shown = traceback.TracebackException.from_exception(error)
        shown.stack = traceback.StackSummary.from_list(
            [frame for frame in shown.stack if (frame.filename, frame.lineno) in own]
        )
        text = "".join(shown.format())
    except Exception:
        text = f"{failure.full_name(type(error))}: {failure.message(error)}"
    return failure.clean(text)
