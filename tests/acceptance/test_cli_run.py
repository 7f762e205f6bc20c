"""`evfn run`: its log, its end and its exit code. What it does with signals is in test_stopping."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Sandbox, wait_until


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest("""
        alert:
          topic: readings
          function: climate:alert
          filter: event.data.n != 13
          emits: alerts
        notify:
          topic: alerts
          function: notify:send
          retry: {attempts: 1}
        off:
          topic: readings
          function: climate:alert
          enabled: false
    """)
    sandbox.function("climate", "def alert(event):\n    return event.data\n")
    sandbox.function(
        "notify",
        """
        def send(event):
            if event.data["n"] == 7:
                print("about to fail")
                raise ValueError("seven")
        """,
    )
    return sandbox


def test_the_log_says_what_is_watched_and_what_became_of_each_event(project: Sandbox) -> None:
    """A line an invocation, output and traceback in place; exit code 3 for the dead letter."""
    project.emit("readings", {"n": 7}, {"n": 8}, {"n": 13})
    done = project.run(expect=3)
    log = done.stdout
    assert "sandbox: watching 2 triggers on unix://" in log
    assert "off     readings → climate:alert  disabled: its events wait" in log
    assert "notify  │ about to fail" in log
    assert "notify  dead letter (failed) after attempt 1 of 1" in log
    assert "ValueError: seven  functions/notify.py:" in log
    assert 'raise ValueError("seven")' in log
    assert log.index("about to fail") < log.index("dead letter")
    assert "server: embedded (events in .evfn)" in done.stderr
    assert project.run().stdout.count("\n") < log.count("\n")


def test_the_last_line_of_json_is_the_whole_status(project: Sandbox) -> None:
    """The only one on stdout; every event is accounted for."""
    project.emit("readings", *({"n": n} for n in range(20)))
    done = project.run("--json", expect=3)
    (line,) = done.stdout.splitlines()
    status = json.loads(line)
    assert (status["version"], status["project"]) == (1, "sandbox")
    assert status["server"].startswith("unix://")
    alert, notify, off = (status["triggers"][name] for name in ("alert", "notify", "off"))
    assert (alert["delivered"], alert["filtered"], alert["succeeded"], alert["emitted"]) == (20, 1, 19, 19)
    assert (notify["delivered"], notify["succeeded"], notify["dead_lettered"], notify["dead"]) == (19, 18, 1, 1)
    assert (off["state"], off["lag"], off["delivered"]) == ("disabled", 20, 0)
    assert status["topics"]["alerts"]["events"] == 19
    assert status["topics"]["readings"]["triggers"] == ["alert", "off"]
    for trigger in (alert, notify):
        ended = sum(trigger[name] for name in ("succeeded", "filtered", "dead_lettered", "dropped"))
        assert trigger["delivered"] == ended
        assert (trigger["lag"], trigger["pending"], trigger["due"]) == (0, 0, 0)


def test_by_the_thousand_the_log_counts(project: Sandbox) -> None:
    """A person can still read it."""
    project.emit("readings", *({"n": 100} for _ in range(5_000)))
    log = project.run().stdout
    assert log.count("\n") < 300
    assert " ok" in log


def test_a_function_that_does_not_load_leaves_its_trigger_broken_and_the_others_running(project: Sandbox) -> None:
    """`status` of another terminal says so too; its events wait."""
    project.function("notify", "import no_such_module\n")
    project.emit("readings", {"n": 1})
    with project.running() as process:
        wait_until(lambda: project.status("alert")["succeeded"] == 1, description="the good one runs")
        wait_until(lambda: project.status("notify")["state"] == "broken", description="the broken one is told")
        status = project.status("notify")
        assert "no_such_module" in status["problem"]
        assert status["lag"] == 1
        listed = project.evfn("status").stdout
        assert "notify is broken" in listed
        assert f"running here: pid {process.pid}" in listed
    assert project.status("notify")["state"] == "ok"


def test_a_second_run_in_the_folder_says_that_they_share(project: Sandbox) -> None:
    """And takes nothing away from the first."""
    with project.running():
        done = project.run()
        assert "another instance runs in this folder (pid " in done.stderr


def test_events_emitted_while_it_runs_are_taken_at_once(project: Sandbox) -> None:
    """`emit` in another terminal finds the server and the instance."""
    with project.running():
        done = project.evfn("emit", "readings", '{"n": 1}')
        assert "no instance is running" not in done.stderr
        wait_until(lambda: project.status("alert")["succeeded"] == 1, description="it is taken")


def test_a_log_that_nobody_reads_does_not_stop_the_work(project: Sandbox) -> None:
    """The events are worth more than the log (I35)."""
    project.emit("readings", *({"n": n} for n in range(20, 60)))
    with Path(os.devnull).open("rb") as unwritable:
        done = subprocess.run(
            [sys.executable, "-m", "evfn_cli", "run", "--until-idle"],
            cwd=project.folder,
            env=project.environment,
            stdout=unwritable,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert "Traceback" not in done.stderr
    assert project.status("alert")["succeeded"] == 40


def test_a_killed_instance_is_not_said_to_run(project: Sandbox) -> None:
    """Its lock is free, so `status` says what `emit` says: nobody runs."""
    with project.running() as process:
        assert json.loads(project.evfn("status", "--json").stdout)["instances"]
        process.kill()
        process.wait()
        assert json.loads(project.evfn("status", "--json").stdout)["instances"] == {}
        assert "no instance is running" in project.evfn("status").stdout
