"""A peer: another system that calls a function for each event, and the ways in which it is run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

USUAL, BEST = "usual", "best"


@dataclass(frozen=True)
class Way:
    """One way to run a peer.

    `command` starts its workers, `processes` times. `settings` are what its program in `programs/` is told, `says` the
    same for a reader. `events` are so many that it takes four seconds or more. Where the function is not called once
    for each event, `each` is false and nothing is compared with it.
    """

    name: str
    says: str
    events: int
    command: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    each: bool = True


@dataclass(frozen=True)
class Peer:
    """One system, as a reader has to know it.

    `program` names its files in `programs/` and `requirements/`; `isolated` says in what the function is apart from
    what fetches its events, `acked` when an event is taken off its queue for good and by which setting, `killed` what a
    `kill -9` of its workers comes to, `sources` where all of this is written. `acks_late` is false where an event is
    taken off before it is handled.
    """

    name: str
    program: str
    isolated: str
    acked: str
    killed: str
    sources: tuple[str, ...]
    ways: tuple[Way, ...]
    acks_late: bool = True
    node: bool = False
