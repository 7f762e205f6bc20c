"""The fields of followed events, and reports on their way through a stream."""

from hypothesis import given
from hypothesis import strategies as st

from evfn.event import Cause, cause_of, decode, followed, new_trace, trace_of
from evfn.trace.report import Fate, Place, Report, pack, read
from evfn.trigger import DataMode

FIELDS = [b"specversion", b"1.0", b"id", b"1", b"data", b"31.5"]


def test_a_followed_event_is_the_same_event() -> None:
    """It begins with its trace; everything else reads as before."""
    trace = new_trace()
    fields = followed(FIELDS, trace)
    assert trace_of(fields) == trace
    assert cause_of(fields) is None
    assert trace_of(FIELDS) is None
    ours, theirs = decode("t", "1-0", fields, DataMode.AUTO), decode("t", "1-0", FIELDS, DataMode.AUTO)
    assert ours.replace(extensions={}) == theirs


def test_an_event_is_part_of_one_trace() -> None:
    """Following what was followed before leaves nothing of the old trace."""
    cause = Cause("a:b/c", "5-1", "heat-alert")
    fields = followed(followed(FIELDS, "old", Cause("x", "1-0", "y")), "new", cause)
    assert (trace_of(fields), cause_of(fields)) == ("new", cause)
    assert followed(fields, "new", cause) == fields
    assert followed(fields, "new")[2:] == FIELDS


def test_only_a_traces_id_is_one() -> None:
    """What others write into the field never becomes part of a key."""
    for id_ in (b"", b"a b", b"\xff", b"x" * 65, b"a:b"):
        assert trace_of([b"evfntrace", id_, b"data", b"1"]) is None
    assert trace_of([]) is None
    assert cause_of([b"evfntrace", b"a", b"evfncause", b"\xff"]) == Cause("", "", "\ufffd")


REPORT = Report(
    "shop", "pack", "orders", "1-0", "e", ("a", "0-1", "t"), Fate.SUCCEEDED, attempt=1, emits=["x", "y", "x"]
)


def test_a_report_comes_back_with_the_ids_of_its_emits() -> None:
    """In the order in which they were made."""
    told = read(b"17-2", [b"report", pack(REPORT), b"emits", b"5-0 6-0 5-1"])
    assert told is not None
    assert (told.order, told.report) == ((17, 2), REPORT)
    assert told.emitted == (Place("x", "5-0"), Place("y", "6-0"), Place("x", "5-1"))


@given(st.lists(st.binary(), max_size=6))
def test_what_others_write_into_a_trace_is_passed_over(fields: list[bytes]) -> None:
    """It is never an error."""
    assert read(b"1-0", [b"report", *fields]) is None or fields == []
    assert read(b"1-0", [b"report", pack(REPORT), *fields]) is None  # its emits have no ids
    assert read(b"x", [b"report", pack(REPORT), b"emits", b"5-0 6-0 5-1"]) is None
