"""When a failed attempt runs again: pure arithmetic, no clock, no global randomness."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum


class Backoff(Enum):
    """How the delay grows with the attempts: 1 2 4 8 …, 1 2 3 4 … or 1 1 1 1 … times the initial delay."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    CONSTANT = "constant"


class Jitter(Enum):
    """FULL draws the delay evenly from zero to its bound: failures that came together do not return together."""

    FULL = "full"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A trigger's retry settings. `attempts` counts all runs, the first included; 1 means never retry."""

    attempts: int = 5
    backoff: Backoff = Backoff.EXPONENTIAL
    initial_delay: timedelta = timedelta(seconds=1)
    max_delay: timedelta = timedelta(minutes=5)
    jitter: Jitter = Jitter.FULL
    give_up_on: tuple[str, ...] = ()
    give_up_after: timedelta | None = None

    def delay(self, attempt: int, random: float) -> timedelta:
        """How long to wait after `attempt` (1 is the first run) failed; `random` is drawn from [0, 1)."""
        if self.backoff is Backoff.EXPONENTIAL:
            # Past 2**40 times any delay the bound below holds anyway; without the cap timedelta overflows.
            factor = 2 ** min(attempt - 1, 40)
        elif self.backoff is Backoff.LINEAR:
            factor = attempt
        else:
            factor = 1
        seconds = min(self.initial_delay.total_seconds() * factor, self.max_delay.total_seconds())
        return timedelta(seconds=seconds * random if self.jitter is Jitter.FULL else seconds)

    def gives_up_on(self, bases: tuple[str, ...]) -> bool:
        """Whether an exception with these classes (full names) is one that no retry helps."""
        if not self.give_up_on:
            return False
        names = {name for base in bases for name in names_of(base)}
        return any(name in names for name in self.give_up_on)


def names_of(exception: str) -> tuple[str, ...]:
    """What `give_up_on` may call an exception with this full name."""
    name = exception.rpartition(".")[2]
    # A package may re-export a class: requests.HTTPError is really requests.exceptions.HTTPError.
    return exception, name, f"{exception.partition('.')[0]}.{name}"
