"""A command's way to the project's server: named on stderr, started where it is the embedded one and nobody runs it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from evfn.broker.connection import Connection, mask
from evfn.clock import SystemClock
from evfn.errors import BrokerUnavailable
from evfn.project import Location
from evfn.services.discovery import Discovery
from evfn_cli.opened import Opened
from evfn_cli.render import escape, say

PATIENCE = timedelta(seconds=3)
"""How long a command waits for a server that does not serve right now; `run` waits for ever."""
UNSAID = timedelta(seconds=1)
"""How long anybody waits without a word."""

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
    folder = _relative(location.state)
    is_new = not (location.state / "data").exists()
    await embedded.start()
    if is_new and location.state_named:
        # A slip in its name would otherwise look as if all events were gone.
        say(f"made a new, empty store in {escape(folder)}")
    try:
        yield embedded.url
    finally:
        await embedded.stop()


def _relative(folder: Path) -> str:
    return os.path.relpath(folder)


@asynccontextmanager
async def connected(opened: Opened) -> AsyncIterator[Connection]:
    """A connection to the project's server, which answered. On the embedded one the missing groups are made first.

    Raises BrokerError where it cannot be used, BrokerUnavailable where it does not serve within the patience.
    """
    async with server_url(opened.location) as url:
        connection = await Connection.open(url, clock=SystemClock())
        try:
            await ready(connection, PATIENCE)
            if opened.location.server.url is None:
                for said in await again(Discovery(connection, opened.project).start_all):
                    say(escape(said))
            yield connection
        finally:
            await connection.close()


async def ready(
    connection: Connection, patience: timedelta | None = None, *, tell: Callable[[str], None] = say
) -> None:
    """Wait until the server serves, for ever or this long, and soon tell what for.

    Raises BrokerError where it cannot be used, BrokerUnavailable when the time is up.
    """
    try:
        await connection.wait_ready(UNSAID)
    except BrokerUnavailable as error:
        left = None if patience is None else patience - UNSAID
        tell(f"{escape(str(error))}; trying again {'until it does' if left is None else f'for {left.seconds} s'}")
        await connection.wait_ready(left)


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
