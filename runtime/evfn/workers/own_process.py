"""Whether this is the worker still, or a process that its function forked and let come back."""

import mmap
import os

_WIPE_ON_FORK = 18
"""MADV_WIPEONFORK, which the mmap module does not name. Source: madvise(2), Linux 4.14."""


class OwnProcess:
    """Made once in the worker. `mark[0]` is 0 in every process forked from it since, whoever forked it and however.

    It is looked at after each call, and a page that the kernel empties at a fork costs no system call as the process id
    does.
    """

    def __init__(self) -> None:
        self.mark = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.mark[0] = 1
        try:
            self.mark.madvise(_WIPE_ON_FORK)
        except (OSError, ValueError):
            # Another system than Linux: what is forked from Python is known at least.
            os.register_at_fork(after_in_child=self._forked)

    def __bool__(self) -> bool:
        return self.mark[0] == 1

    def _forked(self) -> None:
        self.mark[0] = 0
