"""What an event has at a place that a filter names."""

from typing import Any, Final, Protocol

from evfn.errors import InvalidData
from evfn.filter.errors import FilterError


class Subject(Protocol):
    """What a filter asks of an event."""

    def attribute(self, name: str) -> object | None:
        """The value of the attribute or extension, None for an attribute that this event does not give.

        KeyError for a name that is none of its extensions either. May raise InvalidData.
        """

    def data(self) -> object:
        """The event's data, decoded: dict, list, text, number, boolean, bytes or None. May raise InvalidData."""


ABSENT: Final[Any] = object()
"""There is nothing at the place; null is something."""


def data(subject: Subject) -> object:
    """The event's data. Raises FilterError where they cannot be read."""
    try:
        return subject.data()
    except InvalidData as error:
        raise FilterError(f"the data cannot be read: {error}") from error


def attribute(subject: Subject, name: str) -> object:
    """An attribute or extension, ABSENT for a name that is neither. Raises FilterError where it cannot be read."""
    try:
        return subject.attribute(name)
    except KeyError:
        return ABSENT
    except InvalidData as error:
        raise FilterError(f"the attribute {name!r} cannot be read: {error}") from error


def below(value: object, path: tuple[str, ...], presence: bool) -> object:
    """What `value`, which stands at the first name of `path`, holds at the rest of it: ABSENT where nothing.

    With `presence`, whether the last name is there.
    """
    for name in path[1:-1]:
        if not isinstance(value, dict) or name not in value:
            return ABSENT
        value = value[name]
    if not isinstance(value, dict):
        return ABSENT
    return path[-1] in value if presence else value.get(path[-1], ABSENT)


def value_at(subject: Subject, path: tuple[str, ...]) -> object:
    """What stands at the whole path, ABSENT where nothing. Raises FilterError where it cannot be read."""
    value = data(subject) if path[0] == "data" else attribute(subject, path[0])
    return below(value, path, presence=False) if len(path) > 1 else value
