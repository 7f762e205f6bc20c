"""Follows an event through everything it causes: reads its trace until all of it is settled, or the time is up."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum

from evfn.broker.connection import Connection, later
from evfn.broker.keys import Keys
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.services.audience import Stance, Verdict, audience
from evfn.trace.listeners import Absent
from evfn.trace.report import Place, Told, read
from evfn.trace.trace import Trace
from evfn.trigger import Project

BLOCK = timedelta(milliseconds=500)
"""How long one read waits for a report: far below the time after which a silent server counts as gone."""
AT_ONCE = 500
_ABSENT = (Stance.DISABLED, Stance.BROKEN, Stance.LATER)


class Ended(Enum):
    """How following came to its end. STUCK: all but what waits for a broken trigger is settled."""

    SETTLED = "settled"
    STUCK = "stuck"
    TIME_UP = "time_up"


class Follower:
    """`trace` is fed as reports come. `problems` tells which triggers are broken, and why, each time it is asked.

    `on_told` gets each report, `on_look` is called after every look at the trace, `on_problem` when the server cannot
    be asked, and with None when it can again.
    """

    def __init__(
        self,
        connection: Connection,
        project: Project,
        trace_id: str,
        trace: Trace,
        *,
        problems: Callable[[], Mapping[str, str]] = dict,
        on_told: Callable[[Told], None] = lambda told: None,
        on_look: Callable[[], None] = lambda: None,
        on_problem: Callable[[str | None], None] = lambda problem: None,
    ) -> None:
        self.trace = trace
        self.complete = True
        """Whether everything is published: while it is not, nothing can be settled."""
        self._connection = connection
        # What the filters say is reported; here only who is absent is asked.
        self._project = replace(project, triggers=tuple(replace(each, filter=None) for each in project.triggers))
        self._key = Keys(project.settings.key_prefix).trace(trace_id)
        self._problems = problems
        self._on_told = on_told
        self._on_look = on_look
        self._on_problem = on_problem
        self._first: dict[str, str] = {}
        self._known: set[str] = set()
        self._problems_seen: Mapping[str, str] = {}
        self._last = b"0-0"
        self._tries = 0

    def published(self, place: Place) -> None:
        """An event that the trace begins with."""
        self._first.setdefault(place.topic, place.stream_id)
        self.trace.published(place)

    async def follow(self, patience: timedelta) -> Ended:
        """Until everything is settled, or this long after all is published. Raises BrokerError for what stays so."""
        clock = self._connection.clock
        deadline: float | None = None
        while True:
            if deadline is None and self.complete:
                deadline = clock.monotonic() + patience.total_seconds()
            seconds = BLOCK.total_seconds() if deadline is None else deadline - clock.monotonic()
            left = timedelta(seconds=min(seconds, BLOCK.total_seconds()))
            try:
                await self._meet_listeners()
                self._on_look()
                if self.complete and not (counts := self.trace.counts).waiting:
                    await self._forget()
                    return Ended.STUCK if counts.stuck else Ended.SETTLED
                if left <= timedelta(0):
                    return Ended.TIME_UP
                await self._read(left)
                self._trouble(None)
            except BrokerUnavailable as error:
                if left <= timedelta(0):
                    return Ended.TIME_UP
                self._trouble(str(error))
                await clock.sleep(min(later(self._tries, random.random()), left))
                self._tries += 1

    async def _read(self, wait: timedelta) -> None:
        milliseconds = max(int(wait.total_seconds() * 1000), 1)
        reply = await self._connection.call(
            "XREAD", "COUNT", AT_ONCE, "BLOCK", milliseconds, "STREAMS", self._key, self._last
        )
        if not reply:
            return
        for entry_id, fields in reply[0][1]:
            self._last = entry_id
            told = read(entry_id, fields)
            if told is not None:
                for place in told.emitted:
                    self._first.setdefault(place.topic, place.stream_id)
                self.trace.tell(told)
                self._on_told(told)
        # Nobody else reads it: of a hundred thousand events the server keeps only what was not read yet.
        await self._connection.call("XTRIM", self._key, "MINID", self._last)

    async def _meet_listeners(self) -> None:
        """Find out who is absent on each topic that came up, and again on all when another trigger is broken."""
        problems = dict(self._problems())
        if problems != self._problems_seen:
            self._problems_seen = problems
            self._known.clear()
        for topic, stream_id in list(self._first.items()):
            if topic not in self._known:
                verdicts = await audience(self._connection, self._project, topic, stream_id, (), problems=problems)
                absent = {each.trigger: _absent(each) for each in verdicts if each.stance in _ABSENT}
                self.trace.listeners.learn(topic, absent)
                self._known.add(topic)

    async def _forget(self) -> None:
        """All is told: the trace need not wait for its hour."""
        try:
            await self._connection.call("UNLINK", self._key)
        except BrokerError:
            return

    def _trouble(self, problem: str | None) -> None:
        if problem is not None or self._tries:
            self._on_problem(problem)
        if problem is None:
            self._tries = 0


def _absent(verdict: Verdict) -> Absent:
    match verdict.stance:
        case Stance.DISABLED:
            return Absent(f"disabled, {verdict.reason}")
        case Stance.BROKEN:
            return Absent(f"broken: {verdict.reason}", broken=True)
        case _:
            return Absent(f"not taken: {verdict.reason}")
