"""Whether the names in `give_up_on` name anything: only a process that has loaded the function can tell."""

from collections.abc import Iterable
from difflib import get_close_matches

from evfn.functions.failure import full_name
from evfn.retry import names_of

_NEAR = 0.85
"""Half of all exceptions end in Error, so names that have nothing else in common look alike to a laxer measure."""


def unknown(names: Iterable[str]) -> dict[str, str | None]:
    """Those of the names that no exception class in this process has, each with the nearest that one has."""
    asked = list(names)
    if not asked:
        return {}
    full = [full_name(kind) for kind in _kinds()]
    there = {name for each in full for name in names_of(each)}
    return {name: _nearest(name, full) for name in asked if name not in there}


def _nearest(name: str, full: list[str]) -> str | None:
    """By the class's own name; with its module where a module was asked for."""
    dotted = "." in name
    by_name = {each.rpartition(".")[2]: each if dotted else each.rpartition(".")[2] for each in sorted(full)}
    close = get_close_matches(name.rpartition(".")[2], by_name, n=1, cutoff=_NEAR)
    return by_name[close[0]] if close else None


def _kinds() -> set[type[BaseException]]:
    """Every exception class that exists here, Python's own and those of all modules that are imported."""
    found: set[type[BaseException]] = set()
    waiting: list[type[BaseException]] = [BaseException]
    while waiting:
        kind = waiting.pop()
        if kind not in found:
            found.add(kind)
            # Called on the type, for a class may well have an attribute of that name.
            waiting += type.__subclasses__(kind)
    return found
