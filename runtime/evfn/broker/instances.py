"""Who lives: the instances with a right to settle, and their beats."""

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.scripts import Script
from evfn.errors import Fenced

BEAT = Script("beat", "instances")


class Instances:
    """The hash whose fields are the leases: no field, no right to settle. Nothing in it expires by itself."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    async def register(self, instance: str) -> None:
        """Begin a lease. `instance` must be fresh: a fenced id never comes back."""
        await self._connection.call("HSET", self._keys.instances, instance, 0)

    async def deregister(self, instance: str) -> None:
        """End a lease, after the last settle was answered; others may take over what is left at once."""
        await self._connection.call("HDEL", self._keys.instances, instance)

    async def all(self) -> dict[str, int]:
        """Every instance with a lease and its beats."""
        return _read(await self._connection.call("HGETALL", self._keys.instances))

    async def beat(self, instance: str) -> dict[str, int]:
        """One beat; returns everyone's. Raises Fenced where the lease is gone."""
        reply = await BEAT.run(self._connection, [self._keys.instances], [instance])
        if reply[0] == b"FENCED":
            raise Fenced(f"instance {instance} has lost its lease")
        return _read(reply[1])


def _read(flat: list[bytes]) -> dict[str, int]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {name.decode("utf-8", "replace"): int(beats) for name, beats in pairs if beats.isdigit()}
