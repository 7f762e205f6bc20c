"""Spans of a program of ours that ends soon: set up if the environment asks for them, exported before it ends."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from evfn.event.traceparent import TRACEPARENT, TraceParent
from evfn.tracing.environment import pipeline

_PATIENCE = timedelta(seconds=2)
"""How long somebody at a terminal waits for the last spans to be exported."""


@contextmanager
def traced(environ: Mapping[str, str], service: str, on_problem: Callable[[str], None]) -> Iterator[None]:
    """What is published in this block gets spans, below that of the variable TRACEPARENT where there is one.

    `service` is the service's name where no variable says it; `on_problem` gets what keeps spans from being made.
    """
    found = pipeline(environ, service, on_problem)
    if found is None:
        yield
        return
    from opentelemetry import trace

    from evfn.tracing.current import within

    trace.set_tracer_provider(found.provider())
    place = TraceParent.parse(environ.get(TRACEPARENT.upper()))
    try:
        if place is None:
            yield
        else:
            with within(place):
                yield
    finally:
        if not found.close(_PATIENCE):
            on_problem("the last spans were not exported in time")
