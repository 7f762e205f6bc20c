"""What RQ carries of a job, and what comes back."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rq.job import validate_job_id

from evfn.broker.source import Source
from evfn.jobs.home import Home
from evfn.jobs.job import Job, read
from evfn.jobs.report import Line, pack, unpack
from evfn.outcome import Crashed, Emit, Failed, Failure, Frame, Interrupted, Outcome, Rejected, Succeeded, TimedOut
from evfn.trigger import Isolation, Project, Settings, Trigger, Workers

TEXT = st.text(max_size=20)
FAILURES = st.builds(
    Failure,
    type=TEXT,
    message=TEXT,
    bases=st.lists(TEXT, max_size=2).map(tuple),
    frames=st.lists(st.builds(Frame, TEXT, st.integers(0, 9), TEXT), max_size=2).map(tuple),
    causes=st.lists(st.builds(Failure, type=TEXT, message=TEXT), max_size=2).map(tuple),
)
SPANS = st.timedeltas(timedelta(), timedelta(days=7))
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(
        Succeeded,
        st.lists(st.builds(Emit, TEXT, st.lists(st.binary(max_size=9), max_size=4).map(tuple)), max_size=2).map(tuple),
        st.booleans(),
    ),
    st.builds(Failed, FAILURES, st.none() | SPANS),
    st.builds(Rejected, TEXT, FAILURES),
    st.builds(TimedOut, SPANS, TEXT),
    st.builds(Crashed, TEXT, st.none() | st.integers(-64, 255), TEXT),
    st.builds(Interrupted, TEXT),
)
JOB = Job(
    project="shop",
    key_prefix="",
    trigger="pack",
    topic="orders.new",
    source=Source.TOPIC,
    entry="1763881-0",
    attempt=2,
    lease_ms=10_000,
    revision="a1",
)
PACK = Trigger("pack", ("orders.*",), "pack:handle", isolation=Isolation.JOB)


def home(trigger: Trigger = PACK, settings: Settings = Settings()) -> Home:  # noqa: B008 - frozen
    return Home(Project("shop", (trigger,), settings=settings), {}, Path(), Path(), "redis://localhost")


@given(OUTCOMES, SPANS, st.lists(st.builds(Line, TEXT, TEXT), max_size=3))
def test_an_outcome_comes_back_as_it_was(outcome: Outcome, elapsed: timedelta, output: list[Line]) -> None:
    """Whatever a function did elsewhere is settled as if it had run here."""
    report = unpack(pack(outcome, elapsed, output))
    assert report.outcome == outcome
    assert report.elapsed == elapsed
    assert report.output == output


def test_a_report_that_is_none_is_said_to_be() -> None:
    """Something else may write into a mailbox, or a later version of evfn."""
    with pytest.raises(ValueError, match=r"Invalid|truncated|Expected"):
        unpack(b"\x00nonsense")
    later = msgspec.msgpack.encode(["Teleported", b"", 0, []])
    with pytest.raises(ValueError, match="'Teleported' is no outcome"):
        _ = unpack(later).outcome


def test_a_job_survives_its_way_through_rq() -> None:
    """As JSON, under an id that RQ takes, the same for everybody and another for every delivery."""
    assert read(msgspec.json.decode(msgspec.json.encode(JOB.arguments()))) == JOB
    validate_job_id(JOB.id)
    others = [
        msgspec.structs.replace(JOB, **{name: value})
        for name, value in {
            "project": "shop2",
            "key_prefix": "test:",
            "trigger": "pack2",
            "topic": "orders/new",
            "source": Source.INBOX,
            "entry": "1763881-1",
        }.items()
    ]
    assert len({JOB.id, *(other.id for other in others)}) == 7
    same = msgspec.structs.replace(JOB, attempt=3, lease_ms=1, revision="b2")
    assert same.id == JOB.id


def test_arguments_that_are_none_of_evfn_are_refused() -> None:
    """None may be missing, or of another type. What a later evfn adds is left to that."""
    assert read({**JOB.arguments(), "more": 1}) == JOB
    for wrong in ({"project": "shop"}, {**JOB.arguments(), "lease_ms": "soon"}):
        with pytest.raises(ValueError, match=r"Object|Expected"):
            read(wrong)


def test_what_runs_is_what_the_manifest_here_names() -> None:
    """A job of another project, of a trigger that is unknown here or not one for jobs, is left to others."""
    assert home().trigger(JOB) == PACK
    for elsewhere, words in (
        (home(settings=Settings(key_prefix="test:")), "the job is of project shop"),
        (home(replace(PACK, name="packs")), "no trigger 'pack' .did you mean packs"),
        (home(replace(PACK, isolation=Isolation.PROCESS)), "no `isolation: job`"),
    ):
        with pytest.raises(ValueError, match=words):
            elsewhere.trigger(JOB)


def test_a_queue_is_the_projects_unless_it_is_named() -> None:
    """Two deployments on one server, told apart by their key prefix, do not share one."""
    project = home(settings=Settings(key_prefix="test:")).project
    assert project.queue(PACK) == "evfn:test:shop"
    assert project.queue(replace(PACK, workers=Workers(queue="heavy"))) == "heavy"
