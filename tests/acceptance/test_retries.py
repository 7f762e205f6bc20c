"""Retries come when they are due, dead letters tell the whole story, redrive takes them back."""

import json
import time
from itertools import pairwise

from sandbox import Sandbox, wait_until

FLAKY = """
    import time

    def run(event, context):
        note(f"{event.data['n']} {context.attempt} {context.invocation_id} {time.time()} {context.attempts}")
        print(f"working on {event.data['n']}")
        if context.attempt < event.data["until"]:
            raise LookupError(f"not yet, attempt {context.attempt}")
"""


def test_retry_runs_within_a_tenth_of_a_second_of_its_time(sandbox: Sandbox) -> None:
    """On an idle instance, measured in the function: the third attempt comes 300 ms after the second, to 100 ms."""
    sandbox.manifest(
        """
        flaky:
          topic: work
          function: flaky:run
          retry: {backoff: constant, initial_delay: 300ms, jitter: none}
        """
    )
    sandbox.function("flaky", FLAKY)
    gaps = [1.0]
    tries = 0
    while max(gaps) >= 0.4 and tries < 5:  # for others on this machine may have the cores meanwhile
        tries += 1
        sandbox.emit("work", {"n": tries, "until": 4})
        sandbox.run()
        starts = [float(line.split()[3]) for line in sandbox.notes()[-4:]]
        gaps = [later - earlier for earlier, later in pairwise(starts)]
        assert len(sandbox.notes()) == 4 * tries
        assert min(gaps) >= 0.3
    assert max(gaps) < 0.4, gaps
    assert {line.split()[4] for line in sandbox.notes()} == {"5"}, "the function knows how many attempts there are"
    assert len({line.split()[2] for line in sandbox.notes()}) == tries, "the invocation id never changes"
    status = sandbox.status("flaky")
    counted = (status["succeeded"], status["failed"], status["retried"], status["delivered"])
    assert counted == (tries, 3 * tries, 3 * tries, tries)


def test_retry_without_a_delay_runs_at_once(sandbox: Sandbox) -> None:
    """Not only when retries that others scheduled are looked for, every few seconds."""
    sandbox.manifest('flaky: {topic: work, function: "flaky:run", retry: {initial_delay: 0s}}')
    sandbox.function("flaky", FLAKY)
    sandbox.emit("work", {"n": 1, "until": 5})
    sandbox.run()
    starts = [float(line.split()[3]) for line in sandbox.notes()]
    assert len(starts) == 5
    assert starts[-1] - starts[0] < 1.5, starts


def test_retries_never_reach_another_trigger(sandbox: Sandbox) -> None:
    """The neighbour on the same topic sees the event once."""
    sandbox.manifest(
        """
        flaky: {topic: work, function: "flaky:run", retry: {initial_delay: 50ms}}
        other: {topic: work, function: "other:run"}
        """
    )
    sandbox.function("flaky", FLAKY)
    sandbox.function("other", "\ndef run(event):\n    note('other')\n")
    sandbox.emit("work", {"n": 1, "until": 3})
    sandbox.run()
    assert sandbox.notes().count("other") == 1


def test_dead_letter_tells_the_whole_story_and_redrive_takes_it_back(sandbox: Sandbox) -> None:
    """Event, reason, traceback, history and log; after the mend, redrive runs it again, as attempt 1."""
    sandbox.manifest(
        """
        flaky:
          topic: work
          function: flaky:run
          retry: {attempts: 2, initial_delay: 50ms, jitter: none}
        """
    )
    sandbox.function("flaky", FLAKY)
    sandbox.emit("work", {"n": 7, "until": 99})
    sandbox.run(expect=3)
    (letter,) = sandbox.dead("flaky")
    assert letter["reason"] == "failed"
    assert letter["attempts"] == 2
    assert [each["attempt"] for each in letter["history"]] == [1, 2]
    assert letter["error"]["type"].endswith("LookupError")
    assert "not yet, attempt 2" in letter["error"]["message"]
    assert "flaky.py" in letter["error"]["traceback"]
    assert "working on 7" in letter["log"]
    assert letter["event"]["data"] == {"n": 7, "until": 99}
    assert letter["invocation_id"].startswith("flaky:work:")
    assert sandbox.status("flaky")["dead"] == 1
    sandbox.function("flaky", FLAKY.replace("context.attempt <", "False and context.attempt <"))
    sandbox.evfn("dlq", "redrive", "flaky", letter["id"])
    sandbox.run()
    assert sandbox.notes()[-1].split()[:3] == ["7", "1", letter["invocation_id"]]
    status = sandbox.status("flaky")
    assert (status["dead"], status["dead_lettered"], status["succeeded"], status["delivered"]) == (0, 1, 1, 2)


