"""What `evfn emit` says of who takes an event, who does not, and why."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox, wait_until
from servers import RealServer

STREAM_ID = re.compile(r"\d+-\d+\n")
DOCS = Path(__file__).parents[2] / "docs" / "events.md"
HOT = '{"celsius": 31.5, "station": "x"}'


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """A trigger for each stance."""
    sandbox.manifest("""
        heat-alert: {topic: readings.temperature, function: store, filter: event.data.celsius > 30}
        cold-alert:
          topic: readings.**
          function: store
          filter: |-
            event.data.station == 'x'  // ours
              && event.data.celsius < 0
        frost: {topic: readings.temperature, function: store, filter: event.data.dew_point < 0.5}
        store: {topic: readings.temperature, function: store, enabled: false}
        late: {topic: readings.temperature, function: store, start: 2100-01-01T00:00:00Z}
        other: {topic: other, function: store}
    """)
    sandbox.function("store", "def handle(event):\n    note('ran')\n")
    return sandbox


def said(project: Sandbox, *arguments: str, stdin: str | None = None) -> list[str]:
    """The lines on stderr, without that on the server."""
    done = project.evfn("emit", *arguments, stdin=stdin)
    return [line for line in done.stderr.splitlines() if not line.startswith("server: ")]


SKIPPED = "event.data.celsius < 0 is false (event.data.celsius is 31.5)"
LATE = "it begins after this event (start: 2100-01-01T00:00:00+00:00)"


def test_each_trigger_has_its_line(project: Sandbox) -> None:
    """In the manifest's order, in the words of the docs; the id alone is on stdout."""
    done = project.evfn("emit", "readings.temperature", HOT)
    assert STREAM_ID.fullmatch(done.stdout)
    assert f"```text\n{done.stderr}```" in DOCS.read_text()
    project.run(expect=None)
    assert project.notes() == ["ran"]


def test_json_has_the_stances(project: Sandbox) -> None:
    """For programs: a word each, and the reason for people."""
    told = json.loads(project.evfn("emit", "readings.temperature", HOT, "--json").stdout)
    assert told["triggers"] == {
        "heat-alert": {"stance": "takes", "reason": ""},
        "cold-alert": {"stance": "skips", "reason": SKIPPED},
        "frost": {"stance": "filter_error", "reason": "no field 'dew_point' (has: celsius, station)"},
        "store": {"stance": "disabled", "reason": "its events wait"},
        "late": {"stance": "later", "reason": LATE},
    }
    assert json.loads(project.evfn("emit", "nowhere", "--json").stdout)["triggers"] == {}


def test_where_nobody_takes_it_nothing_is_promised(project: Sandbox) -> None:
    """A slip in a topic's name is told with the nearest; the next run will not take such an event."""
    assert said(project, "othr", "1") == ["no trigger listens on othr (nearest: other)"]
    assert said(project, "quite.different", "1") == ["no trigger listens on quite.different"]
    skipped = said(project, "readings.humidity", HOT)
    assert skipped == [f"cold-alert: no, {SKIPPED}"]


def test_of_a_file_it_is_said_who_listens(project: Sandbox) -> None:
    """Once for all its events, each filter as it stands."""
    lines = said(project, "readings.temperature", "--file", "-", stdin="1\n2\n")
    assert lines == [
        "2 events published to readings.temperature",
        "heat-alert: where event.data.celsius > 30",
        "cold-alert: where event.data.station == 'x' && event.data.celsius < 0",
        "frost: where event.data.dew_point < 0.5",
        "store: disabled, its events wait",
        f"late: no, {LATE}",
        "no instance is running: they will run at the next evfn run",
    ]
    assert "no trigger listens on othr (nearest: other)" in said(project, "othr", "--file", "-", stdin="1\n")
    assert said(project, "other", "--file", "-", stdin="") == ["0 events published to other"]


