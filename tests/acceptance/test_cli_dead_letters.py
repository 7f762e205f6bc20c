"""`evfn dlq`: what went wrong for good is seen whole, and can go back or go away."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from sandbox import Sandbox, wait_until
from servers import RealServer
from terminal import plain, terminal

EVIL = "\x1b[2J\u2028evil"


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """A trigger on two topics that fails on whatever says so."""
    sandbox.manifest("""
        notify:
          topic: [alerts, warnings]
          function: notify:send
          retry: {attempts: 2, initial_delay: 1ms}
    """)
    sandbox.function(
        "notify",
        """
        def send(event, context):
            note(f"{event.data} {context.attempt}")
            print("sending", event.data)
            if event.data != "good" and not os.path.exists("mended"):
                raise KeyError(event.data)
        """,
    )
    return sandbox


def with_evfn(project: Sandbox) -> dict[str, str]:
    """An environment in which `evfn` is a command."""
    return {**project.environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def failed(project: Sandbox, *texts: object, topic: str = "alerts") -> list[str]:
    """Let these events fail; returns their dead letters' ids, the newest first."""
    project.emit(topic, *texts)
    project.run(expect=3)
    return [json.loads(line)["id"] for line in project.evfn("dlq", "ls", "--json").stdout.splitlines()]


def test_a_dead_letter_has_everything_needed_to_understand_it(project: Sandbox) -> None:
    """The JSON contract, whole in `show`, without traceback and log in `ls`."""
    (name,) = failed(project, "bad")
    letter = json.loads(project.evfn("dlq", "show", "notify", "--json").stdout)
    assert set(letter) == {
        *("id", "trigger", "topic", "invocation_id", "event", "reason", "error", "attempts", "history"),
        *("first_delivered_at", "dead_at", "instance", "revision", "log"),
    }
    assert (letter["id"], letter["trigger"], letter["topic"], letter["reason"]) == (name, "notify", "alerts", "failed")
    assert letter["attempts"] == 2
    assert [each["attempt"] for each in letter["history"]] == [1, 2]
    assert letter["event"]["specversion"] == "1.0"
    assert letter["event"]["data"] == "bad"
    assert letter["error"]["type"].endswith("KeyError")
    assert "functions/notify.py" in letter["error"]["traceback"]
    assert "sending bad" in letter["log"]
    listed = json.loads(project.evfn("dlq", "ls", "notify", "--json").stdout)
    assert listed == {
        **{name: value for name, value in letter.items() if name != "log"},
        "error": {name: value for name, value in letter["error"].items() if name != "traceback"},
    }


def test_show_ends_with_commands_that_work_as_they_stand(project: Sandbox) -> None:
    """One runs it here, with the same failure; the other sends it back. The options that named the project are kept."""
    failed(project, "bad")
    said = project.evfn("--name", "sandbox", "dlq", "show", "notify").stdout
    assert "KeyError: 'bad'" in said
    run, _, redrive = (line.strip() for line in said.splitlines()[-3:])
    assert run.endswith("--event - --debug")
    done = subprocess.run(
        ["/bin/bash", "-c", f"{run.removesuffix(' --debug')}; {redrive}"],
        cwd=project.folder,
        env=with_evfn(project),
        capture_output=True,
        text=True,
    )
    assert "KeyError: 'bad'" in done.stderr
    assert done.stdout == "1 redriven\n"
    assert "--name sandbox" in run
    assert "--name sandbox" in redrive


def test_the_line_that_runs_it_here_opens_a_debugger_at_the_error(project: Sandbox) -> None:
    """Pasted into a terminal, the event through a pipe; attempt, topic and invocation are the event's own."""
    failed(project, "bad")
    run = project.evfn("dlq", "show", "notify").stdout.splitlines()[-3].strip()
    with terminal(project.folder, with_evfn(project), ["-c", run], program="/bin/bash") as screen:
        at = screen.expect("(Pdb) ")
        assert "KeyError: 'bad'" in screen.text
        assert "functions/notify.py" in plain(screen.text)
        screen.type("p (event.data, event.topic, context.attempt, context.attempts, context.invocation_id)\n")
        at = screen.expect("(Pdb) ", after=screen.expect("('bad', 'alerts', 2, 2, 'notify:alerts:", after=at))
        screen.type("\x03")
        at = screen.expect("(Pdb) ", after=at)
        screen.type("q\n")
        assert screen.wait() == 1
        assert "Traceback (most recent call last):\n" not in screen.text.partition("(Pdb)")[0]


