"""How the kernel shares the processor between an instance, its workers, and whoever else needs it."""

import contextlib
import os


def give_way() -> None:
    """Where this process wakes up, let what runs there go on to its next pause; its children inherit that.

    A server, a dispatcher and a worker that hand events on wake each other thousands of times a second. Under Linux's
    ordinary policy each wake-up may interrupt who is in the midst of the next step, the server most of all: on two
    cores plain functions ran a tenth slower. A policy that somebody else has chosen for this process stays as it is.
    """
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with contextlib.suppress(OSError):  # A sandbox may forbid it; then it is a tenth slower.
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
