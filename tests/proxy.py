"""A proxy between evfn and a real server that loses replies, stays silent or hangs up on command."""

import asyncio
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self


class Fault(Enum):
    """What happens to connections from now on."""

    NONE = "none"
    CUT_AFTER_REQUEST = "cut after request"
    SILENT = "silent"
    REFUSE = "refuse"


class FaultyProxy:
    """Listens on a Unix socket in front of the server's. Cutting happens once, when the server has replied."""

    def __init__(self, server: Path) -> None:
        self.path = server.with_name("proxy")
        self.fault = Fault.NONE
        self.cuts = 0
        self.refused = 0
        self._server = server
        self._losing = b""
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def lose_reply_to(self, command: bytes) -> None:
        """The next request with these bytes in it is carried out, its reply dropped, its connection closed."""
        self._losing = command

    def lose_next_reply(self) -> None:
        """The next request is carried out, its reply dropped, its connection closed."""
        self.fault = Fault.CUT_AFTER_REQUEST

    async def __aenter__(self) -> Self:
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
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.fault is Fault.REFUSE:
                self.refused += 1
            else:
                await self._relay(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
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
                self.fault = Fault.NONE
                self.cuts += 1
                break
            if self.fault is not Fault.SILENT:
                writer.write(chunk)
                await writer.drain()
        writer.close()
        server.close()
