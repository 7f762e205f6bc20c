"""Every Redis key evfn uses. Nothing else in evfn builds a key's name.

A pair is one topic seen by one trigger. All keys of a pair carry the topic's key as their hash tag, so they live in one
slot of a Redis Cluster, together with the topic itself.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """The keys of a pair."""

    INBOX = "inbox"
    RETRY = "retry"
    BODIES = "retry:bodies"
    DEAD = "dead"
    STATS = "stats"
    JOBS = "jobs"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class PairKey:
    """What the name of a pair's key says. `replay` is the replay's id where the key is one's."""

    topic: str
    group: str
    part: Part
    replay: str | None = None


_PAIR = re.compile(
    r"evfn:\{(.+)\}:([a-z0-9-]+/[a-z0-9-]+):(inbox|retry|retry:bodies|dead|stats|jobs|replay:(.+))", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys under one prefix; the prefix stands before every key, topics included."""

    prefix: str = ""

    def topic(self, topic: str) -> str:
        """The stream that holds the topic's events."""
        return f"{self.prefix}{topic}"

    def topic_name(self, key: str) -> str | None:
        """The topic whose stream this key is; None for evfn's and RQ's own keys and for keys without the prefix."""
        name = key.removeprefix(self.prefix)
        if len(name) + len(self.prefix) != len(key) or name.startswith(("evfn:", "rq:")):
            return None
        return name

    def inbox(self, topic: str, group: str) -> str:
        """The stream of deliveries that only this trigger must see."""
        return self._pair(topic, group, Part.INBOX)

    def retry(self, topic: str, group: str) -> str:
        """The sorted set of invocations that wait, by due time in milliseconds."""
        return self._pair(topic, group, Part.RETRY)

    def bodies(self, topic: str, group: str) -> str:
        """The hash of waiting invocations' packed records."""
        return self._pair(topic, group, Part.BODIES)

    def dead(self, topic: str, group: str) -> str:
        """The stream of dead letters."""
        return self._pair(topic, group, Part.DEAD)

    def stats(self, topic: str, group: str) -> str:
        """The hash of counters, with the last delivered id and the group's start."""
        return self._pair(topic, group, Part.STATS)

    def jobs(self, topic: str, group: str) -> str:
        """The hash of the mailboxes of this trigger's jobs: who runs each, its beats, its outcome."""
        return self._pair(topic, group, Part.JOBS)

    def replay(self, topic: str, group: str, replay: str) -> str:
        """The hash of one replay's range and cursor."""
        return f"{self._pair(topic, group, Part.REPLAY)}:{replay}"

    def seen(self, topic: str, half: int) -> str:
        """One of the two hashes of publish marks, `half` 0 or 1."""
        return f"{self.prefix}evfn:{{{self.topic(topic)}}}:seen:{half}"

    @property
    def own_glob(self) -> str:
        """A glob for SCAN's MATCH that finds every key but the topics."""
        return re.sub(r"([\\*?\[\]^-])", r"\\\1", self.prefix) + "evfn:*"

    @property
    def topics(self) -> str:
        """The set of topic streams that evfn itself created."""
        return f"{self.prefix}evfn:topics"

    @property
    def instances(self) -> str:
        """The hash of living instances and their beats."""
        return f"{self.prefix}evfn:instances"

    @property
    def about(self) -> str:
        """The hash of what living instances say of themselves."""
        return f"{self.prefix}evfn:instances:about"

    @property
    def beaten(self) -> str:
        """The hash of when each instance beat last, in milliseconds of the server's clock; for people only."""
        return f"{self.prefix}evfn:instances:beaten"

    def trigger(self, group: str) -> str:
        """The hash that says when and how a trigger's `start` was decided."""
        return f"{self.prefix}evfn:trigger:{group}"

    def trace(self, trace: str) -> str:
        """The stream that tells what came of the events of one trace; short-lived."""
        return f"{self.prefix}evfn:trace:{trace}"

    def parse_pair(self, key: str) -> PairKey | None:
        """What a pair's key says, or None for any other key."""
        if not key.startswith(self.prefix):
            return None
        match = _PAIR.fullmatch(key, len(self.prefix))
        if match is None:
            return None
        stream, group, part, replay = match.groups()
        topic = self.topic_name(stream)
        if topic is None:
            return None
        return PairKey(topic, group, Part.REPLAY if replay is not None else Part(part), replay)

    def parse_trigger(self, key: str) -> str | None:
        """The group whose decided start this key holds, or None for any other key."""
        start = f"{self.prefix}evfn:trigger:"
        return key.removeprefix(start) if key.startswith(start) else None

    def probe(self, project: str) -> str:
        """A key of a project that never exists, to ask what may be done with those that do."""
        return self._pair("doctor", f"{project}/doctor", Part.STATS)

    def of_project(self, project: str) -> list[str]:
        """Globs of what the triggers of one project alone have, and what all projects share."""
        return [
            f"{self.prefix}evfn:{{*}}:{project}/*",
            self.trigger(f"{project}/*"),
            f"{self.instances}*",
            self.topics,
            self.trace("*"),
        ]

    def _pair(self, topic: str, group: str, part: Part) -> str:
        return f"{self.prefix}evfn:{{{self.topic(topic)}}}:{group}:{part.value}"
