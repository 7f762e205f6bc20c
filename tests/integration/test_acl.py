"""Each generated user does its work on a real server, and nothing else."""

import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis import AuthenticationError, Redis

from evfn.broker import acl
from evfn.broker.connection import Connection
from evfn.broker.facts import collect
from evfn.broker.findings import Gravity, findings
from evfn.clock import SystemClock
from evfn.errors import BrokerError
from evfn.trigger import Isolation, Project, Trigger
from servers import FLAVOURS, RealServer

PROJECT = Project(
    "shop", (Trigger("pack", ("orders.new",), "pack", emits=("orders.packed",), isolation=Isolation.JOB),)
)
ROLES = [role.value for role in acl.Role]
NOBODY = ["FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "KEYS *", "ACL LIST", "SHUTDOWN", "SCRIPT FLUSH", "MONITOR"]
XADD = "XADD {} * data 1"


@pytest.fixture
def users(server: RealServer) -> Iterator[RealServer]:
    """A server that knows one user for each role."""
    made = [acl.user(role, PROJECT) for role in acl.Role]
    for user in made:
        assert server.command(*shlex.split(user.command("right"))) == b"+OK"
    server.command("XADD", "orders.new", "1-1", "data", "1")
    server.command("XADD", "other", "1-1", "data", "1")
    server.command("XGROUP", "CREATE", "orders.new", "shop/pack", "0")
    yield server
    for user in made:
        server.command("ACL", "DELUSER", user.name)


@asynccontextmanager
async def connected(server: RealServer, role: str) -> AsyncIterator[Connection]:
    connection = await Connection.open(f"unix://shop-{role}:right@{server.path}", clock=SystemClock())
    try:
        yield connection
    finally:
        await connection.close()


async def refused(server: RealServer, role: str, *commands: str) -> list[str]:
    """Which of these the user may not send."""
    async with connected(server, role) as connection:
        replies = await connection.pipeline([each.split() for each in commands])
    return [
        each for each, reply in zip(commands, replies, strict=True)
        if isinstance(reply, BrokerError) and "NOPERM" in str(reply)
    ]  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_can_harm_the_server_or_look_into_it(users: RealServer, role: str) -> None:
    """No flush, no settings, no list of keys or users, and no topic of another project."""
    commands = [*NOBODY, "XRANGE other - +", XADD.format("other"), "DEL other", "PUBLISH evfn x", "SUBSCRIBE other"]
    assert await refused(users, role, *commands) == commands


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (
            "producer",
            [XADD.format("orders.new"), "PING", "TIME"],
            [
                *["XRANGE orders.new - +", "XREAD STREAMS orders.new 0", "XLEN orders.new", "XDEL orders.new 1-1"],
                *["XREADGROUP GROUP shop/pack me STREAMS orders.new >", "XACK orders.new shop/pack 1-1"],
                *["HGETALL evfn:instances", "DEL orders.new", XADD.format("orders.packed"), "LPUSH rq:queue:evfn x"],
            ],
        ),
        (
            "read-only",
            ["XRANGE orders.new - +", "XINFO GROUPS orders.new", "HGETALL evfn:instances", "SCAN 0"],
            [
                *[XADD.format("orders.new"), "XACK orders.new shop/pack 1-1", "DEL orders.new"],
                *["XREADGROUP GROUP shop/pack me STREAMS orders.new >", "HSET evfn:instances a 1"],
                *["EVAL return 0", "XGROUP DESTROY orders.new shop/pack", "HGETALL rq:job:x"],
            ],
        ),
        (
            "rq-worker",
            ["XRANGE orders.new - +", "HSET evfn:{orders.new}:shop/pack:jobs a 1", "LPUSH rq:queue:evfn x"],
            [
                *["XACK orders.new shop/pack 1-1", XADD.format("orders.new"), "HSET evfn:instances me 1"],
                *["XREADGROUP GROUP shop/pack me STREAMS orders.new >", "DEL orders.new"],
                *["HSET evfn:{orders.new}:other/pack:jobs a 1", "XRANGE evfn:{orders.new}:shop/pack:dead - +"],
            ],
        ),
        (
            "instance",
            [
                *["XREADGROUP GROUP shop/pack me STREAMS orders.new >", "XACK orders.new shop/pack 1-1"],
                *[XADD.format("orders.packed"), "HSET evfn:instances me 1", "LPUSH rq:queue:evfn x"],
            ],
            ["HGETALL evfn:{orders.new}:other/pack:stats", "DEL rq"],
        ),
    ],
)
async def test_each_does_its_own_work_alone(users: RealServer, role: str, may: list[str], may_not: list[str]) -> None:
    """Commands, and keys: those of the project, and of the role within it."""
    assert await refused(users, role, *may) == []
    assert await refused(users, role, *may_not) == may_not


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_an_append_only_file_is_replayed_in_full(flavour: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server that starts again under the generated file has all that scripts and transactions wrote: it replays them
    as the default user, whom that file shuts out. Doctor finds a server that would throw them away."""
    folder = tmp_path_factory.mktemp("s")
    acl_file = folder / "users.acl"
    acl_file.write_text(f"{acl.OFF}\nuser admin on >admin ~* &* +@all\n")
    server = RealServer(flavour, folder / "s", options=["--appendonly", "yes", "--aclfile", str(acl_file)]).start()
    try:
        with Redis(unix_socket_path=str(server.path), username="admin", password="admin") as admin:  # noqa: S106
            admin.eval("redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 1)", 2, "a", "b")
            with admin.pipeline(transaction=True) as both:
                both.set("c", 1).set("d", 1).execute()
            connection = await Connection.open(f"unix://admin:admin@{server.path}", clock=SystemClock())
            facts = await collect(connection, PROJECT, embedded=False, file_system=None)
            assert "replays" not in str([each.what for each in findings(facts)])
            await connection.call("ACL", "SETUSER", "default", "-@all")
            facts = await collect(connection, PROJECT, embedded=False, file_system=None)
            said = next(each for each in findings(facts) if each.subject == "persistence")
            assert (said.gravity is Gravity.GRAVE) == (flavour == "redis"), said
            await connection.close()
            server.kill()
            server.start()
            assert admin.exists("a", "b", "c", "d") == 4
            with pytest.raises(AuthenticationError):
                Redis(unix_socket_path=str(server.path)).ping()
    finally:
        server.stop()


async def test_a_line_without_a_password_makes_no_user(server: RealServer) -> None:
    """Pasted as it is printed it is refused, rather than open to whoever knows what stood there."""
    answer = server.command(*shlex.split(acl.user(acl.Role.PRODUCER, PROJECT).command()))
    assert answer.startswith(b"-ERR")
    assert b"password hash" in answer
    server.command("ACL", "DELUSER", "shop-producer")
