"""What became of a followed event: the same in any order of reports, done when nothing is outstanding."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evfn.trace.listeners import Absent
from evfn.trace.report import Fate, Place, Report, Told
from evfn.trace.trace import LARGEST_TREE, Trace
from evfn.trace.tree import Standing
from evfn.trigger import Project, Trigger

PROJECT = Project(
    "shop",
    (
        Trigger("first", ("in.*",), "f:f"),
        Trigger("second", ("in.a", "mid"), "f:f"),
        Trigger("off", ("in.a",), "f:f", enabled=False),
        Trigger("last", ("mid", "out.**"), "f:f"),
    ),
)
ROOT = Place("in.a", "1-0")


def told(
    order: int,
    place: Place,
    trigger: str,
    fate: Fate = Fate.SUCCEEDED,
    *emitted: Place,
    project: str = "shop",
    **more: Any,
) -> Told:
    emits = [each.topic for each in emitted]
    report = Report(project, trigger, *place, "id", None, fate, emits=emits, **more)
    return Told((order, 0), report, emitted)


def trace_of(*reports: Told, root: Place | None = ROOT, many: bool = False) -> Trace:
    trace = Trace(PROJECT, many=many)
    if root is not None:
        trace.published(root)
    for each in reports:
        trace.tell(each)
    return trace


def shown(trace: Trace) -> list[tuple[Any, ...]]:
    assert trace.tree is not None
    return [(*branch.place, branch.trigger, branch.project, branch.standing.value) for branch in trace.tree]


def test_a_published_event_waits_at_every_trigger_that_listens() -> None:
    """In the manifest's order; one that is disabled is named, and not waited for."""
    assert shown(trace_of()) == [
        ("in.a", "1-0", "first", "", "waiting"),
        ("in.a", "1-0", "second", "", "waiting"),
        ("in.a", "1-0", "off", "", "absent"),
    ]
    assert trace_of().counts.waiting == 2


def test_what_is_emitted_is_waited_for_too() -> None:
    """To the end, where nobody listens any more."""
    mid, out = Place("mid", "2-0"), Place("nobody", "3-0")
    reports = [told(1, ROOT, "first", Fate.SUCCEEDED, mid), told(2, ROOT, "second", Fate.SKIPPED)]
    assert trace_of(*reports).counts.waiting == 2
    reports += [told(3, mid, "second", Fate.SUCCEEDED, out), told(4, mid, "last", Fate.DEAD_LETTERED)]
    counts = trace_of(*reports).counts
    assert (counts.waiting, counts.succeeded, counts.skipped, counts.dead_lettered) == (0, 2, 1, 1)


def test_a_failed_attempt_is_not_the_end() -> None:
    """The latest report of a branch counts, whenever it comes."""
    reports = [told(3, ROOT, "first"), told(2, ROOT, "first", Fate.FAILED)]
    for order in (reports, reports[::-1]):
        assert shown(trace_of(*order))[0][-1] == "settled"
    assert shown(trace_of(reports[1]))[0][-1] == "waiting"


def test_other_projects_are_shown_when_they_report_and_never_waited_for() -> None:
    """What they emit is waited for where our own triggers listen."""
    mid = Place("mid", "2-0")
    trace = trace_of(
        told(1, ROOT, "theirs", Fate.FAILED, project="bank"),
        told(2, ROOT, "aaa", Fate.SUCCEEDED, mid, project="bank"),
        told(3, ROOT, "first"),
        told(4, ROOT, "second"),
    )
    assert [each[2:] for each in shown(trace)] == [
        ("first", "", "settled"),
        ("second", "", "settled"),
        ("off", "", "absent"),
        ("aaa", "bank", "settled"),
        ("theirs", "bank", "settled"),
        ("second", "", "waiting"),
        ("last", "", "waiting"),
    ]


