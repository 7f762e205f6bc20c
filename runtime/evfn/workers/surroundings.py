"""What a fresh fork has to shed and to put on before user code may run in it."""

import contextlib
import fcntl
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from evfn.workers import kinship

OOM_SCORE = 500
"""When memory runs out the kernel is to choose a worker, not the dispatcher and not the server."""


NONE = -1


class Descriptors(NamedTuple):
    """The descriptors a worker is born with. `home` is where it may say that it left a loaded template, if it may."""

    control: int
    output: int
    ledger: int
    stack: int
    home: int = NONE


def leave(template: int) -> None:
    """Become a process group of its own that ends with its template and adopts its own orphans."""
    os.setsid()
    if not kinship.die_with_parent(template, signal.SIGKILL):
        os._exit(0)
    kinship.adopt_orphans()


def be_ordinary() -> None:
    """Have plain signals, and be the first to go where memory runs out."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C is for the dispatcher alone to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with contextlib.suppress(OSError):
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, b"%d" % OOM_SCORE)
        os.close(score)


def arrange(descriptors: Descriptors) -> Descriptors:
    """Standard input empty, standard output and error into the output pipe, our own out of reach, all others closed."""
    high, limit = _region()
    moved = _moved(descriptors, high)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(3, high)
    os.closerange(max(moved) + 1, limit)
    os.close(moved.output)
    return moved._replace(output=1)


def rearrange(descriptors: Descriptors, others: Iterable[int]) -> Descriptors:
    """As `arrange`, in the fork of a process that is arranged: what its import has open stays, all but these others."""
    moved = _moved(descriptors, _region()[0])
    for descriptor in (moved.output, *others, *descriptors):
        if descriptor != NONE:
            os.close(descriptor)
    return moved._replace(output=1)


def _region() -> tuple[int, int]:
    """Where our own descriptors go, and where all end. High numbers: code that closes or reopens "the next descriptors"
    by number does not hit them."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        limit = 1024
    return max(16, min(limit, 1024) - 16), limit


def _moved(descriptors: Descriptors, high: int) -> Descriptors:
    """Copies in their places, standard output and error among them."""
    moved = Descriptors(
        *(
            NONE if descriptor == NONE else fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, high)
            for descriptor in descriptors
        )
    )
    for standard in (1, 2):
        os.dup2(moved.output, standard)
    # Each dump is written after the last, wherever whoever empties the file has left it.
    fcntl.fcntl(moved.stack, fcntl.F_SETFL, fcntl.fcntl(moved.stack, fcntl.F_GETFL) | os.O_APPEND)
    return moved


def move_in(project_dir: str, env: dict[str, str]) -> None:
    """Take the trigger's environment, the whole of it, and the project as working directory.

    Raises OSError where the project directory cannot be entered.
    """
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    for path in reversed(env.get("PYTHONPATH", "").split(os.pathsep)):
        if path and path not in sys.path:
            sys.path.insert(0, str(Path(project_dir, path)))
    sys.argv[:] = ["evfn"]
    # A cached file is chosen by its time and size alone: after a quick edit it may be the old code's.
    sys.dont_write_bytecode = True
    os.chdir(project_dir)
