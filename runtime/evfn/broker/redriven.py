"""What becomes of redriven dead letters: who waits for that looks where they are now."""

from evfn.broker.connection import Connection
from evfn.broker.dead_letters import DeadLetters
from evfn.broker.keys import Keys
from evfn.broker.record import unpack
from evfn.errors import BrokerError


class Followed:
    """The redriven letters of one pair, by their invocation ids.

    `waiting`: their first attempt since has not ended. `failed`: it failed; they are dead again, or wait for a retry.
    All others are done with.
    """

    def __init__(self, connection: Connection, keys: Keys, project_group: str, letters: DeadLetters) -> None:
        self._connection = connection
        self._letters = letters
        self._inbox = keys.inbox(letters.topic, project_group)
        self._bodies = keys.bodies(letters.topic, project_group)
        self._behind: str | None = None
        self._first: str | None = None
        self.waiting: set[str] = set()
        self.failed: dict[str, str] = {}
        """With the id of the dead letter that it is again; empty where it waits for a retry."""

    async def before(self) -> None:
        """To be called before the first redrive: what dies from now on may be one of them."""
        if self._behind is None:
            self._behind = await self._letters.newest_id()

    def add(self, invocations: list[str], inbox: list[str]) -> None:
        """These are on their way, under these ids of the inbox."""
        self.waiting.update(invocations)
        if self._first is None and inbox:
            self._first = inbox[0]

    async def look(self) -> None:
        """Look where the waiting ones are now."""
        if not self.waiting or self._first is None or self._behind is None:
            return
        asked = list(self.waiting)
        # In one instant, for a retry leaves the one for the other.
        replies = await self._connection.pipeline(
            [
                ("MULTI",),
                ("XRANGE", self._inbox, self._first, "+"),
                ("HMGET", self._bodies, *asked),
                ("EXEC",),
            ]
        )
        for reply in replies:
            if isinstance(reply, BrokerError):
                raise reply
        for refused in replies[-1]:
            if isinstance(refused, Exception):
                raise BrokerError(f"{self._connection.server} refused: {refused}") from refused
        entries, bodies = replies[-1]
        first, again = _in_inbox(entries)
        retried = {name for name, body in zip(asked, bodies, strict=True) if body is not None} | again
        # Behind that: one that died before is found here.
        async for letter in self._letters.dead_since(self._behind):
            self._behind = letter.id
            if letter.invocation_id in self.waiting or letter.invocation_id in self.failed:
                self.failed[letter.invocation_id] = letter.id
        for invocation in self.waiting & retried:
            self.failed.setdefault(invocation, "")
        self.waiting &= first - self.failed.keys()


def _in_inbox(entries: list[tuple[bytes, list[bytes]]]) -> tuple[set[str], set[str]]:
    """Invocations on their first attempt, and on a later one."""
    first: set[str] = set()
    later: set[str] = set()
    for _, fields in entries:
        try:
            record = unpack(fields[1])
        except (ValueError, IndexError):
            continue
        (first if record.attempt == 1 else later).add(record.invocation_id)
    return first, later
