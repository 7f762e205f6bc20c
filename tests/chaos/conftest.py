"""Both kinds of fixtures, whole projects as users run them and the broker's parts on real servers; and many machines.

Nothing here is measured for coverage: its processes are killed before they could tell, and starting slowly is no fault
that anybody wants tested.
"""

from collections.abc import Iterator

import pytest

from acceptance.conftest import sandbox as measured_sandbox
from chaos.machines import Machines
from integration.conftest import connection, group, keys, pytest_pyfunc_call, runner, running_server, server
from sandbox import Sandbox
from servers import RealServer

__all__ = [
    "connection",
    "group",
    "keys",
    "measured_sandbox",
    "pytest_pyfunc_call",
    "runner",
    "running_server",
    "server",
]


@pytest.fixture
def sandbox(measured_sandbox: Sandbox) -> Sandbox:
    """A project whose processes are as quick as a user's."""
    for name in [name for name in measured_sandbox.environment if name.startswith("COVERAGE")]:
        del measured_sandbox.environment[name]
    return measured_sandbox


@pytest.fixture
def machines(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Several machines of one project, with a server for this test alone."""
    server = RealServer("valkey", tmp_path_factory.mktemp("s"), options=["--appendonly", "yes"]).start()
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    machines = Machines(sandbox, server)
    machines.project()
    yield machines
    machines.client.close()
    server.stop()
