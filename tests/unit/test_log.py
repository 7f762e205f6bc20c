"""What `evfn run` prints of what happens."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from evfn.listener import (
    Captured,
    FilterFailed,
    Happening,
    Invoked,
    Started,
    StateChanged,
    Stopping,
    SucceededMany,
    TriggerState,
    Warned,
    Watched,
)
from evfn.outcome import Crashed, Emit, Failed, Failure, Frame, Outcome, Rejected, Succeeded, TimedOut
from evfn.settlement import Ack, DeadLetter, Reason, RetryAt, Settlement
from evfn_cli.log import BURST, Log

FAILURE = Failure("builtins.KeyError", "'phone'", frames=(Frame("/p/functions/notify.py", 12, "send"),))


class Told:
    """A log whose lines are kept and whose clock stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.log = Log(lambda line: self.lines.append(click.unstyle(line)), Path("/p"), clock=lambda: self.now)

    def tell(self, *happenings: Happening) -> list[str]:
        self.lines.clear()
        for happening in happenings:
            self.log.tell(happening)
        return self.lines


@pytest.fixture
def told() -> Told:
    return Told()


def invoked(outcome: Outcome, settlement: Settlement, attempt: int = 1) -> Invoked:
    return Invoked("notify", "i", "alerts", "1-0", attempt, 5, outcome, settlement, timedelta(milliseconds=3))


def test_the_start_says_what_is_watched(told: Told) -> None:
    """Each trigger with its topics, function, filter and emits; a disabled one is marked."""
    watched = (
        Watched("heat", ("readings.*",), "climate:alert", "event.data.celsius\n > 30", ("alerts",), waiting=1200),
        Watched("off", ("x",), "m:f", enabled=False),
    )
    assert told.tell(Started("p", "i", "redis://:***@h", watched)) == [
        "p: watching 1 trigger on redis://:***@h",
        "  heat  readings.* → climate:alert → alerts  if event.data.celsius > 30  (1,200 waiting)",
        "  off   x → m:f  disabled: its events wait",
    ]


def test_a_success_is_one_line(told: Told) -> None:
    """How long it took, which event, what it emitted; the attempt where it was not the first."""
    assert told.tell(invoked(Succeeded(), Ack())) == ["notify  ok 3 ms  alerts 1-0"]
    emits = (Emit("a", ()), Emit("b", ()), Emit("a", ()))
    assert told.tell(invoked(Succeeded(emits), Ack(emits), 2)) == [
        "notify  ok 3 ms, attempt 2 of 5  alerts 1-0  → a (2), b"
    ]


def test_a_failure_says_what_is_next_and_where_it_was(told: Told) -> None:
    """The first attempt with its traceback, the repeated ones with a line each."""
    due = datetime.now(UTC) + timedelta(seconds=10)
    lines = told.tell(invoked(Failed(FAILURE), RetryAt(due, FAILURE)))
    assert lines[0].startswith("notify  failed, attempt 1 of 5, next in ")
    assert lines[0].endswith("  alerts 1-0  KeyError: 'phone'  functions/notify.py:12")
    assert lines[1:] == [
        "notify      Traceback (most recent call last):",
        'notify        File "functions/notify.py", line 12, in send',
        "notify      builtins.KeyError: 'phone'",
    ]
    assert len(told.tell(invoked(Failed(FAILURE), RetryAt(due, FAILURE), 2))) == 1


def test_dead_letters_are_told_and_counted(told: Told) -> None:
    """With their reason, whatever it was; a killed process shows where it stood."""
    crash = Failure("evfn.Crashed", "exit code 0")
    lines = told.tell(invoked(Crashed("exit code 0", 0, "Thread 0x1:\n  File x"), DeadLetter(Reason.CRASHED, crash), 5))
    assert lines == [
        "notify  dead letter (crashed) after attempt 5 of 5  alerts 1-0  exit code 0",
        "notify      Thread 0x1:",
        "notify        File x",
    ]
    told.tell(invoked(Rejected("rejected", FAILURE), DeadLetter(Reason.REJECTED, FAILURE)))
    assert told.log.dead_letters == 2


def test_output_stands_where_it_was_written_and_cannot_touch_the_terminal(told: Told) -> None:
    """Control characters from a function or an event are shown, not obeyed."""
    assert told.tell(Captured("notify", "i", "stdout", "\x1b[2Jhi\r")) == ["notify  │ \\x1b[2Jhi\\r"]
    evil = Failure("X", "\x1b[2J\nnext")
    lines = told.tell(FilterFailed("notify", "t", "1-0", evil, '{"a": "\u2028"}'))
    assert "\x1b" not in "".join(lines)
    assert "\n" not in lines[0]


def test_by_the_thousand_lines_become_counts(told: Told) -> None:
    """A moment's first lines are shown, the rest is one line per trigger."""
    lines = told.tell(*[invoked(Succeeded(), Ack())] * 1000, SucceededMany("notify", 5000))
    assert len(lines) == BURST
    told.now = 2.0
    told.lines.clear()
    told.log.tick()
    assert told.lines == [f"notify  … {6000 - BURST:,} ok"]
    due = datetime.now(UTC)
    timed_out = TimedOut(timedelta(seconds=1))
    assert len(told.tell(invoked(timed_out, RetryAt(due, FAILURE)))) == 1


def test_what_was_counted_is_told_before_the_end(told: Told) -> None:
    """Nothing happens in silence."""
    lines = told.tell(SucceededMany("notify", 7), Stopping("SIGINT", 1))
    assert lines[0] == "notify  … 7 ok"
    assert lines[1].startswith("evfn  SIGINT: taking nothing new, 1 still running")
    assert "again to abort" in lines[1]


def test_states_and_warnings_are_told(told: Told) -> None:
    """A broken trigger with its traceback, a mended one as ready, loading not at all."""
    assert told.tell(StateChanged("notify", TriggerState.BROKEN, "no module", "Traceback\n  x")) == [
        "notify  broken: no module",
        "notify      Traceback",
        "notify        x",
    ]
    assert told.tell(StateChanged("notify", TriggerState.OK)) == ["notify  ready"]
    assert told.tell(StateChanged("notify", TriggerState.LOADING)) == []
    assert told.tell(Warned("careful")) == ["evfn  warning: careful"]


def test_the_place_at_the_end_of_an_error_is_never_cut() -> None:
    """On a narrow terminal the message is, in a line of its own; it is the author's own frame that is named."""
    lines: list[str] = []
    log = Log(lambda line: lines.append(click.unstyle(line)), Path("/p"), columns=lambda: 80)
    deep = Frame("/usr/lib/python3.11/json/decoder.py", 355, "raw_decode")
    failure = Failure("json.JSONDecodeError", "Expecting value " * 20, frames=(*FAILURE.frames, deep))
    log.tell(invoked(Failed(failure), RetryAt(datetime.now(UTC), failure), attempt=2))
    assert [len(line) <= 80 for line in lines] == [True, True]
    assert lines[0].startswith("notify  failed, attempt 2 of 5, next in 0 ms  alerts 1-0")
    assert lines[1].startswith("notify    JSONDecodeError: Expecting value")
    assert lines[1].endswith("…  functions/notify.py:12")
    lines.clear()
    log.tell(invoked(Failed(FAILURE), RetryAt(datetime.now(UTC), FAILURE), attempt=2))
    assert len(lines) == 2
    assert lines[1] == "notify    KeyError: 'phone'  functions/notify.py:12"