def test_show_reads_well_on_a_terminal_of_80_columns(project: Sandbox) -> None:
    """Small data one member a line, library frames counted, colours only there; only the command is longer."""
    project.function(
        "notify",
        """
        import json

        def send(event):
            print("decoding")
            json.loads("x" * 300 + str(event.data))
        """,
    )
    (name,) = failed(project, {"station": "north " * 6, "celsius": 31.5, "readings": [1, 2, 3], "unit": "celsius"})
    said = project.evfn("dlq", "show", "notify").stdout
    assert "\x1b" not in said
    with terminal(project.folder, project.environment, ["dlq", "show", "notify"]) as screen:
        assert screen.wait() == 0
    assert "\x1b[1m" in screen.text
    lines = plain(screen.text).replace("\r", "").splitlines()
    assert [line for line in lines if len(line) > 80] == [line for line in lines if line.endswith("--debug")]
    assert '    "celsius": 31.5,' in lines
    trace = lines[lines.index("error") : lines.index("attempts")]
    assert trace[2].startswith('    File "functions/notify.py", line ')
    assert trace[4] == "    … 3 frames in json"
    assert lines[lines.index("attempts") + 1].startswith("  1  20")
    assert lines[lines.index("what it wrote") + 1] == "  decoding"
    assert lines[-1] == f"  evfn dlq redrive notify {name}"
    environment = {**project.environment, "NO_COLOR": "1"}
    with terminal(project.folder, environment, ["dlq", "show", "notify"]) as screen:
        assert screen.wait() == 0
    assert "\x1b" not in screen.text


def test_a_timeout_shows_where_the_function_stood_and_nothing_of_evfn(project: Sandbox) -> None:
    """In the dead letter, in the log of `run` and in `invoke` alike."""
    project.manifest("""
        notify:
          topic: alerts
          function: notify:send
          timeout: 200ms
          retry: {attempts: 1}
    """)
    project.function("notify", "import time\n\ndef send(event):\n    time.sleep(30)\n")
    project.emit("alerts", 1)
    logged = project.run(expect=3).stdout
    shown = project.evfn("dlq", "show", "notify").stdout
    invoked = project.evfn("invoke", "notify", expect=1).stderr
    for said in (logged, shown, invoked):
        frames = [line.strip() for line in said.splitlines() if 'File "' in line]
        assert len(frames) == 1
        assert 'File "functions/notify.py"' in frames[0] or "/functions/notify.py" in frames[0]
    assert json.loads(project.evfn("dlq", "show", "notify", "--json").stdout)["error"]["traceback"].count("File") == 1


def test_an_async_timeout_shows_where_the_function_stood_too(project: Sandbox) -> None:
    """It was cancelled there; its neighbours on the same loop are not."""
    project.manifest("""
        notify:
          topic: alerts
          function: notify:send
          timeout: 200ms
          retry: {attempts: 1}
    """)
    project.function("notify", "import asyncio\n\nasync def send(event):\n    await asyncio.sleep(30)\n")
    project.emit("alerts", 1)
    logged = project.run(expect=3).stdout
    shown = project.evfn("dlq", "show", "notify").stdout
    for said in (logged, shown):
        assert "functions/notify.py" in said
        assert "await asyncio.sleep(30)" in said
        assert "evfn/workers" not in said
    assert json.loads(project.evfn("dlq", "show", "notify", "--json").stdout)["reason"] == "timed_out"


