"""Where the embedded server listens: a Unix socket in a folder that only its owner may enter.

The socket cannot lie in the state folder itself: its path would often be longer than the system allows.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from evfn.errors import EvfnError

MAX_PATH_BYTES = 107
"""What `sockaddr_un` holds on Linux without its final zero byte; macOS holds 103."""


class UnsafeSocketFolder(EvfnError):  # noqa: N818 - what is wrong with it
    """The folder for the socket belongs to somebody else, or others may enter it; it is never used then."""


def choose(state: Path, environ: Mapping[str, str]) -> Path:
    """The socket of this state folder; its own folder exists afterwards and is ours alone.

    Raises UnsafeSocketFolder where the first folder whose path is short enough is not ours.
    """
    name = file_name(state)
    temporary = (tempfile.gettempdir(), "/tmp")  # noqa: S108 - only a folder in it that is checked to be ours
    folders = [Path(folder) / f"evfn-{os.getuid()}" for folder in temporary]
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK):
        folders.insert(0, Path(runtime) / "evfn")
    for folder in folders:
        if len(os.fsencode(folder / name)) <= MAX_PATH_BYTES:
            _prepare(folder)
            return folder / name
    raise AssertionError("the last of these folders is always short enough")


def file_name(state: Path) -> str:
    """The same for every way to write the path of one state folder, and different for any two folders."""
    return hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:20] + ".sock"


def check(folder: Path) -> None:
    """Raises UnsafeSocketFolder unless the folder is a real one, ours, and closed to everybody else."""
    try:
        status = folder.lstat()
    except OSError as error:
        raise UnsafeSocketFolder(f"cannot use {folder} for the embedded server's socket: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise UnsafeSocketFolder(
            f"{folder} is not a folder that belongs to you alone (owner, mode 0700), so the embedded server's socket"
            " cannot be kept there; remove it, or set XDG_RUNTIME_DIR to a folder of your own"
        )


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        pass  # Not a folder: `check` says so.
    except OSError as error:
        raise UnsafeSocketFolder(f"cannot make {folder}: {error.strerror}; set XDG_RUNTIME_DIR") from error
    check(folder)
