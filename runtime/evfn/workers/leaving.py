"""How a worker process ends itself."""

import atexit
import contextlib
import os
from typing import NoReturn

from evfn.workers.output import Capture, Tally
from evfn.workers.own_process import OwnProcess


def stop(capture: Capture) -> NoReturn:
    """Told to: let the modules that the function imported close what they opened, then go.

    Not by the interpreter's own end, which waits for every thread that is left.
    """
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    capture.finish(capture.tally)
    os._exit(0)


def by_the_function(error: SystemExit | KeyboardInterrupt, capture: Capture, tally: Tally, own: OwnProcess) -> NoReturn:
    """The function asked for the end of its process: it gets it. The slot stays RUNNING, for no result is no success.

    In a process that the function forked that is all.
    """
    if isinstance(error, KeyboardInterrupt):
        code, said = 130, "the function raised KeyboardInterrupt"
    else:
        wanted = error.code
        said = f"the function called sys.exit({'' if wanted is None else _shown(wanted)})"
        code = wanted & 0xFF if isinstance(wanted, int) else int(wanted is not None)
    if own:
        capture.finish(tally)
        capture.say(tally, said)
    os._exit(code)


def _shown(value: object) -> str:
    try:
        return repr(value)[:200].encode("utf-8", "backslashreplace").decode()
    except Exception:
        return "…"