def test_redriven_letters_run_again_and_nobody_elses(project: Sandbox) -> None:
    """Named ones, or all on every topic; they begin at attempt 1, and the counters add up."""
    project.emit("warnings", "c")
    failed(project, "a", "b")
    (project.folder / "mended").touch()
    first = project.dead("notify")[0]
    done = project.evfn("dlq", "redrive", "notify", f"{first['topic']}/{first['id']}")
    assert done.stdout == "1 redriven\n"
    assert "no instance is running" in done.stderr
    assert project.evfn("dlq", "redrive", "notify", "--all", "--dry-run").stdout == "2 would be redriven\n"
    assert len(json.loads(project.evfn("dlq", "redrive", "notify", "--all", "--json").stdout)["redriven"]) == 2
    project.run()
    assert sorted(project.notes()[-3:]) == ["a 1", "b 1", "c 1"]
    status = project.status("notify")
    assert (status["dead"], status["succeeded"], status["dead_lettered"]) == (0, 3, 3)


def test_one_goes_first_and_the_rest_stays_where_it_fails_again(project: Sandbox) -> None:
    """While an instance runs; the command says which failed and ends with 3, and what is mended goes whole."""
    failed(project, *"abcdef")
    with project.running():
        done = project.evfn("dlq", "redrive", "notify", "--all", expect=3)
        assert done.stdout == "1 redriven\n"
        assert "1 of 1 failed again" in done.stderr
        assert "stopped there: the others are dead letters still" in done.stderr
        wait_until(lambda: project.status("notify")["dead"] == 6, description="it is dead again")
        told = project.evfn("dlq", "redrive", "notify", "--all", "--json", "--stop-at", "100%", expect=3).stdout
        found = json.loads(told)
        assert (len(found["redriven"]), found["failed_again"], found["stopped"]) == (6, 6, False)
        wait_until(lambda: project.status("notify")["dead"] == 6, description="all are dead again")
        (project.folder / "mended").touch()
        first = json.loads(project.evfn("dlq", "redrive", "notify", "--first", "--json").stdout)
        assert (len(first["redriven"]), first["waited"], first["failed_again"]) == (1, True, 0)
        assert project.evfn("dlq", "redrive", "notify", "--all").stdout == "5 redriven\n"
        status = project.status("notify")
        assert (status["dead"], status["succeeded"], status["pending"]) == (0, 6, 0)


def test_letters_are_chosen_by_reason_and_by_their_event(project: Sandbox) -> None:
    """Both narrow; a dry run counts; the rest stays."""
    project.function(
        "notify",
        """
        from evfn import Reject

        def send(event):
            raise Reject("no") if event.data["n"] > 2 else ValueError
        """,
    )
    failed(project, *({"n": each} for each in range(6)))
    for words, count in (
        (["--reason", "rejected"], 3),
        (["--filter", "event.data.n > 3"], 2),
        (["--reason", "failed", "--filter", "event.data.n > 1"], 1),
        (["--filter", "event.data.none > 1"], 0),
        (["--first"], 1),
    ):
        counted = project.evfn("dlq", "redrive", "notify", *words, "--dry-run").stdout
        assert counted == f"{count} would be redriven\n"
    assert project.evfn("dlq", "redrive", "notify", "--reason", "rejected", "--rate", "1000/s").stdout == "3 redriven\n"
    assert {each["reason"] for each in project.dead("notify")} == {"failed"}


