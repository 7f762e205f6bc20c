"""`evfn emit --wait` where something is missing, broken or killed; and that nobody else pays for it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox import Sandbox, wait_until
from servers import RealServer

MANIFEST = """
    first: {topic: work, function: "f:first", emits: done}
    second: {topic: done, function: "f:second", retry: {initial_delay: 50ms}}
    off: {topic: work, function: "f:first", enabled: false}
"""
FUNCTIONS = """
    import time
    from pathlib import Path

    def first(event):
        return event.data

    def second(event):
        note("began")
        while Path("hold").exists():
            time.sleep(0.01)
        note("ended")
"""


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest(MANIFEST)
    sandbox.function("f", FUNCTIONS)
    return sandbox


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer("valkey", tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


@contextmanager
def waiting(project: Sandbox, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """`evfn emit … --wait` in the background."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evfn_cli", "emit", "work", '{"n": 1}', "--wait", *arguments],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]", text: str) -> None:
    """Read stderr until this is said."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"it never said {text!r}")


def test_without_an_instance_it_waits_for_one(project: Sandbox) -> None:
    """It says once what to start, and follows what that then does."""
    with waiting(project) as process:
        said(process, "no instance is running: start one with evfn run or evfn serve")
        with project.running():
            out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.count(" ok") == 2
    assert "no instance" not in err


def test_an_instance_killed_in_the_middle_ends_nothing(project: Sandbox) -> None:
    """The next one takes over, and the tree is completed: each outcome is told once."""
    (project.folder / "hold").touch()
    with project.running() as first, waiting(project, "--json") as process:
        wait_until(lambda: project.notes() == ["began"], description="the second function runs")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        (project.folder / "hold").unlink()
        with project.running():
            out, _ = process.communicate(timeout=30)
    *lines, summary = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert [(each["trigger"], each["outcome"], each["attempt"]) for each in lines] == [
        ("first", "succeeded", 1),
        ("second", "succeeded", 2),
    ]
    assert (summary["done"], summary["absent"]) == (True, 1)


def test_a_function_that_does_not_load_is_not_waited_for(project: Sandbox) -> None:
    """When all else is settled it ends with 1 and says why."""
    project.function("g", "import no_such_module\n\ndef run(event): pass\n")
    project.manifest(MANIFEST + '    broken: {topic: work, function: "g:run"}\n')
    with project.running():
        wait_until(lambda: project.status("broken")["state"] == "broken", description="its state is known")
        done = project.evfn("emit", "work", "{}", "--wait", expect=1)
    assert re.search(r"broken +broken: .*no_such_module.*; its events wait", done.stdout)
    assert re.search(r"off +disabled, its events wait", done.stdout)
    assert "broken is broken: " in done.stderr
    assert "time is up" not in done.stderr


def test_a_function_that_is_mended_while_it_is_waited_for_counts(project: Sandbox) -> None:
    """As long as something else is outstanding, a broken trigger may still come back."""
    (project.folder / "hold").touch()
    project.function("g", "import no_such_module\n\ndef run(event): pass\n")
    project.manifest(MANIFEST + '    broken: {topic: work, function: "g:run"}\n')
    with project.running(), waiting(project) as process:
        wait_until(lambda: project.notes() == ["began"], description="the second function runs")
        project.function("g", "def run(event): pass\n")
        with project.running():
            wait_until(lambda: project.status("broken")["succeeded"] == 1, description="the mended one ran")
            (project.folder / "hold").unlink()
            out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.search(r"broken +ok", out)


def test_ctrl_c_leaves_the_event_to_go_on(project: Sandbox) -> None:
    """The tree so far, a line that says so, and the end by the signal."""
    (project.folder / "hold").touch()
    with project.running(), waiting(project) as process:
        wait_until(lambda: project.notes() == ["began"], description="the second function runs")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        (project.folder / "hold").unlink()
        wait_until(lambda: project.notes() == ["began", "ended"], description="it goes on")
    assert process.returncode == -signal.SIGINT
    assert out.startswith("work ")
    assert "the event is stored, and all goes on without you" in err
    assert "Traceback" not in err


def test_on_a_terminal_the_tree_grows_and_stays(project: Sandbox) -> None:
    """Redrawn in place while it changes; at the end it stands there once more as a whole."""
    (project.folder / "hold").touch()
    ours, theirs = pty.openpty()
    with project.running():
        process = subprocess.Popen(
            [sys.executable, "-m", "evfn_cli", "emit", "work", "{}", "--wait"],
            cwd=project.folder,
            env={**project.environment, "TERM": "xterm", "COLUMNS": "80"},
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        shown = b""
        while b"waiting" not in shown.rpartition(b"second")[2]:
            shown += os.read(ours, 65_536)
        (project.folder / "hold").unlink()
        try:
            while chunk := os.read(ours, 65_536):
                shown += chunk
        except OSError:
            pass  # The other side is closed: that is how a terminal ends.
        os.close(ours)
        assert process.wait(20) == 0
        assert process.stderr is not None
        process.stderr.close()
    last = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.decode().rpartition("\x1b[2K")[2])
    assert re.fullmatch(
        r"work [\d-]+\r\n├─ first +ok .* → done [\d-]+\r\n│  └─ second +ok .*\r\n└─ off +disabled, .*\r\n", last
    )


def test_where_the_tree_cannot_be_written_the_event_is_stored(project: Sandbox) -> None:
    """A full disk is no failure of publishing, and it says so."""
    with project.running(), open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "evfn_cli", "emit", "work", "{}", "--wait"],
            cwd=project.folder, env=project.environment, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_until(lambda: project.notes() == ["began", "ended"], description="it ran")
    assert done.returncode == 1
    assert "the event is stored" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_project_on_the_server_is_shown_and_not_waited_for(
    project: Sandbox, server: RealServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Under its name, as far as it has reported by then."""
    project.environment["EVFN_REDIS_URL"] = server.url
    other = Sandbox(tmp_path_factory.mktemp("other"), server=server.url)
    other.manifest('theirs: {topic: work, function: "f:run"}', head="version: 1\nname: bank\n")
    other.function("f", "def run(event): raise ValueError('no')\n")
    (project.folder / "hold").touch()
    with project.running(), other.running(), waiting(project) as process:
        wait_until(lambda: other.status("theirs")["failed"] >= 1, description="the other project failed on it")
        (project.folder / "hold").unlink()
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.search(r"theirs \(project bank\) +failed, attempt \d of 5.*ValueError: no", out)


