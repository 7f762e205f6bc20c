"""Bad manifests, I1 to I12 of the matrix of bad inputs: one line each with its place, all at once, no traceback."""

import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.errors import ManifestError
from evfn.manifest import load

Mistakes = Callable[[str | bytes], list[str]]

HEAD = "version: 1\nname: climate\ntriggers:\n  heat-alert:\n"
LEAST = HEAD + "    topic: readings\n    function: climate:alert\n"


@pytest.fixture
def mistakes(tmp_path: Path) -> Mistakes:
    """Loads a manifest beside functions/climate.py and images.py, and returns what is wrong with it."""
    functions = tmp_path / "functions"
    functions.mkdir()
    for module in ("climate", "images"):
        (functions / f"{module}.py").touch()
    manifest = tmp_path / "triggers.yaml"

    def load_bad(text: str | bytes) -> list[str]:
        manifest.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ManifestError) as caught:
            load(manifest, functions_dir=functions, environ={"API_KEY": "secret"}, cores=2)
        assert str(caught.value) == "\n".join(caught.value.problems)
        return caught.value.problems

    return load_bad


def one(problems: list[str], start: str, words: str = "") -> str:
    """The only problem, which begins with a place and has these words in it."""
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"triggers.yaml:{start}: error: "), problems[0]
    assert words in problems[0], problems[0]
    return problems[0]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (LEAST + "\ttimeout: 5s\n", "7:1", "a tab; YAML indents with spaces only"),
        (HEAD + "    topic: a\n   function: b\n", "6:4", "indented differently"),
        (LEAST + "    start: 'new\n", "7:12", "a quote that is never closed"),
        (LEAST + "    emits: [a, b\n", "7:12", "a bracket that is never closed"),
        (LEAST + "    timeout\n", "7:5", "a line without `key: value`"),
        (LEAST + "    start: @new\n", "7:12", "a value that begins with @"),
        (LEAST + "    env:\n      A: x: y\n", "8:11", "a second `: `"),
        (LEAST + '    start: "\\new"\n      b: c\n', "8:7", "after the end of a value"),
        (LEAST + '    start: "\\q"\n', "7:12", "a backslash that means nothing"),
        ("{a: b}}", "1:7", "after the end of the document"),
    ],
)
def test_i1_malformed_yaml_is_told_with_the_line_and_a_mark(
    mistakes: Mistakes, text: str, place: str, words: str
) -> None:
    """Line and column, what is wrong in words, and the offending line itself with a mark below it."""
    problem = one(mistakes(text), place, words)
    _, line, mark = problem.rsplit("\n", 2)
    number, column = (int(part) for part in place.split(":"))
    assert line == f"    {text.splitlines()[number - 1]}"
    assert mark.index("^") == 4 + column - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"hot" == event.data.state', 'filter: >-\n      "hot" == event.data.state'),
        ("event.data.state == 'a: b'", "filter: >-\n      event.data.state == 'a: b'"),
        ("event.data.a ? true : false", "filter: >-\n      event.data.a ? true : false"),
        ("!event.data.cold", "filter: >-\n      !event.data.cold"),
        ("> 30", "filter: >-\n      > 30"),
        ("&& true", "filter: >-\n      && true"),
        ("[event.data.a]", "`filter: >-`"),
        ("event.data.state == 'a #b'", "YAML ends a value at ` #`"),
    ],
)
def test_i1_a_yaml_mistake_in_a_filter_says_what_to_write(mistakes: Mistakes, text: str, words: str) -> None:
    """CEL and YAML share many signs, so a filter that YAML cannot read is answered with the block that it can."""
    problems = mistakes(LEAST + f"    filter: {text}\n")
    assert len(problems) == 1
    assert problems[0].startswith("triggers.yaml:7:")
    assert words in problems[0]


