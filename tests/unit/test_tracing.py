"""When spans are asked for, and where an event stands in a trace."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.event.traceparent import TraceParent, new_trace, onward
from evfn.tracing.wish import exporters

_PLACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ()),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ()),
        ({"OTEL_TRACES_EXPORTER": ""}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ("otlp", "console")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, ()),
    ],
)
def test_the_standard_variables_say_whether_spans_are_made(environ: dict[str, str], expected: tuple[str, ...]) -> None:
    """There is no setting of evfn's own for it; whoever sets up OpenTelemetry anywhere else knows these."""
    assert exporters(environ) == expected


def test_a_place_is_read_from_an_events_fields() -> None:
    """Only a CloudEvent has one, and only one that is well-formed counts."""
    cloud_event = [b"specversion", b"1.0", b"traceparent", _PLACE.encode(), b"tracestate", b"vendor=1", b"data", b"{}"]
    place = TraceParent.of(cloud_event)
    assert place == TraceParent("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "01", "vendor=1")
    assert str(place) == _PLACE
    assert TraceParent.of(cloud_event[2:]) is None
    assert TraceParent.of([b"data", b"traceparent"]) is None
    assert TraceParent.of([b"specversion", b"1.0", b"data", b"traceparent"]) is None
    for wrong in (
        "",
        "00-0-0-01",
        _PLACE.upper(),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        _PLACE + "-more",
        "ff" + _PLACE[2:],
    ):
        assert TraceParent.parse(wrong) is None


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_whatever_an_entry_holds_its_place_is_read_or_there_is_none(fields: list[bytes]) -> None:
    """Anybody may write to a stream; nothing that stands there ends an instance."""
    for each in (fields, [b"specversion", b"1.0", b"traceparent", *fields], [*fields, b"traceparent", b"specversion"]):
        place = TraceParent.of(each)
        assert place is None or TraceParent.parse(str(place)) is not None


def test_no_two_traces_are_the_same_in_a_process_and_those_it_forks() -> None:
    """Not even where a function seeds the common generator; workers are forked from what may have made some."""

    def made() -> str:
        random.seed(1)
        return " ".join(new_trace() for _ in range(100))

    before, (reading, writing) = made(), os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, made().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        places = [TraceParent.parse(each) for each in f"{before} {made()} {pipe.read()}".split()]
    known = [place for place in places if place is not None]
    assert len({place.trace_id for place in known}) == len({place.span_id for place in known}) == 300


def test_a_trace_goes_on_under_a_span_of_its_own() -> None:
    """An emitted event belongs to the trace of the one that caused it; without one it begins a trace."""
    child = onward(_PLACE)
    assert (child.trace_id, child.flags) == ("0af7651916cd43dd8448eb211c80319c", "01")
    assert child.span_id != "b7ad6b7169203331"
    assert TraceParent.parse(str(onward(None))) is not None
