"""Whether the names in `give_up_on` name anything: only a process that has loaded the function can tell."""

from collections.abc import Iterable

from evfn.functions.failure import full_name
from evfn.nearest import nearest
from evfn.retry import names_of


def unknown(names: Iterable[str]) -> dict[str, str | None]:
    """Those of the names that no exception class in this process has, each with the nearest that one has."""
    asked = list(names)
    if not asked:
        return {}
    there = {name for kind in _kinds() for name in names_of(full_name(kind))}
    return {name: nearest(name, there) for name in asked if name not in there}


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
