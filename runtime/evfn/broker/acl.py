"""The server's users for one project: for each role, what it may send and which keys that may touch."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from evfn.broker import rights
from evfn.broker.keys import Keys
from evfn.errors import UsageError
from evfn.trigger import Isolation, Project

PLACEHOLDER = "SHA256_OF_THE_PASSWORD"
"""Where no password is given. No server takes it for a hash, so a line that was left as it is makes no user."""
_PREFIX = re.compile(r"[A-Za-z0-9._:/-]*")
_MOST_WAYS = 16


class Role(Enum):
    """Who connects to the server."""

    INSTANCE = "instance"
    RQ_WORKER = "rq-worker"
    PRODUCER = "producer"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class Grant:
    """Commands, and the keys and channels that they may touch, as an ACL writes them: `~orders.*`, `%R~orders`."""

    commands: frozenset[str]
    keys: tuple[str, ...]
    channels: tuple[str, ...] = ()

    @property
    def rules(self) -> str:
        """As the words of an ACL rule."""
        return " ".join([*self.keys, *self.channels, *(f"+{each}" for each in sorted(self.commands))])


@dataclass(frozen=True, slots=True)
class User:
    """What no grant names is forbidden. A command is allowed if one grant alone allows it with all its keys."""

    name: str
    grants: tuple[Grant, ...]

    def rules(self, password: str | None) -> str:
        """All rules of the user but its name; the password as its hash, else a placeholder for that."""
        secret = PLACEHOLDER if password is None else sha256(password.encode()).hexdigest()
        first, *others = (each.rules for each in self.grants)
        return " ".join(["on", f"#{secret}", "resetchannels", "-@all", first, *(f"({each})" for each in others)])

    def command(self, password: str | None = None) -> str:
        """The command that makes this user, and leaves nothing of one of that name."""
        return f"ACL SETUSER {self.name} reset {self.rules(password)}"

    def line(self, password: str | None = None) -> str:
        """The user's line in an ACL file."""
        return f"user {self.name} {self.rules(password)}"


OFF = "user default off ~* &* +@all"
"""The line of an ACL file without which anybody may do anything: the file replaces all users there were.

Nobody can log in as this user; but Redis 7.0 replays its append-only file as the default user, and throws away what
that one may not do: everything that a script or a transaction wrote (redis/redis#14541).
"""


def roles(project: Project) -> tuple[Role, ...]:
    """Those that the project has."""
    jobs = _has_jobs(project)
    return tuple(role for role in Role if jobs or role is not Role.RQ_WORKER)


def user(role: Role, project: Project) -> User:
    """The project's user in this role. Raises UsageError for a key prefix that no ACL can name."""
    prefix = project.settings.key_prefix
    if _PREFIX.fullmatch(prefix) is None:
        raise UsageError(f"the key prefix {prefix!r} cannot stand in an ACL; use A-Z a-z 0-9 and . _ : / -")
    return User(f"{project.name}-{role.value}", _GRANTS[role](project, Keys(prefix)))


def _instance(project: Project, keys: Keys) -> tuple[Grant, ...]:
    # Trimming asks every group of the topic how far it is, those of other projects too.
    held = [
        f"~{glob}" for topic, _ in project.topics for glob in (keys.stats(topic, "*"), keys.replay(topic, "*", "*"))
    ]
    own = Grant(
        rights.INSTANCE,
        (
            *(f"~{each}" for each in keys.of_project(project.name)),
            *(f"~{keys.seen('*', half)}" for half in (0, 1)),
            *held,
            *_streams(keys, _consumed(project) | _emitted(project)),
        ),
    )
    return (own, _RQ) if _has_jobs(project) else (own,)


def _rq_worker(project: Project, keys: Keys) -> tuple[Grant, ...]:
    group = f"{project.name}/*"
    own = (keys.inbox("*", group), keys.jobs("*", group))
    return Grant(rights.JOB, (*(f"~{each}" for each in own), *_streams(keys, _consumed(project)))), _RQ


def _producer(project: Project, keys: Keys) -> tuple[Grant, ...]:
    own = (*(keys.seen("*", half) for half in (0, 1)), keys.topics)
    return (Grant(rights.PRODUCER, (*(f"~{each}" for each in own), *_streams(keys, _consumed(project)))),)


def _read_only(project: Project, keys: Keys) -> tuple[Grant, ...]:
    own = (*keys.of_project(project.name), keys.stats("*", "*"), keys.replay("*", "*", "*"))
    streams = _streams(keys, _consumed(project) | _emitted(project))
    return (Grant(rights.READ_ONLY, tuple(f"%R{each}" for each in (*(f"~{each}" for each in own), *streams))),)


_RQ = Grant(rights.RQ, ("~rq:*",), ("&rq:pubsub:*",))
_GRANTS = {
    Role.INSTANCE: _instance,
    Role.RQ_WORKER: _rq_worker,
    Role.PRODUCER: _producer,
    Role.READ_ONLY: _read_only,
}


def _has_jobs(project: Project) -> bool:
    return any(each.isolation is Isolation.JOB for each in project.triggers)


def _consumed(project: Project) -> frozenset[str]:
    return frozenset({*(topic for each in project.triggers for topic in each.topics), *(t for t, _ in project.topics)})


def _emitted(project: Project) -> frozenset[str]:
    return frozenset(topic for each in project.triggers for topic in each.emits)


def _streams(keys: Keys, topics: frozenset[str]) -> list[str]:
    globs = {glob for topic in topics for glob in _globs(topic)}
    return [f"~{keys.topic(glob)}" for glob in sorted(globs)]


def _globs(pattern: str) -> Iterator[str]:
    """What an ACL can say of a topic or pattern. It knows no segments, so `a.*` also allows `a.b.c`."""
    ways: list[list[str]] = [[]]
    for segment in pattern.split("."):
        if segment == "**" and len(ways) < _MOST_WAYS:
            # `**` is any number of segments: none, too.
            ways = [*ways, *([*way, "*"] for way in ways)]
        else:
            ways = [[*way, "*" if segment == "**" else segment] for way in ways]
    for way in ways:
        if way:
            yield ".".join(way)
