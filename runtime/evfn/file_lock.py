"""An exclusive lock on a file. The kernel frees it when its holder ends, however it ends, so it is never stale."""

import fcntl
import os
from pathlib import Path


class FileLock:
    """A lock that is held from `acquire` until `release`, or until the process and all that inherited it have ended."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path, *, create: bool = True) -> "FileLock | None":
        """Take the lock at once, or None where another holder has it. The file is made if need be, for its owner only.

        Raises OSError where the file cannot be made, or its file system has no locks; FileNotFoundError where it is
        not there and `create` is off.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor)

    @property
    def descriptor(self) -> int:
        """To be handed to a child that is to hold the lock as long as it lives."""
        return self._descriptor

    def write(self, text: str) -> None:
        """Replace the file's content, for others to read."""
        encoded = text.encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, encoded, 0)

    def release(self) -> None:
        """Let go; a child that inherited the lock keeps it. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
