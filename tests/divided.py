"""A connection of two users: what a test itself asks is asked as administrator, what evfn asks as the role on trial."""

import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from evfn.broker.connection import Argument, Connection

TESTS = str(Path(__file__).parent)


class Divided(Connection):
    """`admin` is closed by whoever made it."""

    admin: Connection

    @classmethod
    def between(cls, role: Connection, admin: Connection) -> "Divided":
        """To the server of both."""
        divided = cls(role.url, role.clock, role._draw)
        divided.admin = admin
        return divided

    def call(self, *command: Argument, epoch: int | None = None) -> Coroutine[Any, Any, Any]:
        if _by_a_test() and command[0] != "AUTH":
            return self.admin.call(*command)
        return super().call(*command, epoch=epoch)

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> Coroutine[Any, Any, list[Any]]:
        return self.admin.pipeline(commands) if _by_a_test() else super().pipeline(commands)


def _by_a_test() -> bool:
    return sys._getframe(2).f_code.co_filename.startswith(TESTS)
