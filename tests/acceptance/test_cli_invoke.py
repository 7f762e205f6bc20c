"""`evfn invoke`: one function on one event, without a server."""

import json
import os
import pty
import subprocess
import sys

import pytest

from sandbox import Sandbox
from terminal import terminal


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest("""
        alert:
          topic: readings
          function: climate:alert
          filter: event.data.celsius > 30
          emits: [alerts, audit]
          env: {UNIT: celsius}
        slow:
          topic: readings
          function: climate:slow
          timeout: 200ms
        quiet:
          topic: readings
          function: climate:value
    """)
    sandbox.function(
        "climate",
        """
        import os, time

        def alert(event, context):
            print("unit", os.environ["UNIT"], os.environ.get("SECRET"))
            context.emit("audit", {"seen": event.id})
            return {"hot": event.data["celsius"]}

        def slow(event):
            time.sleep(30)

        def value(event):
            return {"topic": event.topic, "type": event.type, "data": event.data}

        def crash(event):
            os._exit(0)
        """,
    )
    (sandbox.folder / ".env").write_text("SECRET=from-the-file\nUNIT=lost\n")
    return sandbox


def test_it_prints_what_the_function_emits_and_writes(project: Sandbox) -> None:
    """Emits on stdout, its output and the outcome on stderr; the trigger's env and `.env` are there."""
    done = project.evfn("invoke", "alert", "--data", '{"celsius": 31}')
    assert '→ alerts  {"hot": 31}' in done.stdout.splitlines()
    assert '→ audit  {"seen": ' in done.stdout
    assert "│ unit celsius from-the-file" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("ok")
    assert not (project.folder / ".evfn" / "data").exists()


def test_a_function_can_be_named_itself(project: Sandbox) -> None:
    """What it returns is printed; JSON has the whole event."""
    assert json.loads(project.evfn("invoke", "climate:value", "--data", "x").stdout)["data"] == "x"
    shown = json.loads(project.evfn("invoke", "climate:value", "--json").stdout)
    assert (shown["function"], shown["outcome"], shown["error"]) == ("climate:value", "succeeded", None)
    assert shown["emits"][0]["event"]["data"]["data"] is None


def test_json_has_what_the_filter_decides(project: Sandbox) -> None:
    """true, false, why it failed, or null where there is none."""
    found = [
        json.loads(project.evfn("invoke", "alert", "--json", "--data", data, expect=None).stdout)["filter"]
        for data in ('{"celsius": 31}', '{"celsius": 3}', "{}")
    ]
    assert found == [True, False, "error: no field 'celsius' (has: none)"]
    assert json.loads(project.evfn("invoke", "quiet", "--json").stdout)["filter"] is None


def test_a_cloudevent_from_a_file_keeps_its_attributes(project: Sandbox) -> None:
    """The same form that `emit --file` takes."""
    event = {"specversion": "1.0", "id": "i", "source": "s", "type": "kind", "data": [1]}
    (project.folder / "event.json").write_text(json.dumps(event))
    shown = json.loads(project.evfn("invoke", "climate:value", "--event", "event.json").stdout)
    assert (shown["type"], shown["data"]) == ("kind", [1])


def test_what_a_trigger_would_do_with_it_is_said(project: Sandbox) -> None:
    """What its filter decides and why, a value that nobody takes."""
    cases = [
        ('{"celsius": 31}', 0, "filter: true"),
        (
            '{"celsius": 3}',
            0,
            "filter: false, event.data.celsius > 30 is false (event.data.celsius is 3): `evfn run` would skip it",
        ),
        ("{}", 1, "filter: error, no field 'celsius' (has: none): `evfn run` would skip it"),
    ]
    for data, code, said in cases:
        assert said in project.evfn("invoke", "alert", "--data", data, expect=code).stderr.splitlines()
    assert "KeyError: 'celsius'" in project.evfn("invoke", "alert", "--data", "{}", expect=1).stderr
    assert "filter:" not in project.evfn("invoke", "climate:value").stderr
    done = project.evfn("invoke", "quiet")
    assert "it returned a value, which is dropped: quiet has no `emits`" in done.stderr


@pytest.mark.parametrize(
    ("target", "outcome", "said"),
    [("slow", "timed_out", "timeout of 0.2 s"), ("climate:crash", "crashed", "exit code 0")],
)
def test_a_timeout_or_a_crash_is_told_like_a_failure(project: Sandbox, target: str, outcome: str, said: str) -> None:
    """Exit code 1, and the reason in words."""
    done = project.evfn("invoke", target, "--json", expect=1)
    shown = json.loads(done.stdout)
    assert shown["outcome"] == outcome
    assert said in shown["error"]["message"]


def test_what_cannot_be_invoked_is_refused(project: Sandbox) -> None:
    """Data that look like JSON and are not, a file that holds no event, a function that does not load."""
    assert "did the shell take the quotes?" in project.evfn("invoke", "quiet", "--data", "{a: 1}", expect=2).stderr
    (project.folder / "event.json").write_text('{"a": 1}')
    assert "event.json: error: " in project.evfn("invoke", "quiet", "--event", "event.json", expect=2).stderr
    project.evfn("invoke", "quiet", "--event", "event.json", "--data", "x", expect=2)
    assert "climate:nothing" in project.evfn("invoke", "climate:nothing", expect=2).stderr


def test_debug_opens_a_debugger_where_the_function_fails(project: Sandbox) -> None:
    """In a process that has the terminal; the function's own variables are there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "evfn_cli", "invoke", "alert", "--debug", "--data", '{"kelvin": 300}'],
        cwd=project.folder,
        env=project.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(ours, b"p 'data', event.data\nq\n")
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 1
    assert "('data', {'kelvin': 300})" in said
    assert "functions/climate.py" in said
    assert "KeyError: 'celsius'" in said
    assert "evfn_cli" not in said
    project.evfn("invoke", "alert", "--debug", "--json", expect=2)


@pytest.mark.parametrize(
    ("body", "typed", "said", "code"),
    [
        ("breakpoint()", "q\n", "the debugger was left before the function ended", 1),
        ("import time; print('waiting'); time.sleep(60)", "\x03", "interrupted", 1),
        ("import sys; sys.exit(0)", "", "the function called sys.exit(0)", 1),
        ("breakpoint()", "c\n", "ok ", 0),
    ],
)
def test_a_debugger_can_be_left_in_every_way(project: Sandbox, body: str, typed: str, said: str, code: int) -> None:
    """`q`, `c`, Ctrl-C, the function's own exit: the outcome is told, and nothing of evfn is in what is shown."""
    project.function("odd", f"def handle(event):\n    {body}\n    print('end')\n")
    with terminal(project.folder, project.environment, ["invoke", "odd", "--debug"]) as screen:
        if typed:
            screen.expect("(Pdb) " if "breakpoint" in body else "waiting")
            screen.type(typed)
        screen.expect(said)
        assert screen.wait() == code
        assert "evfn_cli" not in screen.text
        assert "Traceback" not in screen.text
