"""What evfn asks of whoever makes spans of its attempts; nothing here needs OpenTelemetry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from evfn.event.traceparent import TraceParent
from evfn.outcome import Outcome
from evfn.settlement import Settlement
from evfn.trigger import Trigger


class Attempt(Protocol):
    """One that is made. `fields` are its entry's; `ran_ns` is from when to when it ran, on the monotonic clock."""

    topic: str
    stream_id: str
    attempt: int
    invocation_id: str
    fields: list[bytes]
    ran_ns: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Begun:
    """A span that is not over: its place in the trace, and that of the event's producer.

    Where it is not `recorded` nobody will see it; its place is passed on all the same, and says so. `attributes` are
    what the sampler adds.
    """

    own: TraceParent
    producer: TraceParent | None
    recorded: bool
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Tracer(Protocol):
    def begin(self, trigger: Trigger, attempt: Attempt) -> Begun:
        """Give an attempt its place in the trace, before a worker gets it. One that is never made needs no end."""

    def end(self, begun: Begun, trigger: Trigger, attempt: Attempt, outcome: Outcome, what: Settlement | None) -> None:
        """It ended like this, and this is done about it; None where it is simply made again."""

    def close(self) -> bool:
        """Export what is left; blocks, for a few seconds at most. Whether all of it is out."""
