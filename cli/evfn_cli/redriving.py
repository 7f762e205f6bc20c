"""What `evfn dlq redrive` does: one letter first, then the rest in growing steps, as long as they do not fail again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from evfn.broker.connection import Connection
from evfn.broker.dead_letters import STEP, DeadLetters
from evfn.broker.keys import Keys
from evfn.broker.redriven import Followed
from evfn.clock import SystemClock
from evfn.errors import EvfnError
from evfn.services.replayer import Rate
from evfn.trigger import Trigger
from evfn_cli.letters import Chosen, wanted
from evfn_cli.opened import Opened
from evfn_cli.render import say
from evfn_cli.served import is_served
from evfn_cli.server import again, connected

LOOK = timedelta(milliseconds=50)
PATIENCE = timedelta(seconds=30)
"""How long, beyond the trigger's timeout, no outcome may come in before waiting is given up."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to redrive. `wait`: see what becomes of a step before the next; None: where nobody named the letters.

    `stop_at`: the share of failures, of those redriven so far, above which the rest stays where it is. `only_first`:
    one letter, the oldest. `named`: the ids of those that were redriven are wanted, of a million, too.
    """

    wait: bool | None
    stop_at: float
    only_first: bool
    rate: Rate | None
    named: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of it; `ids` are those of the redriven, where they were wanted. `failed` are invocations that failed
    again, with the letters they are now, '' where they wait for a retry; only known where `waited`."""

    redriven: int = 0
    ids: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    waited: bool = False
    stopped: bool = False
    served: bool = False


def redrive(opened: Opened, trigger: Trigger, names: tuple[str, ...], chosen: Chosen, manner: Manner) -> Outcome:
    """Send these back, or all that are chosen where none is named.

    Raises UsageError for a name of several, with nothing moved; EvfnError where an outcome does not come.
    """
    return asyncio.run(_Redriving(opened, trigger, chosen, manner).run(names))


class _Redriving:
    def __init__(self, opened: Opened, trigger: Trigger, chosen: Chosen, manner: Manner) -> None:
        self._opened = opened
        self._trigger = trigger
        self._chosen = chosen
        self._manner = manner
        self._outcome = Outcome()
        self._clock = SystemClock()
        self._followed: list[Followed] = []

    async def run(self, names: tuple[str, ...]) -> Outcome:
        outcome = self._outcome
        async with connected(self._opened) as connection:
            found = await again(partial(wanted, connection, self._opened, self._trigger.name, names))
            outcome.gone.extend(found.gone)
            outcome.served = await again(partial(is_served, connection, self._opened, self._trigger.name))
            wait = not names or self._manner.only_first if self._manner.wait is None else self._manner.wait
            # With nobody there to run them there is no outcome to wait for.
            outcome.waited = wait and outcome.served
            try:
                for place, ids in found.there.items():
                    await self._place(connection, place, ids)
                    if outcome.stopped or (self._manner.only_first and outcome.redriven):
                        break
            except (EvfnError, asyncio.CancelledError):
                say(f"{outcome.redriven:,} are redriven; the others are dead letters still")
                raise
        return outcome

    async def _place(self, connection: Connection, place: DeadLetters, ids: list[str] | None) -> None:
        keys = Keys(self._opened.project.settings.key_prefix)
        followed = Followed(connection, keys, self._opened.project.group(self._trigger.name), place)
        self._followed.append(followed)
        await again(followed.before)
        step: list[tuple[str, str]] = []
        async for letter in self._letters(place, ids):
            step.append(letter)
            if len(step) >= self._size:
                await self._step(place, followed, step, named=ids is not None)
                step = []
                if self._outcome.stopped or self._manner.only_first:
                    return
        if step:
            await self._step(place, followed, step, named=ids is not None)

    @property
    def _size(self) -> int:
        """As many as went well so far, at first one; as many as the rate has in a piece."""
        manner = self._manner
        most = STEP if manner.rate is None else min(manner.rate.piece, STEP)
        if manner.only_first:
            return 1
        return min(max(self._outcome.redriven, 1), most) if self._outcome.waited else most

    async def _letters(self, place: DeadLetters, ids: list[str] | None) -> AsyncIterator[tuple[str, str]]:
        """Id and invocation of each that is meant."""
        if ids is None and self._chosen.all:
            async for name in place.names_oldest_first():
                yield name
            return
        if ids is None:
            async for letter in place.oldest_first():
                if self._chosen.takes(letter):
                    yield letter.id, letter.invocation_id
            return
        for each in ids:
            found = await again(partial(place.get, each))
            if found is not None and self._chosen.takes(found):
                yield each, found.invocation_id
            elif found is None:
                self._outcome.gone.append(each)

    async def _step(self, place: DeadLetters, followed: Followed, step: list[tuple[str, str]], *, named: bool) -> None:
        outcome = self._outcome
        done = await again(partial(place.redrive, [each for each, _ in step]))
        outcome.redriven += len(done.redriven)
        if self._manner.named:
            outcome.ids.extend(done.redriven)
        outcome.foreign.extend(done.foreign)
        if named:
            outcome.gone.extend(done.gone)
        if outcome.waited:
            moved = set(done.redriven)
            followed.add([invocation for each, invocation in step if each in moved], done.inbox)
            await self._settled(followed)
            outcome.failed = {name: letter for each in self._followed for name, letter in each.failed.items()}
            share = len(outcome.failed) / max(outcome.redriven, 1)
            outcome.stopped = share > self._manner.stop_at
        if self._manner.rate is not None and done.redriven:
            await self._clock.sleep(self._manner.rate.pause(len(done.redriven)))

    async def _settled(self, followed: Followed) -> None:
        """Until the first attempt of each has ended."""
        patience = (self._trigger.timeout + PATIENCE).total_seconds()
        waiting, since, said = len(followed.waiting), self._clock.monotonic(), False
        while True:
            await again(followed.look)
            if not followed.waiting:
                return
            if len(followed.waiting) < waiting:
                waiting, since = len(followed.waiting), self._clock.monotonic()
            quiet = self._clock.monotonic() - since
            if quiet > patience:
                raise EvfnError(
                    f"of {waiting:,} redriven ones nothing came in {quiet:.0f} s; `evfn status` says what"
                    f" {self._trigger.name} does"
                )
            if quiet > 2 and not said:
                said = True
                say(f"waiting for the outcome of {waiting:,}")
            await self._clock.sleep(LOOK)
