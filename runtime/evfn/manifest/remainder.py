"""What is left of a manifest without its mistakes. Pure."""

from collections.abc import Iterable
from copy import deepcopy

from pydantic_core import ErrorDetails


def without(data: object, mistakes: Iterable[ErrorDetails]) -> object:
    """A copy of `data` in which no place that `mistakes` names is left; a wrong item takes its whole list with it.

    What has to be there is filled in with values that are valid but mean nothing, so the result serves to check the
    rest, and for nothing else.
    """
    rest = deepcopy(data)
    for mistake in mistakes:
        if mistake["type"] not in ("missing", "too_short"):
            _remove(rest, [step for step in mistake["loc"] if step != "[key]"])
    if not isinstance(rest, dict):
        return rest
    rest = {"version": "1", "name": "x", "triggers": {}, **rest}
    rest["triggers"] = {
        name: {"topic": "x", "function": "x", **trigger} for name, trigger in (rest["triggers"] or {"x": {}}).items()
    }
    return rest


def _remove(data: object, path: list[int | str]) -> None:
    for step in path[:-1]:
        if not isinstance(data, dict) or not isinstance(data.get(step), dict):
            path = [step]
            break
        data = data[step]
    if isinstance(data, dict):
        data.pop(path[-1], None)
