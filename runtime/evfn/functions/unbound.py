"""Files that no trigger uses, and what to write into the manifest for one. Reads files, never imports them."""

import ast
import os
import warnings
from collections.abc import Collection
from pathlib import Path

from evfn import name
from evfn.errors import LoadError
from evfn.functions.reference import DEFAULT_NAME, Reference, parse

TOPIC = "change.me"
"""Stands for the topic, which only the author knows: valid, so that the lines can be pasted as they are."""


_MOST_FILES = 5000
"""Looked at; in a folder with more, something else than functions lies."""


def unused(functions_dir: Path, imported: Collection[Path]) -> list[Path]:
    """The folder's Python files that are not among those imported by used functions, sorted.

    Tests, `__init__.py` and what lies in hidden folders or environments are no functions and left out.
    """
    used = {path.resolve() for path in imported}
    found: list[Path] = []
    for folder, folders, files in os.walk(functions_dir):
        folders[:] = [each for each in folders if not each.startswith((".", "__")) and each != "site-packages"]
        found += [Path(folder, file) for file in files if file.endswith(".py") and not _is_test(file)]
        if len(found) > _MOST_FILES:
            break
    return sorted(path for path in found if path.resolve() not in used)


def _is_test(file: str) -> bool:
    return file.startswith(("test_", "__", ".")) or file.endswith("_test.py") or file == "conftest.py"


def suggestion(path: Path, functions_dir: Path, taken_names: Collection[str]) -> str | None:
    """The lines of a trigger for this file, indented to stand below `triggers:`, without a line end behind the last.

    The function is `handle` if the file has it, else the first public one at its top level. The trigger is called as
    the file, with a number where one of `taken_names` is so called. None where the file cannot be named in a manifest,
    does not parse, or has no public function.
    """
    module = _module(path, functions_dir)
    function = _function(path) if module is not None else None
    if module is None or function is None:
        return None
    trigger = _trigger_name(module, taken_names)
    return (
        f"  {trigger}:\n"
        f"    topic: {TOPIC}  # the topic whose events it takes\n"
        f"    function: {Reference(module, function)}"
    )


def _module(path: Path, functions_dir: Path) -> str | None:
    """The module's dotted name as a manifest writes it; None where Python or a manifest could not name it."""
    try:
        parts = list(path.relative_to(functions_dir).with_suffix("").parts)
    except ValueError:
        return None
    if parts[-1] == "__init__":
        parts.pop()
    module = ".".join(parts)
    try:
        return parse(module).module if module.isascii() else None
    except LoadError:
        return None


def _function(path: Path) -> str | None:
    try:
        with warnings.catch_warnings():
            # What Python thinks of the code is said where it is loaded.
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names = [
        statement.name
        for statement in tree.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        and not statement.name.startswith("_")
        and statement.name.isascii()
    ]
    return DEFAULT_NAME if DEFAULT_NAME in names else next(iter(names), None)


def _trigger_name(module: str, taken: Collection[str]) -> str:
    wanted = name.slug(module.rpartition(".")[2]) or "trigger"
    found, number = wanted, 1
    while found in taken:
        number += 1
        found = f"{wanted[: name.LONGEST - len(str(number)) - 1]}-{number}"
    return found
