"""A function whose attempts have a place in a trace: the spans that it makes itself are children of its attempt's."""

import time

from evfn.event.traceparent import TraceParent
from evfn.functions.function import Function
from evfn.functions.invocation import Invocation
from evfn.outcome import Outcome
from evfn.tracing.current import within
from evfn.workers import protocol
from evfn.workers.ledger import Ledger


class Traced:
    """Runs `function` with its attempt's span as the current one, and has the ledger say when each call ended."""

    def __init__(self, function: Function, ledger: Ledger) -> None:
        self._function = function
        self._ledger = ledger
        self.is_async = function.is_async

    def run(self, invocation: Invocation, started_ns: int | None = None) -> Outcome:
        """As the function's own."""
        place = TraceParent.parse(invocation.traceparent)
        if place is None or not isinstance(invocation, protocol.Invocation):
            return self._function.run(invocation, started_ns)
        with within(place):
            try:
                return self._function.run(invocation, started_ns)
            finally:
                self._ledger.end(invocation.slot, time.monotonic_ns())

    async def run_async(self, invocation: Invocation, started_ns: int | None = None) -> Outcome:
        """As the function's own."""
        place = TraceParent.parse(invocation.traceparent)
        if place is None or not isinstance(invocation, protocol.Invocation):
            return await self._function.run_async(invocation, started_ns)
        with within(place):
            try:
                return await self._function.run_async(invocation, started_ns)
            finally:
                self._ledger.end(invocation.slot, time.monotonic_ns())