def test_an_id_on_two_topics_never_means_both(project: Sandbox) -> None:
    """It is refused with the names to write, by every command; `ls` shows these, and each is one dead letter."""
    name = "1763881200000-0"
    server = RealServer("valkey", project.folder / "server").start()
    project.environment["EVFN_REDIS_URL"] = server.url
    try:
        project.run()
        for topic in ("alerts", "warnings"):
            failed(project, f"from {topic}", topic=topic)
        with redis.Redis.from_url(server.url) as client:
            for topic in ("alerts", "warnings"):
                key = f"evfn:{{{topic}}}:sandbox/notify:dead"
                ((_, fields),) = client.xrange(key)
                client.delete(key)
                client.xadd(key, fields, id=name)
        refused = f"error: notify has a dead letter {name} on 2 topics; write alerts/{name} or warnings/{name}\n"
        for command in (["show"], ["redrive"], ["redrive", "--dry-run"], ["purge"], ["purge", "--yes"]):
            assert project.evfn("dlq", command[0], "notify", name, *command[1:], expect=2).stderr.endswith(refused)
        assert [line.split()[1] for line in project.evfn("dlq", "ls").stdout.splitlines()[1:]] == [
            f"alerts/{name}",
            f"warnings/{name}",
        ]
        shown = project.evfn("dlq", "show", "notify", f"warnings/{name}").stdout
        assert "'from warnings'" in shown
        assert shown.endswith(f"evfn dlq redrive notify warnings/{name}\n")
        assert project.evfn("dlq", "redrive", "notify", f"warnings/{name}").stdout == "1 redriven\n"
        assert (
            f"notify has no dead letter warnings/{name}"
            in project.evfn("dlq", "purge", "notify", f"warnings/{name}", "--yes", expect=1).stderr
        )
        # On one topic the id is enough again.
        assert project.evfn("dlq", "show", "notify", name).stdout.endswith(f"evfn dlq redrive notify {name}\n")
        told = json.loads(project.evfn("dlq", "redrive", "notify", name, f"alerts/{name}", "--json").stdout)
        assert (told["version"], told["redriven"], told["gone"], told["foreign"]) == (1, [name], [], [])
    finally:
        server.stop()


def test_what_is_not_there_is_an_error(project: Sandbox) -> None:
    """A wrong id, an id that is none, nothing at all (I31)."""
    assert project.evfn("dlq", "ls").stderr.endswith("no dead letters\n")
    assert project.evfn("dlq", "redrive", "notify", "--all").stdout == "0 redriven\n"
    assert "notify has no dead letters" in project.evfn("dlq", "show", "notify", expect=1).stderr
    (name,) = failed(project, "bad")
    assert "no dead letter 1-1" in project.evfn("dlq", "redrive", "notify", "1-1", expect=1).stderr
    assert "'abc' is no stream id" in project.evfn("dlq", "show", "notify", "abc", expect=2).stderr
    project.evfn("dlq", "redrive", "notify", name, "--all", expect=2)
    assert "did you mean 50%?" in project.evfn("dlq", "redrive", "notify", "--all", "--stop-at", "50", expect=2).stderr
    assert "'nope' is not one of" in project.evfn("dlq", "redrive", "notify", "--reason", "nope", expect=2).stderr
    assert "--filter = assigns" in project.evfn("dlq", "redrive", "notify", "--filter", "event.id = 1", expect=2).stderr


def test_purge_deletes_only_with_yes(project: Sandbox) -> None:
    """Without it, it says how many; with ids, only those."""
    for words in ((), ("--yes",)):
        assert project.evfn("dlq", "purge", "notify", *words).stdout == "0 purged\n"
    names = failed(project, "a", "b", "c")
    assert "would delete 1 dead letter of notify" in project.evfn("dlq", "purge", "notify", names[0], expect=2).stderr
    assert "would delete 3 dead letters of notify" in project.evfn("dlq", "purge", "notify", expect=2).stderr
    assert project.evfn("dlq", "purge", "notify", names[0], "--yes").stdout == "1 purged\n"
    assert project.status("notify")["dead"] == 2
    assert json.loads(project.evfn("dlq", "purge", "notify", "--yes", "--json").stdout)["purged"] == 2
    assert project.status("notify")["dead"] == 0


def test_nothing_from_an_event_reaches_the_terminal_raw(project: Sandbox) -> None:
    """Escapes and separators in data, errors and output are shown as such, by every command (I26)."""
    project.evfn("emit", "alerts", EVIL)
    said = project.run(expect=3).stdout
    for command in (["dlq", "ls"], ["dlq", "show", "notify"], ["status"]):
        said += project.evfn(*command).stdout
    said += project.evfn("invoke", "notify", "--data", EVIL, expect=1).stderr
    assert "\x1b" not in said
    assert "\u2028" not in said
    assert "\\x1b[2J\\u2028evil" in said
