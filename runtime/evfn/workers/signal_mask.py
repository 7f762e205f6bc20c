"""Which signals wait: set and restored in a microsecond, where `signal.pthread_sigmask` takes a hundred.

That one makes an object of each signal that waited, most of them by way of an exception.
"""

import ctypes
import signal

BYTES = 128
"""Of a `sigset_t`. Source: sigset_t.h of glibc and bits/alltypes.h of musl, both of 1,024 bits."""

_libc = ctypes.CDLL(None)

Mask = ctypes.Array[ctypes.c_char]
"""The signals that wait, as the C library has them."""


def block_all() -> Mask:
    """Let every signal wait, but for those that cannot; which ones did before."""
    every, before = ctypes.create_string_buffer(BYTES), ctypes.create_string_buffer(BYTES)
    _libc.sigfillset(every)
    _libc.pthread_sigmask(signal.SIG_BLOCK, every, before)
    return before


def restore(mask: Mask) -> None:
    """Let these wait, and no others."""
    _libc.pthread_sigmask(signal.SIG_SETMASK, mask, None)
