"""One attempt's input as it comes from a stream, wherever it is run: in a worker, as a job, or at the command line."""

from typing import ClassVar, Protocol

import msgspec


def invocation_id(trigger: str, topic: str, stream_id: str) -> str:
    """Of an event that came straight from its topic. It stays the same over all attempts, wherever they are made."""
    return f"{trigger}:{topic}:{stream_id}"


class Invocation(Protocol):
    """An event for one trigger. `fields` are its entry's, alternating name and value; `attempt` is 1 on the first.

    `traceparent` is the place of the attempt's own span, where spans are made.
    """

    @property
    def topic(self) -> str: ...
    @property
    def stream_id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def invocation_id(self) -> str: ...
    @property
    def fields(self) -> list[bytes]: ...
    @property
    def traceparent(self) -> str | None: ...


class FirstInvocation(msgspec.Struct, frozen=True, gc=False):
    """An entry as an invocation, what can be told from the rest put together only when it is asked for."""

    topic: str
    stream_id: str
    fields: list[bytes]
    trigger: str
    attempt: ClassVar[int] = 1
    traceparent: ClassVar[str | None] = None

    @property
    def invocation_id(self) -> str:
        return invocation_id(self.trigger, self.topic, self.stream_id)
