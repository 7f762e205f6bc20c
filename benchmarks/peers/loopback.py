"""The ground over loopback TCP, and a queue on it that can be filled once and laid out again for every run."""

import socket
from typing import Self

import redis

from benchmarks.ground import Ground

WORKED_ON, FIRST_KEPT = 1, 2
"""The database in which peers work, and the first of those that keep what their producers published."""
KEYS_AT_ONCE = 1_000


class LoopbackGround(Ground):
    """The ground's server, reached by TCP: how all peers are documented, so evfn beside them as well."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.client.config_set("bind", "127.0.0.1")
        self.client.config_set("port", port)
        self._unix, self.url = self.url, f"redis://127.0.0.1:{port}/0"
        return self

    @property
    def peer_url(self) -> str:
        """Where a peer connects to."""
        return f"{self.url.removesuffix('/0')}/{WORKED_ON}"

    def clear(self) -> None:
        """Leave a peer nothing of the one before."""
        with self._database(WORKED_ON) as database:
            database.flushdb()

    def keep(self, number: int) -> None:
        """Keep what is there for a peer under this number."""
        self._copy(WORKED_ON, FIRST_KEPT + number)

    def lay_out(self, number: int) -> None:
        """What was kept under this number is there again, and nothing else."""
        self.clear()
        self._copy(FIRST_KEPT + number, WORKED_ON)

    def _copy(self, source: int, destination: int) -> None:
        with self._database(source) as database:
            keys = list(database.scan_iter(count=KEYS_AT_ONCE))
            for begin in range(0, len(keys), KEYS_AT_ONCE):
                pipeline = database.pipeline(transaction=False)
                for key in keys[begin : begin + KEYS_AT_ONCE]:
                    pipeline.copy(key, key, destination_db=destination, replace=True)
                pipeline.execute()

    def _database(self, number: int) -> "redis.Redis":
        return redis.Redis.from_url(self._unix, db=number)
