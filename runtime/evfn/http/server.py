"""Listens, and keeps what clients may cost within bounds."""

import asyncio
import os
from collections import Counter
from typing import Protocol

from evfn.errors import EvfnError
from evfn.http.address import Address
from evfn.http.conversation import READ, Conversation, Stage
from evfn.http.limits import Limits
from evfn.http.messages import Handler, Request, Response, problem

WINDOW_SECONDS = 10.0
"""Of all that is refused in such a time the first is reported at once, the rest as counts at its end."""
_FULL = "too many connections"
_BACKLOG = 512
"""Connections that the system keeps until they are taken in; of more of them, a new one is lost for a second."""


class Reporter(Protocol):
    """Who writes down what went wrong."""

    def refused(self, status: int, why: str, count: int) -> None:
        """So many requests were none, too large, too slow, or too many. `why` holds nothing that a client wrote."""

    def failed(self, path: str, error: BaseException) -> None:
        """The handler raised this."""


class Server:
    """Its connections beyond the limit take the place of those that have been waiting longest."""

    def __init__(self, handler: Handler, reporter: Reporter, limits: Limits | None = None) -> None:
        self._handler = handler
        self._reporter = reporter
        self._limits = limits or Limits()
        self._server: asyncio.Server | None = None
        self._open: dict[Conversation, asyncio.Task[None]] = {}
        self._counted: Counter[tuple[int, str]] = Counter()
        self._window: asyncio.TimerHandle | None = None

    async def start(self, address: Address) -> Address:
        """Listen; where, the port chosen included. Raises EvfnError where that cannot be."""
        try:
            self._server = await asyncio.start_server(
                self._connected, address.host, address.port, limit=READ, backlog=_BACKLOG
            )
        except OSError as error:
            # The system's own words: asyncio's repeat the address.
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise EvfnError(f"cannot listen on {address}: {why}") from error
        host, port, *_ = self._server.sockets[0].getsockname()
        return Address(host, port)

    async def close(self) -> None:
        """Listen no more, and cut off who is still there."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._window is not None:
            self._window.cancel()
            self._report()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = Conversation(reader, writer, self._limits, self._answer, self._refused)
        task = asyncio.current_task()
        if task is None or not self._make_room():
            self._refused(503, _FULL)
            conversation.turn_away(_FULL)
            return
        self._open[conversation] = task
        try:
            await conversation.run()
        finally:
            self._open.pop(conversation, None)

    def _make_room(self) -> bool:
        """Whether one more may stay, for which one that waits may have to go: the idle first, then the slow."""
        if len(self._open) < self._limits.connections:
            return True
        for stage in (Stage.IDLE, Stage.ARRIVING):
            for conversation in self._open:
                if conversation.stage is stage:
                    del self._open[conversation]
                    conversation.end()
                    return True
        return False

    async def _answer(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(self._limits.answer.total_seconds()):
                return await self._handler.handle(request)
        except TimeoutError:
            return problem(503, "the answer took too long")
        except Exception as error:
            self._reporter.failed(request.path, error)
            return problem(500, "evfn has met an error of its own; its log says which")

    def _refused(self, status: int, why: str) -> None:
        if self._window is None:
            self._reporter.refused(status, why, 1)
            self._window = asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._report)
        else:
            self._counted[status, why] += 1

    def _report(self) -> None:
        self._window = None
        counted, self._counted = self._counted, Counter()
        for (status, why), count in counted.items():
            self._reporter.refused(status, why, count)
