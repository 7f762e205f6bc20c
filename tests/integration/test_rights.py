"""The user evfn asks for may do all that evfn does, and nothing is missed that it may not."""

import shlex

from evfn.broker import acl, rights
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.trigger import Project, Trigger
from servers import RealServer

PROJECT = Project("store", (Trigger("pack", ("orders.new", "orders.**"), "pack"),))
LINE = acl.user(acl.Role.INSTANCE, PROJECT).command("right")


async def as_user(server: RealServer, line: str) -> Connection:
    assert server.command(*shlex.split(line)) == b"+OK"
    return await Connection.open(f"unix://store-instance:right@{server.path}", clock=SystemClock())


async def test_a_user_made_by_the_line_lacks_nothing_and_the_probes_leave_nothing(
    server: RealServer, connection: Connection
) -> None:
    """Also where the topic has events: asking adds none."""
    await connection.call("XADD", "orders.new", "1-1", "data", "x")
    user = await as_user(server, LINE)
    try:
        assert await rights.missing(user, Keys(), "store", ["orders.new"]) == ()
        assert await connection.call("KEYS", "*") == [b"orders.new"]
        assert await connection.call("XLEN", "orders.new") == 1
    finally:
        await user.close()
        server.command("ACL", "DELUSER", "store-instance")


async def test_each_missing_right_is_named(server: RealServer) -> None:
    """A command, and a key that is out of bounds."""
    user = await as_user(server, LINE.replace("+hincrby ", "").replace("+xgroup|create ", ""))
    try:
        missing = await rights.missing(user, Keys(), "store", ["orders.new", "bills"])
        own = [each for each in missing if "bills" not in each]
        assert [each.partition(" ")[0] for each in own] == ["hincrby", "xgroup|create"]
        assert "xadd on bills" in missing
    finally:
        await user.close()
        server.command("ACL", "DELUSER", "store-instance")
