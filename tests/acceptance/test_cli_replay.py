"""`evfn replay`: past events come to one trigger again, each once, whatever interrupts it."""

import json
import signal
import subprocess
import sys
import time

import pytest
import redis

from sandbox import Sandbox, wait_until
from servers import RealServer
from terminal import plain, terminal


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """Two triggers on a topic, one of them on another one too and with a filter."""
    sandbox.manifest("""
        store:
          topic: [readings, notes]
          function: store:keep
          filter: event.data.n < 8
        other: {topic: readings, function: 'store:ignore'}
    """)
    sandbox.function(
        "store",
        """
        def keep(event, context):
            note(f"{event.topic} {event.data['n']} {context.attempt} {context.replay is not None}")

        def ignore(event):
            note("other")
        """,
    )
    return sandbox


def seen(project: Sandbox, count: int = 10) -> None:
    """Events that were delivered and done with; nothing of them is in the journal."""
    project.emit("readings", *({"n": each} for each in range(count)))
    project.emit("notes", {"n": 0})
    project.run()
    project.journal.unlink()


def test_a_replay_comes_to_its_trigger_alone_through_its_filter(project: Sandbox) -> None:
    """In order, marked in the context, from every topic of the trigger; the counters add up."""
    seen(project)
    counted = project.evfn("replay", "store", "--from", "1h", "--dry-run")
    assert counted.stdout == "11 would be replayed\n"
    assert "the filter of store lets 9 of them through" in counted.stderr
    done = project.evfn("replay", "store", "--from", "1h")
    assert done.stdout == "11 replayed\n"
    assert "no instance is running" in done.stderr
    project.run()
    assert sorted(project.notes()) == ["notes 0 1 True", *(f"readings {each} 1 True" for each in range(8))]
    status = project.status("store")
    assert (status["delivered"], status["succeeded"], status["filtered"], status["lag"]) == (22, 18, 4, 0)
    assert project.status("other")["delivered"] == 10


def test_what_is_replayed_can_be_chosen(project: Sandbox) -> None:
    """By topic, by a filter of its own, by ids, by times; and counted by programs."""
    seen(project)
    lines = project.evfn("tail", "readings", "--no-follow", "--json").stdout.splitlines()
    ids = [json.loads(line)["streamid"] for line in lines]
    assert project.evfn("replay", "store", "--from", ids[2], "--to", ids[4]).stdout == "3 replayed\n"
    told = project.evfn("replay", "store", "--from", "earliest", "--filter", "event.data.n == 5", "--json").stdout
    found = json.loads(told)
    assert (found["version"], found["replayed"], sorted(found["topics"])) == (1, 1, ["notes", "readings"])
    assert found["topics"]["readings"]["events"] == 10
    assert project.evfn("replay", "store", "--from", "1h", "--topic", "notes").stdout == "1 replayed\n"
    assert project.evfn("replay", "store", "--from", "2020-01-01", "--to", "2021-01-01").stdout == "0 replayed\n"
    wrong = project.evfn("replay", "store", "--from", "1h", "--filter", "event.data.none == 1")
    assert wrong.stdout == "0 replayed\n"
    assert "11 events are left out, for --filter had an error on them" in wrong.stderr
    project.run()
    assert sorted(project.notes()) == ["notes 0 1 True", *(f"readings {each} 1 True" for each in (2, 3, 4, 5))]


