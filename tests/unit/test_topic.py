"""Topic names and patterns: what they match, against a reference that takes its time, and what they refuse."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evfn.topic import Pattern, check_name, is_pattern, scan_glob

segments = st.sampled_from(["a", "b", "ab", "a-b", "x:y"])
topics = st.lists(segments, min_size=1, max_size=6).map(".".join)
patterns = st.lists(st.one_of(segments, st.sampled_from(["*", "**"])), min_size=1, max_size=6).map(".".join)


def reference(pattern: list[str], topic: list[str]) -> bool:
    """Match by trying every way there is."""
    if not pattern:
        return not topic
    if pattern[0] == "**":
        return any(reference(pattern[1:], topic[taken:]) for taken in range(len(topic) + 1))
    return bool(topic) and pattern[0] in ("*", topic[0]) and reference(pattern[1:], topic[1:])


def glob_matches(glob: str, key: str) -> bool:
    """Redis's glob, as far as `scan_glob` uses it: stars and escapes."""
    parts = re.findall(r"\\.|.", glob)
    return (
        re.fullmatch("".join(".*" if part == "*" else re.escape(part.removeprefix("\\")) for part in parts), key)
        is not None
    )


@given(patterns, topics)
@example("**.a.**", "a")
@example("a.**.b", "a.b")
def test_a_pattern_matches_what_a_naive_reference_matches(pattern: str, topic: str) -> None:
    """The greedy match finds the same as trying every way to spread the segments."""
    assert Pattern.compile(pattern).matches(topic) == reference(pattern.split("."), topic.split("."))


@given(patterns, topics, st.sampled_from(["", "app.", "a*b["]))
@example("a.**.**", "a", "")
@example("*.*.**.**", "a.b", "")
def test_the_glob_for_scan_finds_every_topic_that_matches(pattern: str, topic: str, prefix: str) -> None:
    """SCAN may return too much, never too little, whatever the key prefix has in it."""
    if Pattern.compile(pattern).matches(topic):
        assert glob_matches(scan_glob(pattern, prefix=prefix), prefix + topic)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("readings.*", ["readings.a"], ["readings", "readings.a.b", "other.a", "readingsXa"]),
        ("readings.**", ["readings", "readings.a", "readings.a.b"], ["reading", "other.readings"]),
        ("**.raised", ["raised", "alerts.raised", "a.b.raised"], ["alerts.raised.x", "araised"]),
        ("*", ["readings"], ["readings.a"]),
        ("readings.a", ["readings.a"], ["readings.A", "readings.a.b"]),
    ],
)
def test_wildcards_are_whole_segments(pattern: str, matching: list[str], other: list[str]) -> None:
    """`*` is one segment, `**` any number of them, and a plain name only itself."""
    compiled = Pattern.compile(pattern)
    assert [topic for topic in matching + other if compiled.matches(topic)] == matching


@pytest.mark.parametrize("key", ["evfn:{a}:p/t:inbox", "evfn:instances", "rq:queue:x", "with space", "", "ü"])
def test_keys_that_are_no_topics_match_no_pattern(key: str) -> None:
    """Evfn's own streams are found by the same SCAN and must never be taken for topics."""
    assert not Pattern.compile("**").matches(key)


def test_a_pattern_with_many_wildcards_matches_in_no_time() -> None:
    """A regular expression would need longer than the universe for this; the test's own timeout would strike."""
    pattern = Pattern.compile(".".join(["**.a"] * 24))
    assert not pattern.matches(".".join(["a"] * 63 + ["b"]))


def test_the_glob_for_scan_never_has_many_stars() -> None:
    """Servers before CVE-2022-36021 was fixed take exponential time for them."""
    assert scan_glob("*.a.*.b.*.c.*.d.*") == "*.a.*.b.*"


@pytest.mark.parametrize("name", ["a", "readings.temperature", "A-1:b/c_d", "0", "a" * 128, "evfn", "rqueue:x"])
def test_names_that_are_allowed(name: str) -> None:
    """Letters, digits and . _ : / - make a name."""
    check_name(name)
    assert not is_pattern(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("a" * 129, "129 characters"),
        (".a", "begins with '.'"),
        ("-a", "begins with '-'"),
        ("a b", "' '"),
        ("größe", "'ö'"),
        ("a\n", "'\\n'"),
        ("evfn:x", "begins with evfn:"),
        ("rq:x", "begins with rq:"),
        ("a.*", "is a pattern"),
    ],
)
def test_names_that_are_refused_say_why(name: str, reason: str) -> None:
    """The message names the character, the prefix or the length at fault."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_name(name)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("readings.te*", "so write readings.*,"),
        ("a.b**.c", "so write a.**.c,"),
        ("***", "so write **,"),
        ("evfn:x.*", "begins with evfn:"),
        ("a b.*", "' '"),
        ("*" * 129, "129 characters"),
    ],
)
def test_patterns_that_are_refused_say_what_to_write(pattern: str, reason: str) -> None:
    """A wildcard inside a segment is answered with the pattern that comes nearest."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        Pattern.compile(pattern)
