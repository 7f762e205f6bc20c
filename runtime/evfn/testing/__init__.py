"""The test kit: call a function as evfn would, or start the whole project and wait for what an event causes."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evfn.testing.calling import Called, call
    from evfn.testing.caused import AtTrigger, Caused, DeadLetter, Error, Fate, NotCaused, NotSettled
    from evfn.testing.project import Project
    from evfn.testing.running import RunningProject

__all__ = [
    "AtTrigger",
    "Called",
    "Caused",
    "DeadLetter",
    "Error",
    "Fate",
    "NotCaused",
    "NotSettled",
    "Project",
    "RunningProject",
    "call",
]

_HOMES = {
    "Called": "calling",
    "call": "calling",
    "Project": "project",
    "RunningProject": "running",
}


def __getattr__(name: str) -> Any:
    # pytest imports this package in every run of every project beside it, where nothing of it may be wanted.
    if name not in __all__:
        raise AttributeError(f"module 'evfn.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"evfn.testing.{_HOMES.get(name, 'caused')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
