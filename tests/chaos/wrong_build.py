"""evfn with one of its rules taken out, started like evfn itself: `python wrong_build.py "no fence" run …`.

A storm must find out each of them; else its silence about the right build means nothing.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import structs

from evfn.broker.claims import CLAIM
from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Group, Settled, Source
from evfn.broker.keys import Keys
from evfn.broker.scripts import Script
from evfn.broker.settle import SETTLE

ONLY_IF_ACKED = "if redis.call('XACK', stream, group, id) == 1 then"


def edit(script: Script, rule: str, instead: str) -> None:
    """Replace one rule of a script."""
    if script.text.count(rule) != 1:
        raise ValueError(f"{script.name} has no {rule!r}")
    vars(script)["text"] = script.text.replace(rule, instead)


def ack_before_run() -> None:
    """Off the list as it is fetched; what is emitted afterwards depends on nothing."""
    edit(SETTLE, ONLY_IF_ACKED, "redis.call('XACK', stream, group, id)\n  if true then")
    right = Connection.call

    async def call(self: Connection, *command: Any, epoch: int | None = None) -> Any:
        if command[0] == "XREADGROUP":
            command = (*command[:4], "NOACK", *command[4:])
        return await right(self, *command, epoch=epoch)

    Connection.call = call  # type: ignore[method-assign]


def emits_before_ack() -> None:
    """What is emitted is written by calls of its own, and the ack follows."""
    _apart(before=True)


def ack_before_emits() -> None:
    """The other way about."""
    _apart(before=False)


def _apart(*, before: bool) -> None:
    right = Group.settle

    async def settle(self: Group, source: Source, batch: Batch) -> Settled:
        bare = replace(batch, entries=[structs.replace(each, emits=()) for each in batch.entries])
        emits = [emit for each in batch.entries for emit in each.emits]
        keys: Keys = self._keys
        adds: list[tuple[Any, ...]] = [("XADD", keys.topic(each.topic), "*", *each.fields) for each in emits]
        if before:
            await self._connection.pipeline(adds)
            return await right(self, source, bare)
        settled = await right(self, source, bare)
        await asyncio.sleep(0.01)
        await self._connection.pipeline(adds)
        return settled

    Group.settle = settle  # type: ignore[method-assign]


def no_fence() -> None:
    """Whoever lost its lease settles all the same."""
    edit(SETTLE, "if redis.call('HEXISTS', instances, me) == 0 then", "if false then")


def claim_leaves_the_field() -> None:
    """Whoever is taken over from keeps its lease."""
    edit(CLAIM, "if beats then redis.call('HDEL', instances, owner) end", "")


WRONG: dict[str, Callable[[], None]] = {
    "ack before run": ack_before_run,
    "emits outside the script": emits_before_ack,
    "done before outputs": ack_before_emits,
    "no fence": no_fence,
    "claim without deleting the field": claim_leaves_the_field,
}

if __name__ == "__main__":
    WRONG[sys.argv.pop(1)]()
    from evfn_cli.main import main

    main()
