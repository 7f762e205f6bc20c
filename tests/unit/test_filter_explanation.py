"""Why a filter is false for an event: the part that is, and what was seen."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.filter import Filter, FilterError, FilterSyntaxError
from evfn.filter.explanation import conjuncts
from unit.test_filter import READING, Event, json_values, paths


def explained(source: str, event: Event) -> str:
    condition = Filter.compile(source)
    assert not condition.matches(event)
    return condition.explain(event)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("event.data.celsius > 40", "event.data.celsius > 40 is false (event.data.celsius is 31.5)"),
        (
            "event.data.count == 3 && event.data.celsius < 0",
            "event.data.celsius < 0 is false (event.data.celsius is 31.5)",
        ),
        (
            "event.data.celsius < 0 && event.data.count == 4",
            "event.data.celsius < 0 is false (event.data.celsius is 31.5)",
        ),
        ("event.data.count==4", "event.data.count==4 is false (event.data.count is 3)"),
        (
            "event.type == 'reading' // of a station\n  && event.data.station\n    == 'y'",
            "event.data.station == 'y' is false (event.data.station is \"x\")",
        ),
        (
            "event.data.station == 'a && b' && true",
            "event.data.station == 'a && b' is false (event.data.station is \"x\")",
        ),
        (
            "true && ((event.data.count == 3) && (event.data.station == 'y' && true))",
            "event.data.station == 'y' is false (event.data.station is \"x\")",
        ),
        (
            "(event.data.count > 9 || event.data.none == 1) && true",
            "event.data.count > 9 || event.data.none == 1 is false (event.data.count is 3, event.data.none is null)",
        ),
        (
            "event.data.count > 9 && event.data.count > 8 || event.data.count > 7",
            "event.data.count > 9 && event.data.count > 8 || event.data.count > 7 is false (event.data.count is 3)",
        ),
        (
            "event.data.count > 9 ? true : event.data.count > 8 && true",
            "event.data.count > 9 ? true : event.data.count > 8 && true is false (event.data.count is 3)",
        ),
        ("true && 1 > 2", "1 > 2 is false"),
        ("has(event.data.dew_point)", "has(event.data.dew_point) is false (event.data.dew_point is missing)"),
        ("!has(event.data.none)", "!has(event.data.none) is false (event.data.none is null)"),
        (
            "has(event.data.count) && event.data.count > 9",
            "event.data.count > 9 is false (event.data.count is 3)",
        ),
        (
            "event.data.dew_point > 3 || event.data.count > 9 || has(event.data.count) && event.data.count > 7",
            None,
        ),
        ("event.data.dew_point > 3 && event.data.count > 9", "event.data.count > 9 is false (event.data.count is 3)"),
        ("event.data['a b'] == 2", "event.data['a b'] == 2 is false (event.data[\"a b\"] is 1)"),
        (
            "event.data.tags.exists(tag, tag == 'x' && tag != 'y')",
            "event.data.tags.exists(tag, tag == 'x' && tag != 'y') is false (event.data.tags is [\"a\", \"b\"])",
        ),
        (
            "event.time < timestamp('2026-01-01T00:00:00Z')",
            "event.time < timestamp('2026-01-01T00:00:00Z') is false (event.time is \"2026-11-23 00:00:00+00:00\")",
        ),
        ("'dew_point' in event.data", "'dew_point' in event.data is false (event.data is {\"celsius\": 31.5, "),
    ],
)
def test_the_first_part_that_is_false_is_named_with_the_values_seen(source: str, said: str | None) -> None:
    """A person sees at once which condition it was and what the event holds instead; never a part that holds."""
    event = Event(READING, time=datetime(2026, 11, 23, tzinfo=UTC))
    if said is None:
        with pytest.raises(FilterError):
            Filter.compile(source).matches(event)
    elif said.endswith(" "):
        assert explained(source, event).startswith(said)
    else:
        assert explained(source, event) == said


def test_what_is_long_is_cut() -> None:
    """One line stays one line, however large the event or the filter."""
    names = [f"f{number}" for number in range(9)]
    data: dict[str, object] = dict.fromkeys(names, "x" * 1000)
    said = explained(" || ".join(f"event.data.{name} == 'y'" for name in names), Event(data))
    assert len(said) < 600
    assert "… is false (" in said
    assert said.endswith(", and 5 more)")
    assert explained("event.data.raw == b'x'", Event({"raw": b"1234"})).endswith("(event.data.raw is 4 bytes)")


@pytest.mark.parametrize("depth", [200, 50_000])
def test_data_too_deep_to_show_do_not_spoil_it(depth: int) -> None:
    """Such data pass a filter that only asks whether they are there."""
    deep: object = 1
    for _ in range(depth):
        deep = [deep]
    assert explained("!has(event.data.deep)", Event({"deep": deep})).startswith("!has(event.data.deep) is false (")


atoms = st.one_of(
    paths.map(lambda path: f"{path} == 1"),
    paths.filter(lambda path: path != "event.data").map(lambda path: f"has({path})"),
    paths.map(lambda path: f"{path}.exists(a, a == 1 && true)"),
    st.sampled_from(["'&&' == ')'", "event.type == r'(' // && (\n", "[1 > 2 && true, false][0]", "false", "true"]),
)


def choice(condition: str, then: str, other: str) -> str:
    """CEL takes a choice between ? and : only in brackets."""
    return f"{condition} ? ({then}) : {other}" if "?" in then else f"{condition} ? {then} : {other}"


sources = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"!({text})"),
        st.tuples(inner, inner, inner).map(lambda three: choice(*three)),
    ),
    max_leaves=5,
)


@given(sources, json_values)
def test_whatever_the_filter_a_part_of_it_is_told_that_is_false(source: str, data: object) -> None:
    """It never fails for an event that a filter does not let through; the part told is false by itself."""
    event = Event(data)
    condition = Filter.compile(source)
    try:
        matches = condition.matches(event)
    except FilterError:
        return
    if matches:
        return
    said = condition.explain(event)
    assert "\n" not in said
    told = []
    for part in conjuncts(source):
        try:
            if not Filter.compile(part).matches(event):
                told.append(part)
        except (FilterError, FilterSyntaxError):
            continue
    assert told
    assert said.startswith((f"{told[0]} is false", told[0][:159]))
