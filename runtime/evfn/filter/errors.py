"""The two ways a filter goes wrong: as it is written, and on an event."""

from evfn.errors import EvfnError


class FilterSyntaxError(ValueError):
    """The filter cannot be right, whatever the event. `message` says why and what to write instead.

    `offset_line` and `offset_column` count from 0 within the filter's own text; columns count characters.
    """

    def __init__(self, message: str, offset_line: int = 0, offset_column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset_line = offset_line
        self.offset_column = offset_column

    @classmethod
    def at(cls, source: str, offset: int, message: str) -> "FilterSyntaxError":
        """The error for the character `offset` of `source`."""
        before = source[:offset]
        return cls(message, before.count("\n"), offset - (before.rfind("\n") + 1))


class FilterError(EvfnError):
    """The filter is neither true nor false for this event. The message names the field or the types at fault."""
