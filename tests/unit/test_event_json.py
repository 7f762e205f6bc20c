"""Events in the CloudEvents JSON format, and values as strict JSON."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from evfn.errors import InvalidData
from evfn.event import Event, dump, from_json, to_json


@dataclass
class Point:
    x: int
    tags: object = None


class Model(BaseModel):
    at: date


class Struct(msgspec.Struct):
    n: int


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> Any:
    value: dict[str, Any] = {"a": [0]}
    value["a"].append(value)
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1}, "$ is a set"),
        ({"a": [1, 2, 3, {4}]}, "$.a[3] is a set"),
        ([b"x"], "$[0] is bytes"),
        ({"at": datetime(2026, 1, 1, tzinfo=UTC)}, "$.at is a datetime"),
        ({"price": Decimal("1.0")}, "$.price is a Decimal"),
        ((1, object()), "$[1] is an object"),
        (float("nan"), "$ is nan"),
        ([float("-inf")], "$[0] is -inf"),
        ({"s": "\ud800"}, "$.s holds a lone surrogate"),
        ({"\ud800": 1}, "$ has a key with a lone surrogate"),
        ({(1, 2): 3}, "$ has a key that is a tuple"),
        (cycle(), "$.a[1] contains itself"),
        (nested(5000), "nested too deeply"),
        (Point(1, {2}), "$.tags is a set"),
        ((n for n in [1]), "$ is a generator"),
        (Point, "$ is a type"),
        ([10**5000], "not JSON: "),
    ],
)
def test_what_is_not_json_is_named_with_its_place(value: object, reason: str) -> None:
    """A value that has no JSON form is refused, never written as something similar."""
    with pytest.raises(InvalidData) as raised:
        dump(value)
    assert reason in str(raised.value)


def test_objects_that_stand_for_json_objects_are_written_so() -> None:
    """Dataclasses, pydantic models and structs have an obvious form."""
    assert dump([Point(1), Model(at=date(2026, 1, 1)), Struct(2)]) == (
        b'[{"x":1,"tags":null},{"at":"2026-01-01"},{"n":2}]'
    )


def test_a_large_value_is_written() -> None:
    """Size alone is no reason to refuse JSON; limits are the emit's."""
    assert len(dump("x" * (8 << 20))) == (8 << 20) + 2


def test_event_as_json_has_what_cloudevents_ask() -> None:
    """The four required attributes always, the optional ones where given, the data as they are."""
    time = datetime(2026, 11, 23, 10, 0, 0, 5000, tzinfo=UTC)
    event = Event({"a": 1}, "kind", "t", "north", "7", "shop", "1-0", time, "application/json", None, {"x": "1"})
    assert to_json(event) == {
        "specversion": "1.0", "id": "7", "source": "shop", "type": "kind", "subject": "north",
        "time": "2026-11-23T10:00:00.005Z", "datacontenttype": "application/json", "x": "1", "data": {"a": 1},
    }  # fmt: skip


def test_bytes_travel_as_base64() -> None:
    """Binary data survive JSON without loss, alone and as a field of a plain entry."""
    assert to_json(Event(b"\xff"))["data_base64"] == "/w=="
    assert from_json(to_json(Event(b"\xff", "kind", datacontenttype="image/png"))).data == b"\xff"
    assert to_json(Event({"a": "1", "b": b"\xff"}))["data"] == {"a": "1", "b": {"base64": "/w=="}}


@given(
    data=st.none() | st.booleans() | st.text() | st.binary() | st.lists(st.integers(-9, 9)),
    subject=st.none() | st.text(),
    extensions=st.dictionaries(st.sampled_from(["a", "b1"]), st.text()),
)
def test_json_format_round_trip(data: object, subject: str | None, extensions: dict[str, str]) -> None:
    """What is shown as JSON can be read again."""
    event = Event(data, "kind", subject=subject, id="1", source="s", extensions=extensions)
    assert from_json(msgspec.json.encode(to_json(event))) == event


def test_numbers_and_booleans_become_canonical_text_in_extensions() -> None:
    """CloudEvents allow them in JSON, in a stream all attributes are text."""
    event = from_json({"specversion": "1.0", "count": 3, "on": True, "none": None})
    assert event.extensions == {"count": "3", "on": "true"}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"[]", "an event in JSON is an object with specversion, not a list"),
        (b"{", "not JSON"),
        ({}, "specversion is None"),
        ({"specversion": "0.3"}, "specversion is '0.3'"),
        ({"specversion": "1.0", "id": 5}, "id is 5, not text"),
        ({"specversion": "1.0", "subject": {}}, "subject is an object, not text"),
        ({"specversion": "1.0", "time": "soon"}, "time is 'soon', not an RFC 3339 time"),
        ({"specversion": "1.0", "data_base64": "%"}, "data_base64 is not base64"),
        ({"specversion": "1.0", "data_base64": []}, "data_base64 is a list, not text"),
        ({"specversion": "1.0", "data_base64": "", "data": 1}, "not both"),
        ({"specversion": "1.0", "ext": [1]}, "ext is a list, not text"),
    ],
)
def test_a_wrong_member_is_named(document: Any, reason: str) -> None:
    """Reading an event from a file says which member is wrong and what is expected."""
    with pytest.raises(InvalidData) as raised:
        from_json(document)
    assert reason in str(raised.value)


def test_json_in_base64_is_data_like_any_other() -> None:
    """Some senders put everything into data_base64."""
    document = {"specversion": "1.0", "datacontenttype": "application/json", "data_base64": "eyJhIjoxfQ=="}
    assert from_json(document).data == {"a": 1}
