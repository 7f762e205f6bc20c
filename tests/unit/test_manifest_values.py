"""Durations and sizes: read as they are told, told as they are read."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.manifest import duration, size

counts = st.integers(0, 999)


@given(st.integers(0, 10**14).map(lambda milliseconds: timedelta(milliseconds=milliseconds)))
def test_a_duration_told_is_read_as_the_same(value: timedelta) -> None:
    """Round trip, to the millisecond."""
    assert duration.parse(duration.render(value)) == value


@given(st.lists(st.tuples(counts, st.sampled_from(list(duration.UNITS))), min_size=1, unique_by=lambda part: part[1]))
def test_a_compound_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    """Any units, each once and the larger first, add up."""
    parts.sort(key=lambda part: list(duration.UNITS).index(part[1]))
    total = sum(count * duration.UNITS[unit] for count, unit in parts)
    assert duration.parse("".join(f"{count}{unit}" for count, unit in parts)) == timedelta(milliseconds=total)


@given(st.text(alphabet="0159wdhms -.+e", max_size=12))
def test_any_text_is_a_duration_or_refused_with_one_that_can_be_read(text: str) -> None:
    """What is suggested instead is always a duration itself."""
    try:
        duration.parse(text)
    except ValueError as error:
        meant = re.search(r"did you mean (.*?)\?", str(error))
        assert meant is None or duration.parse(meant[1]) >= timedelta()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30", "30s"),
        ("5 minuts", "5m"),
        ("5 minutes", "5m"),
        ("1.5h", "1h30m"),
        ("0.5s", "500ms"),
        ("1h 30m", "1h30m"),
        ("30m1h", "1h30m"),
        ("5M", "5m"),
        ("10 sec", "10s"),
        ("2 weeks", "14d"),
        ("0", "0s"),
    ],
)
def test_a_near_miss_is_answered_with_the_duration_that_was_meant(text: str, meant: str) -> None:
    """Numbers alone, words, fractions and spaces all have one plain meaning."""
    with pytest.raises(ValueError, match=re.escape(f"(did you mean {meant}?)")):
        duration.parse(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1e400", "nan", "true", "1y", "٣s", "5 parsecs", "9" * 30 + "d"])
def test_what_is_no_duration_is_refused_without_a_guess(text: str) -> None:
    """Where nothing is near, the forms are named and nothing is suggested."""
    with pytest.raises(ValueError, match=r"^'.*' is no duration; write such as"):
        duration.parse(text)


def test_a_duration_too_long_for_a_timedelta_is_the_longest() -> None:
    """Ranges are checked afterwards, and it is above all of them."""
    assert duration.parse("999999999999999w") == timedelta.max


@given(st.integers(1, 10**6), st.sampled_from(list(size.UNITS)))
def test_a_size_is_its_count_times_its_unit(count: int, unit: str) -> None:
    """Powers of 1000 and of 1024 are told apart, and what is rendered reads as the same."""
    value = size.parse(f"{count}{unit}")
    assert value == count * size.UNITS[unit]
    assert size.parse(size.render(value)) == value


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("512", "512MiB"),
        ("512mb", "512MB"),
        ("512M", "512MiB"),
        ("1.5GiB", "1536MiB"),
        ("2 GiB", "2GiB"),
        ("1Gi", "1GiB"),
    ],
)
def test_a_near_miss_is_answered_with_the_size_that_was_meant(text: str, meant: str) -> None:
    """A unit in other letters, a space or a fraction has one plain meaning."""
    with pytest.raises(ValueError, match=re.escape(f"(did you mean {meant}?)")):
        size.parse(text)


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "1TB", "1e3kB", "much"])
def test_what_is_no_size_is_refused_without_a_guess(text: str) -> None:
    """Where nothing is near, the units are named and nothing is suggested."""
    with pytest.raises(ValueError, match=r"^'.*' is no size; write a whole number with"):
        size.parse(text)
