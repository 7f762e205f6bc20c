"""The user evfn asks for may do all that evfn does, and nothing is missed that it may not."""

import json

from evfn.broker import rights
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from servers import RealServer

TOPICS = ["orders.new", "orders.**"]


async def as_user(server: RealServer, line: str) -> Connection:
    server.command(*line.replace(">PASSWORD", ">right").split())
    return await Connection.open(f"unix://evfn:right@{server.path}", clock=SystemClock())


async def test_a_user_made_by_the_line_lacks_nothing_and_the_probes_leave_nothing(
    server: RealServer, connection: Connection
) -> None:
    """Also where the topic has events: asking adds none."""
    await connection.call("XADD", "orders.new", "1-1", "data", "x")
    user = await as_user(server, rights.acl_line(Keys(), TOPICS))
    try:
        assert await rights.missing(user, Keys(), ["orders.new"]) == ()
        assert await connection.call("KEYS", "*") == [b"orders.new"]
        assert await connection.call("XLEN", "orders.new") == 1
    finally:
        await user.close()
        server.command("ACL", "DELUSER", "evfn")


async def test_each_missing_right_is_named(server: RealServer) -> None:
    """A command, and a key that is out of bounds."""
    line = rights.acl_line(Keys(), ["orders.new"]).replace("+hincrby ", "").replace("+xgroup|create ", "")
    user = await as_user(server, line)
    try:
        missing = await rights.missing(user, Keys(), ["orders.new", "bills"])
        own = [each for each in missing if "bills" not in each]
        assert [each.partition(" ")[0] for each in own] == ["hincrby", "xgroup|create"]
        assert "xadd on bills" in missing
    finally:
        await user.close()
        server.command("ACL", "DELUSER", "evfn")


def test_the_line_names_prefixed_keys_and_is_one_line() -> None:
    line = rights.acl_line(Keys("shop:"), TOPICS)
    assert "~shop:evfn:* ~shop:orders.new ~shop:orders.* " in line
    assert "\n" not in line
    assert json.dumps(line)
