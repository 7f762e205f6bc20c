"""A trigger as the runtime knows it: checked, complete, every default filled in."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from evfn.retry import RetryPolicy


class DataMode(Enum):
    """How to read the data of entries that do not say what they hold."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"


class Isolation(Enum):
    """Where a function runs: in a worker process of the instance, or as an RQ job on any machine that runs those."""

    PROCESS = "process"
    JOB = "job"


class StartAt(Enum):
    """Where a new trigger begins in the streams that exist already."""

    NEW = "new"
    EARLIEST = "earliest"


Start = StartAt | datetime | str
"""A word, an instant (aware), or a stream id `milliseconds-sequence` that is the first to be delivered."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many processes run a trigger's function. `memory` is in bytes of resident memory.

    Where jobs run it, `max` is how many may be queued or run at a time, and `queue` is RQ's (None: the project's).
    """

    min: int = 0
    max: int = 1
    concurrency: int = 1
    idle: timedelta = timedelta(seconds=60)
    recycle_after: int = 10_000
    memory: int | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Where a trigger's keys stand, as `triggers.yaml:12:5`; `give_up_on` has one place for each name there."""

    function: str = ""
    give_up_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """Topic patterns + filter + function + delivery policy, under a unique name."""

    name: str
    topics: tuple[str, ...]
    function: str
    filter: str | None = None
    start: Start = StartAt.NEW
    timeout: timedelta = timedelta(seconds=30)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    emits: tuple[str, ...] = ()
    isolation: Isolation = Isolation.PROCESS
    workers: Workers = field(default_factory=Workers)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    enabled: bool = True
    # A trigger that only stands elsewhere in its file is the same one.
    written: Written = field(default_factory=Written, compare=False)


@dataclass(frozen=True, slots=True)
class TopicRules:
    """Storage rules of one topic."""

    data: DataMode = DataMode.AUTO
    retention: timedelta | None = None
    max_events: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the instance."""

    key_prefix: str = ""
    lease: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Project:
    """A whole manifest: the project's name, its settings, topics and triggers in the order they stand."""

    name: str
    triggers: tuple[Trigger, ...]
    topics: tuple[tuple[str, TopicRules], ...] = ()
    settings: Settings = field(default_factory=Settings)

    def group(self, trigger: str) -> str:
        """The consumer group of one of this project's triggers."""
        return f"{self.name}/{trigger}"

    def queue(self, trigger: Trigger) -> str:
        """The RQ queue of a trigger's jobs. Without a name of its own it is none that other programs use."""
        return trigger.workers.queue or f"evfn:{self.settings.key_prefix}{self.name}"
