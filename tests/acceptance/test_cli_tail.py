"""`evfn tail`: the events there are, and those that come."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from own_time import to_its_end
from sandbox import Sandbox, wait_until
from servers import RealServer
from terminal import plain, terminal


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest("""
        alert:
          topic: "readings.*"
          function: climate:alert
          emits: alerts
        notify:
          topic: alerts
          function: climate:alert
    """)
    sandbox.function("climate", "def alert(event): pass\n")
    return sandbox


@pytest.fixture
def server() -> Iterator[RealServer]:
    """A server of the user's own, to stop and start again."""
    server = RealServer("valkey", Path(tempfile.mkdtemp(prefix="evfn-")), options=["--appendonly", "yes"])
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def tailing(project: Sandbox, *arguments: str, ignored: bool = False) -> Iterator["subprocess.Popen[str]"]:
    """`evfn tail` in the background, with pipes; `ignored` as shells do with `nohup … &`: SIGINT and SIGHUP ignored."""
    trap = "trap '' INT HUP; " if ignored else ""
    with (project.folder / "tail.err").open("w") as errors:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'{trap}exec "$@"', "sh", sys.executable, "-m", "evfn_cli", "tail", *arguments],
            cwd=project.folder,
            env=project.environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def shown(project: Sandbox, *arguments: str) -> list[str]:
    """The data that are shown, in order."""
    said = project.evfn("tail", *arguments, "--no-follow", "--json").stdout
    return [json.loads(each)["data"] for each in said.splitlines()]


def test_the_last_events_of_all_topics_come_in_the_order_they_were_stored(project: Sandbox) -> None:
    """Of every topic that triggers listen on or emit to, ten without -n; a name or a pattern picks some."""
    for number in range(4):
        for topic in ("readings.a", "alerts", "readings.b", "others"):
            project.emit(topic, f"{topic} {number}")
    everything = [f"{topic} {n}" for n in range(4) for topic in ("readings.a", "alerts", "readings.b")]
    assert shown(project) == everything[-10:]
    assert shown(project, "-n", "2") == everything[-2:]
    assert shown(project, "-n", "0") == []
    assert shown(project, "readings.*", "-n", "3") == ["readings.b 2", "readings.a 3", "readings.b 3"]
    assert shown(project, "others", "-n", "1") == ["others 3"]


def test_from_shows_all_since_a_place(project: Sandbox) -> None:
    """A duration ago, a time, a stream id, the beginning; hundreds of events of several topics stay in order."""
    for number in range(3):
        project.emit("readings.a", *(f"a{number * 300 + each}" for each in range(300)))
        project.emit("readings.b", *(f"b{number * 100 + each}" for each in range(100)))
    lines = project.evfn("tail", "--from", "earliest", "--no-follow", "--json").stdout.splitlines()
    events = [json.loads(each) for each in lines]
    assert [each["data"] for each in events if each["topic"] == "readings.a"] == [f"a{n}" for n in range(900)]
    assert [each["data"] for each in events if each["topic"] == "readings.b"] == [f"b{n}" for n in range(300)]
    ids = [tuple(map(int, each["streamid"].split("-"))) for each in events]
    assert ids == sorted(ids)
    assert len(shown(project, "--from", "10m")) == 1200
    assert len(shown(project, "--from", "99999w")) == 1200
    assert len(shown(project, "--from", "1960-01-01T00:00:00Z")) == 1200
    assert len(shown(project, "--from", "2026-01-01T00:00:00Z")) == 1200
    assert shown(project, "--from", "2100-01-01T00:00:00Z") == []
    assert shown(project, "readings.b", "--from", events[-1]["streamid"]) == ["b299"]


def test_json_is_the_event_itself(project: Sandbox) -> None:
    """CloudEvents JSON with the topic and the stream id; `invoke --event` and `emit --file` take it."""
    name = project.evfn("emit", "alerts", '{"n": 1}', "--type", "kind", "--subject", "s").stdout.strip()
    said = project.evfn("tail", "alerts", "--no-follow", "--json").stdout
    event = json.loads(said)
    assert (event["specversion"], event["type"], event["subject"], event["data"]) == ("1.0", "kind", "s", {"n": 1})
    assert (event["topic"], event["streamid"]) == ("alerts", name)
    assert project.evfn("invoke", "notify", "--event", "-", stdin=said).stderr.splitlines()[-1].startswith("ok")
    project.evfn("emit", "others", "--file", "-", stdin=said)
    again = json.loads(project.evfn("tail", "others", "--no-follow", "--json").stdout)
    assert (again["id"], again["topic"], again["data"]) == (event["id"], "others", {"n": 1})


def test_what_comes_is_shown_when_it_comes(project: Sandbox) -> None:
    """Also of a topic that did not exist before; SIGINT ends it quietly, even where the shell had it ignored.

    Where SIGHUP is ignored, somebody wanted that.
    """
    project.emit("alerts", "old")
    with tailing(project, "--json", ignored=True) as process:
        assert json.loads(line(process))["data"] == "old"
        process.send_signal(signal.SIGHUP)
        project.emit("alerts", "new")
        assert json.loads(line(process))["data"] == "new"
        project.emit("readings.later", "from a new topic")
        assert json.loads(line(process))["data"] == "from a new topic"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
    assert (project.folder / "tail.err").read_text() == "server: embedded (events in .evfn)\n"