def test_a_retry_of_a_replayed_event_is_still_one(project: Sandbox) -> None:
    """Over all its attempts, and when its dead letter is redriven."""
    project.function(
        "store",
        """
        def keep(event, context):
            note(f"{context.attempt} {context.replay} {context.invocation_id}")
            if context.replay:
                raise ValueError

        def ignore(event):
            pass
        """,
    )
    project.manifest("store: {topic: readings, function: 'store:keep', retry: {attempts: 2, initial_delay: 1ms}}\n")
    project.emit("readings", {"n": 1})
    project.run()
    replay = json.loads(project.evfn("replay", "store", "--from", "1h", "--json").stdout)["replay"]
    project.run(expect=3)
    project.evfn("dlq", "redrive", "store", "--all")
    project.run(expect=3)
    first, *rest = (note.split() for note in project.notes())
    assert first[:2] == ["1", "None"]
    assert [attempt for attempt, *_ in rest] == ["1", "2", "1", "2"]
    assert {(name, invocation) for _, name, invocation in rest} == {(replay, f"{first[2]}:{replay}")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stor", "--from", "1h"], "there is no trigger 'stor' (did you mean store?)"),
        (["store", "--from", "abc"], "--from 'abc' is no start"),
        (["store", "--from", "yesterday"], "how long ago, such as 10m"),
        (["store", "--from", "new"], "would replay nothing"),
        (["store", "--from", "5 minutes"], "did you mean 5m?"),
        (["store", "--from", "1h", "--to", "2h"], "--to 2h is before --from 1h"),
        (["store", "--from", "5-0", "--to", "4-9"], "--to 4-9 is before --from 5-0"),
        (["store", "--from", "1h", "--to", "x"], "--to 'x' is no start"),
        (["store", "--from", "1h", "--topic", "note"], "store has no topic 'note' (did you mean notes?)"),
        (["store", "--from", "1h", "--rate", "5"], "did you mean 5/s?"),
        (["store", "--from", "1h", "--rate", "0/s"], "is no rate"),
        (["store", "--from", "1h", "--filter", "event.data.n = 1"], "--filter = assigns"),
        (["store"], "write where to begin (--from), or --resume, or --cancel"),
        (["store", "--resume", "--to", "1h"], "--resume takes only --rate"),
        (["none", "--from", "1h"], "none has no topic to replay: none matches nothing.* yet"),
    ],
)
def test_mistakes_are_said_and_nothing_is_replayed(project: Sandbox, arguments: list[str], said: str) -> None:
    """Wrong usage, exit code 2, with what to write (I31)."""
    with (project.folder / "triggers.yaml").open("a") as manifest:
        manifest.write("  none: {topic: 'nothing.*', function: 'store:ignore'}\n")
    done = project.evfn("replay", *arguments, expect=2)
    assert said in done.stderr
    assert done.stdout == ""


def test_a_range_that_is_partly_gone_says_so(project: Sandbox) -> None:
    """It starts before the oldest entry that is kept, or nothing is there at all (I31)."""
    server = RealServer("valkey", project.folder / "server").start()
    project.environment["EVFN_REDIS_URL"] = server.url
    try:
        project.run()
        seen(project)
        with redis.Redis.from_url(server.url) as client:
            client.xtrim("readings", maxlen=4, approximate=False)
            client.delete("notes")
        done = project.evfn("replay", "store", "--from", "1h")
        assert done.stdout == "4 replayed\n"
        assert "the range starts before the oldest kept entry of readings" in done.stderr
        assert "there is no event on notes" in done.stderr
        assert project.evfn("replay", "store", "--resume", expect=1).stderr.endswith(
            "error: store has no replay that is not finished\n"
        )
    finally:
        server.stop()


def test_f53_a_replay_killed_before_it_began_on_every_topic_is_completed(project: Sandbox) -> None:
    """Going on with it brings also the topics that it had not come to, and each event once."""
    server = RealServer("valkey", project.folder / "server").start()
    project.environment["EVFN_REDIS_URL"] = server.url
    try:
        project.run()
        seen(project, 8)
        killed(project, "--from", "1h", "--rate", "1/s", lag=1)
        with redis.Redis.from_url(server.url) as client:
            # As if it had been killed a moment earlier: its one event of `notes` is there, `readings` never was begun.
            pair = "evfn:{readings}:sandbox/store"
            replay = client.hget(f"{pair}:stats", "replay")
            assert isinstance(replay, bytes)
            client.delete(f"{pair}:replay:{replay.decode()}", f"{pair}:inbox")
            client.xgroup_create(f"{pair}:inbox", "sandbox/store", "0", mkstream=True)
            client.hdel(f"{pair}:stats", "replay")
        assert project.evfn("replay", "store", "--resume", "--rate", "1000/s").stdout == "9 replayed\n"
        project.run()
        assert sorted(project.notes()) == ["notes 0 1 True", *(f"readings {each} 1 True" for each in range(8))]
    finally:
        server.stop()


def killed(project: Sandbox, *arguments: str, lag: int = 2) -> None:
    """Begin a replay, and kill it with SIGKILL when it has begun to bring events."""
    command = [sys.executable, "-m", "evfn_cli", "replay", "store", *arguments]
    process = subprocess.Popen(command, cwd=project.folder, env=project.environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: project.status("store")["lag"] >= lag, description="the replay has begun")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before"


