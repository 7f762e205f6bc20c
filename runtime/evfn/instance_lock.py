"""Which instances of a project run on this machine: one locked file each, in `instances/` of the state folder.

A free lock means that its instance is dead, at once and for certain: no beat needs to be waited for.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from evfn.file_lock import FileLock


@dataclass(frozen=True, slots=True)
class Living:
    """An instance that runs now; its server's URL may hold a password, so it is not shown by itself."""

    instance: str
    pid: int
    server: str = field(repr=False)


class InstanceLock:
    """One instance's own lock, held as long as it runs. `folder` is the state folder."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self._path = path
        self._lock = lock

    @classmethod
    def acquire(cls, folder: Path, instance: str, server: str = "") -> "InstanceLock":
        """Say that this instance runs, and against which server (a URL, readable by the file's owner only).

        Raises FileExistsError where another living instance has this id.
        """
        path = _path(folder, instance)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if held(folder, instance):
            raise FileExistsError(f"an instance {instance} is running already")
        # Locked before it appears under its name: nobody ever finds a living instance's file unlocked.
        unnamed = path.with_suffix(".new")
        lock = FileLock.acquire(unnamed)
        if lock is None:
            raise FileExistsError(f"an instance {instance} is starting already")
        lock.write(f"{server}\n{os.getpid()}\n")
        unnamed.rename(path)
        return cls(path, lock)

    def release(self) -> None:
        """This instance is gone: remove the file, then let go. A second call does nothing."""
        self._path.unlink(missing_ok=True)
        self._lock.release()


def held(folder: Path, instance: str) -> bool | None:
    """Whether the instance lives; None where it never ran here or ended cleanly (or its file was cleared away)."""
    try:
        lock = FileLock.acquire(_path(folder, instance), create=False)
    except FileNotFoundError:
        return None
    if lock is None:
        return True
    lock.release()
    return False


def ids(folder: Path) -> list[str]:
    """Every instance with a lock file here, living or dead, in no order that means anything."""
    return sorted(path.stem for path in (folder / "instances").glob("*.lock"))


def living(folder: Path) -> list[Living]:
    """Every instance of this folder that runs now."""
    found: list[Living] = []
    for instance in ids(folder):
        if held(folder, instance):
            with contextlib.suppress(OSError, ValueError):
                server, pid = _path(folder, instance).read_text().splitlines()[:2]
                found.append(Living(instance, int(pid), server))
    return found


def clear(folder: Path, instance: str) -> None:
    """Remove the file of a dead instance; a living one's stays."""
    path = _path(folder, instance)
    with contextlib.suppress(FileNotFoundError):
        lock = FileLock.acquire(path, create=False)
        if lock is not None:
            path.unlink(missing_ok=True)
            lock.release()


def _path(folder: Path, instance: str) -> Path:
    return folder / "instances" / f"{instance}.lock"
