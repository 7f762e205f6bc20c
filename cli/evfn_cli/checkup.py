"""What `evfn doctor` and the start of `evfn run` say of the server."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.facts import collect, information, of_information
from evfn.broker.findings import Finding, Gravity, findings, grave_at_start
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn_cli.opened import Opened
from evfn_cli.render import escape, out, say
from evfn_cli.server import PATIENCE, ready, server_url

_MOUNTS = Path("/proc/mounts")


async def examine(opened: Opened) -> tuple[str, list[Finding]]:
    """The server, its password masked, and all that was found. Raises BrokerError where it cannot be asked."""
    project = opened.project
    async with server_url(opened.location) as url:
        connection = await Connection.open(url, clock=SystemClock())
        try:
            await _answers(connection)
            facts = await collect(
                connection,
                project,
                embedded=opened.location.server.url is None,
                file_system=file_system(opened.location.state),
            )
            return connection.server, findings(facts)
        finally:
            await connection.close()


async def _answers(connection: Connection) -> None:
    try:
        await ready(connection, PATIENCE)
    except BrokerUnavailable:
        raise
    except BrokerError:
        # Too old, perhaps: that is one of the findings, not a reason to look no further.
        await connection.ping()


async def warn_of_grave(
    connection: Connection, warn: Callable[[str], None] = lambda text: say(f"warning: {text}")
) -> None:
    """One line for each thing that breaks a promise, as far as one INFO tells; none where it tells nothing."""
    try:
        facts = of_information(await information(connection), embedded=False)
    except BrokerUnavailable:
        return
    for each in grave_at_start(facts):
        warn(escape(f"{each.what}: {each.means}; {each.remedy} (evfn doctor says more)"))


def show(found: Sequence[Finding]) -> None:
    """For people: the gravest first, each with what it means and what to do."""
    order = list(reversed(Gravity))
    width = max(len(each.value) for each in Gravity)
    for each in sorted(found, key=lambda one: order.index(one.gravity)):
        out(escape(f"{each.gravity.value:{width}}  {each.subject}: {each.what}"))
        for text in (each.means, f"do: {each.remedy}" if each.remedy else ""):
            if text:
                out(escape(f"{'':{width}}    {text}"))


def as_object(project: str, server: str, found: Sequence[Finding]) -> dict[str, Any]:
    """What `evfn doctor --json` prints."""
    return {
        "version": 1,
        "project": project,
        "server": server,
        "findings": [
            {
                "subject": each.subject,
                "gravity": each.gravity.value,
                "what": each.what,
                "means": each.means or None,
                "remedy": each.remedy or None,
            }
            for each in found
        ],
    }


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the file system that a folder, or its nearest parent that exists, lies on; None where unknown."""
    real = os.path.realpath(folder)
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    found = [
        (len(path), kind)
        for _, escaped, kind, *_ in lines
        for path in [escaped.replace("\\040", " ")]
        if path == "/" or f"{real}/".startswith(f"{path}/")
    ]
    # Of two mounts on one place the later one is seen.
    return max(reversed(found), key=lambda one: one[0])[1] if found else None