def test_a_killed_replay_goes_on_where_it_was(project: Sandbox) -> None:
    """By the same command again or by --resume; until then another one is refused, and status names it."""
    seen(project, 8)
    for again in (["--from", "1h", "--rate", "2/s"], ["--resume", "--rate", "1000/s"]):
        killed(project, "--from", "1h", "--rate", "2/s")
        assert "evfn replay store --resume" in project.evfn("status").stdout
        refused = project.evfn("replay", "store", "--from", "2h", expect=2).stderr
        assert "`evfn replay store --resume`, or give it up by `evfn replay store --cancel`" in refused
        done = project.evfn("replay", "store", *again)
        assert "going on with r" in done.stderr
        assert done.stdout == "9 replayed\n"
        assert project.status("store")["replay"] is None
        project.run()
        assert sorted(project.notes()) == ["notes 0 1 True", *(f"readings {each} 1 True" for each in range(8))]
        project.journal.unlink()


def test_a_replay_can_be_given_up(project: Sandbox) -> None:
    """What it brought runs; the next one may begin."""
    seen(project)
    killed(project, "--from", "1h", "--rate", "2/s")
    assert "is given up after" in project.evfn("replay", "store", "--cancel").stdout
    assert "no replay that is not finished" in project.evfn("replay", "store", "--cancel", expect=1).stderr
    assert project.evfn("replay", "store", "--from", "1h").stdout == "11 replayed\n"


def test_two_who_begin_the_same_replay_have_one(project: Sandbox) -> None:
    """At the same moment: each event comes once (F53)."""
    seen(project, 8)
    with project.running():
        command = [sys.executable, "-m", "evfn_cli", "replay", "store", "--from", "1h", "--rate", "3/s"]
        both = [
            subprocess.Popen(command, cwd=project.folder, env=project.environment, stderr=subprocess.DEVNULL)
            for _ in range(2)
        ]
        assert [process.wait() for process in both] == [0, 0]
        wait_until(lambda: project.status("store")["lag"] == 0, description="all is taken")
    project.run()
    assert sorted(project.notes()) == ["notes 0 1 True", *(f"readings {each} 1 True" for each in range(8))]


def test_new_events_do_not_wait_for_a_replay(sandbox: Sandbox) -> None:
    """While thousands of past events come to a trigger, a new one runs within moments."""
    sandbox.manifest("store: {topic: readings, function: 'store:keep', workers: {max: 1}}")
    sandbox.function(
        "store",
        """
        import time

        def keep(event, context):
            if context.replay:
                time.sleep(0.002)
            else:
                note(event.data["n"])
        """,
    )
    sandbox.emit("readings", *({"n": each} for each in range(6_000)))
    sandbox.run()
    with sandbox.running():
        assert sandbox.evfn("replay", "store", "--from", "1h").stdout == "6,000 replayed\n"
        before = sandbox.status("store")["lag"] + sandbox.status("store")["pending"]
        began = time.monotonic()
        sandbox.emit("readings", {"n": "new"})
        wait_until(lambda: sandbox.notes()[-1] == "new", description="the new event runs")
        took = time.monotonic() - began
        after = sandbox.status("store")["lag"]
    assert before > 3_000
    assert after > 1_000
    assert took < 4


def test_the_filter_is_asked_also_where_an_instance_died_with_replayed_events(project: Sandbox) -> None:
    """kill -9 of the instance that holds them: the next one runs those that pass, once more each at most."""
    seen(project)
    project.function(
        "store",
        """
        import time

        def keep(event, context):
            note(f"{event.topic} {event.data['n']}")
            time.sleep(0 if os.path.exists("go") else 60)

        def ignore(event):
            pass
        """,
    )
    project.evfn("replay", "store", "--from", "1h", "--topic", "readings")
    with project.running() as instance:
        wait_until(project.notes, description="one of them runs")
        instance.kill()
        instance.wait()
    (project.folder / "go").touch()
    project.run()
    assert set(project.notes()) == {f"readings {each}" for each in range(8)}
    status = project.status("store")
    assert (status["delivered"], status["succeeded"], status["filtered"]) == (21, 17, 4)


def test_a_person_sees_how_far_it_is(project: Sandbox) -> None:
    """A bar on the terminal; Ctrl-C leaves the rest for --resume."""
    seen(project)
    words = ["replay", "store", "--from", "1h", "--rate", "5/s"]
    with terminal(project.folder, project.environment, words) as screen:
        screen.expect("/11")
        screen.type("\x03")
        screen.wait()
    assert "`evfn replay store --resume` goes on with it" in plain(screen.text)
    assert project.evfn("replay", "store", "--resume", "--rate", "100/s").stdout == "11 replayed\n"
