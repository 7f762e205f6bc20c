"""What a running instance knows of itself at this moment, for whoever shows it to a monitor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from evfn.clock import Clock
from evfn.listener import TriggerState


@dataclass(frozen=True, slots=True)
class TriggerVitals:
    """One trigger as this instance serves it. `topics` are the streams it takes events from now.

    `workers` are its processes, `running` the events in their hands.
    """

    state: TriggerState
    topics: tuple[str, ...]
    workers: int
    running: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """All triggers by name. `sockets_lost` counts the connections to the server that broke since the start."""

    triggers: Mapping[str, TriggerVitals] = field(default_factory=dict)
    sockets_lost: int = 0


class Patient(Protocol):
    """Who has vitals; its clock is the server's."""

    @property
    def clock(self) -> Clock: ...
    @property
    def vitals(self) -> Vitals: ...
