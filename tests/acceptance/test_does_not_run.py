"""Each cause on the page "My function does not run" is provoked, and the command says what the page shows.

On the page, `<!-- message: NAME -->` before a block names the function below that provokes it: each line of the block
is one that the commands print, in that order, `…` standing for what differs from case to case.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import Sandbox, wait_until
from servers import RealServer

PAGE = Path(__file__).parents[2] / "docs" / "does-not-run.md"
MESSAGE = re.compile(r"<!-- message: (\S+) -->\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MESSAGES = MESSAGE.findall(PAGE.read_text())

TRIGGER = "topic: readings.temperature, function: 'climate:alert'"
TOPIC = "readings.temperature"
HOT = '{"station": "north", "celsius": 31.5}'
ALERT = "def alert(event):\n    print('warm at', event.data['station'])\n"
RAISES = "def alert(event):\n    print('warm at', event.data['city'])\n"
ONCE = "retry: {attempts: 1}"
SERVERS: list[RealServer] = []

Cause = Callable[[Sandbox], str]
CAUSES: dict[str, Cause] = {}


def cause(provoke: Cause) -> Cause:
    """What this returns is all that the commands of the case said."""
    CAUSES[provoke.__name__.replace("_", "-")] = provoke
    return provoke


def project(box: Sandbox, more: str = "", *, source: str = ALERT) -> None:
    """One trigger, `heat-alert`, on one topic, with one function."""
    box.manifest(f"heat-alert: {{{TRIGGER}{', ' if more else ''}{more}}}")
    (box.folder / "functions" / "climate.py").write_text(source)


def said(box: Sandbox, *command: str) -> str:
    """All that one command says, whatever its exit code."""
    done = box.evfn(*command, expect=None)
    return done.stderr + done.stdout


def emitted(box: Sandbox, data: str = HOT, *options: str) -> str:
    return said(box, "emit", TOPIC, data, *options)


def ran(box: Sandbox) -> str:
    """What `evfn run` says of one event, until nothing is left to do."""
    emitted(box)
    return said(box, "run", "--until-idle")


def events_before_the_trigger(box: Sandbox) -> None:
    """Three, on a topic that a trigger is then added to."""
    project(box)
    box.manifest("other: {topic: other, function: 'climate:alert'}")
    for _ in range(3):
        emitted(box)


def with_server(box: Sandbox) -> RealServer:
    """A server of the user's own, named by EVFN_REDIS_URL; ended with the test."""
    server = RealServer("valkey", box.folder / "server").start()
    SERVERS.append(server)
    box.environment["EVFN_REDIS_URL"] = server.url
    return server


# Nobody takes the event.


@cause
def no_trigger(box: Sandbox) -> str:
    project(box)
    return said(box, "emit", "readings.temprature", HOT)


@cause
def filter_false(box: Sandbox) -> str:
    project(box, "filter: event.data.celsius > 30")
    return emitted(box, '{"station": "north", "celsius": 21.5}')


@cause
def filter_error(box: Sandbox) -> str:
    project(box, "filter: event.data.celsius > 30")
    return emitted(box, '{"station": "north", "temperature": 31.5}')


@cause
def filter_error_in_run(box: Sandbox) -> str:
    project(box, "filter: event.data.celsius > 30")
    emitted(box, '{"station": "north", "temperature": 31.5}')
    return said(box, "run", "--until-idle")


@cause
def filter_error_in_status(box: Sandbox) -> str:
    filter_error_in_run(box)
    return said(box, "status")


@cause
def disabled(box: Sandbox) -> str:
    project(box, "enabled: false")
    return emitted(box)


@cause
def starts_later(box: Sandbox) -> str:
    project(box, "start: 2100-01-01T00:00:00Z")
    return emitted(box)


@cause
def starts_at_first_run(box: Sandbox) -> str:
    project(box)
    with_server(box)
    return emitted(box)


@cause
def older_events(box: Sandbox) -> str:
    events_before_the_trigger(box)
    project(box)
    return said(box, "run", "--until-idle")


@cause
def published_before(box: Sandbox) -> str:
    project(box)
    emitted(box, HOT, "--id", "reading-1")
    return emitted(box, HOT, "--id", "reading-1")


@cause
def quotes(box: Sandbox) -> str:
    project(box)
    return emitted(box, "{station: north, celsius: 31.5}")


# Somebody would take it, but nothing runs here.


@cause
def no_instance(box: Sandbox) -> str:
    project(box)
    return emitted(box)