@pytest.mark.parametrize("topic", ["*", "**", "*.raised", "[a, *.raised]", "*all"])
def test_i1_a_pattern_that_begins_with_a_star_has_to_be_quoted(mistakes: Mistakes, topic: str) -> None:
    """To YAML it is an alias; the message shows it in quotes."""
    name = topic.strip("[]").split(", ")[-1]
    problems = mistakes(HEAD + f"    topic: {topic}\n    function: climate\n")
    assert len(problems) == 1
    assert f"a leading * has to be quoted: '{name}'" in problems[0]
    assert problems[0].startswith("triggers.yaml:5:")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "the file is empty; a manifest is a mapping that begins with version: 1"),
        ("# only\n\n# comments\n", "1:1", "the file is empty"),
        ("---\n", "1:1", "the file is empty"),
        ("- version: 1\n", "1:1", "found a list at the top; a manifest is a mapping"),
        ("version:1\n", "1:1", "found the text 'version:1' at the top"),
        (LEAST + "---\n" + LEAST, "7:1", "a second document begins here"),
    ],
)
def test_i2_what_is_no_mapping_says_what_was_expected(mistakes: Mistakes, text: str, place: str, words: str) -> None:
    """Empty files, lists, texts and several documents."""
    one(mistakes(text), place, words)


@pytest.mark.parametrize(
    ("text", "place", "first"),
    [
        (LEAST + "    topic: other\n", "7:5", "line 5, column 5"),
        (LEAST + "  heat-alert: {topic: x, function: climate}\n", "7:3", "line 4, column 3"),
        (LEAST + "name: other\n", "7:1", "line 2, column 1"),
        (LEAST + "    env: {A: 1, 'A': 2}\n", "7:17", "line 7, column 11"),
    ],
)
def test_i3_a_duplicate_key_names_both_places(mistakes: Mistakes, text: str, place: str, first: str) -> None:
    """Keys and trigger names alike, quoted or not: YAML itself would silently take the last."""
    one(mistakes(text), place, f"stands here twice, first in {first}")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            LEAST + "    retries: {attempts: 3}\n",
            "7:5",
            "unknown key 'retries' (did you mean retry?); allowed: topic, function,",
        ),
        (LEAST + "    attempts: 3\n", "7:5", "unknown key 'attempts' (it belongs below retry:)"),
        (LEAST + "    settings: {}\n", "7:5", "unknown key 'settings' (settings: belongs to the top, without indent)"),
        (LEAST + "    workers: {count: 3}\n", "7:15", "unknown key 'count'"),
        (LEAST + "setting: {}\n", "7:1", "unknown key 'setting' (did you mean settings?)"),
        (LEAST + "defaults:\n  topic: x\n", "8:3", "topic belongs to each trigger, not to defaults"),
        (LEAST + "on: x\n", "7:1", "unknown key 'on'"),
    ],
)
def test_i4_an_unknown_key_is_told_with_the_nearest_and_the_allowed(
    mistakes: Mistakes, text: str, place: str, words: str
) -> None:
    """A key that belongs elsewhere is sent there."""
    one(mistakes(text), place, words)


def test_i4_a_missing_key_is_told_at_what_lacks_it(mistakes: Mistakes) -> None:
    """Every one of them, at the name of the trigger or at the top."""
    assert mistakes("triggers:\n  a:\n    filter: 'true'\n") == [
        "triggers.yaml:1:1: error: the key 'name' is missing",
        "triggers.yaml:1:1: error: the key 'version' is missing",
        "triggers.yaml:2:3: error: the key 'function' is missing in triggers.a",
        "triggers.yaml:2:3: error: the key 'topic' is missing in triggers.a",
    ]
    one(mistakes("version: 1\nname: x\ntriggers: {}\n"), "3:11", "there is no trigger")
    one(mistakes("version: 1\nname: x\ntriggers:\n"), "3:1", "expected a mapping of names to values, found nothing")


@pytest.mark.parametrize(
    "text", ["no", "on", "12:30:45", "017", "1e3", "1.10", "~", "0x10", "2026-11-01", "null", "1_000"]
)
def test_i5_a_value_is_the_text_as_written(tmp_path: Path, text: str) -> None:
    """YAML 1.1 makes booleans, seconds, octal numbers and dates of these."""
    (tmp_path / "climate.py").touch()
    manifest = tmp_path / "triggers.yaml"
    topic = text if text != "~" else "a"
    manifest.write_text(HEAD + f"    topic: {topic}\n    function: climate\n    env: {{on: {text}}}\n")
    if "_" in text:
        topic = "1_000"
    (trigger,) = load(manifest, functions_dir=tmp_path, environ={}, cores=1).project.triggers
    assert trigger.topics == (topic,)
    assert trigger.env == (("on", text),)


