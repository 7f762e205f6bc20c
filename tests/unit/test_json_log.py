"""What `evfn serve` prints of what happens: lines that machines read."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evfn.listener import (
    Captured,
    FilterFailed,
    Happening,
    Invoked,
    LeaseLost,
    LeaseUncertain,
    NotReloaded,
    Reloaded,
    ReloadEnded,
    Reloading,
    Started,
    StateChanged,
    Stopped,
    Stopping,
    SucceededMany,
    TriggersChanged,
    TriggerState,
    Unbound,
    Unreachable,
    Warned,
    Watched,
)
from evfn.outcome import Crashed, Emit, Failed, Failure, Frame, Outcome, Rejected, Succeeded, TimedOut
from evfn.settlement import Ack, DeadLetter, Reason, Release, RetryAt, Settlement
from evfn_cli.json_log import LINES, PERIOD_SECONDS, JsonLog
from evfn_cli.log_events import EVENTS, FIELDS, tables
from evfn_cli.log_line import LINE
from evfn_cli.masks import Masks

FAILURE = Failure("KeyError", "'phone'", frames=(Frame("/p/functions/notify.py", 12, "send"),))
DUE = datetime(2026, 11, 28, 12, 0, 1, tzinfo=UTC)
WATCHED = Watched("heat", ("readings.*",), "climate:alert", "event.data.celsius > 30", ("alerts",))


class Told:
    """A log whose lines are kept and whose clock stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.raw: list[str] = []
        self.log = JsonLog(self.raw.append, Path("/p"), Masks(["hush-hush"]), clock=lambda: self.now)

    def tell(self, *happenings: Happening) -> list[dict[str, Any]]:
        """The lines, without time and level."""
        self.raw.clear()
        for happening in happenings:
            self.log.tell(happening)
        return self.lines()

    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.raw]
        return [{name: line[name] for name in line if name not in ("time", "level")} for line in lines]


def invoked(outcome: Outcome, settlement: Settlement, attempt: int = 1) -> Invoked:
    return Invoked("notify", "i", "alerts", "1-0", attempt, 5, outcome, settlement, timedelta(microseconds=3_210))


EVERYTHING: list[Happening] = [
    Started("p", "i", "redis://h", (WATCHED, Watched("off", ("x",), "m:f", enabled=False))),
    StateChanged("heat", TriggerState.OK),
    StateChanged("heat", TriggerState.BROKEN, "no module", "Traceback", "triggers.yaml:5:1"),
    SucceededMany("heat", 7),
    invoked(Succeeded(), Ack()),
    invoked(Succeeded(), Ack(), 2),
    invoked(Succeeded(), Release()),
    invoked(Failed(FAILURE), RetryAt(DUE, FAILURE)),
    invoked(TimedOut(timedelta(seconds=1), "stack"), DeadLetter(Reason.TIMED_OUT, FAILURE), 5),
    invoked(Crashed("killed", -9), RetryAt(DUE, FAILURE)),
    invoked(Rejected("rejected", FAILURE), DeadLetter(Reason.REJECTED, FAILURE)),
    *[Captured("loud", None, "stdout", "x")] * (LINES["output"] + 3),
    Captured("heat", "i", "stderr", "x"),
    FilterFailed("heat", "readings", "1-0", FAILURE, "{}"),
    Warned("careful"),
    Warned("careful", "heat"),
    Unreachable("down"),
    LeaseUncertain("down"),
    LeaseUncertain(None),
    LeaseLost("gone"),
    Reloading("SIGHUP"),
    Reloaded(("heat",), {"heat": 2}),
    NotReloaded("no module", ("heat",), "Traceback"),
    NotReloaded("triggers.yaml:1:1: error: x"),
    ReloadEnded(True),
    TriggersChanged((WATCHED,), ("off",)),
    Unbound(Path("/p/functions/new.py"), "new:\n  topic: x"),
    Stopping("SIGTERM", 2),
    Stopped("SIGTERM", 1),
]


def test_every_line_is_one_that_is_documented() -> None:
    """For everything an instance tells: its event, with the fields that it always has and others that it may have."""
    told = Told()
    seen = set()
    for line in told.tell(*EVERYTHING):
        kind = EVENTS[line["event"]]
        fields = line.keys() - {"event"}
        assert set(kind.always) <= fields <= {*kind.always, *kind.perhaps}, line
        seen.add(line["event"])
    jobs = {"jobs_awaited", "jobs_stopped", "job_began", "job_over", "job_refused", "jobs_noted"}
    elsewhere = {"listening", "request_refused", "request_failed", "lines_lost", "failed"} | jobs
    assert seen | elsewhere == set(EVENTS)
    for raw in told.raw:
        line = json.loads(raw)
        assert list(line)[:3] == ["time", "level", "event"]
        assert line["level"] in EVENTS[line["event"]].level.replace("or ", "").split(", ")


def test_every_field_is_explained_and_the_docs_have_the_tables() -> None:
    """Written anew by `python -m evfn_cli.log_events`."""
    used = {field for kind in EVENTS.values() for field in (*kind.always, *kind.perhaps)}
    assert used | {"time", "level", "event"} == set(FIELDS)
    assert tables() in (Path(__file__).parents[2] / "docs" / "logs.md").read_text("utf-8")


