"""The atomic steps: one Lua file each, called by its hash, sent whole where the server does not know it."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from typing import Any

from evfn.broker.connection import Argument, Connection
from evfn.broker.refusal import ScriptMissing
from evfn.failpoint import reached

_all: dict[str, "Script"] = {}


class Script:
    """`keys` names what KEYS holds, in order; a last `...` stands for any number of further keys.

    `before` and `after` are its failpoints. The file's header says the same to readers of the Lua, and a test compares
    them.
    """

    def __init__(self, name: str, *keys: str) -> None:
        self.name = name
        self.keys = keys
        self.before, self.after = f"before {name}", f"after {name}"
        _all[name] = self

    @cached_property
    def text(self) -> str:
        """The file's content."""
        return resources.files("evfn.broker").joinpath("lua", f"{self.name}.lua").read_text("utf-8")

    @cached_property
    def sha(self) -> str:
        """The name the server gives it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, connection: Connection, keys: Sequence[str], args: Sequence[Argument], *, epoch: int | None = None
    ) -> Any:
        """Run it once. A server that forgot it has changed nothing, so sending it whole repeats nothing.

        `epoch` as for `Connection.call`.
        """
        reached(self.before)
        try:
            reply = await connection.call("EVALSHA", self.sha, len(keys), *keys, *args, epoch=epoch)
        except ScriptMissing:
            reply = await connection.call("EVAL", self.text, len(keys), *keys, *args, epoch=epoch)
        reached(self.after)
        return reply

    async def run_many(
        self,
        connection: Connection,
        calls: Sequence[tuple[Sequence[str], Sequence[Argument]]],
        *,
        read_only: bool = False,
    ) -> list[Any]:
        """Run it several times in one go; refusals stand in their places, as in `Connection.pipeline`.

        With `read_only` the server sees to it that nothing is changed, and asks for no more rights than reading takes.
        """
        by_hash, whole = ("EVALSHA_RO", "EVAL_RO") if read_only else ("EVALSHA", "EVAL")
        reached(self.before)
        replies = await connection.pipeline([(by_hash, self.sha, len(keys), *keys, *args) for keys, args in calls])
        for index, reply in enumerate(replies):
            if isinstance(reply, ScriptMissing):
                keys, args = calls[index]
                again = await connection.pipeline([(whole, self.text, len(keys), *keys, *args)])
                replies[index] = again[0]
        reached(self.after)
        return replies


def scripts() -> list[Script]:
    """Every script whose wrapper has been imported."""
    return list(_all.values())