def test_an_event_nobody_follows_leaves_no_trace(project: Sandbox, server: RealServer) -> None:
    """Not a key, not a field; and what is followed to its end leaves none either."""
    project.environment["EVFN_REDIS_URL"] = server.url
    with project.running():
        server.command("SET", "probe", "1")
        project.emit("work", {"n": 1})
        wait_until(lambda: project.notes() == ["began", "ended"], description="it ran")
        project.status("second")
        assert server.command("KEYS", "*evfn:trace*") == b"*0"
        assert project.evfn("emit", "work", "{}", "--wait").stdout.count(" ok") == 2
        assert server.command("KEYS", "*evfn:trace*") == b"*0"
        # With two events there, only the first of which nobody followed.
        assert server.command("XLEN", "work") == b":2"


def test_an_event_twice_in_a_file_is_one(project: Sandbox) -> None:
    """Also far apart: it is stored once, and followed once."""
    event = json.dumps({"specversion": "1.0", "id": "same", "source": "s", "data": {}})
    lines = [event, event, *["{}"] * 1000, event]
    with project.running():
        done = project.evfn("emit", "work", "--file", "-", "--wait", stdin="\n".join(lines))
    assert done.stdout.startswith("work  1,001 events\n├─ first   1,001 ok\n")
    assert "published before" not in done.stderr


def test_where_nobody_listens_it_ends_at_once(project: Sandbox) -> None:
    """With the nearest name, for that is most often a slip."""
    done = project.evfn("emit", "wrok", "{}", "--wait", "--timeout", "999999999999w")
    assert re.fullmatch(r"wrok \d+-\d+\n", done.stdout)
    assert "no trigger listens on wrok (nearest: work)" in done.stderr
    assert "no instance" not in done.stderr


def test_on_a_server_without_groups_nothing_is_waited_for(project: Sandbox, server: RealServer) -> None:
    """A trigger that begins with what comes after its first run does not take the event, and says so."""
    project.environment["EVFN_REDIS_URL"] = server.url
    done = project.evfn("emit", "work", "{}", "--wait")
    assert "not taken: it begins with what is emitted after the first `evfn run`" in done.stdout


def test_who_is_followed_counts_like_everybody(sandbox: Sandbox) -> None:
    """`status` shows the same numbers for the same events, whether somebody waited for them or not."""
    sandbox.manifest("""
        pass: {topic: work, function: "f:run", filter: event.data.n > 1}
        fail: {topic: work, function: "f:fail", retry: {attempts: 2, initial_delay: 10ms}}
        emit: {topic: work, function: "f:emit", emits: done}
        drop: {topic: work, function: "f:emit"}
    """)
    sandbox.function(
        "f",
        """
        def run(event): pass
        def fail(event): return 1 / event.data["n"]
        def emit(event): return event.data
        """,
    )
    events = '{"n": 0}\n{"n": 1}\n{"n": 2}\n{"n": 3}\n"text"\n'
    names = ("pass", "fail", "emit", "drop")
    with sandbox.running():
        sandbox.evfn("emit", "work", "--file", "-", stdin=events)
        wait_until(lambda: sandbox.status("fail")["dead"] == 2, description="the last one is settled")
        wait_until(lambda: all(not sandbox.status(name)["pending"] for name in names), description="all are settled")
        alone = {name: sandbox.status(name) for name in names}
        sandbox.evfn("emit", "work", "--file", "-", "--wait", stdin=events, expect=3)
        both = {name: sandbox.status(name) for name in names}
    for name in names:
        numbers = {key: value for key, value in alone[name].items() if isinstance(value, int)}
        assert {key: both[name][key] for key in numbers} == {key: 2 * value for key, value in numbers.items()}
