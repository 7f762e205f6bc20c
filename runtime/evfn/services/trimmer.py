"""Trims topics by their rules, only what every group has finished; any instance may, and all of them do."""

from collections.abc import Callable
from datetime import timedelta

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.trim import Trimmed, trim
from evfn.clock import Clock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.services.retention import expected, held, ruled
from evfn.trigger import Project, TopicRules

LOOK = timedelta(seconds=1)
"""How often it is looked which topics are due; new rules of an edited manifest are found as soon."""
SOONEST, LATEST, COUNTED = timedelta(seconds=1), timedelta(minutes=1), timedelta(seconds=2)
"""How often a topic is trimmed: ten times in its retention, between the first two; by its count after the third."""


class Trimmer:
    """`project` is asked for the rules as they are now; `warn` says a line to the person who watches."""

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        project: Callable[[], Project],
        clock: Clock,
        random: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._project = project
        self._clock = clock
        self._random = random
        self._warn = warn
        self._due: dict[str, float] = {}
        self._seen: dict[str, frozenset[str]] = {}
        self._told: dict[str, frozenset[str]] = {}

    async def run(self) -> None:
        """Trim until cancelled; at once at the start, for an instance may always be there only for a moment."""
        while True:
            await self.run_once()
            await self._clock.sleep(LOOK)

    async def run_once(self) -> None:
        """Trim every topic that is due, as far as its groups allow."""
        for topic, rules in ruled(self._project()).items():
            now = self._clock.monotonic()
            if now < self._due.get(topic, now):
                continue
            # Instances that began together do not all ask at the same moment for ever.
            self._due[topic] = now + _pause(rules).total_seconds() * (0.75 + self._random() / 2)
            project = self._project()
            groups = expected(project, topic)
            try:
                trimmed = await trim(self._connection, self._keys, topic, rules, groups, project.settings.lease)
            except BrokerUnavailable:
                continue  # The dispatchers say what is wrong with the server.
            except BrokerError as error:
                self._tell(topic, frozenset({str(error)}), f"{topic} cannot be trimmed: {error}")
            else:
                self._report(topic, rules, trimmed)

    def _report(self, topic: str, rules: TopicRules, trimmed: Trimmed) -> None:
        holders = frozenset(f"{each.why} {each.group}" for each in trimmed.held_by)
        # What is behind only for a moment is nobody's concern.
        lasting = holders & self._seen.get(topic, frozenset())
        self._seen[topic] = holders
        if not holders:
            self._told.pop(topic, None)
        elif lasting:
            self._tell(topic, lasting, held(topic, rules, trimmed, self._project(), self._keys.topic(topic)))

    def _tell(self, topic: str, what: frozenset[str], text: str) -> None:
        """Said once, and again when it is something or somebody else as well."""
        if not what <= self._told.get(topic, frozenset()):
            self._told[topic] = self._told.get(topic, frozenset()) | what
            self._warn(text)


def _pause(rules: TopicRules) -> timedelta:
    pauses = [] if rules.max_events is None else [COUNTED]
    if rules.retention is not None:
        pauses.append(min(max(rules.retention / 10, SOONEST), LATEST))
    return min(pauses)
