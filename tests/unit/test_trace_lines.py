"""How a trace looks in a terminal."""

from typing import Any

import click

from evfn.trace.listeners import Absent
from evfn.trace.report import Fate, Place, Report, Told
from evfn.trace.trace import Trace
from evfn.trigger import Project, Trigger
from evfn_cli import trace_counts, trace_tree

NOW_MS = 1_000_000
ROOT = Place("readings.temperature", "1763881-0")
ALERT = Place("alerts.raised", "1763882-0")
PROJECT = Project(
    "climate",
    (
        Trigger("heat-alert", (ROOT.topic,), "f:f"),
        Trigger("store", (ROOT.topic,), "f:f"),
        Trigger("cold-alert", (ROOT.topic,), "f:f"),
        Trigger("notify", (ALERT.topic,), "f:f"),
    ),
)
ERROR = ("mod.KeyError", "'phone'", "functions/notify.py:12")


def told(order: int, place: Place, trigger: str, fate: Fate, *emitted: Place, letter: str = "", **more: Any) -> Told:
    values = {"project": "climate", "attempt": 1, "attempts": 5, "emits": [each.topic for each in emitted], **more}
    report = Report(trigger=trigger, topic=place.topic, stream_id=place.stream_id, event_id="e", cause=None, fate=fate,
                    **values)  # fmt: skip
    return Told((order, 0), report, emitted, letter)


def shown(*reports: Told, many: int = 0) -> list[str]:
    trace = Trace(PROJECT, many=many > 0)
    for _ in range(many or 1):
        trace.published(ROOT)
    for each in reports:
        trace.tell(each)
    lines = trace_counts.lines(trace) if trace.tree is None else trace_tree.lines(trace.tree, NOW_MS)
    return [click.unstyle(line) for line in lines]


def test_the_tree_of_the_design() -> None:
    """What became of an event stands in one column, however deep the event is."""
    assert shown(
        told(1, ROOT, "heat-alert", Fate.SUCCEEDED, ALERT, seconds=0.003),
        told(2, ALERT, "notify", Fate.FAILED, reason="failed", due_ms=NOW_MS + 1000, error=ERROR),
        told(3, ROOT, "store", Fate.SUCCEEDED, seconds=0.001),
        told(4, ROOT, "cold-alert", Fate.SKIPPED, reason="event.data.celsius < 0 is false"),
    ) == [
        "readings.temperature 1763881-0",
        "├─ heat-alert   ok 3 ms      → alerts.raised 1763882-0",
        "│  └─ notify    failed, attempt 2 of 5 in 1 s   KeyError: 'phone'   functions/notify.py:12",
        "├─ store        ok 1 ms",
        "└─ cold-alert   skipped: event.data.celsius < 0 is false",
    ]


def test_every_other_end_and_none() -> None:
    """Text of events and functions cannot do anything to the terminal."""
    assert shown(
        told(
            1,
            ROOT,
            "heat-alert",
            Fate.DEAD_LETTERED,
            reason="timed_out",
            attempt=5,
            error=("evfn.TimedOut", "a\x1b[2J", ""),
        ),
        told(2, ROOT, "store", Fate.FILTER_ERROR, reason="no field 'x'\n"),
        told(3, ROOT, "theirs", Fate.SUCCEEDED, seconds=2, attempt=2, unemitted=True, project="bank"),
        told(4, ROOT, "later", Fate.FAILED, reason="timed_out", due_ms=NOW_MS - 1, project="bank"),
    ) == [
        "readings.temperature 1763881-0",
        "├─ heat-alert              dead letter (timed_out) after attempt 5 of 5   TimedOut: a\\x1b[2J",
        "├─ store                   filter error: no field 'x'\\n",
        "├─ cold-alert              waiting",
        "├─ later (project bank)    timed out, attempt 2 of 5, due now",
        "└─ theirs (project bank)   ok 2 s, attempt 2 of 5   its value is dropped: the trigger has no `emits`",
    ]


def test_a_trigger_that_does_not_take_it_says_why() -> None:
    """Also where an attempt was made before its function broke."""
    trace = Trace(PROJECT)
    trace.published(ALERT)
    trace.listeners.learn(ALERT.topic, {"notify": Absent("broken: no module; its events wait", broken=True)})
    assert trace.tree is not None
    assert "broken: no module" in trace_tree.lines(trace.tree, NOW_MS)[1]
    trace.tell(told(1, ALERT, "notify", Fate.FAILED, reason="crashed", error=("evfn.Crashed", "gone", "")))
    assert click.unstyle(trace_tree.lines(trace.tree, NOW_MS)[1]) == (
        "└─ notify   crashed, attempt 2 of 5, due now   Crashed: gone   broken: no module; its events wait"
    )


def test_several_emits_are_listed_with_the_trouble_first() -> None:
    """Those that nobody listens to are only counted."""
    alerts = [Place("alerts.raised", f"2-{number}") for number in range(12)]
    fine = [told(10 + number, place, "notify", Fate.SUCCEEDED) for number, place in enumerate(alerts[:-1])]
    dead = told(30, alerts[-1], "notify", Fate.DEAD_LETTERED, reason="failed", attempt=5, error=ERROR)
    lines = shown(told(1, ROOT, "heat-alert", Fate.SUCCEEDED, Place("log", "1-0"), *alerts), *fine, dead)
    assert lines[1].endswith("ok           → log (1), alerts.raised (12)")
    assert lines[2:4] == [
        "│  ├─ alerts.raised 2-11",
        "│  │  └─ notify   dead letter (failed) after attempt 5 of 5   KeyError: 'phone'   functions/notify.py:12",
    ]
    assert lines[4] == "│  ├─ alerts.raised 2-0"
    assert "│  └─ … 2 more" in lines


def test_many_events_are_counted() -> None:
    """Per topic and trigger, with errors by their place and the first dead letters by name."""
    places = [Place(ROOT.topic, f"1-{number}") for number in range(10)]
    reports = [told(number, place, "store", Fate.SUCCEEDED, ALERT) for number, place in enumerate(places[:6])]
    reports += [
        told(20 + number, place, "heat-alert", Fate.FAILED, reason="failed", error=ERROR)
        for number, place in enumerate(places[:8])
    ]
    reports += [
        told(
            40 + number,
            place,
            "heat-alert",
            Fate.DEAD_LETTERED,
            reason="failed",
            again=True,
            error=ERROR,
            letter=f"9-{number}",
        )
        for number, place in enumerate(places[:6])
    ]
    assert shown(*reports, many=10) == [
        "readings.temperature  10 events",
        "├─ heat-alert   6 dead letters, 2 failed, to run again, 2 waiting",
        "│               14 times KeyError: 'phone'   functions/notify.py:12",
        *(f"│               dead letter 9-{number}: readings.temperature 1-{number}" for number in range(5)),
        "│               … 1 more dead letters",
        "├─ store        6 ok, 4 waiting",
        "└─ cold-alert   10 waiting",
        "alerts.raised  6 events",
        "└─ notify   6 waiting",
    ]
