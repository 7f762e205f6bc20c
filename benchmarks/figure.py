"""What a benchmark comes to: figures, each with its samples and what it has to reach."""

import argparse
import math
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Effort:
    """How much a run may take: how many alternating rounds, and which part of the usual number of events."""

    rounds: int = 3
    share: float = 1.0

    @staticmethod
    def rounds_of(text: str) -> int:
        """As written at the command line: nothing measured would be recorded as what was measured."""
        if not text.isdecimal() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds; write 1 or more")
        return int(text)

    @staticmethod
    def share_of(text: str) -> float:
        """The same of a part of the usual number of events."""
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if not 0 < share < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is no part; write a number above 0, as 0.5")
        return share

    def events(self, usual: int) -> int:
        """So many instead of the usual number."""
        return max(1, int(usual * self.share))


@dataclass(frozen=True)
class Figure:
    """One measured thing, one sample a round; their median stands for it.

    `least` must be reached and `aim` is aimed at, where the figure has them: from above, or from below where
    `more_is_better` is false. `about` is what a reader wants to see beside it, such as the CPU of each process. Where
    it could not be measured, `problem` says why and there are no samples.
    """

    name: str
    unit: str
    samples: tuple[float, ...]
    least: float | None = None
    aim: float | None = None
    more_is_better: bool = True
    about: dict[str, float] = field(default_factory=dict)
    problem: str | None = None

    @property
    def value(self) -> float:
        """The median. Raises statistics.StatisticsError where nothing was measured."""
        return median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether it is as good as it must be; None where nothing is asked of it."""
        return self._as_good_as(self.least)

    @property
    def aim_reached(self) -> bool | None:
        """Whether it is as good as it could be; None where nothing is aimed at."""
        return self._as_good_as(self.aim)

    def _as_good_as(self, bound: float | None) -> bool | None:
        if bound is None:
            return None
        if not self.samples:
            return False
        return self.value >= bound if self.more_is_better else self.value <= bound