def test_a_broken_trigger_is_stuck_until_it_is_mended() -> None:
    """A report counts all the same: it may run elsewhere."""
    trace = trace_of(told(1, ROOT, "second"), told(2, ROOT, "first", Fate.FAILED))
    trace.listeners.learn("in.a", {"first": Absent("broken: no module", broken=True)})
    assert (trace.counts.waiting, trace.counts.stuck) == (0, 1)
    trace.listeners.learn("in.a", {})
    assert (trace.counts.waiting, trace.counts.stuck) == (1, 0)
    trace.listeners.learn("in.a", {"first": Absent("broken: no module", broken=True)})
    trace.tell(told(3, ROOT, "first"))
    assert (trace.counts.waiting, trace.counts.stuck) == (0, 0)


def test_a_tree_that_grows_large_is_only_counted() -> None:
    """Then no single event is kept, and what is outstanding is still known."""
    emitted = [Place("mid", f"2-{number}") for number in range(LARGEST_TREE + 1)]
    trace = trace_of(told(1, ROOT, "first", Fate.SUCCEEDED, *emitted), told(2, ROOT, "second"))
    assert trace.tree is None
    assert trace.counts.waiting == 2 * len(emitted)
    for number, place in enumerate(emitted):
        trace.tell(told(10 + number, place, "second"))
        trace.tell(told(10 + number, place, "last", Fate.DEAD_LETTERED))
    assert (trace.counts.waiting, trace.counts.dead_lettered) == (0, len(emitted))


@st.composite
def histories(draw: st.DrawFn) -> list[Told]:
    """Everything that is ever reported of one event, in the order in which it happened."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    topics = ["in.a", "in.b", "mid", "out.x.y", "nobody"]
    listeners: dict[str, list[tuple[str, str]]] = {
        topic: [
            (PROJECT.name, name)
            for name in ("first", "second", "last")
            if name in trace_of(root=None).listeners.on(topic)
        ]
        for topic in topics
    }
    listeners["mid"].append(("bank", "theirs"))
    history: list[Told] = []
    open_ = [(ROOT, each, 1) for each in listeners[ROOT.topic]]
    events = 1
    while open_:
        place, (project, trigger), attempt = open_.pop(chance.randrange(len(open_)))
        order, again = len(history) + 1, attempt > 1
        fate = chance.choice([Fate.SUCCEEDED, Fate.SUCCEEDED, *Fate])
        if fate is Fate.FAILED:
            open_.append((place, (project, trigger), attempt + 1))
        emitted: list[Place] = []
        while fate is Fate.SUCCEEDED and events < 30 and chance.random() < 0.5:
            emitted.append(Place(chance.choice(topics), f"{order}-{events}"))
            events += 1
        open_ += [(each, who, 1) for each in emitted for who in listeners[each.topic]]
        history.append(told(order, place, trigger, fate, *emitted, project=project, attempt=attempt, again=again))
    return history


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_of_reports_gives_the_same_tree(history: list[Told], chance: random.Random) -> None:
    """And the same counts, with or without a tree."""
    mixed = list(history)
    chance.shuffle(mixed)
    one, other = trace_of(*history), trace_of(*mixed)
    assert list(one.tree or ()) == list(other.tree or ())
    assert one.counts == other.counts == trace_of(*mixed, many=True).counts


@given(histories(), st.integers(0, 200))
def test_it_is_done_when_nothing_is_outstanding(history: list[Told], so_far: int) -> None:
    """Neither before nor after: of our own triggers all was reported then. The counts agree with the tree."""
    before, rest = history[:so_far], history[so_far:]
    trace = trace_of(*before)
    ours = [each for each in rest if each.report.project == PROJECT.name]
    theirs = [each for each in rest if each.report.project != PROJECT.name]
    # What others have yet to emit cannot be known.
    if ours and not theirs:
        assert trace.counts.waiting > 0
    if not ours:
        assert trace.counts.waiting == 0
    counted = trace_of(*before, many=True).counts
    assert (counted.waiting, counted.absent) == (trace.counts.waiting, trace.counts.absent)
    assert Standing.STUCK not in {branch.standing for branch in trace.tree or ()}
