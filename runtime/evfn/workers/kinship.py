"""Ties between a process and its parent that only Linux has words for."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(parent: int, with_signal: signal.Signals) -> bool:
    """Have the kernel send this signal when the parent (in fact the thread that started us) ends.

    False where the parent, of this pid, was gone before the kernel knew: then nobody will send it.
    """
    _call(_PR_SET_PDEATHSIG, with_signal)
    return os.getppid() == parent


def adopt_orphans(adopt: bool = True) -> None:
    """Become the parent of every descendant whose own parent ends, so that none can slip away; or cease to."""
    _call(_PR_SET_CHILD_SUBREAPER, int(adopt))


def be_called(name: bytes) -> None:
    """Have the kernel show this process under another name, of 15 bytes at most."""
    _prctl(_PR_SET_NAME, name, 0, 0, 0)


def children() -> list[int]:
    """The pids of this process's direct children, those that ended and wait to be reaped included.

    Empty where the kernel does not tell. Only right in a process of a single thread.
    """
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0) as file:  # noqa: PTH123 - for every worker
            return [int(pid) for pid in file.readall().split()]
    except OSError:
        return []


def _call(option: int, argument: int) -> None:
    if _prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
