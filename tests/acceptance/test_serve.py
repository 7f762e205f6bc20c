"""`evfn serve`: the log that machines read, reloads on SIGHUP, drains, and what systemd is told."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evfn import Client
from evfn_cli.log_events import EVENTS
from sandbox import Sandbox, wait_until
from servers import RealServer

MANIFEST = """
    greet:
      topic: people
      function: greet:run
      emits: greeted
      env: {GREETING: hello, API_TOKEN: very-secret-value}
      retry: {attempts: 2, initial_delay: 0s}
      workers: {max: 1}
    slow:
      topic: work
      function: slow:run
      workers: {max: 1}
"""
GREET = """
    VERSION = 1

    def run(event):
        name = event.data["name"]
        print("hello \\x1b[31m", name, os.environ["API_TOKEN"])
        if name == "Mallory":
            raise KeyError(name)
        note(f"{VERSION} {name}")
        return {"to": name}
"""
SLOW = """
    import time

    def run(event):
        note(f"start {event.data['n']}")
        time.sleep(event.data["seconds"])
        note(f"end {event.data['n']}")
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The oldest Redis that evfn supports, for all tests of this file."""
    server = RealServer("redis", tmp_path_factory.mktemp("redis"), tcp=True)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def project(sandbox: Sandbox, redis: RealServer) -> Sandbox:
    redis.flush()
    sandbox.manifest(MANIFEST)
    sandbox.function("greet", GREET)
    sandbox.function("slow", SLOW)
    sandbox.environment["EVFN_REDIS_URL"] = redis.tcp_url
    return sandbox


class Service:
    """One `evfn serve` with all that it logged."""

    def __init__(self, box: Sandbox, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.box = box
        self.process = process
        self._log = log

    def lines(self, event: str = "", **fields: Any) -> list[dict[str, Any]]:
        """The lines of this event with these fields; every line is one JSON object."""
        whole = self._log.read_text().rpartition("\n")[0]
        found = [json.loads(line) for line in whole.splitlines()]
        return [
            line
            for line in found
            if event in ("", line["event"]) and all(line.get(name) == value for name, value in fields.items())
        ]

    def said(self, event: str, times: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait until it said this so often; the last of these lines."""
        wait_until(lambda: len(self.lines(event, **fields)) >= times, description=f"{event} {fields} in {self._log}")
        return self.lines(event, **fields)[-1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def serving(box: Sandbox, *arguments: str) -> Iterator[Service]:
    with box.running(*arguments, command="serve", says=b'"event":"started"') as process:
        yield Service(box, process, box.log)


def emit(redis: RealServer, topic: str, *events: object) -> None:
    with Client(redis.tcp_url) as client:
        for event in events:
            client.emit(topic, event)


def test_what_it_logs(project: Sandbox, redis: RealServer) -> None:
    """One object a line, each with the documented fields; no control character, no secret; exit code 0 in the end."""
    with serving(project) as service:
        service.said("trigger_state", trigger="greet", state="ok")
        emit(redis, "people", {"name": "Ada"}, {"name": "Mallory"}, {"name": "Grace"})
        letter = service.said("dead_lettered")
        assert service.said("attempt_failed")["error"]["type"] == "KeyError"
        wait_until(lambda: len(project.notes()) == 2, description="all ran")
        wait_until(lambda: project.status("greet")["succeeded"] == 2, description="all are settled")
        emit(redis, "work", {"n": 1, "seconds": 0.5})
        wait_until(lambda: len(project.notes()) == 3, description="the slow one runs")
        assert service.end() == 0
    assert project.notes()[-1] == "end 1", "what runs is finished"
    raw = project.log.read_bytes()
    assert raw.endswith(b"\n")
    assert b"\x1b" not in raw
    assert b"very-secret-value" not in raw
    assert letter["reason"] == "failed"
    assert letter["attempt"] == letter["attempts"] == 2
    assert "greet.py" in letter["error"]["traceback"]
    assert letter["level"] == "error"
    (ok,) = service.lines("succeeded", trigger="greet")
    assert (ok["count"], ok["emitted"]) == (2, 2)
    said = service.lines("output", trigger="greet")
    assert [each["text"] for each in said][:1] == ["hello \x1b[31m Ada ***"]
    assert said[0]["invocation_id"]
    assert service.lines("stopping") == service.lines("stopping", cause="SIGTERM", running=1)
    assert service.lines()[-1]["event"] == "stopped"
    for line in service.lines():
        kind = EVENTS[line["event"]]
        fields = line.keys() - {"time", "level", "event"}
        assert set(kind.always) <= fields <= {*kind.always, *kind.perhaps}, line
        assert list(line)[:3] == ["time", "level", "event"]
        assert line["time"].endswith("Z")


def test_it_needs_a_server_of_its_own(sandbox: Sandbox) -> None:
    """Without one it says what to write, and starts none; also where an instance runs in the project."""
    sandbox.manifest(MANIFEST)
    sandbox.function("greet", GREET)
    sandbox.function("slow", SLOW)
    done = sandbox.evfn("serve", expect=2)
    assert "name it with --redis redis://HOST:PORT, or in EVFN_REDIS_URL" in done.stderr
    assert not (sandbox.folder / ".evfn").exists()