def test_what_an_event_holds_does_nothing_to_the_terminal(project: Sandbox) -> None:
    """A value is shown, its control characters are not sent."""
    lines = said(project, "readings.humidity", '{"station": "\\u001b[2J\\u202e", "celsius": 1}')
    assert lines == ["cold-alert: no, event.data.station == 'x' is false (event.data.station is \"\\u001b[2J\\u202e\")"]


def test_a_running_instance_is_known_with_what_is_broken_in_it(sandbox: Sandbox) -> None:
    """A function that does not load: why, in one line, and that its events wait. A killed instance counts no more."""
    sandbox.manifest("""
        good: {topic: work, function: 'good:run'}
        notify: {topic: work, function: 'bad:run'}
    """)
    sandbox.function("good", "\ndef run(event):\n    note('ran')\n")
    sandbox.function("bad", "\nimport nowhere_to_be_found\n\ndef run(event):\n    note('bad')\n")
    with sandbox.running() as process:
        wait_until(lambda: "broken" in sandbox.log.read_text(), description="the broken function is told")
        lines = said(sandbox, "work", "1")
        assert lines[0] == "good"
        assert re.fullmatch(r"notify: broken, .*nowhere_to_be_found.*; its events wait", lines[1])
        assert len(lines) == 2
        wait_until(lambda: sandbox.notes() == ["ran"], description="the good one ran")
        process.kill()
        process.wait()
    lines = said(sandbox, "work", "1")
    assert lines == ["good", "notify", "no instance is running: they will run at the next evfn run"]


def test_a_filter_that_is_wrong_is_refused_like_any_mistake_of_the_manifest(sandbox: Sandbox) -> None:
    """With its place, and nothing is published; `run` would refuse the manifest too."""
    sandbox.manifest("any: {topic: work, function: 'any:run', filter: event.data.a and event.data.b}")
    sandbox.function("any", "\ndef run(event):\n    pass\n")
    done = sandbox.evfn("emit", "work", "1", expect=2)
    assert "and is not CEL; write &&" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def server(sandbox: Sandbox) -> Iterator[RealServer]:
    """A server of the user's own, named by EVFN_REDIS_URL."""
    server = RealServer("valkey", sandbox.folder / "server").start()
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    yield server
    server.stop()


@pytest.mark.usefixtures("server")
def test_on_a_server_of_ones_own_a_new_trigger_begins_with_the_first_run(sandbox: Sandbox) -> None:
    """There `emit` makes no groups; what is said is what the run then does."""
    sandbox.manifest("""
        fresh: {topic: work, function: 'any:run'}
        whole: {topic: work, function: 'any:run', start: earliest}
    """)
    sandbox.function("any", "\ndef run(event, context):\n    note(f'{context.trigger} {event.data}')\n")
    assert said(sandbox, "work", "before") == [
        "fresh: no, it begins with what is emitted after the first `evfn run`",
        "whole",
        "no instance is running: they will run at the next evfn run",
    ]
    sandbox.run()
    assert sandbox.notes() == ["whole before"]
    assert said(sandbox, "work", "after")[:2] == ["fresh", "whole"]
    sandbox.run()
    assert sorted(sandbox.notes()) == ["fresh after", "whole after", "whole before"]


def test_a_user_who_may_only_publish_is_told_that_it_is_stored(sandbox: Sandbox, server: RealServer) -> None:
    """A right that is missing for the explanation does not make the publishing a failure."""
    sandbox.manifest("any: {topic: work, function: 'any:run'}")
    sandbox.function("any", "\ndef run(event):\n    pass\n")
    rights = ["+@connection", "+info", "+@scripting", "+xadd", "+hset", "+hget", "+pexpire", "+time", "+type", "+@set"]
    server.command("ACL", "SETUSER", "emitter", "on", "nopass", "~*", "-@all", *rights)
    done = sandbox.evfn("emit", "work", "1", "--json", "--redis", f"unix://emitter:x@{server.path}")
    assert "it is stored, but who takes it cannot be told: " in done.stderr
    assert "NOPERM" in done.stderr
    assert json.loads(done.stdout)["triggers"] is None
