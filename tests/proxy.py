"""A proxy between evfn and a real server that loses replies, is slow, stays silent or hangs up on command."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from servers import CREDENTIALS

_LOOK = 0.005
"""Seconds between two looks at a fault that holds bytes back: whoever ends it may be another thread."""


class Fault(Enum):
    """What happens to connections from now on.

    SILENT drops what the server says; BLACK_HOLE holds back both directions, DEAF what the client says, each until the
    fault ends, as a network does that loses packets and sends them again.
    """

    NONE = "none"
    CUT_AFTER_REQUEST = "cut after request"
    SILENT = "silent"
    REFUSE = "refuse"
    BLACK_HOLE = "black hole"
    DEAF = "deaf"


class FaultyProxy:
    """Listens on a Unix socket in front of the server's, or with `tcp` on a loopback port.

    Cutting happens once, when the server has replied. `delay` is the time in seconds that each piece takes in each
    direction, `rate` the bytes a second of each connection and direction, 0 for any number.
    """

    def __init__(self, server: Path, *, tcp: bool = False) -> None:
        self.path = server.with_name("proxy")
        self.port = 0
        self.fault = Fault.NONE
        self.delay = 0.0
        self.rate = 0
        self.cuts = 0
        self.refused = 0
        self.accepted = 0
        self._server = server
        self._tcp = tcp
        self._losing = b""
        self._holding_up = b""
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"redis://{CREDENTIALS}127.0.0.1:{self.port}" if self._tcp else f"unix://{CREDENTIALS}{self.path}"

    def lead_to(self, server: Path) -> None:
        """Connections from now on go to another server."""
        self._server = server

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._writers)

    def lose_reply_to(self, command: bytes) -> None:
        """The next request with these bytes in it is carried out, its reply dropped, its connection closed."""
        self._losing = command

    def hold_up(self, command: bytes) -> None:
        """Requests with these bytes in them, and what follows on their connections, wait until told otherwise (b"")."""
        self._holding_up = command

    def lose_next_reply(self) -> None:
        """The next request is carried out, its reply dropped, its connection closed."""
        self.fault = Fault.CUT_AFTER_REQUEST

    def hang_up(self, *, reset: bool) -> None:
        """Close every connection in the middle of whatever it does, by an RST or a FIN. Only from the loop's thread."""
        for writer in list(self._writers):
            if writer.is_closing():
                continue
            if reset:
                end = writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()

    @contextmanager
    def in_thread(self) -> Iterator["InThread"]:
        """The proxy in a loop of its own, for tests that block theirs."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), loop).result(10)
        try:
            yield InThread(self, loop)
        finally:
            asyncio.run_coroutine_threadsafe(self.__aexit__(None, None, None), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def __aenter__(self) -> Self:
        if self._tcp:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]
        else:
            self._listener = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._tcp:
            self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        try:
            if self.fault is Fault.REFUSE:
                self.refused += 1
            else:
                await self._relay(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        lost = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, server_writer, lost))
                group.create_task(self._replies(server_reader, writer, server_writer, lost))
        except* OSError:
            pass
        finally:
            server_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while chunk := await reader.read(65536):
            await self._held(Fault.BLACK_HOLE, Fault.DEAF)
            while self._holding_up and self._holding_up in chunk:  # noqa: ASYNC110 - another thread may end it
                await asyncio.sleep(_LOOK)
            await self._slow(len(chunk))
            if self._losing and self._losing in chunk:
                self._losing = b""
                lost.set()
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def _replies(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
        lost: asyncio.Event,
    ) -> None:
        while chunk := await reader.read(65536):
            if self.fault is Fault.CUT_AFTER_REQUEST or lost.is_set():
                if not lost.is_set():
                    self.fault = Fault.NONE
                self.cuts += 1
                break
            await self._held(Fault.BLACK_HOLE)
            await self._slow(len(chunk))
            if self.fault is not Fault.SILENT:
                writer.write(chunk)
                await writer.drain()
        writer.close()
        server.close()

    async def _held(self, *faults: Fault) -> None:
        while self.fault in faults:  # noqa: ASYNC110 - another thread may end it
            await asyncio.sleep(_LOOK)

    async def _slow(self, size: int) -> None:
        if seconds := self.delay + (size / self.rate if self.rate else 0.0):
            await asyncio.sleep(seconds)


class InThread:
    """A proxy that runs in another thread: its attributes may be set from anywhere, its calls go by here."""

    def __init__(self, proxy: FaultyProxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy = proxy
        self._loop = loop

    def hang_up(self, *, reset: bool) -> None:
        """As `FaultyProxy.hang_up`."""
        self._loop.call_soon_threadsafe(lambda: self.proxy.hang_up(reset=reset))