@pytest.mark.parametrize(
    ("text", "meant"), [("yes", "true"), ("no", "false"), ("True", "true"), ("1", "true"), ("off", "false")]
)
def test_i5_only_true_and_false_are_booleans(mistakes: Mistakes, text: str, meant: str) -> None:
    """The others are refused with the one that was meant."""
    one(
        mistakes(LEAST + f"    enabled: {text}\n"),
        "7:14",
        f"{text!r} is neither true nor false (did you mean {meant}?)",
    )


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            LEAST + "    env: !!python/object/apply:os.system [id]\n",
            "7:10",
            "tags (!!python/object/apply:os.system) are not",
        ),
        (LEAST + "    timeout: !!str 5s\n", "7:14", "tags (!!str) are not allowed"),
        (LEAST + "    retry: &shared {attempts: 3}\n", "7:12", "anchors (&name) are not allowed"),
        (LEAST + "    retry: *shared\n", "7:12", "aliases (*name) are not allowed"),
        (LEAST + "    <<: {timeout: 5s}\n", "7:5", "merge keys (<<) are not allowed; `defaults:`"),
    ],
)
def test_i6_tags_anchors_aliases_and_merge_keys_are_refused(
    mistakes: Mistakes, text: str, place: str, words: str
) -> None:
    """Told once, at their place, and not a second time as a wrong value."""
    one(mistakes(text), place, words)


