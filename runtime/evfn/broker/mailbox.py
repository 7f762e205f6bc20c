"""Where a job and the dispatcher that waits for it meet: who runs what, its beats, how it ended.

The mailboxes of a pair are the fields of one hash, so that a settlement, which knows that key, removes them with its
acks, and a trigger that is forgotten leaves none behind. They have no TTL: what is in flight must not expire.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.refusal import GroupGone
from evfn.broker.scripts import Script
from evfn.broker.source import Source
from evfn.errors import BrokerError

TAKE_JOB = Script("take_job", "stream", "jobs")
BEAT_JOB = Script("beat_job", "jobs")
REPORT_JOB = Script("report_job", "jobs")
RESET_JOB = Script("reset_job", "jobs")
_FIELDS = ("by", "beats", "begun", "report", "refusal")


@dataclass(frozen=True, slots=True)
class Run:
    """One delivery that a job runs: a stream entry of a pair. A retry is a new entry, hence another run."""

    source: Source
    entry_id: bytes

    @property
    def name(self) -> str:
        """What its fields begin with."""
        return ("i" if self.source is Source.INBOX else "t") + self.entry_id.decode()


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What is known of a run. `by` is the job that took it, `begun` whether its function was called, `report` how it
    ended; `refusal` says why the last job did not take it."""

    by: str = ""
    beats: int = 0
    begun: bool = False
    report: bytes | None = None
    refusal: str = ""


class Untaken(Enum):
    """Why there is nothing to run for a job."""

    GONE = b"GONE"
    TAKEN = b"TAKEN"
    TRIMMED = b"TRIMMED"


class Mailboxes:
    """Those of one pair. Methods raise BrokerError; each may be repeated after BrokerUnavailable."""

    def __init__(self, connection: Connection, keys: Keys, topic: str, group: str) -> None:
        self._connection = connection
        self._key = keys.jobs(topic, group)
        self._streams = {Source.TOPIC: keys.topic(topic), Source.INBOX: keys.inbox(topic, group)}
        self._group = group

    async def take(self, run: Run, me: str) -> list[bytes] | Untaken:
        """Make the run this job's; the fields of its entry, names and values alternating, or why it cannot be."""
        names = [self._streams[run.source], self._key]
        reply = await TAKE_JOB.run(self._connection, names, [self._group, run.entry_id, run.name, me])
        return list(reply[1]) if reply[0] == b"OK" else Untaken(reply[0])

    async def beat(self, run: Run, me: str, *, begun: bool = False) -> bool:
        """Say that the job lives, and that its function is called now; whether the run still is its own."""
        return bool(await BEAT_JOB.run(self._connection, [self._key], [run.name, me, "1" if begun else ""]))

    async def report(self, run: Run, by: str, report: bytes, *, beats: int | None = None) -> bool:
        """Say how it ended; whether this is what counts. With `beats` only if there were no more of them."""
        seen = "" if beats is None else beats
        return bool(await REPORT_JOB.run(self._connection, [self._key], [run.name, by, seen, report]))

    async def reset(self, run: Run, by: str, *, beats: int | None = None, refusal: str = "") -> bool:
        """Let another job run it, if it still is `by`'s (and there were no more beats); whether it was."""
        seen = "" if beats is None else beats
        return bool(await RESET_JOB.run(self._connection, [self._key], [run.name, by, seen, refusal]))

    async def read(self, runs: Sequence[Run]) -> list[Mailbox]:
        """What is known of each."""
        names = [f"{run.name}:{field}" for run in runs for field in _FIELDS]
        flat = await self._connection.call("HMGET", self._key, *names)
        found = []
        for at in range(0, len(flat), len(_FIELDS)):
            by, beats, begun, report, refusal = flat[at : at + len(_FIELDS)]
            found.append(Mailbox(_text(by), int(beats or 0), begun is not None, report, _text(refusal)))
        return found

    async def can_be_taken(self, runs: Sequence[Run]) -> list[bool]:
        """Whether each is pending, for whomever: to what is not no job would come."""
        asked = [("XPENDING", self._streams[run.source], self._group, run.entry_id, run.entry_id, 1) for run in runs]
        replies = await self._connection.pipeline(asked)
        return [
            not isinstance(reply, GroupGone) and (isinstance(reply, BrokerError) or bool(reply)) for reply in replies
        ]


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
