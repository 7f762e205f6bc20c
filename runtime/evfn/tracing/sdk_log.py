"""What OpenTelemetry's SDK logs, as lines for the person who watches evfn's own log."""

import logging
from collections.abc import Callable

LOGGER = "opentelemetry"
MOST = 100
"""So many different things are passed on; who has more to say than that is not heard any more."""


def say_to(on_problem: Callable[[str], None]) -> None:
    """Pass on each warning and error once, from whatever thread it comes."""
    logger = logging.getLogger(LOGGER)
    logger.handlers = [_Once(on_problem)]
    logger.propagate = False


class _Once(logging.Handler):
    def __init__(self, on_problem: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_problem = on_problem
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        # The same collector is away at every try, for other reasons in detail.
        if record.msg not in self._said and len(self._said) < MOST:
            self._said.add(str(record.msg))
            self._on_problem(f"traces: {record.getMessage()}".partition("\n")[0])
