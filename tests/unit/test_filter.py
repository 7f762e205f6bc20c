"""Filters: what they decide, what they look at, and what they say about slips and about events they fail on."""

from datetime import UTC, datetime

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.errors import InvalidData
from evfn.filter import Filter, FilterError, FilterSyntaxError
from evfn.filter.condition import MAX_LENGTH


class Event:
    """An event as a filter sees it; it counts how often its data is decoded."""

    def __init__(self, data: object = None, **attributes: object) -> None:
        self.attributes: dict[str, object] = {"id": "1", "source": "test", "type": "reading", "topic": "readings"}
        self.attributes.update(attributes)
        self.decoded = 0
        self._data = data

    def attribute(self, name: str) -> object | None:
        """The attribute, or KeyError."""
        return self.attributes[name]

    def data(self) -> object:
        """The data; an exception given as data is raised."""
        self.decoded += 1
        if isinstance(self._data, Exception):
            raise self._data
        return self._data


READING = {
    "celsius": 31.5,
    "count": 3,
    "station": "x",
    "tags": ["a", "b"],
    "place": {"lat": 1.5},
    "a b": 1,
    "none": None,
}


def outcome(source: str, event: Event) -> object:
    """What the filter gives: a boolean or the text of its error."""
    try:
        return Filter.compile(source).matches(event)
    except FilterError as error:
        return str(error)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("event.data.celsius > 30", True),
        ("event.data.count > 2.5 && event.data.celsius > 31", True),
        ("event.data.count == 3.0", True),
        ("event.type == 'reading' && event.topic.startsWith('read')", True),
        ("event['type'] == \"reading\"", True),
        ("event.data['celsius'] > 30", True),
        ('event.data["a b"]in [1]', True),
        ("event.data . place // where\n . lat == 1.5", True),
        ("event.data.tags.exists(tag, tag == 'b')", True),
        ("event.data.tags.all(_m0, size(_m0) == event.data.count - 2)", True),
        ("event.data.tags[1] == 'b'", True),
        ("'celsius' in event.data", True),
        ("event.data.size() == 7", True),
        ("event.data.none == null", True),
        ("'event.data.celsius' == \"event.data.celsius\"", True),
        ("event.data.station == r'x' ? event.data.count == 3 : false", True),
        ("has(event.data.celsius) && has(event.data.none) && has(event.data)", True),
        ("has(event.data.dew_point) || has(event.subject)", False),
        ("has(event.data.dew_point) && event.data.dew_point > 3", False),
        ("event.data.dew_point > 3 || event.data.celsius > 30", True),
        ("event.time > timestamp('2026-01-01T00:00:00Z')", True),
        ("event.data.station.matches('^[x-z]$')", True),
        ("true", True),
    ],
)
def test_what_a_filter_decides(source: str, expected: bool) -> None:
    """The language as its users know it: numbers compare across types, && and || forgive what does not matter."""
    event = Event(READING, time=datetime(2026, 11, 23, tzinfo=UTC))
    assert outcome(source, event) is expected


@pytest.mark.parametrize(
    ("source", "data", "message"),
    [
        ("event.data.dew_point > 3", {"station": "x", "celsius": 3}, "no field 'dew_point' (has: celsius, station)"),
        ("event.data.place.lon > 3", READING, "no field 'lon' in event.data.place (has: lat)"),
        ("has(event.data.a.b)", {}, "no field 'a' (has: none)"),
        ("event.data.celsius > 3", "hot", "no field 'celsius': event.data is text, it has no fields"),
        ("event.data.celsius > 3", None, "no field 'celsius': event.data is null, it has no fields"),
        ("event.subject == 'x'", {}, "no attribute 'subject' (has: id, source, topic, type)"),
        ("event.data.tags.exists(tag, tag.x == 1)", {"tags": [{"y": 1}]}, "no field 'x'"),
        ("event.data.tags[7] == 'a'", READING, "index out of bounds: 7"),
        ("event.data.count / 0 == 1", READING, "division by zero in CEL expression"),
        ("event.data.celsius", READING, "the result is neither true nor false but 31.5"),
        ("event.data.celsius > 3", InvalidData("no JSON"), "the data cannot be read: no JSON"),
    ],
)
def test_an_event_that_does_not_fit_is_an_error_that_names_why(source: str, data: object, message: str) -> None:
    """Promise 7: for any event evfn can say why a trigger did not take it."""
    assert outcome(source, Event(data)) == message


@pytest.mark.parametrize(
    ("source", "data", "words"),
    [
        ("event.data.celsius > 3", {"celsius": "31"}, "event.data.celsius is text (double(…)"),
        ("event.data.count * 1.8 > 3.0", {"count": 3}, "event.data.count is a whole number (arithmetic takes"),
        ("event.data.at.getHours() > 3", {"at": "12:00"}, "getHours() cannot be called so: event.data.at is text"),
        ("!event.data.tags", {"tags": []}, "event.data.tags is a list"),
    ],
)
def test_types_that_do_not_fit_are_named(source: str, data: object, words: str) -> None:
    """CEL's own message speaks of overloads; ours tells which member has which type, and what mends it."""
    assert words in str(outcome(source, Event(data)))


