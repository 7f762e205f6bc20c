"""One attempt's input as it comes from a stream, wherever it is run: in a worker, as a job, or at the command line."""

from typing import Protocol


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
