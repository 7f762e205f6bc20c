"""`evfn serve`: the log that machines read, reloads on SIGHUP, drains, and what systemd is told."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evfn import Client
from evfn_cli.log_events import EVENTS
from notified import Notified
from sandbox import Sandbox, wait_until
from scrape import Scrape, promtool
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
        while os.path.exists(f"{os.environ['JOURNAL']}.hold"):
            time.sleep(0.01)
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

    def get(self, path: str) -> tuple[int, Any]:
        """What the endpoint answers: status and JSON."""
        link = http.client.HTTPConnection(*self.address, timeout=20)
        link.request("GET", path)
        answer = link.getresponse()
        try:
            return answer.status, json.loads(answer.read())
        finally:
            link.close()

    def scrape(self) -> Scrape:
        """What `/metrics` answers to Prometheus."""
        link = http.client.HTTPConnection(*self.address, timeout=20)
        link.request("GET", "/metrics", headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
        answer = link.getresponse()
        try:
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            return Scrape(answer.read())
        finally:
            link.close()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.said("listening")["address"].rpartition(":")
        return host, int(port)


@contextmanager
def serving(box: Sandbox, *arguments: str) -> Iterator[Service]:
    with box.running(*arguments, command="serve", says=b'"event":"started"') as process:
        yield Service(box, process, box.log)


def hold(box: Sandbox) -> Path:
    """While this file is there, the slow function runs."""
    return Path(f"{box.journal}.hold")


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
        hold(project).touch()
        emit(redis, "work", {"n": 1})
        wait_until(lambda: len(project.notes()) == 3, description="the slow one runs")
        service.process.send_signal(signal.SIGTERM)
        service.said("stopping")
        hold(project).unlink()
        assert service.process.wait(20) == 0
    assert project.notes()[-1] == "end 1", "what runs is finished"
    raw = project.log.read_bytes()
    assert raw.endswith(b"\n")
    assert b"\x1b" not in raw
    assert b"very-secret-value" not in raw
    assert letter["reason"] == "failed"
    assert letter["attempt"] == letter["attempts"] == 2
    assert "greet.py" in letter["error"]["traceback"]
    assert letter["level"] == "error"
    sums = service.lines("succeeded", trigger="greet")
    assert sum(each["count"] for each in sums) == sum(each["emitted"] for each in sums) == 2
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


@pytest.mark.skipif(sys.platform != "linux", reason="the policy is Linux's")
def test_its_processes_interrupt_nobody(project: Sandbox, redis: RealServer) -> None:
    """What runs beside it, the server above all, goes on where one of them wakes up."""
    project.function("greet", "import os\n\ndef run(event):\n    note(os.sched_getscheduler(0))\n")
    with serving(project) as service:
        emit(redis, "people", {"name": "Ada"})
        wait_until(lambda: project.notes() == [str(os.SCHED_BATCH)], description="it ran, under that policy")
        assert os.sched_getscheduler(service.process.pid) == os.SCHED_BATCH


def test_it_needs_a_server_of_its_own(sandbox: Sandbox) -> None:
    """Without one it says what to write, and starts none; also where an instance runs in the project."""
    sandbox.manifest(MANIFEST)
    sandbox.function("greet", GREET)
    sandbox.function("slow", SLOW)
    done = sandbox.evfn("serve", expect=2)
    assert "name it with --redis redis://HOST:PORT, or in EVFN_REDIS_URL" in done.stderr
    assert not (sandbox.folder / ".evfn").exists()


def test_from_its_start_to_its_drain(project: Sandbox, redis: RealServer) -> None:
    """A function that does not load keeps it from ready and not from its work; SIGHUP takes over what can be used and
    leaves the rest as it was; each step is told to the service manager and over HTTP; the drain finishes what runs."""
    project.function("slow", "def run(:\n")
    # As a systemd credential or a mounted secret has it.
    url = project.folder / "redis-url"
    url.write_text(project.environment.pop("EVFN_REDIS_URL") + "\n")
    project.environment["EVFN_REDIS_URL_FILE"] = str(url)
    with Notified() as notified:
        project.environment |= {"NOTIFY_SOCKET": notified.address, "WATCHDOG_USEC": "1000000", "EVFN_HTTP": ":0"}
        with serving(project) as service:
            broken = service.said("trigger_state", trigger="slow", state="broken")
            service.said("trigger_state", trigger="greet", state="ok")
            assert service.get("/healthz") == (200, {"status": "alive"})
            assert service.get("/readyz") == (
                503,
                {
                    "ready": False,
                    "reasons": [{"reason": "broken", "problem": broken["problem"], "trigger": "slow"}],
                },
            )
            wait_until(lambda: notified.count("READY=1") == 1, description="it is up, as far as it can be")
            assert any("slow is broken: functions/slow.py" in line for line in notified.said)
            emit(redis, "people", {"name": "Ada"})
            wait_until(lambda: project.notes() == ["1 Ada"], description="the other trigger works")
            emit(redis, "work", {"n": 1})
            backlog = {"trigger": "slow", "value": 1, "lag": 1, "pending": 0, "due": 0, "exact": True}
            assert service.get("/scale/slow") == (200, backlog)
            _endpoint_says_no(service)
            _measures(service)

            # Mended, but nobody has asked yet.
            project.function("slow", SLOW)
            project.function("greet", GREET.replace("VERSION = 1", "VERSION = 2"))
            emit(redis, "people", {"name": "Grace"})
            wait_until(lambda: "1 Grace" in project.notes(), description="no file is watched")
            service.process.send_signal(signal.SIGHUP)
            service.said("reload_ended", refused=False)
            assert service.lines("reloaded", triggers=["greet"])
            wait_until(lambda: "end 1" in project.notes(), description="what waited has run")
            assert service.get("/readyz") == (200, {"ready": True, "reasons": []})
            wait_until(lambda: notified.count("READY=1") == 2, description="the reload is over")
            at = notified.said.index("RELOADING=1")
            assert notified.said[at + 1].startswith("MONOTONIC_USEC=")
            emit(redis, "people", {"name": "Edsger"})
            wait_until(lambda: "2 Edsger" in project.notes(), description="the new code serves")

            project.function("greet", "import no_such_module")
            service.process.send_signal(signal.SIGHUP)
            service.said("reload_ended", refused=True)
            (refused,) = service.lines("not_reloaded")
            assert refused["triggers"] == ["greet"]
            assert "no_such_module" in refused["problem"]
            manifest = (project.folder / "triggers.yaml").read_text()
            (project.folder / "triggers.yaml").write_text(manifest.replace("topic: people", "topik: people"))
            project.function("greet", GREET.replace("VERSION = 1", "VERSION = 3"))
            service.process.send_signal(signal.SIGHUP)
            service.said("reload_ended", times=2, refused=True)
            assert "topik" in service.lines("not_reloaded")[-1]["problem"]
            emit(redis, "people", {"name": "Barbara"})
            wait_until(lambda: "2 Barbara" in project.notes(), description="what served before goes on")
            late = "\n  late: {topic: people, function: greet:run}\n"
            (project.folder / "triggers.yaml").write_text(manifest.replace("name: sandbox", "name: other") + late)
            service.process.send_signal(signal.SIGHUP)
            service.said("trigger_state", trigger="late", state="ok")
            warnings = [each["text"] for each in service.lines("warning")]
            assert any("takes effect when this instance is started again" in text for text in warnings)
            wait_until(lambda: notified.count("READY=1") == 5, description="every reload comes to an end")
            found = service.scrape()
            assert found.get("evfn_attempts_total", trigger="greet", outcome="succeeded") == 4, "reloads go on counting"
            assert found.get("evfn_attempts_total", trigger="late", outcome="failed") == 0
            assert found.get("evfn_trigger_state", trigger="slow", state="ok") == 1
            assert found.get("evfn_ready") == 1

            wait_until(lambda: notified.count("WATCHDOG=1") >= 3, description="the watchdog hears of it")
            hold(project).touch()
            emit(redis, "work", {"n": 2})
            wait_until(lambda: "start 2" in project.notes(), description="it runs")
            service.process.send_signal(signal.SIGTERM)
            service.said("stopping")
            assert [each["reason"] for each in service.get("/readyz")[1]["reasons"]] == ["draining"]
            wait_until(lambda: service.get("/scale/slow")[1]["pending"] == 1, description="it still counts")
            hold(project).unlink()
            assert service.process.wait(20) == 0
        assert project.notes()[-1] == "end 2"
        assert "STOPPING=1" in notified.said


def _measures(service: Service) -> None:
    wait_until(
        lambda: (
            service.scrape().get("evfn_attempts_total", trigger="greet", outcome="succeeded") == 1
            and service.scrape().get("evfn_lag_events", trigger="slow") == 1
        ),
        description="what came of the first events is told",
    )
    found = service.scrape()
    assert found.get("evfn_events_emitted_total", trigger="greet") == 1
    assert found.get("evfn_event_latency_seconds_count", trigger="greet") == 1
    assert found.get("evfn_workers", trigger="greet") == 1
    assert found.get("evfn_trigger_state", trigger="slow", state="broken") == 1
    assert found.get("evfn_server_up") == 1
    assert found.get("evfn_ready") == 0
    checked = promtool("check", "metrics", text=found.text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _endpoint_says_no(service: Service) -> None:
    status, told = service.get("/scale/slaw")
    assert status == 404
    assert "did you mean slow?" in told["detail"]
    assert "/scale/TRIGGER" in service.get("/admin")[1]["detail"]
    link = http.client.HTTPConnection(*service.address, timeout=20)
    link.request("DELETE", "/scale/slow")
    answer = link.getresponse()
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    link.close()
    for _ in range(3):
        with socket.create_connection(service.address, timeout=20) as hostile:
            hostile.sendall(b"GET /\x00 HTTP/1.1\r\n\r\n")
            assert hostile.recv(1_000).startswith(b"HTTP/1.1 400 ")
    service.said("request_refused", status=400)
    assert len(service.lines("request_refused")) == 1


def test_a_drain_that_takes_too_long_and_a_second_signal(project: Sandbox, redis: RealServer) -> None:
    """What still runs then is killed and runs again as its first attempt: exit code 1; SIGHUP comes too late then; a
    second signal aborts, and the process ends by it."""
    project.environment["EVFN_DRAIN_TIMEOUT"] = "200ms"
    with serving(project) as service:
        hold(project).touch()
        emit(redis, "work", {"n": 1})
        wait_until(lambda: project.notes() == ["start 1"], description="it runs")
        assert service.end() == 1
        assert service.lines("stopped") == service.lines("stopped", interrupted=1, level="warning")
    with serving(project, "--drain-timeout", "1m") as service:
        wait_until(lambda: project.notes() == ["start 1"] * 2, description="it runs again")
        service.process.send_signal(signal.SIGTERM)
        service.said("stopping")
        service.process.send_signal(signal.SIGHUP)
        assert service.end(signal.SIGINT) == -signal.SIGINT
        assert service.lines()[-1]["event"] == "stopped"
        assert service.lines("reloading") == [], "nothing is begun any more"
    assert project.status("slow")["failed"] == 0, "no attempt is burnt"


def test_a_log_that_nobody_reads_stops_nothing(project: Sandbox, redis: RealServer) -> None:
    """Neither a pipe that is full nor one that is closed: the events go on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evfn_cli", "serve"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        while b'"event":"started"' not in process.stdout.readline():
            assert process.poll() is None
        for round_ in range(2):
            # More than a pipe holds.
            emit(redis, "people", *({"name": "x" * 1_000} for _ in range(200)))
            wait_until(partial(_noted, project, 200 * (round_ + 1)), description="all ran")
            process.stdout.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _noted(project: Sandbox, count: int) -> bool:
    return len(project.notes()) == count
