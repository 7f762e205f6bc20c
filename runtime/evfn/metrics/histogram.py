"""A histogram that takes many equal observations, or a row of evenly spread ones, for the price of one."""

from bisect import bisect_left
from itertools import accumulate


class Histogram:
    """`bounds` are the upper limits of the buckets, ascending; one more takes all that is above."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """So many observations of this value."""
        self._counts[bisect_left(self._bounds, value)] += count
        self.sum += value * count

    def observe_spread(self, low: float, high: float, count: int) -> None:
        """So many observations, the first `high`, the last `low`, the others evenly between them."""
        first, last = bisect_left(self._bounds, low), bisect_left(self._bounds, high)
        self.sum += (low + high) / 2 * count
        if first == last or count < 2:
            self._counts[last] += count
            return
        step = (high - low) / (count - 1)
        below = 0
        for bucket in range(first, last):
            up_to = min(count, int((self._bounds[bucket] - low) / step) + 1)
            self._counts[bucket] += up_to - below
            below = up_to
        self._counts[last] += count - below

    def cumulative(self) -> list[tuple[str, int]]:
        """Each bucket's upper limit and how many observations are not above it, as Prometheus writes them."""
        limits = [*(str(bound) for bound in self._bounds), "+Inf"]
        return list(zip(limits, accumulate(self._counts), strict=True))