def test_an_attribute_that_is_none_is_not_there_to_has() -> None:
    """Events give attributes they do not have as None: `has` says no, a comparison sees null."""
    event = Event(subject=None, time=datetime(2026, 11, 23, tzinfo=UTC))
    assert outcome("has(event.subject) || event.subject == 'x'", event) is False
    assert outcome("event.subject == null && has(event.time)", event) is True
    assert outcome("event.other == 1", event) == "no attribute 'other' (has: id, source, time, topic, type)"


def test_an_attribute_that_cannot_be_read_is_a_filter_error() -> None:
    """A `time` that is no time must not end the dispatcher, nor what looks for the reason of another error."""

    class Broken(Event):
        def attribute(self, name: str) -> object | None:
            if name == "time":
                raise InvalidData("'noon' is no time")
            return super().attribute(name)

    assert outcome("event.time > timestamp('2026-01-01T00:00:00Z')", Broken()) == (
        "the attribute 'time' cannot be read: 'noon' is no time"
    )
    assert outcome("event.other == 1", Broken()) == "no attribute 'other' (has: id, source, topic, type)"


def test_many_fields_are_not_all_listed() -> None:
    """A message stays readable when the event has a thousand fields."""
    message = str(outcome("event.data.x > 1", Event({f"f{number:04}": 1 for number in range(1000)})))
    assert message.endswith("f0011, 988 more)")


def test_only_the_members_named_are_looked_at() -> None:
    """A filter over attributes never decodes the data; one over data decodes it once."""
    condition = Filter.compile("event.data.celsius > 30 && event.data.place.lat > 1.0 || event.type == 'x'")
    assert condition.members == {("data", "celsius"), ("data", "place", "lat"), ("type",)}
    event = Event(READING)
    assert condition.matches(event)
    assert event.decoded == 1
    event = Event(READING)
    assert not Filter.compile("event.type == 'other'").matches(event)
    assert event.decoded == 0


@pytest.mark.parametrize(
    ("source", "line", "column", "words"),
    [
        ("event.data.a > 3 and event.data.b", 0, 17, "and is not CEL; write &&"),
        ("event.data.a > 3\n  or true", 1, 2, "write ||"),
        ("not event.data.a", 0, 0, "write !"),
        ("event.data.a == True", 0, 16, "write true"),
        ("event.data.a == None", 0, 16, "write null"),
        ("event.data.a => 3", 0, 13, "write >="),
        ("event.data.a = 3", 0, 13, "write =="),
        ("event.data.a === 3", 0, 13, "write =="),
        ("event.data.a <> 3", 0, 13, "write !="),
        ("event.data.a & true", 0, 13, "write &&"),
        ("event.data.a | true", 0, 13, "write ||"),
        ("event.data.a > 3 # hot", 0, 17, "begins with //"),
        ("event.data.a == “x”", 0, 16, "typographic quote"),
        ("event.data.a\u00a0> 3", 0, 12, "non-breaking space"),
        ("event.data.a == 'x", 0, 16, "quote is never closed"),
        ("${HOT} > 3", 0, 0, "in env values only"),
        ("data.celsius.max > 3", 0, 0, "write event.data.celsius.max:"),
        ("type == 'x'", 0, 0, "write event.type"),
        ("celsius > 3", 0, 0, "event.data.celsius"),
        ("event.data.a == hot", 0, 16, "text stands in quotes: 'hot'"),
        ("evnt.data.a > 3", 0, 0, "did you mean event?"),
        ("event.typ == 'x'", 0, 0, "did you mean event.type?"),
        ("event.tpye == 'x'", 0, 0, "did you mean event.type?"),
        ("event.dataContentType == 'x'", 0, 0, "did you mean datacontenttype?"),
        ("event.my_field == 'x'", 0, 0, "event.data.my_field"),
        ("event == null", 0, 0, "event alone is no value"),
        ("event.data.list.exists(event, true)", 0, 23, "another name"),
        ("len(event.data.a) > 3", 0, 0, "write size()"),
        ("event.data.a.startswith('x')", 0, 13, "did you mean startsWith()?"),
        ("event.data.a.matches('(')", 0, 21, "unclosed group"),
        ("event.time > timestamp('2026')", 0, 23, "is no time like"),
        ("event.data.a > duration('5 minutes')", 0, 24, "is no duration like"),
        ("event.data.a >", 0, 14, "ends too soon"),
        ("event.data.a > 3)", 0, 16, ") is not expected here"),
        ("event.data.a ? true", 0, 0, "condition ? value : other"),
        ("event.data.in == 3", 0, 11, '["in"]'),
        ("has(event.data['a'])", 0, 14, "has(event.data.name)"),
        ("(" * 200 + "true" + ")" * 200, 0, 96, "nested too deep"),
        ("99999999999999999999 > 1", 0, 0, "invalid int literal"),
        ("1 / 0 == 1", 0, 0, "fails on every event: division by zero"),
        ("", 0, 0, "empty"),
        (" \n", 0, 0, "empty"),
        ("true" + " " * MAX_LENGTH, 0, 0, "characters"),
    ],
)
def test_usual_slips_are_told_with_their_place_and_what_to_write(
    source: str, line: int, column: int, words: str
) -> None:
    """People know other languages; the message names CEL's word for what they meant."""
    with pytest.raises(FilterSyntaxError) as caught:
        Filter.compile(source)
    assert words in caught.value.message
    assert (caught.value.offset_line, caught.value.offset_column) == (line, column)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("1 + 2", "arithmetic"),
        ("(event.data.a + 1)", "arithmetic"),
        ("'text'", "text"),
        ("3", "a number"),
        ("null", "null"),
        ("event.type", "text"),
        ("size(event.data.a)", "a number"),
        ("event.data.a.map(x, x > 1)", "a list"),
        ("event.time.getHours()", "a number"),
        ("[event.data.a]", "a list"),
        ("{'a': event.data.a}", "an object"),
    ],
)
def test_a_filter_that_cannot_be_true_or_false_is_refused(source: str, kind: str) -> None:
    """Otherwise every event would be a filter error, found only when the first one comes."""
    with pytest.raises(FilterSyntaxError, match=f"true or false, but this gives .*{kind}"):
        Filter.compile(source)


