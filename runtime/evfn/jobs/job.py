"""A job: one delivery that RQ carries to whichever machine runs it. The event itself stays on its stream."""

import hashlib
from collections.abc import Mapping

import msgspec

from evfn.broker.mailbox import Run
from evfn.broker.source import Source

FUNCTION = "evfn.jobs.invoke"
"""What RQ believes to call; no job that names anything else is run."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What an RQ worker must know to find the delivery, and to judge whether it is one of its project.

    `attempt` is for people; the number that counts comes from the entry. `revision` is the dispatcher's,
    `traceparent` the place of the attempt's span, where one is made.
    """

    project: str
    key_prefix: str
    trigger: str
    topic: str
    source: Source
    entry: str
    attempt: int
    lease_ms: int
    revision: str
    traceparent: str | None = None

    @property
    def group(self) -> str:
        """The trigger's consumer group."""
        return f"{self.project}/{self.trigger}"

    @property
    def run(self) -> Run:
        """Its mailbox."""
        return Run(self.source, self.entry.encode())

    @property
    def id(self) -> str:
        """RQ's id of it, the same for everybody who wants this delivery run; of letters, digits, `_` and `-`."""
        place = hashlib.sha256(f"{self.key_prefix}\0{self.topic}\0{self.source.value}".encode()).hexdigest()[:12]
        return f"{self.project}_{self.trigger}_{place}_{self.entry}"

    @property
    def description(self) -> str:
        """What RQ's tools show."""
        return f"{self.trigger} on {self.topic} {self.entry}, attempt {self.attempt}"

    def arguments(self) -> dict[str, object]:
        """As JSON can hold it."""
        built: dict[str, object] = msgspec.to_builtins(self)
        return built


def read(arguments: Mapping[str, object]) -> Job:
    """Raises ValueError for what is no job of evfn."""
    return msgspec.convert(dict(arguments), Job)
