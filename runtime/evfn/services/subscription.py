"""One trigger on one topic: its group, what of it may hold unread entries, and the settling of what was read."""

from evfn.broker.group import Group, Source
from evfn.services.settler import Settler


class Subscription:
    """A trigger's place on a topic. `hot` sources may hold entries that were not fetched; `served` says in which turn
    each gave something last."""

    def __init__(self, topic: str, group: Group, settlers: dict[Source, Settler]) -> None:
        self.topic = topic
        self.group = group
        self.settlers = settlers
        self.hot: set[Source] = set(Source)
        self.served = dict.fromkeys(Source, 0)
        self.wakes = 0
        self.problem: str | None = None

    def wake(self, source: Source) -> None:
        """Something may have been added."""
        self.hot.add(source)
        self.wakes += 1