@pytest.mark.parametrize(
    "source", ["event.data.hot", "-event.data.a > 3", "event.data.a.contains('x')", "(event.data.a) in [1]"]
)
def test_a_filter_that_may_be_boolean_is_taken(source: str) -> None:
    """What a field holds is known only when an event is there."""
    assert Filter.compile(source).warnings == ()


def test_an_attribute_that_only_an_extension_can_be_is_a_warning() -> None:
    """`event.celsius` is nearly always meant as `event.data.celsius`, but an extension may have that name."""
    (warning,) = Filter.compile("true || event.celsius > 3").warnings
    assert "event.data.celsius" in warning.message
    assert warning.offset_column == 8
    assert Filter.compile("event['celsius'] > 3").warnings == ()
    assert Filter.compile("event.traceparent == ''").warnings == ()
    assert Filter.compile("event['typ'] == 'x'").matches(Event(typ="x"))


@pytest.mark.parametrize("member", ["event.data.deep", "event.data"])
def test_data_nested_too_deep_is_an_error_and_no_crash(member: str) -> None:
    """The package converts recursively: some thousand levels would overflow the stack and end the dispatcher."""
    deep: object = 1
    for _ in range(50_000):
        deep = [deep]
    assert "more than 100 levels" in str(outcome(f"{member} == [1]", Event({"deep": deep})))
    assert outcome("event.data.flat == 1", Event({"deep": deep, "flat": 1})) is True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 1.5]) | st.sampled_from(["", "x", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
paths = st.lists(st.sampled_from("abc"), max_size=3).map(
    lambda names: "event.data" + "".join(f".{name}" for name in names)
)
atoms = st.one_of(
    paths.map(lambda path: f"{path} == 1"),
    paths.map(lambda path: f"{path} > 0.5"),
    paths.map(lambda path: f'{path}["a"] == 1'),
    paths.filter(lambda path: path != "event.data").map(lambda path: f"has({path})"),
    paths.map(lambda path: f"{path}.exists(a, a == event.data.b)"),
    paths.map(lambda path: f"size({path}) > 1"),
    paths.map(lambda path: f"'event.data.a' in {path}"),
)
sources = st.recursive(
    atoms,
    lambda inner: st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({' '.join(t)})"),
    max_leaves=4,
)


@given(sources, json_values)
def test_binding_members_alone_decides_as_the_whole_event_would(source: str, data: object) -> None:
    """The rewriting to flat variables changes the speed and nothing else: neither results nor errors."""
    try:
        expected: object = cel.compile(source).execute({"event": {"data": data}})
    except Exception:
        expected = "error"
    try:
        found: object = Filter.compile(source).matches(Event(data))
    except FilterError:
        found = "error"
    assert found == expected


@given(st.text(alphabet="event.data []()'\"|&=!<>+?:,1\\\n#éxr", max_size=40))
def test_any_text_is_a_filter_or_a_filter_syntax_error(source: str) -> None:
    """Whatever is typed, nothing else is raised, and the place told lies within the text or right behind it."""
    lines = source.split("\n")
    place = (0, 0)
    try:
        Filter.compile(source)
    except FilterSyntaxError as error:
        place = (error.offset_line, error.offset_column)
    assert 0 <= place[0] < len(lines)
    assert 0 <= place[1] <= len(lines[place[0]]) + 1
