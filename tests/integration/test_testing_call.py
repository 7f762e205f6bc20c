"""`evfn.testing.call`: a function called in the test's own process, with all that evfn does around it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import evfn
from evfn import Context, Event
from evfn.testing import Called, Project, call


@dataclass
class Reading:
    station: str
    celsius: float


def data_of(called: Called) -> list[tuple[str, Any]]:
    return [(event.topic, event.data) for event in called.emits]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    # The folder's name is a module's in this process from then on, so each test has another.
    folder = f"functions_{tmp_path.name.replace('-', '_')}"
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "climate.py").write_text(
        "import os\n"
        "def alert(event, context):\n"
        "    return {'unit': os.environ['UNIT'], 'attempts': context.attempts, 'trigger': context.trigger}\n"
        "def plain(data: bytes):\n"
        "    return len(data)\n"
    )
    (tmp_path / "triggers.yaml").write_text(
        "version: 1\n"
        "name: kit\n"
        "triggers:\n"
        "  heat-alert:\n"
        "    topic: [readings.temperature, 'spare.*']\n"
        "    function: climate:alert\n"
        "    filter: event.data.celsius > 30.0\n"
        "    emits: alerts.raised\n"
        "    retry: {attempts: 4}\n"
        "    env: {UNIT: C}\n"
        "  every: {topic: 'spare.*', function: 'climate:plain', emits: sizes}\n"
    )
    return Project(tmp_path, functions=folder)


def test_data_arrive_as_the_annotation_asks() -> None:
    """Converted as from a stream: a text that is a number fits one."""
    seen = []

    def store(reading: Reading) -> None:
        seen.append(reading)

    assert call(store, {"station": "north", "celsius": "31.5"}) == Called()
    assert seen == [Reading("north", 31.5)]


def test_data_that_do_not_fit_say_where() -> None:
    """As the dead letter would."""

    def store(reading: Reading) -> None: ...

    with pytest.raises(evfn.InvalidData, match=r"\$\.celsius"):
        call(store, {"station": "north", "celsius": "warm"})


def test_a_function_sees_the_event_and_its_context() -> None:
    """Completed as a producer and the dispatcher would."""
    seen: list[Any] = []

    def look(event: Event, context: Context) -> None:
        seen.extend([event.topic, event.type, event.subject, context.attempt, context.attempts, context.trigger])
        seen.append(0 < context.remaining().total_seconds() <= 5)
        assert event.id
        assert event.time

    call(look, Event({"n": 1}, subject="north"), topic="work", attempt=2, attempts=3, timeout=5, trigger="look")
    assert seen == ["work", "work", "north", 2, 3, "look", True]


def test_returned_yielded_and_emitted_values_become_events() -> None:
    """In their order, on the first of the emits where they name none."""

    def several(event: Event, context: Context) -> Iterator[object]:
        yield {"n": 1}
        context.emit("others", {"n": 2}, subject="x")
        yield Event({"n": 3}, topic="others")

    called = call(several, emits=("ones", "others"))
    assert data_of(called) == [("ones", {"n": 1}), ("others", {"n": 2}), ("others", {"n": 3})]
    assert called.emits[1].subject == "x"
    assert not called.dropped


def test_async_functions_are_run_to_their_end() -> None:
    """Coroutines and asynchronous generators, from a plain test and from one that runs on a loop itself."""

    async def one(event: Event) -> object:
        await asyncio.sleep(0)
        return event.data

    async def two(event: Event) -> AsyncIterator[int]:
        yield 1
        yield 2

    async def within() -> Called:
        return call(one, {"n": 1}, emits="out")  # a test that is a coroutine

    assert data_of(call(one, {"n": 1}, emits="out")) == [("out", {"n": 1})]
    assert data_of(call(two, emits="out")) == [("out", 1), ("out", 2)]
    assert data_of(asyncio.run(within())) == [("out", {"n": 1})]


def test_a_value_that_no_topic_takes_is_said_to_be_dropped() -> None:
    """Where there are no emits."""
    assert call(lambda event: 1) == Called(dropped=True)


def test_what_the_function_raises_comes_out_unchanged() -> None:
    """The very object, signals to evfn too."""
    error = KeyError("phone")

    def fails(event: Event) -> None:
        raise error

    def asks_again(event: Event) -> None:
        raise evfn.Retry(after=30)

    with pytest.raises(KeyError) as raised:
        call(fails)
    assert raised.value is error
    with pytest.raises(evfn.Retry):
        call(asks_again)


@pytest.mark.parametrize(
    ("value", "said"), [({"a": [1, {2}]}, r"\$\.a\[1\]"), (Event(1, topic="elsewhere"), "elsewhere")]
)
def test_what_cannot_be_stored_is_an_invalid_result(value: object, said: str) -> None:
    """It says where."""
    with pytest.raises(evfn.InvalidResult, match=said):
        call(lambda event: value, emits="out")


def test_a_trigger_brings_its_settings(project: Project) -> None:
    """Emits, attempts, name and environment, which is as before afterwards."""
    called = call("heat-alert", {"celsius": 31.5}, project=project)
    assert data_of(called) == [("alerts.raised", {"unit": "C", "attempts": 4, "trigger": "heat-alert"})]
    assert called.emits[0].source == "evfn/kit/heat-alert"
    assert "UNIT" not in os.environ


def test_a_filter_that_does_not_pass_keeps_the_function_from_running(project: Project) -> None:
    """It says why, be it false or an error."""
    false = call("heat-alert", {"celsius": 3}, project=project).skipped
    assert false == "event.data.celsius > 30.0 is false (event.data.celsius is 3)"
    error = call("heat-alert", {"fahrenheit": 90}, project=project).skipped
    assert error is not None
    assert error.startswith("filter error: ")


def test_a_function_is_named_as_in_the_manifest(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the project that is passed, else in the current folder's."""
    assert data_of(call("climate:plain", b"four", project=project, emits="sizes")) == [("sizes", 4)]
    monkeypatch.chdir(project.folder)
    with pytest.raises(evfn.ManifestError, match="the functions folder functions/ is not there"):
        call("climate:plain", b"four")


def test_slips_say_what_there_is(project: Project) -> None:
    """A name, a topic or an attempt that there is not."""
    with pytest.raises(evfn.UsageError, match=r"no trigger 'heat-alrt' \(did you mean heat-alert\?\)"):
        call("heat-alrt", project=project)
    with pytest.raises(evfn.UsageError, match="heat-alert does not listen on 'elsewhere'"):
        call("heat-alert", topic="elsewhere", project=project)
    with pytest.raises(evfn.UsageError, match="every listens on spare"):
        call("every", project=project)
    with pytest.raises(evfn.UsageError, match="attempt 3 is beyond"):
        call(print, attempt=3, attempts=2)
    with pytest.raises(evfn.LoadError, match="has no function 'alrt'"):
        call("climate:alrt", project=project)
