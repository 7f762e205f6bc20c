"""What every benchmark stands on: a folder of its own, a server with its append-only file, a backlog published first.

Loopback only. Everything ends, and everything made is removed, with the `async with`.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from evfn.embedded import EmbeddedServer

PADDING = "x" * 150
"""Makes an event's body 200 bytes of JSON, more or less."""
AT_ONCE = 1_000
BYTES_AT_ONCE = 4 << 20
GROWN_BYTES = 16 << 20
"""An append-only file that has grown by as much is written anew before a measurement, and not within one."""


def body(number: int) -> dict[str, bytes]:
    """The event that benchmarks publish where they do not say otherwise: a plain entry, about 200 bytes of JSON."""
    return {"data": json.dumps({"number": number, "celsius": number % 60 - 20, "padding": PADDING}).encode()}


class Ground:
    """The embedded server of a throw-away folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="evfn-benchmark-"))
        state = self.folder / "state"
        state.mkdir()
        self._server = EmbeddedServer(state)

    async def __aenter__(self) -> Self:
        await self._server.start()
        self.url = self._server.url
        self.client = redis.Redis.from_url(self.url)
        self.server_pid = int(self.client.info("server")["process_id"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        await self._server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(
        self, topic: str, events: int, fields: Callable[[int], dict[str, bytes]] = body, *, first: int = 0
    ) -> None:
        """Add so many events to the topic, as any producer may."""
        size = sum(map(len, fields(first).values()))
        at_once = max(1, min(AT_ONCE, BYTES_AT_ONCE // size))
        for begin in range(first, first + events, at_once):
            pipeline = self.client.pipeline(transaction=False)
            for number in range(begin, min(begin + at_once, first + events)):
                pipeline.xadd(topic, fields(number))  # type: ignore[arg-type]  # its stub knows no bytes
            pipeline.execute()

    def rest(self) -> None:
        """Let the server do its housekeeping now: else it writes its append-only file anew whenever that has doubled,
        for some tenths of a second, beside whatever is measured just then."""
        found = self.client.info("persistence")
        if found["aof_current_size"] - found["aof_base_size"] > GROWN_BYTES:
            # Refused where the server has begun by itself, and that is as good.
            with contextlib.suppress(redis.ResponseError):
                self.client.bgrewriteaof()
        while self._writes_anew():
            time.sleep(0.01)

    def _writes_anew(self) -> bool:
        found = self.client.info("persistence")
        return bool(found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])
