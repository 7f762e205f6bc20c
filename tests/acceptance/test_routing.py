"""Which trigger sees which event: exact topics, lists, patterns, filters, starts."""

import json
import time

from sandbox import Sandbox, wait_until

NOTE = """
    def run(event):
        note(f"{event.topic} {event.data['n']}")
"""


def test_every_trigger_sees_every_event_of_its_topics(sandbox: Sandbox) -> None:
    """A list of topics, one exact topic and two patterns, each served to its own trigger."""
    sandbox.manifest(
        """
        exact: {topic: a.b, function: "exact:run", start: earliest}
        listed: {topic: [a.b, a.c.d], function: "listed:run", start: earliest}
        one-segment: {topic: "a.*", function: "one:run", start: earliest}
        any-depth: {topic: "a.**", function: "deep:run", start: earliest}
        """
    )
    for module in ("exact", "listed", "one", "deep"):
        sandbox.function(module, f'\ndef run(event):\n    note(f"{module} {{event.topic}}")\n')
    sandbox.emit("a.b", {"n": 1})
    sandbox.emit("a.c.d", {"n": 2})
    sandbox.emit("b.a", {"n": 3})
    sandbox.run()
    assert sorted(sandbox.notes()) == sorted(
        ["exact a.b", "listed a.b", "listed a.c.d", "one a.b", "deep a.b", "deep a.c.d"]
    )


def test_stream_that_appears_later_is_found_and_read_from_its_first_event(sandbox: Sandbox) -> None:
    """Within two seconds, with `start: new`: when the trigger began, the stream was not there."""
    sandbox.manifest('late: {topic: "late.*", function: "late:run"}')
    sandbox.function("late", NOTE)
    with sandbox.running():
        began = time.monotonic()
        sandbox.emit("late.one", {"n": 1})
        wait_until(lambda: sandbox.notes() == ["late.one 1"], description="the event ran")
        assert time.monotonic() - began < 4


def test_filter_skips_and_counts_and_shows_its_first_error(sandbox: Sandbox) -> None:
    """False is filtered; a missing field is filtered and a filter error, shown once with its event."""
    sandbox.manifest(
        """
        hot:
          topic: readings
          function: hot:run
          filter: event.data.n > 10
        """
    )
    sandbox.function("hot", NOTE)
    sandbox.emit("readings", {"n": 5}, {"n": 11}, {"n": 12.5}, {"other": 1}, {"other": 2})
    done = sandbox.run()
    assert sandbox.notes() == ["readings 11", "readings 12.5"]
    status = sandbox.status("hot")
    assert (status["delivered"], status["filtered"], status["filter_errors"], status["succeeded"]) == (5, 3, 2, 2)
    shown = done.stdout + done.stderr
    assert shown.count("no field 'n'") == 1
    assert '"other"' in shown


def test_event_emitted_before_the_first_run_is_delivered(sandbox: Sandbox) -> None:
    """On the embedded server, emit itself makes the groups, so `start: new` loses nothing."""
    sandbox.manifest("first: {topic: work, function: 'first:run'}")
    sandbox.function("first", NOTE)
    sandbox.emit("work", {"n": 1})
    sandbox.run()
    assert sandbox.notes() == ["work 1"]


def test_disabled_trigger_fetches_nothing(sandbox: Sandbox) -> None:
    """Its events wait until it is enabled."""
    text = "off: {topic: work, function: 'off:run', enabled: false, start: earliest}"
    sandbox.manifest(text)
    sandbox.function("off", NOTE)
    sandbox.emit("work", {"n": 1})
    sandbox.run()
    assert sandbox.notes() == []
    assert sandbox.status("off")["state"] == "disabled"
    sandbox.manifest(text.replace("false", "true"))
    sandbox.run()
    assert sandbox.notes() == ["work 1"]


def test_chain_of_emits_runs_to_its_end(sandbox: Sandbox) -> None:
    """Returned, yielded and emitted through the context: each becomes one event of the next topic, exactly once."""
    sandbox.manifest(
        """
        split: {topic: start, function: "split:run", emits: middle}
        join: {topic: middle, function: "join:run", emits: [finish, side]}
        finish: {topic: finish, function: "finish:run"}
        side: {topic: side, function: "finish:run"}
        """
    )
    sandbox.function("split", "\ndef run(event):\n    for n in range(event.data['n']):\n        yield {'n': n}\n")
    sandbox.function(
        "join",
        "\ndef run(event, context):\n    context.emit('side', {'n': -1})\n    return {'n': event.data['n'] * 10}\n",
    )
    sandbox.function("finish", NOTE)
    sandbox.emit("start", {"n": 3})
    sandbox.run()
    assert sorted(sandbox.notes()) == sorted(["finish 0", "finish 10", "finish 20", *["side -1"] * 3])
    assert sandbox.status("split")["emitted"] == 3
    assert sandbox.status("join")["emitted"] == 6


def test_loop_of_emits_ends_in_the_dead_letters(sandbox: Sandbox) -> None:
    """I13: an event that causes itself is stopped after 32 hops, with the reason `loop`."""
    sandbox.manifest("again: {topic: round, function: 'again:run', emits: round}")
    sandbox.function("again", "\ndef run(event):\n    note('ran')\n    return event.data\n")
    sandbox.emit("round", {"n": 1})
    sandbox.run(expect=3)
    (letter,) = sandbox.dead("again")
    assert letter["reason"] == "loop"
    assert 32 <= len(sandbox.notes()) <= 34


def test_foreign_entries_never_stop_a_trigger(sandbox: Sandbox) -> None:
    """I18: whatever some XADD put there, the events before and after it run."""
    sandbox.manifest("any: {topic: work, function: 'any:run', start: earliest}")
    sandbox.function("any", "\ndef run(event):\n    note(repr(event.data)[:60])\n")
    odd = [
        {"data": "plain text"},
        {"a": "1", "b": "2"},
        {"specversion": "1.0"},
        {"specversion": "1.0", "data": '{"n": 1', "datacontenttype": "application/json"},
    ]
    sandbox.emit("work", "before")
    with sandbox.running():
        import redis

        (url,) = [
            line for line in json.loads(sandbox.evfn("status", "--json").stdout)["server"].split() if "unix" in line
        ]
        with redis.Redis.from_url(url) as client:
            for fields in odd:
                client.xadd("work", fields)
            client.xadd("work", {b"\xff\xfe": b"\x00\xff", b"": b""})
        wait_until(lambda: len(sandbox.notes()) >= 5, description="all that can run ran")
        wait_until(lambda: sandbox.status("any")["lag"] == 0, description="nothing is unread")
    sandbox.emit("work", "after")
    sandbox.run(expect=None)
    assert sandbox.notes()[0] == "'before'"
    assert sandbox.notes()[-1] == "'after'"
    status = sandbox.status("any")
    assert status["delivered"] == 7 == status["succeeded"] + status["dead_lettered"]
