"""A topic's whole backlog, settled by instances of evfn that begin from nothing."""

from collections.abc import Mapping
from itertools import count

from benchmarks.ground import Ground
from benchmarks.subject import MIDST, Run, Subject, Trigger

_numbers = count()


def settle(
    ground: Ground,
    topic: str,
    events: int,
    function: str,
    settings: Mapping[str, object],
    *,
    triggers: int = 1,
    instances: int = 1,
    window: tuple[float, float] = MIDST,
) -> Run:
    """By triggers that are new, so that the same backlog can be settled again. `function` defines `handle`.

    Raises RuntimeError where not all of it is settled.
    """
    number = next(_numbers)
    bound = [Trigger(f"t{number}-{each}", topic, "measured", settings) for each in range(triggers)]
    subject = Subject(ground.folder / f"project-{number}", ground.url, {"measured": function}, bound)
    ground.rest()
    try:
        deliveries = events * triggers
        return subject.drain(ground.client, ground.server_pid, deliveries, window=window, instances=instances)
    finally:
        for each in bound:
            ground.client.xgroup_destroy(topic, f"bench/{each.name}")
        if "emits" in settings:
            ground.client.unlink(str(settings["emits"]))