def test_it_goes_on_after_the_server_was_away(project: Sandbox, server: RealServer) -> None:
    """Nothing is lost or shown twice, and no group was made on a server that others use."""
    project.environment["EVFN_REDIS_URL"] = server.url
    project.emit("alerts", "before")
    with tailing(project, "alerts", "--json") as process:
        assert json.loads(line(process))["data"] == "before"
        server.kill()
        wait_until(lambda: "going on" in (project.folder / "tail.err").read_text(), description="it says so")
        server.start()
        project.emit("alerts", "after")
        assert json.loads(line(process))["data"] == "after"
        assert server.command("XINFO", "GROUPS", "alerts") == b"*0"


def test_a_closed_pipe_ends_it_at_once(project: Sandbox) -> None:
    """`evfn tail | head -1` ends with its first line, though no second event comes."""
    project.emit("alerts", "only")
    began = time.monotonic()
    done = subprocess.run(
        ["/bin/bash", "-c", f"{sys.executable} -m evfn_cli tail | head -1; echo ${{PIPESTATUS[0]}}"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.splitlines()[0].endswith("only")
    assert done.stdout.splitlines()[1] == str(128 + signal.SIGPIPE)
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 10


def test_signals_are_obeyed_where_the_server_stands_still(project: Sandbox, server: RealServer) -> None:
    """Within a second, whatever call is under way."""
    project.environment["EVFN_REDIS_URL"] = server.url
    project.emit("alerts", "x")
    with tailing(project, "alerts") as process:
        line(process)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGTERM)
            assert to_its_end(process) < 1
            assert process.wait() == -signal.SIGTERM
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_signals_are_obeyed_where_nobody_reads(project: Sandbox) -> None:
    """A pipe that is full holds up the writing, not the ending."""
    project.emit("alerts", *("x" * 500 for _ in range(2000)))
    with tailing(project, "alerts", "--from", "earliest") as process:
        line(process)
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        room = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        wait_until(lambda: _held_bytes(pipe) > room * 0.7, description="the pipe is nearly full")
        process.send_signal(signal.SIGINT)
        assert to_its_end(process) < 1.5
        assert process.wait() == -signal.SIGINT


def test_on_a_terminal_an_event_is_one_line(project: Sandbox) -> None:
    """Shortened to its width, its controls escaped; its type only where it is not the topic's name."""
    project.emit("alerts", {"text": "wide 温度 " * 40}, "\x1b[2Jevil")
    project.evfn("emit", "alerts", "typed", "--type", "kind")
    with terminal(project.folder, project.environment, ["tail", "alerts"]) as screen:
        screen.expect("kind  typed")
        lines = [each for each in plain(screen.text).splitlines() if "  alerts  " in each]
        assert len(lines) == 3
        assert lines[0].endswith("…")
        assert lines[1].endswith("\\x1b[2Jevil")
        assert all(len(each) <= 80 for each in lines)
        screen.type("\x03")
        assert screen.wait() == -signal.SIGINT
        assert "Traceback" not in screen.text


def test_a_hot_topic_does_not_drown_the_terminal(project: Sandbox) -> None:
    """As many lines a moment as a person may follow; the rest is counted. Into a pipe goes every event."""
    project.emit("alerts", "first")
    with (
        terminal(project.folder, project.environment, ["tail", "alerts"]) as screen,
        tailing(project, "alerts", "--json") as process,
    ):
        screen.expect("first")
        line(process)
        project.emit("alerts", *range(3000))
        screen.expect("on alerts, not shown")
        assert [json.loads(line(process))["data"] for _ in range(3000)] == list(range(3000))
        lines = [each for each in plain(screen.text).splitlines() if "  alerts  " in each]
        counted = [each for each in plain(screen.text).splitlines() if each.startswith("… and ")]
        assert len(lines) < 500
        assert sum(int(each.split()[2].replace(",", "")) for each in counted) + len(lines) <= 3001


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["alrts"], "there is no topic alrts (did you mean alerts?)"),
        (["xyzzyq"], "there is no topic xyzzyq; topics of this project: alerts, readings.*"),
        (["alerts", "--from", "10x"], "--from '10x' is no duration"),
        (["alerts", "--from", "yesterday"], "write new, earliest, a time such as"),
        (["alerts", "--from", "1m", "-n", "3"], "-n counts from the end, --from begins at a place"),
        (["a b"], "' '"),
        (["evfn:topics"], "kept for evfn itself"),
    ],
)
def test_what_is_meant_otherwise_is_said(project: Sandbox, arguments: list[str], said: str) -> None:
    """Exit code 2, what is wrong, what to write."""
    assert said in project.evfn("tail", *arguments, expect=2).stderr


def test_a_topic_without_events_is_waited_for_where_the_manifest_names_it(project: Sandbox) -> None:
    """It is no mistake; a key that holds something else is one, unless it is only one among others."""
    assert "there is no event on alerts yet" in project.evfn("tail", "alerts", "--no-follow").stderr
    assert "there is no event on readings.x yet" in project.evfn("tail", "readings.x", "--no-follow").stderr
    assert "there is no event on other.* yet" in project.evfn("tail", "other.*", "--no-follow").stderr


def test_a_key_that_is_no_stream_is_left_out(project: Sandbox, server: RealServer) -> None:
    """The other topics are shown; asked for by its name, it is an error."""
    project.environment["EVFN_REDIS_URL"] = server.url
    server.command("SET", "alerts", "x")
    project.emit("readings.a", "fine")
    done = project.evfn("tail", "--no-follow", "--json")
    assert json.loads(done.stdout)["data"] == "fine"
    assert "the key alerts is no stream of events and is left out" in done.stderr
    assert "is no stream of events" in project.evfn("tail", "alerts", expect=2).stderr


def _held_bytes(pipe: int) -> int:
    """How much stands in a pipe unread."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)
