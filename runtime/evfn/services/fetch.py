"""A fetch that is under way: what was asked for, and what is known of it until its reply is there."""

from evfn.broker.group import Answer, Ask, Lane, Source
from evfn.services.subscription import Subscription

Pairs = list[tuple[bytes, list[bytes] | None]]
"""Entries as they come: id, and fields and values alternating; None where it was trimmed meanwhile."""


class Fetch:
    """At most `count` entries of a source are asked for, and the `call` is known as under way: on this lane, or by a
    call of its own. With `answer` they have been asked for already.

    `wakes` says how often it had been woken by then: what woke it later may be about what this fetch does not bring.
    """

    def __init__(
        self,
        subscription: Subscription,
        source: Source,
        count: int,
        *,
        lane: Lane | None = None,
        answer: Answer | None = None,
    ) -> None:
        self.subscription = subscription
        self.source = source
        self.count = count
        self.wakes = subscription.wakes
        self.call = subscription.in_flight(source).call()
        self._lane = lane
        self._answer = answer

    @classmethod
    def begun(cls, ask: Ask, subscription: Subscription, source: Source, count: int) -> "Fetch | None":
        """Ask at once; nothing where `ask` cannot send."""
        answer = subscription.group.begin(ask, source, count)
        return None if answer is None else cls(subscription, source, count, answer=answer)

    async def read(self) -> Pairs:
        """What it brings. Raises as `Group.fetch`."""
        group = self.subscription.group
        if self._answer is None:
            return await group.fetch(self.source, self.count, self._lane)
        return await group.read(self.source, self._answer)

    def abandon(self) -> None:
        """Nobody will wait for it: what it brings is found as pending and held by nobody."""
        if self._answer is not None and not self._answer.cancel() and not self._answer.cancelled():
            self._answer.exception()  # looked at, so that nobody is told that it never was
        self.call.abandon()
