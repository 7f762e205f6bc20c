"""`evfn status --watch`: a live view that fits its terminal, survives its server and ends when it is told to."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from own_time import to_its_end
from sandbox import Sandbox, wait_until
from servers import RealServer
from terminal import plain, terminal

WATCH = ["status", "--watch", "--every", "200ms"]


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest("""
        heat-alert:
          topic: readings
          function: climate:alert
          retry: {attempts: 1}
        quiet:
          topic: others
          function: climate:alert
    """)
    sandbox.function(
        "climate",
        """
        def alert(event):
            if event.data == "bad":
                raise ValueError("bad")
        """,
    )
    return sandbox


@pytest.fixture
def server() -> Iterator[RealServer]:
    """A server of the user's own, to pause, to stop and to start again."""
    server = RealServer("valkey", Path(tempfile.mkdtemp(prefix="evfn-")), options=["--appendonly", "yes"])
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def paused(server: RealServer) -> Iterator[None]:
    """The server stands still: it takes connections and answers nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def watching(project: Sandbox, *arguments: str, ignored: bool = False) -> Iterator["subprocess.Popen[str]"]:
    """Into a pipe; `ignored` as a shell starts what it puts into the background, SIGINT ignored."""
    trap = "trap '' INT; " if ignored else ""
    with (
        (project.folder / "watch.err").open("w") as errors,
        subprocess.Popen(
            ["/bin/sh", "-c", f'{trap}exec "$@"', "sh", sys.executable, "-m", "evfn_cli", *WATCH, *arguments],
            cwd=project.folder,
            env=project.environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_terminal_of_80_columns_shows_all_that_goes_on(project: Sandbox) -> None:
    """Rates, dead letters, errors, the instance and its workers, drawn in place; the screen is as before afterwards."""
    with project.running() as run, terminal(project.folder, project.environment, WATCH) as screen:
        screen.expect("heat-alert")
        project.emit("readings", *["good"] * 50, "bad")

        def shows_all() -> bool:
            last = "\n".join(screen.screens()[-2]) if len(screen.screens()) > 2 else ""
            row = next((each.split() for each in last.split("\n") if each.startswith("heat-alert")), [])
            return row[6:8] == ["1", "1"] and "█" in "".join(row[8:]) and f"pid {run.pid}, " in last

        wait_until(shows_all, description="the trigger's row has its dead letter, its error and its sparkline")
        picture = screen.screens()[-2]
        assert any(
            re.fullmatch(rf"running here: pid {run.pid}, \d workers? \([\d, ]+\)", each.strip()) for each in picture
        )
        assert len(picture) == 24
        assert all(len(each) <= 80 for each in picture)
        assert any(each.split()[:2] == ["readings", "51"] for each in picture)
        screen.type("\x03")
        assert to_its_end(screen.process) < 1
        assert screen.wait() == -signal.SIGINT
        assert screen.text.rstrip().endswith(("\x1b[?25h", "\x1b[?1049l"))
        assert "\x1b[?1049l" in screen.text


def test_it_fits_a_terminal_that_changes_its_size(project: Sandbox) -> None:
    """The next look is drawn for what there is then."""
    with terminal(project.folder, project.environment, WATCH) as screen:
        screen.expect("heat-alert")
        screen.resize(10, 40)
        try:
            wait_until(lambda: len(screen.screens()[-2]) == 10, description="a picture of ten lines")
        except AssertionError as error:
            raise AssertionError(f"{error}; {screen.process.poll()=}\n{screen.text[-3000:]!r}") from error
        assert all(len(each) <= 40 for each in screen.screens()[-2])
        screen.type("\x03")
        screen.wait()


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_terminals_get_only_what_they_can_show(project: Sandbox, name: str, value: str) -> None:
    """A dumb one gets plain lines without a single control; NO_COLOR leaves the colours out."""
    with terminal(project.folder, {**project.environment, name: value}, WATCH) as screen:
        screen.expect("quiet", after=screen.expect("quiet"))
        assert "\x1b[3" not in screen.text
        assert ("\x1b" in screen.text) == (name == "NO_COLOR")
        screen.type("\x03")
        assert screen.wait() == -signal.SIGINT


def test_a_pipe_gets_a_line_for_each_trigger_and_look(project: Sandbox) -> None:
    """Ended by SIGINT though the shell that started it had that ignored."""
    with watching(project, ignored=True) as process:
        assert line(process).split()[1:] == [
            *("heat-alert", "ok", "lag", "0", "pending", "0", "due", "0", "dead", "0", "errors", "0")
        ]
        assert line(process).split()[1] == "quiet"
        assert line(process).split()[1:4] == ["heat-alert", "ok", "0.0/s"]
        process.send_signal(signal.SIGINT)
        assert to_its_end(process) < 1
        assert process.wait() == -signal.SIGINT


def test_json_is_a_status_object_a_line(project: Sandbox) -> None:
    """The one that `evfn status --json` prints."""
    once = json.loads(project.evfn("status", "--json").stdout)
    with watching(project, "--json") as process:
        first = json.loads(line(process))
        project.emit("readings", 1)
        looks = [first]
        while looks[-1]["triggers"]["heat-alert"]["lag"] == 0:
            looks.append(json.loads(line(process)))
    assert first.keys() == once.keys()
    assert first["triggers"].keys() == once["triggers"].keys()


def test_the_server_going_away_and_coming_back_is_a_line(project: Sandbox, server: RealServer) -> None:
    """On the terminal and in a pipe; the view goes on by itself."""
    project.environment["EVFN_REDIS_URL"] = server.url
    with (
        terminal(project.folder, project.environment, WATCH) as screen,
        watching(project) as process,
    ):
        screen.expect("heat-alert")
        line(process)
        server.kill()
        screen.expect("the numbers are of")
        errors = project.folder / "watch.err"
        wait_until(lambda: "going on as soon as it is back" in errors.read_text(), description="the pipe's says so")
        server.start()
        wait_until(lambda: "the server is back" in errors.read_text(), description="it is back")
        wait_until(lambda: "numbers" not in "".join(screen.screens()[-2]), description="the screen is as before")


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
def test_ctrl_c_ends_it_within_a_second_while_the_server_stands_still(
    project: Sandbox, server: RealServer, seconds: float
) -> None:
    """Whatever the look is doing at that moment; on a terminal the screen is given back first."""
    project.environment["EVFN_REDIS_URL"] = server.url
    with terminal(project.folder, project.environment, WATCH) as screen:
        screen.expect("heat-alert")
        with paused(server):
            paused_at = time.monotonic()
            wait_until(lambda: time.monotonic() - paused_at >= seconds, description="it stood still for a while")
            screen.type("\x03")
            assert to_its_end(screen.process) < 1
            assert screen.wait() == -signal.SIGINT
        assert plain(screen.text).count("Traceback") == 0
        assert "\x1b[?1049l" in screen.text


def test_a_server_that_does_not_answer_is_told_while_it_does_not(project: Sandbox, server: RealServer) -> None:
    """The numbers stay and say of when they are."""
    project.environment["EVFN_REDIS_URL"] = server.url
    with terminal(project.folder, project.environment, WATCH) as screen:
        screen.expect("heat-alert")
        with paused(server):
            screen.expect("no answer from the server for")
        wait_until(lambda: "numbers" not in "".join(screen.screens()[-2]), description="the screen is as before")


def test_ctrl_c_ends_it_where_it_runs_the_embedded_server_itself(project: Sandbox) -> None:
    """Within a second, its screen given back, and no server left behind: the fixture looks."""
    project.emit("readings", "kept")
    with terminal(project.folder, project.environment, WATCH) as screen:
        screen.expect("heat-alert")
        screen.type("\x03")
        assert to_its_end(screen.process) < 1
        assert screen.wait() == -signal.SIGINT
    assert project.status("heat-alert")["lag"] == 1


def test_what_cannot_be_meant_is_refused(project: Sandbox) -> None:
    """Exit code 2."""
    assert "write both" in project.evfn("status", "--every", "2s", expect=2).stderr
    assert "is no duration" in project.evfn("status", "--watch", "--every", "soon", expect=2).stderr
    assert "write 100ms to 1h" in project.evfn("status", "--watch", "--every", "1ms", expect=2).stderr
