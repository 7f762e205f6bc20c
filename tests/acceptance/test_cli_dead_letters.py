"""`evfn dlq`: what went wrong for good is seen whole, and can go back or go away."""

import json

import pytest

from sandbox import Sandbox

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


def failed(project: Sandbox, *texts: str, topic: str = "alerts") -> list[str]:
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
    """One runs it here, with the same failure; the other sends it back."""
    failed(project, "bad")
    said = project.evfn("dlq", "show", "notify").stdout
    assert "KeyError: 'bad'" in said
    run, redrive = (line.partition("evfn ")[2] for line in said.splitlines()[-2:])
    shown, _, invoked = run.partition(" | evfn ")
    letter = project.evfn(*shown.split()).stdout
    assert "KeyError: 'bad'" in project.evfn(*invoked.split(), stdin=letter, expect=1).stderr
    assert project.evfn(*redrive.split()).stdout == "1 redriven\n"


def test_redriven_letters_run_again_and_nobody_elses(project: Sandbox) -> None:
    """Named ones, or all on every topic; they begin at attempt 1, and the counters add up."""
    project.emit("warnings", "c")
    names = failed(project, "a", "b")
    (project.folder / "mended").touch()
    done = project.evfn("dlq", "redrive", "notify", names[0])
    assert done.stdout == "1 redriven\n"
    assert "no instance is running" in done.stderr
    assert project.evfn("dlq", "redrive", "notify", "--all", "--dry-run").stdout == "2 would be redriven\n"
    assert len(json.loads(project.evfn("dlq", "redrive", "notify", "--all", "--json").stdout)["redriven"]) == 2
    project.run()
    assert sorted(project.notes()[-3:]) == ["a 1", "b 1", "c 1"]
    status = project.status("notify")
    assert (status["dead"], status["succeeded"], status["dead_lettered"]) == (0, 3, 3)


def test_what_is_not_there_is_an_error(project: Sandbox) -> None:
    """A wrong id, an id that is none, nothing at all (I31)."""
    assert project.evfn("dlq", "ls").stderr.endswith("no dead letters\n")
    assert project.evfn("dlq", "redrive", "notify", "--all").stdout == "0 redriven\n"
    assert "notify has no dead letters" in project.evfn("dlq", "show", "notify", expect=1).stderr
    (name,) = failed(project, "bad")
    assert "no dead letter 1-1" in project.evfn("dlq", "redrive", "notify", "1-1", expect=1).stderr
    assert "'abc' is no stream id" in project.evfn("dlq", "show", "notify", "abc", expect=2).stderr
    project.evfn("dlq", "redrive", "notify", name, "--all", expect=2)


def test_purge_deletes_only_with_yes(project: Sandbox) -> None:
    """Without it, it says how many; with ids, only those."""
    names = failed(project, "a", "b", "c")
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
