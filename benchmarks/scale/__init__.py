"""Each trigger has a topic and a function of its own, ten functions a module. `evfn serve` is a process of its own; it
is calm once its workers have gone for want of work, and stays so for 20 s, in which its CPU and what it makes the
server write are counted. The memory is the proportional set size of the dispatcher alone, once workers have gone; what
it was while they idled stands beside it, with theirs. A backlog is settled by `evfn run --until-idle` from nothing.
Dead letters are made by the server itself, in the form in which evfn stores them.
"""

from benchmarks.figure import Effort, Figure
from benchmarks.ground import Ground
from benchmarks.scale import backlogs, dead_letters, neighbours, triggers

TITLE = "Scale"


async def measure(effort: Effort) -> list[Figure]:
    """All of it, each part on a server of its own."""
    figures: list[Figure] = []
    for part in (triggers, backlogs, dead_letters, neighbours):
        async with Ground() as ground:
            figures += await part.measure(ground, effort)
    return figures
