"""How far a peer has come, noted in memory that the watcher shares: less than a microsecond for each event.

Every process that has handled anything has a file in the folder, with three numbers: how many, and when the first and
the last one was, in nanoseconds of the monotonic clock, which all processes of a machine share.
"""

import mmap
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

RECORD_BYTES = 24


@dataclass(frozen=True)
class Progress:
    """Events handled so far, by all processes of a peer, and the seconds between the first and the last."""

    events: int
    seconds: float


class Tally:
    """What this process has handled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._record: memoryview[int] | None = None
        os.register_at_fork(after_in_child=self.forget)

    def handled(self) -> None:
        """One more event has reached the function."""
        with self._lock:
            now = time.monotonic_ns()
            if self._record is None:
                self._record = _claim()
                self._record[1] = now
            self._record[2] = now
            self._record[0] += 1

    def forget(self) -> None:
        """Begin anew: what was counted is another process's."""
        self._lock, self._record = threading.Lock(), None


handled = Tally().handled


def progress(folder: Path) -> Progress:
    """What the processes have noted so far."""
    records = [memoryview(each.read_bytes()).cast("Q") for each in folder.iterdir()]
    begun = [each for each in records if each and each[0]]
    if not begun:
        return Progress(0, 0.0)
    seconds = (max(each[2] for each in begun) - min(each[1] for each in begun)) / 1e9
    return Progress(sum(each[0] for each in begun), seconds)


def _claim() -> "memoryview[int]":
    with (Path(os.environ["PEER_TALLY"]) / str(os.getpid())).open("w+b") as file:
        file.truncate(RECORD_BYTES)
        return memoryview(mmap.mmap(file.fileno(), RECORD_BYTES)).cast("Q")
