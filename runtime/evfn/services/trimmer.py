"""Trims topics by their rules, only what every group has finished; any instance may, and all of them do."""

from collections.abc import Callable, Iterable
from datetime import timedelta

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.replay import Replay
from evfn.broker.trim import Holder, Trimmed, trim
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.services.dispatcher import Dispatcher
from evfn.trigger import Project, TopicRules

EVERY = timedelta(seconds=5)
"""How often each topic with a rule is looked at, half of it more or less so that instances do not meet."""


class Trimmer:
    """`project` is asked for the rules as they are now; `warn` says a line to the person who watches."""

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        project: Callable[[], Project],
        dispatchers: Callable[[], Iterable[Dispatcher]],
        clock: Clock,
        random: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._project = project
        self._dispatchers = dispatchers
        self._clock = clock
        self._random = random
        self._warn = warn
        self._told: dict[str, frozenset[str]] = {}

    async def run(self) -> None:
        """Trim until cancelled."""
        while True:
            await self._clock.sleep(EVERY * (0.5 + self._random()))
            await self.run_once()

    async def run_once(self) -> None:
        """Trim every topic that has a rule, as far as its groups allow."""
        for topic, rules in self._project().topics:
            if rules.retention is None and rules.max_events is None:
                continue
            try:
                self._tell(topic, await self._trim(topic, rules))
            except BrokerError:
                continue  # The dispatchers say what is wrong with the server, or with the key.

    async def _trim(self, topic: str, rules: TopicRules) -> Trimmed:
        groups = [
            subscription.group.group
            for dispatcher in self._dispatchers()
            for name, subscription in dispatcher.subscriptions.items()
            if name == topic
        ]
        replays = [await Replay(self._connection, self._keys, topic, group).unfinished() for group in groups]
        marks = [each.cursor or each.first for each in replays if each is not None]
        return await trim(self._connection, self._keys, topic, rules, groups, marks)

    def _tell(self, topic: str, trimmed: Trimmed) -> None:
        """Said once, and again when it is somebody else who holds it back."""
        holders = frozenset(each.group for each in trimmed.held_by)
        if holders and self._told.get(topic) != holders:
            self._told[topic] = holders
            who = ", ".join(sorted(self._said(topic, each) for each in trimmed.held_by))
            self._warn(
                f"{topic} holds {trimmed.events:,} events, more than its rule would keep; nothing unfinished goes:"
                f" {who}"
            )

    def _said(self, topic: str, holder: Holder) -> str:
        if not holder.group:
            return "a replay is under way"
        if holder.missing:
            return f"the group {holder.group} is not there yet"
        known = {self._project().group(trigger.name) for trigger in self._project().triggers}
        behind = "an unknown number of" if holder.lag is None else f"{holder.lag:,}"
        said = f"{holder.group} has {holder.pending:,} events in hand and {behind} before it"
        if holder.group in known:
            return said
        return (
            f"{said}, and is none of this project's triggers (where nobody needs it,"
            f" XGROUP DESTROY {self._keys.topic(topic)} {holder.group} removes it)"
        )
