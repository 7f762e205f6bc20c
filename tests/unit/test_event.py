"""Events out of stream entries and into them: whatever bytes a producer wrote."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.errors import InvalidData
from evfn.event import Entry, Event, Subject, decode, encode
from evfn.trigger import DataMode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
CLOUD = [b"specversion", b"1.0", b"id", b"7", b"source", b"shop", b"type", b"order.placed"]


def data_of(body: bytes, mode: DataMode = DataMode.AUTO) -> Any:
    return decode("orders", "1-0", [b"data", body], mode).data


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[1, 2]", [1, 2]),
        (b"007", "007"),
        (b"123", "123"),
        (b"true", "true"),
        (b'"quoted"', '"quoted"'),
        (b"", ""),
        (b"{oops", "{oops"),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b'[1e999]', "[1e999]"),
        (b"[" * 100_000, "[" * 100_000),
        (b'\xef\xbb\xbf{"a": 1}', '\ufeff{"a": 1}'),
        ("größer".encode(), "größer"),
        (b"\xff\xfe", b"\xff\xfe"),
        (b'{"a": "\xff"}', b'{"a": "\xff"}'),
    ],
)  # fmt: skip
def test_auto_takes_json_only_where_it_begins_and_parses_as_such(body: bytes, expected: object) -> None:
    """A body that does not say what it is is an object or a list, else text, else bytes, and never an error."""
    assert data_of(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON: it is empty"),
        (b"  ", "not JSON: it is empty"),
        (b'{"a":\n  nul}', "not JSON: invalid character (line 2 column "),
        (b'{"a": 1', "it ends too early"),
        (b"NaN", "line 1 column 1"),
        (b"[Infinity]", "line 1 column 2"),
        (b'{"a": [1, 1e999]}', "number out of range - at"),
        (b"1" * 5000, "integer value out of range"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"\\ud800"', "surrogate"),
        (b'"\\ud800abc"', "surrogate"),
        (b'{"a": "\xff"}', "no UTF-8 at byte 7"),
        (b"{} x", "not JSON: trailing characters (line 1 column "),
    ],
)
def test_declared_json_that_does_not_parse_names_the_place(body: bytes, reason: str) -> None:
    """Where a topic's rule says JSON, anything else is invalid data with a reason of its own."""
    with pytest.raises(InvalidData) as raised:
        data_of(body, DataMode.JSON)
    assert reason in str(raised.value)


def test_json_rule_reads_scalars_and_skips_a_byte_order_mark() -> None:
    """With the rule `json` every JSON value is data, not only objects and lists."""
    assert data_of(b"7.5", DataMode.JSON) == 7.5
    assert data_of(b"true", DataMode.JSON) is True
    assert data_of(b'\xef\xbb\xbf{"a": 1, "a": 2}', DataMode.JSON) == {"a": 2}


def test_text_and_bytes_rules_leave_json_alone() -> None:
    """With the rules `text` and `bytes` a body is exactly that."""
    assert data_of(b'{"a": 1}', DataMode.TEXT) == '{"a": 1}'
    assert data_of(b'{"a": 1}', DataMode.BYTES) == b'{"a": 1}'
    with pytest.raises(InvalidData, match="no UTF-8 at byte 1"):
        data_of(b"a\xff", DataMode.TEXT)


def test_plain_entry_is_named_by_its_place() -> None:
    """An entry without specversion has its stream's id, the topic as type and the stream as source."""
    event = decode("orders", "1763-4", [b"data", b"x"], DataMode.AUTO)
    assert (event.id, event.type, event.source) == ("1763-4", "orders", "stream/orders")
    assert (event.topic, event.stream_id, event.time, event.subject) == ("orders", "1763-4", None, None)


def test_plain_entry_of_several_fields_is_their_mapping() -> None:
    """Any fields other than a single `data` are the data, each text if it is UTF-8 and else bytes."""
    fields = [b"celsius", b"31.5", b"raw", b"\xff", b"data", b'{"a": 1}', b"", b"", b"\xfe", b"odd name"]
    expected = {"celsius": "31.5", "raw": b"\xff", "data": '{"a": 1}', "": "", "\\xfe": "odd name"}
    assert decode("t", "1-0", fields, DataMode.AUTO).data == expected
    assert decode("t", "1-0", fields, DataMode.JSON).data == expected
    assert decode("t", "1-0", [b"payload", b"{}"], DataMode.AUTO).data == {"payload": "{}"}
    assert decode("t", "1-0", [], DataMode.AUTO).data == {}


def test_ten_thousand_fields_are_no_problem() -> None:
    """Strange producers may write as many fields as they like."""
    fields = [part for n in range(10_000) for part in (b"f%d" % n, b"%d" % n)]
    assert decode("t", "1-0", fields, DataMode.AUTO).data["f9999"] == "9999"


