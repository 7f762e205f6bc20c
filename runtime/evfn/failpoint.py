"""Places between two steps where a test can kill the process or hold it up, every time and not by luck.

Off unless the environment names some: `EVFN_FAILPOINTS="after settle=kill"` ends the process there as kill -9 does;
`after settle=hold:/a/file` makes the file and stands still until it is gone. Several are divided by semicolons.
"""

import os
import signal
import time
from pathlib import Path

from evfn.errors import UsageError

VARIABLE = "EVFN_FAILPOINTS"
_LOOK = 0.005
_armed: dict[str, str] = {
    each.partition("=")[0].strip(): each.partition("=")[2].strip()
    for each in os.environ.get(VARIABLE, "").split(";")
    if each.strip()
}


def reached(place: str) -> None:
    """Do what the environment says for this place; nothing where it says nothing.

    Raises UsageError where it says something else than above.
    """
    if _armed:
        _act(place)


def _act(place: str) -> None:
    action, _, argument = _armed.pop(place, "none").partition(":")
    match action:
        case "none":
            pass
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hold" if argument:
            Path(argument).touch()
            while Path(argument).exists():
                time.sleep(_LOOK)
        case _:
            raise UsageError(f"{VARIABLE}: {action!r} at {place!r} is neither kill nor hold:/a/file")
