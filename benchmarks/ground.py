"""What every benchmark stands on: a folder of its own, a server with its append-only file, a backlog published first.

Loopback only. Everything ends, and everything made is removed, with the `async with`.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from evfn.embedded import EmbeddedServer

PADDING = "x" * 150
"""Makes an event's body 200 bytes of JSON, more or less."""
AT_ONCE = 1_000


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
        for begin in range(first, first + events, AT_ONCE):
            pipeline = self.client.pipeline(transaction=False)
            for number in range(begin, min(begin + AT_ONCE, first + events)):
                pipeline.xadd(topic, fields(number))  # type: ignore[arg-type]  # its stub knows no bytes
            pipeline.execute()