def test_cloud_event_attributes_and_extensions() -> None:
    """With specversion, fields are attributes; lower-case names nobody defined are extensions, others are left out."""
    more = [
        b"subject", b"north", b"time", b"2026-11-23T10:00:00Z", b"datacontenttype", b"application/json",
        b"dataschema", b"https://x/y", b"traceparent", b"00-ab", b"Odd", b"no", b"with-dash", b"no", b"data", b'"hi"',
    ]  # fmt: skip
    event = decode("orders", "1-0", CLOUD + more, DataMode.AUTO)
    assert (event.id, event.source, event.type, event.subject) == ("7", "shop", "order.placed", "north")
    assert event.time == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert (event.datacontenttype, event.dataschema) == ("application/json", "https://x/y")
    assert event.extensions == {"traceparent": "00-ab"}
    assert event.data == "hi"


def test_specversion_need_not_come_first() -> None:
    """The order of fields is the producer's business."""
    event = decode("orders", "1-0", [b"data", b"{}", *CLOUD], DataMode.AUTO)
    assert (event.id, event.data) == ("7", {})


def test_cloud_event_with_holes_is_filled_in() -> None:
    """Missing or empty id, source and type, a time that is none and a missing body never stop an event."""
    event = decode("orders", "1-0", [b"specversion", b"0.3", b"type", b"", b"time", b"yesterday"], DataMode.JSON)
    assert (event.id, event.source, event.type) == ("1-0", "stream/orders", "orders")
    assert (event.time, event.data, event.extensions) == (None, None, {})


def test_attributes_that_are_not_utf8_are_shown_escaped() -> None:
    """A bad byte in an attribute is visible, not fatal."""
    event = decode("t", "1-0", [*CLOUD, b"subject", b"\xff", b"ext", b"a\xfe"], DataMode.AUTO)
    assert (event.subject, event.extensions) == ("\\xff", {"ext": "a\\xfe"})


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b"1", 1),
        ("application/vnd.x+json; charset=utf-8", b"[1]", [1]),
        ("TEXT/JSON", b"true", True),
        ("text/plain", b"{}", "{}"),
        ("text/plain; charset=latin-1", b"\xe4", "ä"),
        ("application/octet-stream", b"{}", b"{}"),
        ("image/png", b"\x89", b"\x89"),
    ],
)
def test_content_type_decides_over_the_rule(content_type: str, body: bytes, expected: object) -> None:
    """A CloudEvent that says what it holds is read so, whatever the topic's rule."""
    fields = [*CLOUD, b"datacontenttype", content_type.encode(), b"data", body]
    for mode in DataMode:
        assert decode("t", "1-0", fields, mode).data == expected


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("application/json", b"{", "too early"),
        ("application/json", b"", "empty"),
        ("text/plain", b"\xff", "no UTF-8 at byte 0"),
        ("text/plain; charset=klingon", b"x", "unknown charset"),
        ("text/plain; charset=zip", b"x", "unknown charset"),
    ],
)
def test_a_body_that_belies_its_content_type_is_invalid(content_type: str, body: bytes, reason: str) -> None:
    """What a CloudEvent declares has to be true."""
    with pytest.raises(InvalidData, match=reason):
        decode("t", "1-0", [*CLOUD, b"datacontenttype", content_type.encode(), b"data", body], DataMode.AUTO)


def test_data_base64_in_an_entry_is_read() -> None:
    """A producer that flattens the JSON format may leave its binary data in base64."""
    assert decode("t", "1-0", [*CLOUD, b"data_base64", b"/w=="], DataMode.AUTO).data == b"\xff"
    with pytest.raises(InvalidData, match="base64"):
        decode("t", "1-0", [*CLOUD, b"data_base64", b"%%"], DataMode.AUTO)


def test_entry_gives_bodies_as_stored_and_as_text() -> None:
    """`bytes` is the body as stored, `str` its text; an emitted text comes back without its quotes."""
    declared = [*CLOUD, b"datacontenttype", b"application/json", b"data"]
    assert Entry("t", "1-0", [b"data", b' {"a":1} ']).as_bytes() == b' {"a":1} '
    assert Entry("t", "1-0", [b"data", b'"a"']).as_text(DataMode.AUTO) == '"a"'
    assert Entry("t", "1-0", [*declared, b'"a\\n"']).as_text(DataMode.AUTO) == "a\n"
    assert Entry("t", "1-0", [*declared, b'{"a":1}']).as_text(DataMode.AUTO) == '{"a":1}'
    assert Entry("t", "1-0", CLOUD).as_bytes() == b""
    assert Entry("t", "1-0", [b"a", b"1", b"b", b"\xff"]).as_bytes() == b'{"a":"1","b":"\\\\xff"}'
    with pytest.raises(InvalidData, match="not text"):
        Entry("t", "1-0", [b"data", b"\xff"]).as_text(DataMode.AUTO)