def test_i6_an_alias_bomb_and_a_self_reference_are_refused(mistakes: Mistakes) -> None:
    """Nothing is ever expanded."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    problems = mistakes(bomb)
    assert "anchors (&name) are not allowed" in "\n".join(problems)
    assert "anchors (&name) are not allowed" in "\n".join(mistakes("a: &a [*a]\n"))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: " + "[" * 1000, "1:23", "nested more than 20 levels deep"),
        ("a: " + "{a: " * 100_000, "1:80", "nested more than 20 levels deep"),
        ("\n".join(" " * depth + "a:" for depth in range(1000)), "21:21", "nested more than 20 levels deep"),
        ("- " * 100_000, "1:41", "nested more than 20 levels deep"),
        ("# " + "x" * 5_000_000, "1:1", "the file has more than 1048576 bytes; a manifest has at most 1 MiB"),
    ],
)
def test_i6_depth_and_size_are_refused_at_once(mistakes: Mistakes, text: str, place: str, words: str) -> None:
    """In less than 100 ms, without RecursionError, with flat memory."""
    one(mistakes(text), place, words)
    started = time.process_time()
    mistakes(text)
    assert time.process_time() - started < 0.1
    tracemalloc.start()
    try:
        mistakes(text)
        assert tracemalloc.get_traced_memory()[1] < 15_000_000
    finally:
        tracemalloc.stop()


def test_i6_a_host_of_mistakes_is_told_in_part(mistakes: Mistakes) -> None:
    """The first hundred are told and the rest counted."""
    problems = mistakes(LEAST + "".join(f"key{number}: 1\n" for number in range(3_000)))
    assert len(problems) == 101
    assert problems[-1] == "triggers.yaml: and 2900 more"
    assert problems[0].startswith("triggers.yaml:7:1: ")


@pytest.mark.parametrize(
    "encode", [lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.replace("\n", "\r\n").encode()]
)
def test_i7_a_byte_order_mark_and_crlf_are_accepted(mistakes: Mistakes, encode: Callable[[str], bytes]) -> None:
    """And places are the same as without them."""
    one(mistakes(encode(LEAST + "    timeout: 5\n    start: new\n")), "7:14", "did you mean 5s?")
    one(mistakes(encode(LEAST + "    filter: >-\n      true &&\n      true and true\n")), "9:12", "write &&")


@pytest.mark.parametrize(
    ("raw", "place", "words"),
    [
        (LEAST.encode("utf-16"), "1:1", "the file is UTF-16 (byte 0xFF at offset 0)"),
        (LEAST.encode("utf-16-be"), "1:1", "a NUL byte at offset 0"),
        (LEAST.encode() + b"# gr\xf6\xdfe\n", "7:5", f"byte 0xF6 at offset {len(LEAST) + 4} is not UTF-8"),
        ("# ö\n".encode() + b"a: \x00\n", "2:4", "a NUL byte at offset 8"),
        (b"\xef\xbb\xbfa: \x1b[2J\n", "1:4", "the control character U+001B at offset 6"),
        (LEAST.encode() + "    timeout:\u00a05s\n".encode(), "7:5", "non-breaking space (U+00A0)"),
        (LEAST.encode() + "    start: new\u00a0\n".encode(), "7:15", f"U+00A0) at byte offset {len(LEAST) + 14}"),
        (LEAST.encode() + "\u00a0   timeout: 5s\n".encode(), "7:1", "non-breaking space (U+00A0)"),
    ],
)
def test_i7_other_encodings_and_odd_characters_are_told_with_the_byte(
    mistakes: Mistakes, raw: bytes, place: str, words: str
) -> None:
    """UTF-16, Latin-1, NUL, escape sequences and spaces that are none."""
    problems = mistakes(raw)
    assert problems[0].startswith(f"triggers.yaml:{place}: error: "), problems
    assert words in problems[0], problems


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5 minuts", "'5 minuts' is no duration (did you mean 5m?)"),
        ("-1s", "'-1s' is no duration; write such as"),
        ("0", "'0' is no duration (did you mean 0s?)"),
        ("0s", "'0s' is out of range; write 1ms to 7d"),
        ("1e400", "'1e400' is no duration"),
        ("nan", "'nan' is no duration"),
        ("9999999999d", "'9999999999d' is out of range; write 1ms to 7d"),
        ('"5"', "'5' is no duration (did you mean 5s?)"),
        ("5", "'5' is no duration (did you mean 5s?)"),
        ("true", "'true' is no duration"),
        ("[5s]", "expected duration, 1ms to 7d, found a list"),
        ("{s: 5}", "expected duration, 1ms to 7d, found a mapping"),
        ("", "'' is no duration"),
    ],
)
def test_i8_an_invalid_duration_is_told_with_the_forms_and_the_range(mistakes: Mistakes, text: str, words: str) -> None:
    """A number alone is never a duration, quoted or not."""
    one(mistakes(LEAST + f"    timeout: {text}\n"), "7:14" if text else "7:5", words)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("retry: {attempts: 0}", "7:23", "0 is out of range; write 1 to 1000"),
        ("retry: {attempts: -1}", "7:23", "-1 is out of range; write 1 to 1000"),
        ("retry: {attempts: 1000000000}", "7:23", "1000000000 is out of range"),
        ("retry: {attempts: 3.0}", "7:23", "'3.0' is no whole number; write 1 to 1000, in digits only"),
        ("retry: {attempts: ٣}", "7:23", "is no whole number"),
        ("retry: {max_delay: 500ms}", "7:24", "initial_delay (1s) is longer than max_delay (500ms)"),
        ("retry: {initial_delay: 1h, max_delay: 1m}", "7:28", "initial_delay (1h) is longer than max_delay (1m)"),
        ("retry: {backoff: expo}", "7:22", "'expo' is not one of exponential, linear, constant"),
        ("retry: {jitter: ful}", "7:21", "'ful' is not one of full, none (did you mean full?)"),
        ("retry: {give_up_on: [ValueError, os.path/x]}", "7:38", "is no class"),
        ("workers: {concurrency: 0}", "7:28", "0 is out of range; write 1 to 1000"),
        ("workers: {min: 3, max: 2}", "7:20", "workers.min (3) is more than workers.max (2)"),
        ("workers: {max: 0}", "7:20", "0 is out of range; write 1 to 1000"),
        ("workers: {memory: 512}", "7:23", "'512' is no size (did you mean 512MiB?)"),
        ("workers: {memory: 1MiB}", "7:23", "'1MiB' is out of range; write 16MiB to 1024GiB"),
        ("isolation: jobs", "7:16", "'jobs' is not one of process, job (did you mean job?)"),
        ("isolation: thread", "7:16", "'thread' is not one of process"),
        ("start: yesterday", "7:12", "'yesterday' is no start; write new, earliest, a time"),
        ("start: latest", "7:12", "did you mean new?"),
        ("start: 2026-11-01T10:00:00", "7:12", "does not say of which time zone it is; write 2026-11-01T10:00:00Z"),
        ("start: 2026-02-30", "7:12", "is no time: day is out of range"),
        ("start: 1763881200000", "7:12", "did you mean 1763881200000-0?"),
        ("start: 99999999999999999999-0", "7:12", "below 2**64"),
        ("emits: alerts.*", "7:12", "'alerts.*' is a pattern; here the name of one topic is needed"),
        ("emits: [ok, evfn:x]", "7:17", "begins with evfn:"),
        ("env: {1A: x}", "7:11", "'1A' is no name of an environment variable"),
        ("env: {EVFN_LEASE: x}", "7:11", "names that begin with EVFN_ are evfn's own"),
        ("env: {A: [x]}", "7:14", "expected text, found a list; quote it if it is text"),
        ("env: {A: '${NOPE}'}", "7:14", "the environment variable NOPE is not set; ${NOPE:-…} gives a default"),
        ("env: {A: '${API_KEYS}'}", "7:14", "API_KEYS is not set (did you mean API_KEY?)"),
        ("env: {A: '${NOPE:?get one at x}'}", "7:14", "the environment variable NOPE is not set: get one at x"),
        ("env: {A: $HOME}", "7:14", "write ${HOME} for the variable, or $$HOME for the text itself"),
        ("env: {A: '5$'}", "7:14", "write $$ for a dollar"),
        ("retry:", "7:5", "expected a mapping with any of attempts, backoff,"),
        ("filter: ''", "7:14", "filter: the filter is empty"),
        ("filter: event.data.a =< 3", "7:26", "write <="),
        ("filter: 'event.data.a == ''x'' and true'", "7:36", "write &&"),
    ],
)
def test_i9_values_out_of_range_are_told_with_the_rule(mistakes: Mistakes, text: str, place: str, words: str) -> None:
    """Every setting of a trigger has a form and a range, and the message names both."""
    one(mistakes(LEAST + f"    {text}\n"), place, words)


def test_i9_the_lease_and_other_settings_have_ranges_too(mistakes: Mistakes) -> None:
    """Outside of triggers, with names of topics and of the project."""
    problems = mistakes(
        "version: 2\nname: Climate Data\nsettings: {lease: 100ms, key_prefix: '{x}'}\n"
        "topics:\n  readings.*: {retention: 7}\n  a: {data: xml, max_events: 0}\n" + LEAST.split("climate\n", 1)[1]
    )
    assert [problem.split(" error: ")[0] for problem in problems] == [
        f"triggers.yaml:{place}:" for place in ("1:10", "2:7", "3:19", "3:38", "5:3", "5:27", "6:13", "6:30")
    ]
    assert "did you mean climate-data?" in problems[1]


def test_i9_a_mistake_in_defaults_is_told_once_and_there(mistakes: Mistakes) -> None:
    """Not again for every trigger that has it from there; but a trigger that breaks a rule by its own key is told."""
    text = "defaults:\n  retry: {initial_delay: 10m}\n"
    one(mistakes(LEAST + text), "8:26", "initial_delay (10m) is longer than max_delay (5m)")
    text = "    retry: {initial_delay: 2m}\ndefaults:\n  retry: {max_delay: 1m}\n"
    one(mistakes(LEAST + text), "7:28", "initial_delay (2m) is longer than max_delay (1m)")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("climat:alert", "functions/climat.py not found (did you mean climate?)"),
        ("weather", "functions/weather.py not found (has: climate, images)"),
        ("climate.alert", "functions/climate/alert.py not found (did you mean climate:alert?)"),
        ("climate.py:alert", "did you mean climate:alert?"),
        ("functions/climate.py", "did you mean climate?"),
        ("functions.climate:alert", "did you mean climate:alert?"),
        ("climate:alert()", "did you mean climate:alert?"),
    ],
)
def test_i10_an_unknown_module_is_told_with_those_there_are(mistakes: Mistakes, reference: str, words: str) -> None:
    """The file is looked for, never imported."""
    one(mistakes(HEAD + f"    topic: a\n    function: {reference}\n"), "6:15", words)


def test_i11_the_users_code_is_not_imported(tmp_path: Path) -> None:
    """A module that could not even be compiled is none of the manifest's business."""
    (tmp_path / "climate.py").write_text("raise SystemExit('imported') (\n")
    manifest = tmp_path / "triggers.yaml"
    manifest.write_text(LEAST)
    assert load(manifest, functions_dir=tmp_path, environ={}, cores=1).project.name == "climate"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("../evil:run", "is a path"),
        ("/etc/x:run", "is a path"),
        ("..evil:run", "is a path"),
        ("os:system", "functions/os.py not found"),
        ("builtins:eval", "functions/builtins.py not found"),
        ("climate:c.__globals__", "is not a name"),
        ("climate:__import__", "names that begin with __ are not allowed"),
        ("__init__:run", "names that begin with __ are not allowed"),
        ("climate:", "a name is missing"),
        (":run", "a name is missing"),
        ("climate:class", "'class' is not a name"),
        ("climate:größe", "is not a name"),
        ("climate:a b", "is not a name"),
        ("linked:run", "functions/linked.py leads out of the functions folder"),
        ("outside.evil:run", "functions/outside/evil.py leads out of the functions folder"),
    ],
)
def test_i12_a_reference_never_leaves_the_functions_folder(
    mistakes: Mistakes, tmp_path: Path, reference: str, words: str
) -> None:
    """No paths, no attributes of attributes, no dunder names, no links to elsewhere."""
    (tmp_path / "evil.py").touch()
    (tmp_path / "functions" / "linked.py").symlink_to(tmp_path / "evil.py")
    (tmp_path / "functions" / "outside").symlink_to(tmp_path)
    one(mistakes(HEAD + f"    topic: a\n    function: '{reference}'\n"), "6:15", words)


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(mistakes: Mistakes) -> None:
    """YAML's, the models' and the rules' between keys; one run, one list."""
    problems = mistakes(
        "version: 1\n"
        "nam: climate\n"
        "triggers:\n"
        "  heat-alert:\n"
        "    topic: [readings, *x, a b]\n"
        "    function: climat:alert\n"
        "    timeout: 30\n"
        "    timeout: 30s\n"
        "    workers: {min: 3, max: 2, idle: 1}\n"
        "  Cold Alert:\n"
        "    topic: readings\n"
        "    function: climate\n"
        "    filter: event.data.celsius < 0 and true\n"
    )
    assert [
        found.groups()
        for found in map(re.compile(r"triggers\.yaml:(\d+:\d+): error: (\S+ \S+)").match, problems)
        if found
    ] == [
        ("1:1", "the key"),
        ("2:1", "unknown key"),
        ("5:23", "aliases (*name)"),
        ("5:27", "'a b'"),
        ("6:15", "functions/climat.py not"),
        ("7:14", "'30' is"),
        ("8:5", "the key"),
        ("9:20", "workers.min (3)"),
        ("9:37", "'1' is"),
        ("10:3", "'Cold Alert'"),
        ("13:36", "filter: and"),
    ]


