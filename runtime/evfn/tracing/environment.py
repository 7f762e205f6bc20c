"""What the environment asks for, if it asks for spans: the standard variables of OpenTelemetry decide."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from evfn.clock import Clock
from evfn.errors import UsageError
from evfn.tracing.tracer import Tracer
from evfn.tracing.wish import NOT_INSTALLED, exporters, installed

if TYPE_CHECKING:
    from evfn.tracing.pipeline import Pipeline


def tracer(
    environ: Mapping[str, str],
    project: str,
    clock: Clock,
    mask: Callable[[str], str],
    on_problem: Callable[[str], None],
) -> Tracer | None:
    """Who makes the spans of an instance's attempts; None where nobody asks, or what is asked for is not there.

    `mask` takes secrets out of what functions raise.
    """
    found = pipeline(environ, project, on_problem)
    if found is None:
        return None
    from evfn.tracing.attempts import Attempts

    return Attempts(found, project, clock, mask)


def pipeline(environ: Mapping[str, str], service: str, on_problem: Callable[[str], None]) -> "Pipeline | None":
    """The way out for spans; None where nobody asks, and where what is asked for is not there: that is a problem.

    What the SDK has to say later (a collector that is away, a full queue) goes to `on_problem` too, each thing once,
    from a thread of its own.
    """
    wanted = exporters(environ)
    if not wanted:
        return None
    if not installed():
        on_problem(NOT_INSTALLED)
        return None
    from evfn.tracing.pipeline import Pipeline
    from evfn.tracing.sdk_log import say_to

    say_to(on_problem)
    try:
        return Pipeline.exporting(wanted, environ, service)
    except (UsageError, ValueError) as error:
        on_problem(f"no traces: {error}")
        return None
