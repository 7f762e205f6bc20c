"""Loading the functions of many triggers: each once, so that its trigger's state is known.

A few triggers get a worker each, which is there for their first events. Of many triggers those whose functions are of
one module share a worker that tries all of them, and only the first workers stay: a thousand idle processes would be
worse than the start of one when it is needed.
"""

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from evfn.services.dispatcher import Dispatcher
from evfn.trigger import Isolation

PATIENCE = 0.25
"""Seconds one load may take before the next one begins; a slow import is not alone for long."""
FEW = 32
"""So many triggers have a worker each, and so many of the first workers stay until they are idle for too long."""
SHARED = 50
"""So many functions one worker tries at most: one that hangs keeps the others of its worker waiting."""
MOST_LANES = 4


async def load_all(dispatchers: Sequence[Dispatcher]) -> None:
    """Returns when the state of each is known."""
    many = len(dispatchers) > FEW
    batches = deque(enumerate(_together(dispatchers) if many else [[each] for each in dispatchers]))

    async def work_off() -> None:
        while batches:
            number, batch = batches.popleft()
            first, *others = batch
            first.serving.warm_up([each.serving for each in others], brief=number >= FEW)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    for each in batch:
                        await each.known.wait()

    # A few are loaded in their order: what is told of them is read by a person.
    lanes = min(os.cpu_count() or 1, MOST_LANES) if many else 1
    await asyncio.gather(*(work_off() for _ in range(lanes)))
    for each in dispatchers:
        await each.known.wait()


def _together(dispatchers: Iterable[Dispatcher]) -> list[list[Dispatcher]]:
    """Those that one worker can load: of one module, in one environment."""
    batches: list[list[Dispatcher]] = []
    open_: dict[object, list[Dispatcher]] = {}
    for each in dispatchers:
        trigger = each.trigger
        shared = (trigger.function.partition(":")[0], trigger.env, trigger.isolation is Isolation.JOB)
        batch = open_.get(shared)
        if batch is None or len(batch) == SHARED:
            batch = open_[shared] = []
            batches.append(batch)
        batch.append(each)
    return batches
