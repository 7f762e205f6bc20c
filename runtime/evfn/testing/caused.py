"""What an event caused, told to a test: at each trigger, to the end of the chain."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from evfn.errors import EvfnError
from evfn.event import Event
from evfn.trace.report import Fate

__all__ = ["AtTrigger", "Caused", "DeadLetter", "Error", "Fate", "NotCaused", "NotSettled"]

_SOUND = (Fate.SUCCEEDED, Fate.SKIPPED)


class NotCaused(EvfnError, LookupError):  # noqa: N818 - reads as a state
    """The trigger did not get exactly one of the events. The message shows what happened instead."""


class NotSettled(EvfnError):  # noqa: N818 - reads as a state
    """The time was up before all was settled. The message shows how far it came."""


@dataclass(frozen=True, slots=True)
class Error:
    """What an attempt failed with. `place` is `file:line` of the project, empty where no line of it is to blame."""

    type: str
    message: str
    place: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        text = f"{self.type.rpartition('.')[2]}: {self.message}"
        return f"{text}   {self.place}" if self.place else text


@dataclass(frozen=True, slots=True, repr=False)
class AtTrigger:
    """What came of one event at one trigger.

    `attempts` is how often the function ran, 0 where it did not. `reason` is why the event was skipped, or that of the
    dead letter: failed, timed_out, crashed, rejected, invalid_data, expired, loop, too_large. `emits` are the events
    as they were stored; `dropped` says that a value was not, for lack of `emits`.
    """

    trigger: str
    topic: str
    fate: Fate
    reason: str = ""
    attempts: int = 0
    error: Error | None = None
    emits: tuple[Event, ...] = ()
    dropped: bool = False

    @property
    def succeeded(self) -> bool:
        return self.fate is Fate.SUCCEEDED

    @property
    def skipped(self) -> bool:
        """Whether the filter was false; a filter that had an error is no skip."""
        return self.fate is Fate.SKIPPED

    @property
    def dead_lettered(self) -> bool:
        return self.fate is Fate.DEAD_LETTERED

    def __repr__(self) -> str:
        return f"<{self.trigger} {self}>"

    def __str__(self) -> str:
        match self.fate:
            case Fate.SUCCEEDED:
                return "ok" + (f", attempt {self.attempts}" if self.attempts > 1 else "")
            case Fate.SKIPPED:
                return f"skipped: {self.reason}"
            case Fate.FILTER_ERROR:
                return f"filter error: {self.reason}"
            case Fate.FAILED:
                return f"{self.reason}, to run again" + (f"   {self.error}" if self.error else "")
            case Fate.DEAD_LETTERED:
                ran = f" after attempt {self.attempts}" if self.attempts else ""
                return f"dead letter ({self.reason}){ran}" + (f"   {self.error}" if self.error else "")


@dataclass(frozen=True, slots=True, repr=False)
class Caused:
    """All that one event caused, settled. `caused["heat-alert"]` is what came of it at that trigger.

    `stream_id` is where the event stands on its topic; `tree` shows everything, for people.
    """

    stream_id: str
    outcomes: tuple[AtTrigger, ...]
    tree: str
    absent: dict[str, str] = field(default_factory=dict)
    """Triggers that listen on one of the topics and do not take its events, with the reason."""

    @property
    def succeeded(self) -> bool:
        """Whether every trigger succeeded or skipped, to the end of the chain."""
        return all(each.fate in _SOUND for each in self.outcomes)

    @property
    def emits(self) -> tuple[Event, ...]:
        """Every event that was emitted on the way."""
        return tuple(event for each in self.outcomes for event in each.emits)

    def all(self, trigger: str) -> tuple[AtTrigger, ...]:
        """The same for a trigger that got several of the events, or none."""
        return tuple(each for each in self.outcomes if each.trigger == trigger)

    def __getitem__(self, trigger: str) -> AtTrigger:
        """Raises NotCaused for a trigger that got none of the events, or several."""
        found = self.all(trigger)
        if len(found) == 1:
            return found[0]
        if found:
            said = f"{trigger} got {len(found)} events: write caused.all({trigger!r})"
        elif trigger in self.absent:
            said = f"{trigger} takes none of the events: {self.absent[trigger]}"
        else:
            said = f"{trigger} got none of the events"
        raise NotCaused(f"{said}\n{self.tree}")

    def __contains__(self, trigger: object) -> bool:
        return any(each.trigger == trigger for each in self.outcomes)

    def __iter__(self) -> Iterator[AtTrigger]:
        return iter(self.outcomes)

    def __str__(self) -> str:
        return self.tree

    def __repr__(self) -> str:
        # On one line, with what went wrong first: pytest shows it so, and cuts it.
        shown = sorted(self.outcomes, key=lambda each: each.fate in _SOUND)
        return f"<{'; '.join(f'{each.trigger} {each}' for each in shown) or 'nothing'}>"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a trigger could not deal with, as it is kept. `log` is what the function wrote in the end."""

    id: str
    trigger: str
    topic: str
    reason: str
    error: Error
    attempts: int
    log: str
    event: Event | None
    """None where its data cannot be read as what they are declared to be."""