def test_retry_and_reject_by_exception(sandbox: Sandbox) -> None:
    """`raise evfn.Retry(after=…)` sets the time, `raise evfn.Reject` ends it at once, `give_up_on` too."""
    sandbox.manifest(
        """
        asks:
          topic: work
          function: asks:run
          retry: {initial_delay: 5m, give_up_on: [LookupError]}
        """
    )
    sandbox.function(
        "asks",
        """
        import evfn

        def run(event, context):
            note(f"{event.data} {context.attempt}")
            if event.data == "retry" and context.attempt == 1:
                raise evfn.Retry(after=0.1)
            if event.data == "reject":
                raise evfn.Reject("no good")
            if event.data == "give up":
                raise KeyError("gone")
        """,
    )
    sandbox.emit("work", "retry", "reject", "give up")
    sandbox.run(expect=3)
    assert sorted(sandbox.notes()) == ["give up 1", "reject 1", "retry 1", "retry 2"]
    assert {letter["reason"] for letter in sandbox.dead("asks")} == {"rejected", "failed"}


def test_due_retry_of_a_stopped_instance_runs_after_the_next_start(sandbox: Sandbox) -> None:
    """F52: it was due while nothing ran; it runs once, as attempt 2."""
    sandbox.manifest(
        """
        flaky:
          topic: work
          function: flaky:run
          retry: {backoff: constant, initial_delay: 2s, jitter: none}
        """
    )
    sandbox.function("flaky", FLAKY)
    sandbox.emit("work", {"n": 1, "until": 2})
    with sandbox.running():
        wait_until(lambda: sandbox.status("flaky")["due"] == 1, description="the retry waits")
    time.sleep(2.0)  # the due time passes while nothing runs: that is what is tested
    sandbox.run()
    assert [line.split()[1] for line in sandbox.notes()] == ["1", "2"]


def test_typed_data_that_does_not_fit_is_a_dead_letter_without_retries(sandbox: Sandbox) -> None:
    """`invalid_data`, with the place in the data that is wrong."""
    sandbox.manifest("typed: {topic: work, function: 'typed:run'}")
    sandbox.function(
        "typed",
        """
        from dataclasses import dataclass

        @dataclass
        class Reading:
            celsius: float

        def run(reading: Reading):
            note(reading.celsius)
        """,
    )
    sandbox.emit("work", {"celsius": "31.5"}, {"celsius": "warm"}, {"kelvin": 300})
    sandbox.run(expect=3)
    assert sandbox.notes() == ["31.5"]
    letters = sandbox.dead("typed")
    assert [letter["reason"] for letter in letters] == ["invalid_data"] * 2
    assert all("celsius" in letter["error"]["message"] for letter in letters)
    assert all(letter["attempts"] == 1 for letter in letters)


def test_dead_letter_can_be_invoked_here(sandbox: Sandbox) -> None:
    """`evfn invoke --event` takes a dead letter's JSON."""
    sandbox.manifest("flaky: {topic: work, function: 'flaky:run', retry: {attempts: 1}}")
    sandbox.function("flaky", FLAKY)
    sandbox.emit("work", {"n": 7, "until": 99})
    sandbox.run(expect=3)
    (letter,) = sandbox.dead("flaky")
    path = sandbox.folder / "letter.json"
    path.write_text(json.dumps(letter))
    done = sandbox.evfn("invoke", "flaky", "--event", str(path), expect=1)
    assert "not yet, attempt 1" in done.stdout + done.stderr