def test_attempts_have_the_fields_of_a_dead_letter() -> None:
    """And say what comes next; the traceback stands with the first attempt and the last."""
    which = {"trigger": "notify", "topic": "alerts", "stream_id": "1-0", "invocation_id": "i", "attempts": 5}
    error = {"type": "KeyError", "message": "'phone'"}
    first, second, dead, late = Told().tell(
        invoked(Failed(FAILURE), RetryAt(DUE, FAILURE)),
        invoked(Crashed("killed"), RetryAt(DUE, FAILURE), 2),
        invoked(TimedOut(timedelta(seconds=1), "stack"), DeadLetter(Reason.TIMED_OUT, FAILURE), 5),
        invoked(Succeeded((Emit("a", ()),)), Ack((Emit("a", ()),)), 3),
    )
    assert 'File "/p/functions/notify.py", line 12, in send' in first["error"].pop("traceback")
    took = {"duration_ms": 3.21}
    assert first == {
        "event": "attempt_failed",
        **which,
        **took,
        "attempt": 1,
        "outcome": "failed",
        "next_attempt_at": "2026-11-28T12:00:01.000Z",
        "error": error,
    }
    assert (second["outcome"], second["error"]) == ("crashed", error)
    assert dead["event"] == "dead_lettered"
    assert (dead["outcome"], dead["reason"], dead["error"]["traceback"]) == ("timed_out", "timed_out", "stack")
    assert (late["event"], late["attempt"], late["emitted"]) == ("attempt_succeeded", 3, 1)


def test_plain_successes_are_one_line_a_period() -> None:
    """Per trigger, also those that emitted; none where nothing happened; at the end of the instance at the latest."""
    told = Told()
    one = invoked(Succeeded((Emit("a", ()),)), Ack((Emit("a", ()),)))
    assert told.tell(one, SucceededMany("notify", 1_000), SucceededMany("heat", 2, emitted=2)) == []
    told.now = PERIOD_SECONDS / 2
    told.log.tick()
    assert told.lines() == []
    told.now = PERIOD_SECONDS
    told.log.tick()
    assert told.lines() == [
        {"event": "succeeded", "trigger": "notify", "count": 1_001, "emitted": 1, "seconds": 10.0},
        {"event": "succeeded", "trigger": "heat", "count": 2, "emitted": 2, "seconds": 10.0},
    ]
    told.now = 3 * PERIOD_SECONDS
    told.raw.clear()
    told.log.tick()
    assert told.lines() == []
    assert [each["event"] for each in told.tell(one, Stopped("SIGTERM", 0))] == ["succeeded", "stopped"]


def test_who_has_too_much_to_say_is_counted_and_silences_nobody_else() -> None:
    told = Told()
    failed = invoked(Failed(FAILURE), RetryAt(DUE, FAILURE))
    lines = told.tell(*[failed] * 5_000, Captured("heat", None, "stdout", "still here"))
    assert [each["event"] for each in lines] == ["attempt_failed"] * LINES["attempt_failed"] + ["output"]
    told.raw.clear()
    told.log.flush()
    left = 5_000 - LINES["attempt_failed"]
    assert told.lines() == [
        {"event": "suppressed", "trigger": "notify", "of": "attempt_failed", "count": left, "seconds": 0.0}
    ]


def test_a_line_holds_nothing_that_acts_on_a_terminal_or_ends_a_line() -> None:
    """Escaped in the line, and what it was once it is read; broken text does no harm either."""
    told = Told()
    text = "a\x1b[31m\r\n\x00\x7f\x9b31m\u2028\u2029\u202e\ud800 é ☃"
    (line,) = told.tell(Captured("heat", None, "stdout", text))
    assert line["text"] == text
    (raw,) = told.raw
    assert raw.isprintable()
    assert "é ☃" in raw


def test_long_texts_are_cut_in_their_middle_and_say_so() -> None:
    """A line stays below what collectors of logs cut into pieces, whatever it holds."""
    told = Told()
    (line,) = told.tell(Warned("a" * 10_000 + "b" * 10_000))
    assert line["text"].startswith("aa")
    assert line["text"].endswith("bb")
    assert "12,000 characters left out" in line["text"]
    told.tell(NotReloaded("\x00" * 8_000, ("heat",), "\x1b" * 8_000))
    assert all(len(raw.encode()) <= LINE for raw in told.raw)


def test_secrets_are_masked_wherever_they_stand() -> None:
    """Also within an error, which is a function's own text, and those that a reload brings."""
    told = Told()
    failure = Failure("ValueError", "hush-hush")
    (line,) = told.tell(invoked(Failed(failure), DeadLetter(Reason.FAILED, failure)))
    assert line["error"]["message"] == "***"
    failure = Failure("HTTPError", "401 for Authorization: Bearer abc.def", frames=FAILURE.frames)
    (line,) = told.tell(invoked(Failed(failure), DeadLetter(Reason.FAILED, failure)))
    assert line["error"]["message"] == "401 for Authorization: ***"
    assert "abc.def" not in told.raw[0]
    told.log.masks = Masks(["another-one"])
    assert told.tell(Warned("another-one"))[0]["text"] == "***"
