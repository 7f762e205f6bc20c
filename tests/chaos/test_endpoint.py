"""Clients of the HTTP endpoint that are slow, many or hostile, while the instance has work to do."""

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

import pytest
import redis

from sandbox import Sandbox, wait_until
from servers import RealServer

EVENTS = 20_000
FUNCTION = """
    def run(event):
        pass
"""


def line(log: Path, event: str) -> dict[str, Any]:
    """The first line of this event."""
    wait_until(lambda: f'"event":"{event}"' in log.read_text(), description=event)
    return next(found for each in log.read_text().splitlines() if (found := json.loads(each))["event"] == event)


def get(address: tuple[str, int], path: str) -> tuple[int, Any]:
    link = http.client.HTTPConnection(*address, timeout=20)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        link.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """One for each test, and of one kind: what is tested here does not depend on it."""
    server = RealServer("redis", tmp_path / "server", tcp=True).start()
    yield server
    server.stop()


@pytest.fixture
def project(sandbox: Sandbox, server: RealServer) -> Sandbox:
    sandbox.manifest("work: {topic: work, function: work:run, workers: {max: 1}}")
    sandbox.function("work", FUNCTION)
    sandbox.environment["EVFN_REDIS_URL"] = server.tcp_url
    return sandbox


def test_f55_slow_clients_never_slow_the_events(project: Sandbox, server: RealServer) -> None:
    """A thousand idle connections, and two hundred that send a byte now and then: the events take as long as without
    them, give or take, honest requests are answered at once, and open files stay bounded."""
    with project.running("--http", ":0", command="serve", says=b'"state":"ok"') as process, ExitStack() as stack:
        host, _, port = line(project.log, "listening")["address"].rpartition(":")
        address = host, int(port)
        alone = drained(server)

        idle = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(1_000)]
        slow = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(200)]
        for each in slow:
            _drip(each, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ")

        def drip() -> None:
            for each in slow:
                _drip(each, b"x")

        together = drained(server, meanwhile=drip)
        assert together < 3 * alone + 2, f"{EVENTS} events took {alone:.2f} s alone, and {together:.2f} s"
        files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        assert files < 200, f"{files} open files with {len(idle) + len(slow)} clients"
        began = time.monotonic()
        assert get(address, "/healthz")[0] == 200
        assert time.monotonic() - began < 5


def drained(server: RealServer, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Seconds until so many events are settled."""
    with redis.Redis.from_url(server.tcp_url) as client, client.pipeline(transaction=False) as pipeline:
        for n in range(EVENTS):
            pipeline.xadd("work", {"data": json.dumps({"n": n})})
        began = time.monotonic()
        pipeline.execute()

        def through() -> bool:
            meanwhile()
            (group,) = cast("list[dict[str, int]]", client.xinfo_groups("work"))
            return group["lag"] == group["pending"] == 0

        wait_until(through, description="all events are settled", patience=60)
        return time.monotonic() - began


def _drip(link: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # Cut off, as it deserves.
        link.sendall(data)


def test_ready_follows_the_server_away_and_back(project: Sandbox, server: RealServer) -> None:
    """It lives without a server from its first moment on, says why it is not ready, and is ready when it may be. A
    SIGHUP that comes meanwhile is not forgotten."""
    server.kill()
    with project.running("--http", ":0", command="serve", says=b'"event":"unreachable"') as process:
        host, _, port = line(project.log, "listening")["address"].rpartition(":")
        address = host, int(port)
        assert get(address, "/healthz")[0] == 200
        assert [each["reason"] for each in get(address, "/readyz")[1]["reasons"]] == ["not_connected"]
        assert get(address, "/scale/work")[0] == 503
        process.send_signal(signal.SIGHUP)
        server.start()
        wait_until(lambda: get(address, "/readyz")[0] == 200, description="it has begun")
        line(project.log, "reload_ended")
        server.kill()
        wait_until(lambda: get(address, "/readyz")[0] == 503, description="it notices")
        assert get(address, "/healthz")[0] == 200
        process.send_signal(signal.SIGHUP)
        server.start()
        wait_until(lambda: get(address, "/readyz")[0] == 200, description="it is back")
        wait_until(lambda: project.log.read_text().count('"reload_ended"') == 2, description="it has reloaded")


def test_a_reload_that_a_lost_lease_cuts_off_begins_again(project: Sandbox, server: RealServer) -> None:
    """Whoever asked for it hears of its end, under the next lease."""
    hold = project.folder / "hold"
    project.function(
        "work", f"import os, time\nwhile os.path.exists({str(hold)!r}):\n    time.sleep(0.01)\n{dedent(FUNCTION)}"
    )
    with project.running("--http", ":0", command="serve", says=b'"state":"ok"') as process:
        hold.touch()
        process.send_signal(signal.SIGHUP)
        line(project.log, "reloading")
        with redis.Redis.from_url(server.tcp_url) as client:
            client.delete("evfn:instances")
        line(project.log, "lease_lost")
        hold.unlink()
        line(project.log, "reload_ended")
        assert project.log.read_text().count('"reloading"') == 2
