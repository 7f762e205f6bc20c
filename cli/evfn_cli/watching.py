"""Looks at a project again and again: what `evfn status --watch` does."""

import asyncio
import json
import os
import sys
import time
from datetime import datetime, timedelta
from typing import Any, Protocol

from evfn.broker.connection import Connection
from evfn.errors import BrokerUnavailable
from evfn_cli.opened import Opened
from evfn_cli.render import escape, out, say
from evfn_cli.search_pace import SearchPace
from evfn_cli.server import connected
from evfn_cli.snapshot import Survey, snapshot, survey
from evfn_cli.status_screen import Screen
from evfn_cli.trend import Trend, Trends


class View(Protocol):
    """Something that shows looks."""

    def show(self, found: dict[str, Any]) -> None:
        """A new look."""

    def away(self, why: str) -> None:
        """There is no new look: the server does not serve."""

    def close(self) -> None:
        """Nothing more comes."""


async def watch(opened: Opened, every: timedelta, *, as_json: bool) -> None:
    """Until cancelled. A server that goes away is said and waited for; only one that is not there at first ends it."""
    async with connected(opened) as connection:
        looks = _Looks(connection, opened)
        view = _view(every, as_json=as_json)
        try:
            await _show(looks, view, every.total_seconds())
        finally:
            view.close()


async def _show(looks: "_Looks", view: View, every: float) -> None:
    look: asyncio.Task[dict[str, Any]] | None = None
    began = due = time.monotonic()
    try:
        while True:
            if look is None:
                began = time.monotonic()
                look = asyncio.create_task(looks.take())
            due = max(due + every, time.monotonic())
            await asyncio.wait({look}, timeout=due - time.monotonic())
            if look.done():
                done, look = look, None
                try:
                    view.show(done.result())
                except BrokerUnavailable as error:
                    view.away(str(error))
            else:
                view.away(f"no answer from the server for {time.monotonic() - began:.0f} s")
            await asyncio.sleep(max(due - time.monotonic(), 0))
    finally:
        if look is not None:
            look.cancel()


class _Looks:
    """One look after the other; what needs a search through all keys is done more rarely."""

    def __init__(self, connection: Connection, opened: Opened) -> None:
        self._connection = connection
        self._opened = opened
        self._known: Survey | None = None
        self._pace = SearchPace()

    async def take(self) -> dict[str, Any]:
        if self._known is None or self._pace.due:
            self._known = await self._pace.search(lambda: survey(self._connection, self._opened))
        return await snapshot(self._connection, self._opened, self._known)


def _view(every: timedelta, *, as_json: bool) -> View:
    if as_json:
        return _Lines(as_json=True)
    terminal = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
    return _Drawn(every.total_seconds()) if terminal else _Lines(as_json=False)


class _Lines:
    """For pipes, files and terminals that cannot do more: a line for each trigger, or one object, a look."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._trends = Trends()
        self._away = False

    def show(self, found: dict[str, Any]) -> None:
        if self._away:
            say("the server is back")
            self._away = False
        if self._as_json:
            out(json.dumps(found))
            return
        now = f"{datetime.now().astimezone():%H:%M:%S}"
        trends = self._trends.add(found["triggers"], time.monotonic())
        for name, facts in found["triggers"].items():
            out(f"{now}  {escape(_as_line(name, facts, trends[name]))}")

    def away(self, why: str) -> None:
        if not self._away:
            say(f"{escape(why)}; going on as soon as it is back")
        self._away = True

    def close(self) -> None:
        pass


class _Drawn:
    """For a terminal: the whole of it, drawn in place."""

    def __init__(self, every: float) -> None:
        from rich.console import Console
        from rich.live import Live

        self._every = every
        self._trends = Trends()
        self._screen: Screen | None = None
        self._bars = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        self._console = Console(file=sys.stdout, highlight=False)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def show(self, found: dict[str, Any]) -> None:
        trends = self._trends.add(found["triggers"], time.monotonic())
        self._screen = Screen(found, trends, datetime.now().astimezone(), self._every, bars=self._bars)
        self._live.update(self._screen, refresh=True)

    def away(self, why: str) -> None:
        if self._screen is not None:
            last = self._screen
            shown = Screen(last.found, last.trends, last.at, self._every, away=why, bars=self._bars)
            self._live.update(shown, refresh=True)

    def close(self) -> None:
        self._live.stop()


def _as_line(name: str, facts: dict[str, Any], trend: Trend) -> str:
    rate = "" if trend.rate is None else f" {trend.rate:.1f}/s"
    lag = "?" if facts["lag"] is None else facts["lag"]
    numbers = f"lag {lag} pending {facts['pending']} due {facts['due']} dead {facts['dead']} errors {trend.errors}"
    problem = f" ({facts['problem'].partition(chr(10))[0]})" if facts["problem"] else ""
    return f"{name} {facts['state']}{problem}{rate} {numbers}"