lines = st.tuples(
    st.sampled_from(["", "  ", "    ", "      ", "\t", "- "]),
    st.sampled_from(
        [
            "version: ",
            "name: ",
            "triggers: ",
            "a: ",
            "topic: ",
            "function: ",
            "filter: ",
            "retry: ",
            "env: ",
            "? ",
            "<<: ",
            "# ",
            "",
        ]
    ),
    st.one_of(
        st.text(alphabet="ab1: -[]{}'\"*&!|>%@`#,?.=\\~\u00a0\u2028é\n", max_size=10),
        st.sampled_from(
            ["1", "climate", "event.data.a > 3", "event.a or b", "[x, y]", "{a: b}", ">-", "5s", "$x", "---", "..."]
        ),
    ),
).map("".join)


@given(st.lists(lines, max_size=12).map("\n".join), st.sampled_from(["", LEAST, HEAD]))
def test_any_text_is_a_manifest_or_a_list_of_mistakes(text: str, head: str) -> None:
    """Nothing but ManifestError is raised, whatever is typed, and every problem has a place within the file."""
    with TemporaryDirectory() as folder:
        manifest = Path(folder, "triggers.yaml")
        manifest.write_text(head + text, newline="")
        Path(folder, "climate.py").touch()
        problems = []
        try:
            load(manifest, functions_dir=Path(folder), environ={}, cores=1)
        except ManifestError as error:
            problems = error.problems
    count = len(re.findall(r"\r\n|\r|\n", head + text)) + 1
    for problem in problems:
        place = re.match(r"triggers\.yaml:(\d+):(\d+): error: .", problem)
        assert place is not None, problem
        assert 1 <= int(place[1]) <= count
        assert int(place[2]) >= 1


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    """Missing, or a folder."""
    with pytest.raises(ManifestError, match="there is no such file; `evfn init` makes a project"):
        load(tmp_path / "triggers.yaml", functions_dir=tmp_path, environ={}, cores=1)
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        load(tmp_path, functions_dir=tmp_path, environ={}, cores=1)


def test_no_value_of_a_variable_is_ever_told(mistakes: Mistakes) -> None:
    """Messages name variables, never what they hold."""
    problems = mistakes(LEAST + "    env: {A: '${API_KEY}${NOPE}', B: '${API_KEY}', C: ['${API_KEY}']}\n    x: 1\n")
    assert len(problems) == 3
    assert not any("secret" in problem for problem in problems)
