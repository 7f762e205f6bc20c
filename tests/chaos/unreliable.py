"""A connection that loses what it is told to lose."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from evfn.broker.connection import Argument, Connection, ReplyLost, ScriptMissing


class Loss(Enum):
    """What is lost of the next call: nothing, the request (it is never carried out), the reply (it was)."""

    NONE = "none"
    REQUEST = "request"
    REPLY = "reply"


class UnreliableConnection(Connection):
    """The caller cannot tell which of the two was lost, as with a socket that breaks."""

    loss = Loss.NONE

    async def call(self, *command: Argument, epoch: int | None = None) -> Any:
        """As its base, but for the loss; a refusal is not lost."""
        self._lose(Loss.REQUEST)
        reply = await super().call(*command, epoch=epoch)
        self._lose(Loss.REPLY)
        return reply

    async def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """As its base, but for the loss of all replies; as above not where a script is unknown."""
        self._lose(Loss.REQUEST)
        replies = await super().pipeline(commands)
        if not any(isinstance(reply, ScriptMissing) for reply in replies):
            self._lose(Loss.REPLY)
        return replies

    def _lose(self, what: Loss) -> None:
        if self.loss is what:
            self.loss = Loss.NONE
            raise ReplyLost(f"the connection to {self.server} broke")
