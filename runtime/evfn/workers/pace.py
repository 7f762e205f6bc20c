"""How long a function takes, and what follows for the size of frames: pure arithmetic."""

from evfn.workers.frame import FRAMES_PER_WORKER
from evfn.workers.ledger import SLOTS_PER_FRAME

FRAME_NS = 5_000_000
"""A frame should keep a worker busy for about 5 ms: long enough to hide the hand-over, short enough to stay fair."""
_WEIGHT = 0.3
_UNKNOWN_FRAME = 16


class Pace:
    """A running average of the time one call takes, in nanoseconds; 0 while nothing was measured."""

    def __init__(self) -> None:
        self.call_ns = 0.0

    def measured(self, calls: int, busy_ns: int) -> None:
        """Take in one frame: so many calls in so much time."""
        if calls <= 0:
            return
        sample = max(busy_ns / calls, 1.0)
        self.call_ns = sample if self.call_ns == 0 else self.call_ns + _WEIGHT * (sample - self.call_ns)

    def frame_size(self) -> int:
        """How many events the next frame may hold."""
        if self.call_ns == 0:
            return 1
        return max(1, min(SLOTS_PER_FRAME, int(FRAME_NS / self.call_ns)))

    def appetite(self, concurrency: int) -> int:
        """How many unsettled events one worker may hold, so that it never waits and hoards nothing."""
        if self.call_ns == 0:
            return max(_UNKNOWN_FRAME, concurrency)
        frame = self.frame_size()
        return max(concurrency, 2) if frame == 1 else max(concurrency, frame * FRAMES_PER_WORKER)

    def needs_another(self, waiting: int, workers: int) -> bool:
        """Whether what waits would keep the present workers busy for more than 50 ms."""
        return workers == 0 or self.call_ns == 0 or waiting * self.call_ns / workers > 10 * FRAME_NS
