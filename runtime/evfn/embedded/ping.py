"""Just enough of the Redis protocol to learn whether a server answers and to ask it to end."""

import asyncio
import contextlib
from enum import Enum
from pathlib import Path

REPLY_SECONDS = 1.0


class Answer(Enum):
    """What came back: nothing, `loading its data` (or busy with a script), or a greeting."""

    NONE = "none"
    LATER = "later"
    READY = "ready"


async def ping(socket: Path) -> Answer:
    """Ask once. Never raises."""
    reply = await _ask(socket, b"PING\r\n")
    if reply.startswith(b"+PONG"):
        return Answer.READY
    return Answer.LATER if reply.startswith((b"-LOADING", b"-BUSY")) else Answer.NONE


async def shut_down(socket: Path) -> None:
    """Ask the server to write what it holds and end; it ends some milliseconds after this returns. Never raises."""
    # NOSAVE concerns the snapshot only, which is off; the append-only file is always flushed.
    await _ask(socket, b"SHUTDOWN NOSAVE\r\n")


async def _ask(socket: Path, command: bytes) -> bytes:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(REPLY_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(command)
                return await reader.readline()
            finally:
                writer.close()
    return b""
