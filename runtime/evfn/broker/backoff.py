"""How long to wait before the server is asked again."""

from datetime import timedelta

FIRST = timedelta(milliseconds=50)
CAP = timedelta(seconds=2)


def later(tries: int, random: float) -> timedelta:
    """The pause after this many failed tries (0: the first has just failed), with full jitter, never above two seconds.

    `random` is drawn from [0, 1). Full jitter, so that instances which lost the server together do not return together.
    """
    longest = FIRST * (1 << min(tries, 16))
    return min(longest, CAP) * random