@cause
def no_instance_waited(box: Sandbox) -> str:
    project(box)
    return emitted(box, HOT, "--wait", "--timeout", "1s")


@cause
def embedded_server(box: Sandbox) -> str:
    project(box)
    return emitted(box)


@cause
def named_server(box: Sandbox) -> str:
    project(box)
    with_server(box)
    return emitted(box)


@cause
def server_of_run(box: Sandbox) -> str:
    project(box)
    with_server(box)
    return said(box, "run", "--until-idle")


@cause
def no_server(box: Sandbox) -> str:
    project(box)
    return said(box, "emit", TOPIC, HOT, "--redis", "redis://localhost:1")


@cause
def another_state(box: Sandbox) -> str:
    project(box)
    return emitted(box, HOT, "--state", "elsewhere")


@cause
def another_folder(box: Sandbox) -> str:
    project(box)
    (box.folder / "triggers.yaml").unlink()
    return emitted(box)


@cause
def another_name(box: Sandbox) -> str:
    project(box)
    ran(box)
    emitted(box)
    manifest = box.folder / "triggers.yaml"
    manifest.write_text(manifest.read_text().replace("name: sandbox", "name: renamed"))
    return said(box, "run", "--until-idle")


@cause
def another_instance_here(box: Sandbox) -> str:
    project(box)
    with box.running():
        return said(box, "run", "--until-idle")


@cause
def another_instance(box: Sandbox) -> str:
    project(box)
    server = with_server(box)
    with box.running():
        wait_until(
            lambda: server.command("HLEN", "evfn:instances:about") == b":1", description="it says what it serves"
        )
        return said(box, "run", "--until-idle", "--state", "elsewhere")


@cause
def blocked(box: Sandbox) -> str:
    project(box)
    server = with_server(box)
    server.command("SET", TOPIC, "hello")
    with box.running():
        wait_until(lambda: "blocked" in box.log.read_text(), description="the trigger is said to be blocked")
        return box.log.read_text()


# The manifest, or the function, does not load.


@cause
def manifest_mistake(box: Sandbox) -> str:
    box.manifest("heat-alert: {topik: readings.temperature, function: 'climate:alert', timeout: 5}")
    (box.folder / "functions" / "climate.py").write_text(ALERT)
    return said(box, "check")


@cause
def syntax_error(box: Sandbox) -> str:
    project(box, source="def alert(event)\n    print(event.data)\n")
    return said(box, "check")


@cause
def import_error(box: Sandbox) -> str:
    project(box, source=f"import os\n\nKEY = os.environ['API_KEY']\n\n\n{ALERT}")
    return said(box, "check")


@cause
def missing_dependency(box: Sandbox) -> str:
    project(box, source=f"import pillow_of_mine\n\n\n{ALERT}")
    return said(box, "check")


@cause
def missing_sibling(box: Sandbox) -> str:
    project(box, source=f"import shared\n\n\n{ALERT}")
    (box.folder / "functions" / "shared.py").touch()
    return said(box, "check")


@cause
def no_such_module(box: Sandbox) -> str:
    project(box)
    (box.folder / "functions" / "climate.py").rename(box.folder / "functions" / "climates.py")
    return said(box, "check")


@cause
def no_such_function(box: Sandbox) -> str:
    project(box, source="def alerts(event): ...\n")
    return said(box, "check")


@cause
def signature(box: Sandbox) -> str:
    project(box, source="def alert(event, context, database): ...\n")
    return said(box, "check")


@cause
def unused_file(box: Sandbox) -> str:
    project(box)
    (box.folder / "functions" / "frost.py").write_text("def warn(event): ...\n")
    return said(box, "check")


@cause
def broken_in_run(box: Sandbox) -> str:
    project(box, source="def alert(event)\n    print(event.data)\n")
    return ran(box)


@cause
def left_waiting(box: Sandbox) -> str:
    return broken_in_run(box)


@cause
def broken_in_emit(box: Sandbox) -> str:
    project(box, source="def alert(event)\n    print(event.data)\n")
    with box.running():
        wait_until(lambda: "broken" in box.log.read_text(), description="the function is said to be broken")
        return emitted(box)


@cause
def broken_in_status(box: Sandbox) -> str:
    project(box, source="def alert(event)\n    print(event.data)\n")
    with box.running():
        wait_until(lambda: "broken" in box.log.read_text(), description="the function is said to be broken")
        return said(box, "status")


