"""What a worker needs of a function, whatever stands around it."""

from typing import Protocol

from evfn.functions.invocation import Invocation
from evfn.outcome import Outcome


class Runs(Protocol):
    """One attempt in, one outcome out; SystemExit and KeyboardInterrupt come out as they are."""

    is_async: bool

    def run(self, invocation: Invocation, started_ns: int | None = None) -> Outcome: ...
    async def run_async(self, invocation: Invocation, started_ns: int | None = None) -> Outcome: ...