def test_subscript_says_where_the_data_are() -> None:
    """The commonest slip is answered with what to write."""
    event = Event({"x": 1})
    with pytest.raises(TypeError, match=r"write event\.data\['x'\]"):
        event["x"]
    with pytest.raises(TypeError, match=r"write 'x' in event\.data"):
        assert "x" in event
    with pytest.raises(AttributeError, match=r"event has no attribute 'celsius'.*event\.data"):
        event.celsius  # noqa: B018


def test_an_event_is_immutable_and_copies_with_changes() -> None:
    """Events are facts; `replace` makes another."""
    event = Event({"x": 1}, subject="north")
    with pytest.raises(AttributeError):
        event.subject = "south"  # type: ignore[misc]  # that it is refused is the point
    assert event.replace(subject="south") == Event({"x": 1}, subject="south")
    with pytest.raises(TypeError):
        event.replace(colour="red")


@given(
    data=JSON,
    subject=st.none() | st.text(st.characters(codec="utf-8"), min_size=1),
    time=st.none() | st.datetimes(timezones=st.just(UTC)),
    extensions=st.dictionaries(st.sampled_from(["traceparent", "a1", "x_y"]), st.text(min_size=1)),
)
def test_what_is_encoded_comes_back(
    data: object, subject: str | None, time: datetime | None, extensions: dict[str, str]
) -> None:
    """An event survives the way through a stream whole."""
    event = Event(data, "kind", "t", subject, "id", "source", "1-0", time, "application/json", None, extensions)
    assert decode("t", "1-0", encode(event), DataMode.AUTO) == event


@given(fields=st.lists(st.binary(max_size=12) | st.sampled_from([*CLOUD, b"data", b"data_base64", b"{}", b"time"])))
def test_no_fields_whatever_crash_the_reader(fields: list[bytes]) -> None:
    """Any bytes as any fields are data or InvalidData, in every mode."""
    for mode in DataMode:
        subject = Subject("t", "1-0", fields, mode)
        for read in (lambda mode=mode: decode("t", "1-0", fields, mode), subject.data):
            with contextlib.suppress(InvalidData):
                read()
        assert isinstance(subject.preview(), str)
        assert subject.attribute("type")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event({1, 2}), r"\$ is a set"),
        (Event({"a": [1, 2, 3, {4}]}), r"\$\.a\[3\] is a set"),
        (Event(float("nan")), r"\$ is nan"),
        (Event(b"x"), "bytes need a datacontenttype"),
        (Event({}, datacontenttype="text/plain"), "must be bytes or text, not dict"),
        (Event("ä", datacontenttype="text/plain; charset=ascii"), "cannot be written as"),
        (Event({}, extensions={"Big": "x"}), "'Big' is no name for an extension"),
        (Event({}, extensions={"data": "x"}), "'data' is no name for an extension"),
        (Event({}, subject=[1]), "the attribute subject must be text"),  # type: ignore[arg-type]  # a user's slip
    ],
)
def test_encode_refuses_what_it_cannot_store(event: Event, reason: str) -> None:
    """What cannot be stored as it is declared is refused with the place."""
    with pytest.raises(InvalidData, match=reason):
        encode(event)


def test_text_and_bytes_are_stored_raw_under_their_content_type() -> None:
    """Only JSON is written as JSON."""
    assert encode(Event("hi", datacontenttype="text/plain"))[-2:] == [b"data", b"hi"]
    assert encode(Event(b"\xff", datacontenttype="image/png"))[-2:] == [b"data", b"\xff"]
    assert encode(Event("hi"))[-2:] == [b"data", b'"hi"']


def test_subject_answers_what_a_filter_asks() -> None:
    """Attributes by name, extensions by theirs, None for what is not given, KeyError for what is not known."""
    fields = [*CLOUD, b"time", b"2026-11-23T10:00:00+01:00", b"region", b"eu", b"data", b'{"n": 1}']
    subject = Subject("orders", "1-0", fields, DataMode.AUTO)
    assert [subject.attribute(name) for name in ("id", "source", "type", "topic", "stream_id")] == [
        "7", "shop", "order.placed", "orders", "1-0",
    ]  # fmt: skip
    assert subject.attribute("time") == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert subject.attribute("subject") is None
    assert subject.attribute("region") == "eu"
    assert subject.attribute("extensions") == {"region": "eu"}
    assert subject.data() == {"n": 1}
    assert subject.data() is subject.data()
    assert subject.preview() == '{"n": 1}'
    with pytest.raises(KeyError):
        subject.attribute("celsius")


def test_subject_of_a_plain_entry_has_the_defaults() -> None:
    """Filters see the same id, type and source as functions do."""
    subject = Subject("orders", "1-0", [b"data", b"x" * 5000], DataMode.AUTO)
    assert [subject.attribute(name) for name in ("id", "source", "type")] == ["1-0", "stream/orders", "orders"]
    assert len(subject.preview()) == 2000