@cause
def edit_does_not_load(box: Sandbox) -> str:
    project(box)
    with box.running():
        wait_until(lambda: "ready" in box.log.read_text(), description="the function is loaded")
        (box.folder / "functions" / "climate.py").write_text("def alert(event)\n    print(event.data)\n")
        wait_until(lambda: "goes on" in box.log.read_text(), description="the edit is said not to load")
        return box.log.read_text()


@cause
def edit_of_the_manifest(box: Sandbox) -> str:
    project(box)
    with box.running():
        wait_until(lambda: "ready" in box.log.read_text(), description="the function is loaded")
        project(box, "timeout: 5")
        wait_until(lambda: "goes on" in box.log.read_text(), description="the manifest is said not to load")
        return box.log.read_text()


@cause
def unbound(box: Sandbox) -> str:
    project(box)
    with box.running():
        wait_until(lambda: "ready" in box.log.read_text(), description="the function is loaded")
        (box.folder / "functions" / "frost.py").write_text("def warn(event):\n    print('frost')\n")
        wait_until(lambda: "frost:warn" in box.log.read_text(), description="the new file is named")
        return box.log.read_text()


# It runs, and not as meant.


@cause
def data_do_not_fit(box: Sandbox) -> str:
    source = """from dataclasses import dataclass


@dataclass
class Reading:
    celsius: float


def alert(reading: Reading): ...
"""
    project(box, source=source)
    emitted(box, '{"celsius": "warm"}')
    return said(box, "run", "--until-idle")


@cause
def fails(box: Sandbox) -> str:
    project(box, "retry: {attempts: 2, initial_delay: 1s, jitter: none}", source=RAISES)
    return ran(box)


@cause
def fails_waited(box: Sandbox) -> str:
    project(box, "retry: {attempts: 5, initial_delay: 5m, jitter: none}", source=RAISES)
    with box.running():
        return emitted(box, HOT, "--wait", "--timeout", "2s")


@cause
def timeout(box: Sandbox) -> str:
    project(box, f"timeout: 1s, {ONCE}", source="import time\n\n\ndef alert(event):\n    time.sleep(60)\n")
    return ran(box)


@cause
def ends_its_process(box: Sandbox) -> str:
    project(box, ONCE, source="import sys\n\n\ndef alert(event):\n    sys.exit()\n")
    return ran(box)


@cause
def dead_letters(box: Sandbox) -> str:
    project(box, ONCE, source=RAISES)
    ran(box)
    return said(box, "dlq", "ls")


@cause
def dead_letter_waited(box: Sandbox) -> str:
    project(box, ONCE, source=RAISES)
    with box.running():
        return emitted(box, HOT, "--wait")


@cause
def not_in_emits(box: Sandbox) -> str:
    source = "def alert(event, context):\n    context.emit('alerts.rised', event.data)\n"
    project(box, "emits: alerts.raised", source=source)
    return ran(box)


@cause
def dropped_value(box: Sandbox) -> str:
    project(box, source="def alert(event):\n    return event.data\n")
    return ran(box)


@cause
def dropped_in_status(box: Sandbox) -> str:
    dropped_value(box)
    return said(box, "status")


@cause
def emits_heard_by_nobody(box: Sandbox) -> str:
    project(box, "emits: alerts.raised", source="def alert(event):\n    return event.data\n")
    with box.running():
        return emitted(box, HOT, "--wait")


@cause
def output(box: Sandbox) -> str:
    project(box)
    return ran(box)


def pattern(line: str) -> str:
    """A line of the page as a regular expression; blanks at the end do not count."""
    return "^" + "[^\\n]*?".join(map(re.escape, line.split("…"))) + " *$"


@pytest.mark.parametrize(("name", "block"), MESSAGES, ids=[name for name, _ in MESSAGES])
def test_the_command_says_what_the_page_shows(sandbox: Sandbox, name: str, block: str) -> None:
    """Each line is found in what is really said, in the page's order."""
    try:
        told = CAUSES[name](sandbox)
    finally:
        while SERVERS:
            SERVERS.pop().stop()
    at = 0
    for line in block.splitlines():
        found = re.compile(pattern(line), re.MULTILINE).search(told, at)
        assert found is not None, f"the page shows {line!r}, which was not said (in this place):\n{told}"
        at = found.end()


def test_every_cause_is_on_the_page_once() -> None:
    """No message without a test, and no test without its place on the page."""
    assert sorted(name for name, _ in MESSAGES) == sorted(CAUSES)
    assert PAGE.read_text().count("<!-- message: ") == len(MESSAGES)
