"""Whether this process is a worker that runs a function. Set by the worker itself, read by what must not run there."""

_worker = False


def mark_worker() -> None:
    """From now on this process, and what it forks, is a worker."""
    global _worker  # noqa: PLW0603 - a fact about the process as a whole
    _worker = True


def in_worker() -> bool:
    return _worker
