"""A command's way to the project's server: named on stderr, started where it is the embedded one and nobody runs it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

from evfn.broker.connection import Connection, mask
from evfn.broker.keys import Keys
from evfn.broker.start import Action, Started, Starter
from evfn.broker.topics import discover
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.project import Location
from evfn.topic import Pattern, is_pattern
from evfn.trigger import Project
from evfn_cli.opened import Opened
from evfn_cli.render import escape, say

PATIENCE = timedelta(seconds=3)
"""How long a command waits for a server that does not serve right now; `run` waits for ever."""

TRIES = 5

T = TypeVar("T")


@asynccontextmanager
async def server_url(location: Location) -> AsyncIterator[str]:
    """The URL of the project's server, alive as long as the block is."""
    server = location.server
    if server.url is not None:
        say(f"server: {escape(mask(server.url))} (from {server.source})")
        yield server.url
        return
    from evfn.embedded import EmbeddedServer

    say(f"server: embedded ({escape(server.source)})")
    embedded = EmbeddedServer(location.state)
    await embedded.start()
    try:
        yield embedded.url
    finally:
        await embedded.stop()


@asynccontextmanager
async def connected(opened: Opened) -> AsyncIterator[Connection]:
    """A connection to the project's server, which answered. On the embedded one the missing groups are made first.

    Raises BrokerError where it cannot be used, BrokerUnavailable where it does not serve within the patience.
    """
    async with server_url(opened.location) as url:
        connection = await Connection.open(url, clock=SystemClock())
        try:
            await connection.wait_ready(PATIENCE)
            if opened.location.server.url is None:
                await again(lambda: make_groups(connection, opened.project))
            yield connection
        finally:
            await connection.close()


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """Carry out something that may be repeated, until the server serves.

    The embedded server moves to another process when the one that runs it ends, and is gone for a moment then.
    """
    for _ in range(TRIES - 1):
        try:
            return await call()
        except BrokerUnavailable:
            await SystemClock().sleep(timedelta(milliseconds=300))
    return await call()


async def make_groups(connection: Connection, project: Project) -> None:
    """Make the groups that are missing, so that what is published from now on reaches every trigger."""
    keys = Keys(project.settings.key_prefix)
    starter = Starter(connection, keys)
    patterns = {text: Pattern.compile(text) for each in project.triggers for text in each.topics if is_pattern(text)}
    found = await discover(connection, keys, list(patterns.values()))
    for trigger in project.triggers:
        topics = {text for text in trigger.topics if text not in patterns}
        for text in trigger.topics:
            if text in patterns:
                topics |= {topic for topic in found if patterns[text].matches(topic)}
        for started in await starter.start(project.group(trigger.name), trigger.topics, sorted(topics), trigger.start):
            _say_started(trigger.name, started)


def _say_started(trigger: str, started: Started | BrokerError) -> None:
    match started:
        case BrokerError():
            say(f"{trigger}: {escape(str(started))}")
        case Started(topic, Action.CREATED, _, skipped) if skipped:
            say(
                f"{trigger} begins behind {skipped:,} older events of {escape(topic)};"
                " write `start: earliest` before its first delivery to have them too"
            )
        case Started(topic, Action.INEFFECTIVE):
            say(f"{trigger}: `start` was changed after its first delivery from {escape(topic)} and has no effect")
