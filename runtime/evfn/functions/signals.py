"""What a function raises to say how its attempt ended, where an ordinary exception would say less."""

import math
from datetime import timedelta

MAX_AFTER = timedelta(days=3650)


class Retry(Exception):  # noqa: N818 - an instruction, not an error
    """Run this event again, at a time of the function's choosing; without one, when the trigger's policy says.

    `after` is a timedelta or seconds. It counts as an attempt: after the last one the event is a dead letter.
    Raises ValueError for a time that is negative, no number, or beyond ten years.
    """

    def __init__(self, message: str = "", *, after: timedelta | float | None = None) -> None:
        super().__init__(message)
        if isinstance(after, int | float) and not isinstance(after, bool):
            if not math.isfinite(after) or after > MAX_AFTER.total_seconds():
                raise ValueError(f"after must be at most {MAX_AFTER.days} days, not {after} s")
            after = timedelta(seconds=after)
        if after is not None and not isinstance(after, timedelta):
            raise TypeError(f"after must be a timedelta or seconds, not {type(after).__name__}")
        if after is not None and not timedelta(0) <= after <= MAX_AFTER:
            raise ValueError(f"after must be between 0 and {MAX_AFTER.days} days, not {after}")
        self.after = after


class Reject(Exception):  # noqa: N818 - an instruction, not an error
    """No retry can help: the event goes to the dead letters at once, with this reason."""


# Users know them by these names, in logs and in `give_up_on` too.
Retry.__module__ = Reject.__module__ = "evfn"
