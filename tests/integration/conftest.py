"""Fixtures on real servers. Tests may be coroutines; each runs in a loop of its own, together with its fixtures."""

import asyncio
import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from divided import Divided
from evfn.broker.connection import Connection
from evfn.broker.group import Group
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.trigger import StartAt
from servers import ACL, FLAVOURS, RealServer


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in the `runner` fixture's loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    runner = pyfuncitem.funcargs["runner"]
    assert isinstance(runner, asyncio.Runner)
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    runner.run(pyfuncitem.obj(**arguments))
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under EVFN_TEST_ACL only what evfn asks of a server is of interest, and not how a connection comes about."""
    if ACL is None:
        return
    here = [each for each in items if isinstance(each, pytest.Function) and each.path.parent == Path(__file__).parent]
    left_out = [each for each in here if "connection" not in each.fixturenames or "_connection" in each.path.stem]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [each for each in items if each not in left_out]


@pytest.fixture(autouse=True)
def runner() -> Iterator[asyncio.Runner]:
    """The loop of one test."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session", params=FLAVOURS)
def running_server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """One server of each flavour for the whole session. Socket paths are limited, so not below pytest's folders."""
    folder = Path(tempfile.mkdtemp(prefix="evfn-"))
    server = RealServer(request.param, folder, tcp=True)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def server(running_server: RealServer) -> RealServer:
    """An empty server."""
    running_server.flush()
    return running_server


@pytest.fixture
def connection(server: RealServer, runner: asyncio.Runner) -> Iterator[Connection]:
    """The broker's way to the empty server."""
    connection = runner.run(Connection.open(server.url, clock=SystemClock()))
    admin = runner.run(Connection.open(server.admin_url, clock=SystemClock()))
    if ACL:
        connection = Divided.between(connection, admin)
    yield connection
    runner.run(connection.close())
    runner.run(admin.close())


@pytest.fixture
def keys() -> Keys:
    """Keys under a prefix, so that a forgotten prefix shows."""
    return Keys("t:")


@pytest.fixture
def group(connection: Connection, keys: Keys, runner: asyncio.Runner) -> Group:
    """A registered instance's place on one topic, its groups made."""
    group = Group(connection, keys, "orders.new", "shop/pack", "me")
    runner.run(Instances(connection, keys).register("me"))
    runner.run(group.start(StartAt.EARLIEST, patterned_late=False))
    return group
