"""What `evfn forget` does: find what is left of triggers, refuse what is still in use, delete the rest."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from evfn import instance_lock
from evfn.broker.connection import Connection
from evfn.broker.instances import Instances, Present
from evfn.broker.keys import Keys
from evfn.broker.leftovers import Leftovers, Remains
from evfn.errors import EvfnError, UsageError
from evfn.name import is_name
from evfn.nearest import did_you_mean
from evfn_cli.opened import Opened
from evfn_cli.render import escape
from evfn_cli.server import again, connected


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be forgotten: these triggers of this project, or where none is named all that are in no use."""

    project: str
    triggers: tuple[str, ...]


def wish(opened: Opened, project: str | None, triggers: tuple[str, ...]) -> Wish:
    """Raises UsageError for what must not be forgotten because the manifest has it."""
    name = opened.project.name if project is None else project
    if not is_name(name):
        raise UsageError(f"{escape(name)!r} cannot be a project's name: write a-z, 0-9 and -, at most 63 of them")
    if name == opened.project.name:
        for trigger in opened.project.triggers:
            if trigger.name in triggers:
                raise UsageError(
                    f"{trigger.name} is in the manifest; take it out first, or write `enabled: false` to let its events"
                    " wait"
                )
    return Wish(name, triggers)


def forget(opened: Opened, wanted: Wish, *, really: bool) -> list[Remains]:
    """What was there, counted; deleted if `really`.

    Raises UsageError for a trigger that a living instance serves, EvfnError for one of which nothing is there.
    """

    async def carry_out() -> list[Remains]:
        async with connected(opened) as connection:
            leftovers = Leftovers(connection, Keys(opened.project.settings.key_prefix))

            async def look() -> list[Remains]:
                found = await _chosen(connection, leftovers, opened, wanted)
                return [await leftovers.counted(each) for each in found]

            found = await again(look)
            for each in found if really else ():

                async def delete(remains: Remains = each) -> None:
                    await leftovers.forget(remains)

                await again(delete)
            return found

    return asyncio.run(carry_out())


async def _chosen(connection: Connection, leftovers: Leftovers, opened: Opened, wanted: Wish) -> list[Remains]:
    found = {each.trigger: each for each in await leftovers.find() if each.project == wanted.project}
    serving = await _serving(connection, opened, wanted.project)
    if not wanted.triggers:
        kept = {t.name for t in opened.project.triggers} if wanted.project == opened.project.name else set()
        names = [name for name in found if name not in kept]
    else:
        names = list(dict.fromkeys(wanted.triggers))
    for name in names:
        if name in serving:
            raise UsageError(f"{escape(name)} of {wanted.project} is served {serving[name]}; stop that first")
        if name not in found:
            hint = did_you_mean(name, found) or (f" (there is: {', '.join(found)})" if found else "")
            raise EvfnError(f"nothing of {escape(name)} of project {wanted.project} is on the server{hint}")
    return [found[name] for name in names]


async def _serving(connection: Connection, opened: Opened, project: str) -> Mapping[str, str]:
    """The triggers of this project that living instances have, and where one of them runs."""
    serving: dict[str, str] = {}
    present = await Instances(connection, Keys(opened.project.settings.key_prefix)).present()
    for name, each in present.items():
        if each.about is not None and each.about.project == project and _lives(opened, name, each):
            for trigger in each.about.functions:
                serving[trigger] = f"by an instance on {escape(each.about.host)} (pid {each.about.pid})"
    return serving


def _lives(opened: Opened, instance: str, present: Present) -> bool:
    here = instance_lock.held(opened.location.state, instance)
    return not present.is_silent(opened.project.settings.lease) if here is None else here
