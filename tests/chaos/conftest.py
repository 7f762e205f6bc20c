"""Both kinds of fixtures: whole projects as users run them, and the broker's parts on real servers."""

from acceptance.conftest import sandbox
from integration.conftest import connection, group, keys, pytest_pyfunc_call, runner, running_server, server

__all__ = ["connection", "group", "keys", "pytest_pyfunc_call", "runner", "running_server", "sandbox", "server"]
