"""A fetch that is under way, before anybody waits for its reply."""

from evfn.broker.group import Answer, Ask, Source
from evfn.services.subscription import Subscription


class Begun:
    """At most `count` entries of a source were asked for, as `answer` has them, and the `call` is known as under way.

    `wakes` says how often it had been woken by then: what woke it later may be about what this fetch does not bring.
    """

    def __init__(self, subscription: Subscription, source: Source, count: int, answer: Answer) -> None:
        self.subscription = subscription
        self.source = source
        self.count = count
        self.answer = answer
        self.wakes = subscription.wakes
        self.call = subscription.in_flight(source).call()

    @classmethod
    def by(cls, ask: Ask, subscription: Subscription, source: Source, count: int) -> "Begun | None":
        """Nothing where `ask` cannot send."""
        answer = subscription.group.begin(ask, source, count)
        return None if answer is None else cls(subscription, source, count, answer)

    def abandon(self) -> None:
        """Nobody will wait for it: what it brings is found as pending and held by nobody."""
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()  # looked at, so that nobody is told that it never was
        self.call.abandon()
