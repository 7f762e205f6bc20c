"""One attempt in process: what comes of what a function returns, yields, emits and raises."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import evfn
from evfn import Context, Event
from evfn.event import decode
from evfn.functions.function import NOTHING, Function
from evfn.functions.invocation import FirstInvocation
from evfn.functions.results import MAX_EMITS, Origin
from evfn.outcome import Failed, Outcome, Rejected, Succeeded, SucceededFormed
from evfn.trigger import DataMode
from evfn.workers.protocol import Invocation

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def run(
    function: Callable[..., Any], *fields: bytes, emits: tuple[str, ...] = ("first", "second"), **options: Any
) -> Outcome:
    invocation = Invocation(0, "in", "5-0", 2, "inv", list(fields) or [b"data", b"{}"])
    with contextlib.closing(Function(function, Origin("shop", "alert", emits, lambda: NOW), **options)) as loaded:
        return loaded.run(invocation)


def emitted(outcome: Outcome) -> list[Event]:
    """The emits as whoever gets them will see them."""
    assert isinstance(outcome, Succeeded), outcome
    return [decode(emit.topic, "9-0", list(emit.fields), DataMode.AUTO) for emit in outcome.emits]


def returning(value: object) -> Callable[..., Any]:
    return lambda event: value


def cloud(**attributes: str) -> list[bytes]:
    """The fields of a CloudEvent with these attributes."""
    fields = [b"specversion", b"1.0", b"id", b"1", b"source", b"s", b"type", b"in"]
    for name, value in attributes.items():
        fields += (name.encode(), value.encode())
    return [*fields, b"datacontenttype", b"application/json", b"data", b'{"a":1}']


@pytest.mark.parametrize("entry", [[b"data", b"{}"], cloud(), cloud(traceparent=TRACE, evfnhops="3")])
def test_a_single_event_is_the_same_whichever_way_it_is_made(entry: list[bytes]) -> None:
    """A bare value that a first delivery returns takes a shorter way than one that is yielded, or is beside a context,
    or comes from a later attempt."""

    def yielding(event: Event) -> Iterator[object]:
        yield {"n": 1}

    ways: list[Callable[..., object]] = [
        returning({"n": 1}),
        yielding,
        lambda event, context: {"n": 1},
        lambda event, context: context.emit("first", {"n": 1}),
    ]
    stored = []
    for way in ways:
        function = Function(way, Origin("shop", "alert", ("first", "second"), lambda: NOW))
        first = FirstInvocation("in", "5-0", entry, "alert")
        for invocation in (first, Invocation(0, "in", "5-0", 2, first.invocation_id, entry)):
            outcome = function.run(invocation)
            assert isinstance(outcome, Succeeded)
            assert isinstance(outcome, SucceededFormed) is (invocation is first)
            (emit,) = outcome.emits
            assert (emit.topic, outcome.unemitted) == ("first", False)
            stored.append([b"(its own)" if value.startswith(b"00-") else value for value in emit.fields])
    assert stored == [stored[0]] * 8
    assert stored[0][2:4] == [b"id", b"alert:in:5-0/1"]


def test_an_emits_time_is_when_it_was_made() -> None:
    """In UTC, to the millisecond."""
    made = []
    for _ in range(3):
        before = datetime.now(UTC)
        outcome = Function(returning(1), Origin("shop", "alert", ("first",))).run(
            FirstInvocation("in", "5-0", [b"data", b"{}"], "alert")
        )
        (event,) = emitted(outcome)
        assert event.time is not None
        assert before - timedelta(milliseconds=1) < event.time <= datetime.now(UTC)
        assert isinstance(outcome, Succeeded)
        made.append(outcome.emits[0].fields[9].decode())
        while datetime.now(UTC) < event.time + timedelta(milliseconds=2):
            pass
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each) for each in made)
    assert len(set(made)) == 3


def test_emits_of_a_first_delivery_are_told_apart_and_followed() -> None:
    """Each has an id of its own, and the trace of an event that somebody follows goes on."""
    function = Function(lambda event: iter_of(3), Origin("shop", "alert", ("first",)))
    outcome = function.run(FirstInvocation("in", "5-0", [b"data", b"{}"], "alert"))
    assert [event.id for event in emitted(outcome)] == [f"alert:in:5-0/{number}" for number in (1, 2, 3)]
    function = Function(returning({"n": 1}), Origin("shop", "alert", ("first",)))
    outcome = function.run(FirstInvocation("in", "5-0", [b"evfntrace", b"t", b"data", b"{}"], "alert"))
    assert isinstance(outcome, Succeeded)
    assert outcome.emits[0].fields[:4] == (b"evfntrace", b"t", b"evfncause", b"alert in 5-0")


def test_nothing_returned_is_nothing_to_report() -> None:
    """None is no event, and costs no object."""
    assert run(returning(None)) is NOTHING
    assert run(lambda event, context: None) is NOTHING


def test_a_returned_value_is_an_event_on_the_first_topic() -> None:
    """With everything filled in that the function did not say."""
    (event,) = emitted(run(returning({"a": 1})))
    assert (event.data, event.topic, event.type, event.id) == ({"a": 1}, "first", "first", "inv/1")
    assert (event.source, event.time, event.datacontenttype) == ("evfn/shop/alert", NOW, "application/json")
    assert event.extensions["evfnhops"] == "1"
    assert event.extensions["traceparent"].startswith("00-")


@pytest.mark.parametrize("value", [[1, 2], (1, 2), "text", "", 0, False, {}, [], 1.5])
def test_any_json_value_is_one_event(value: object) -> None:
    """A list is one event, and so is everything that is not None."""
    (event,) = emitted(run(returning(value)))
    assert event.data == (list(value) if isinstance(value, tuple) else value)


def test_an_event_sets_attributes_and_topic() -> None:
    """What the function sets is kept, the rest is filled in."""
    time = datetime(2020, 1, 1, tzinfo=UTC)
    made = Event(
        b"\x89", topic="second", type="image", subject="s", id="own", source="cam", time=time,
        datacontenttype="image/png", dataschema="x:y", extensions={"region": "eu", "evfnhops": "0"},
    )  # fmt: skip
    (event,) = emitted(run(returning(made)))
    assert (event.data, event.topic, event.type, event.subject) == (b"\x89", "second", "image", "s")
    assert (event.id, event.source, event.time, event.dataschema) == ("own", "cam", time, "x:y")
    assert (event.extensions["region"], event.extensions["evfnhops"]) == ("eu", "1")


def test_a_received_event_passed_on_becomes_a_new_one() -> None:
    """Its data, type and subject stay; its id, source and place were the old one's."""
    fields = cloud(subject="north", region="eu", traceparent=TRACE)
    (event,) = emitted(run(lambda event: event, *fields))
    assert (event.data, event.subject, event.topic, event.type) == ({"a": 1}, "north", "first", "first")
    assert (event.id, event.source, event.extensions["region"]) == ("inv/1", "evfn/shop/alert", "eu")
    assert event.extensions["traceparent"] != TRACE
    (event,) = emitted(run(lambda event: event.replace(topic="second", type="new"), *fields))
    assert (event.topic, event.type) == ("second", "new")


def test_generators_are_drained_in_order() -> None:
    """Each yielded value is an event, None is none, and a returned value is the last."""

    def three(event: Event) -> Generator[object, None, object]:
        yield {"n": 1}
        yield None
        yield Event({"n": 2}, topic="second")
        return {"n": 3}

    events = emitted(run(three))
    assert [event.data["n"] for event in events] == [1, 2, 3]
    assert [event.id for event in events] == ["inv/1", "inv/2", "inv/3"]


def test_what_the_call_returns_is_what_counts() -> None:
    """A coroutine is awaited, an asynchronous generator drained, whatever plain function hides it."""

    async def coroutine() -> object:
        await asyncio.sleep(0)
        return {"n": 1}

    async def stream() -> AsyncIterator[object]:
        yield {"n": 1}
        await asyncio.sleep(0)
        yield {"n": 2}

    async def wrapped() -> object:
        return stream()

    assert [event.data for event in emitted(run(lambda event: coroutine()))] == [{"n": 1}]
    assert len(emitted(run(lambda event: stream()))) == 2
    assert len(emitted(run(lambda event: wrapped()))) == 2


def test_the_context_emits_before_what_is_returned() -> None:
    """In the order in which they were made."""

    def both(event: Event, context: Context) -> object:
        context.emit("second", {"n": 1}, subject="s", type="t")
        context.emit("first", [2])
        context.emit("second", Event({"n": 3}, subject="own"))
        return {"n": 4}

    events = emitted(run(both))
    assert [event.topic for event in events] == ["second", "first", "second", "first"]
    assert [(events[0].subject, events[0].type), events[2].subject] == [("s", "t"), "own"]
    assert events[3].id == "inv/4"


def test_without_emits_a_value_is_counted_as_unemitted() -> None:
    """The attempt succeeds all the same."""
    assert run(returning({"a": 1}), emits=()) == Succeeded((), unemitted=True)
    assert run(returning(Event({"a": 1})), emits=()) == Succeeded((), unemitted=True)
    assert run(returning({1, 2}), emits=()) == Succeeded((), unemitted=True)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (returning({"a": [1, 2, 3, {4}]}), "return value not JSON: $.a[3] is a set"),
        (returning(b"x"), "return value not JSON: $ is bytes"),
        (returning(float("nan")), "return value not JSON: $ is nan"),
        (returning(datetime(2026, 1, 1, tzinfo=UTC)), "return value not JSON: $ is a datetime"),
        (lambda event: (value for value in ({"ok": 1}, {2})), "yielded value 2 not JSON: $ is a set"),
        (returning(Event({1})), "return value not JSON: $ is a set"),
        (lambda event, context: context.emit("first", {1}), "data emitted to first not JSON: $ is a set"),
        (lambda event, context: context.emit("third", 1), "emit to 'third': it may emit to first, second"),
        (returning(Event(1, topic="third")), "emit to 'third': it may emit to first, second"),
        (returning(lambda: None), "return value not JSON: $ is a function"),
    ],
)
def test_what_cannot_be_stored_is_a_permanent_error_with_its_place(function: Callable[..., Any], reason: str) -> None:
    """No retry would help, and the message says what to change."""
    outcome = run(function)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "rejected"
    assert outcome.failure.type == "evfn.InvalidResult"
    assert outcome.failure.message.startswith(reason)


def test_a_topic_without_any_emits_says_so() -> None:
    """The message names the setting."""
    outcome = run(lambda event, context: context.emit("x", 1), emits=())
    assert isinstance(outcome, Rejected)
    assert outcome.failure.message == "emit to 'x': it has no emits (emits of alert in triggers.yaml)"


def test_f22_an_endless_generator_is_too_large() -> None:
    """The number of emits of one attempt is bounded while they are made."""

    def endless(event: Event) -> Iterator[int]:
        while True:
            yield 1

    outcome = run(endless)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.failure.message) == ("too_large", "more than 10,000 emits in one attempt")
    assert len(emitted(run(lambda event: iter_of(MAX_EMITS)))) == MAX_EMITS


def iter_of(count: int) -> Iterator[int]:
    yield from range(count)


def test_emits_beyond_32_mib_are_too_large() -> None:
    """So is their size, counted over all of them."""
    outcome = run(lambda event: ("x" * (8 << 20) for _ in range(5)))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "too_large"


def test_hops_count_up_and_end_a_loop() -> None:
    """The 33rd function in a chain does not get to emit."""
    (event,) = emitted(run(returning(1), *cloud(evfnhops="31")))
    assert event.extensions["evfnhops"] == "32"
    outcome = run(returning(1), *cloud(evfnhops="32"))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "loop"
    assert run(returning(None), *cloud(evfnhops="32")) is NOTHING


@pytest.mark.parametrize("hops", ["", "x", "-4", "٣", "9" * 5000])
def test_hops_that_are_no_number_count_as_none(hops: str) -> None:
    """Anybody can write fields."""
    (event,) = emitted(run(returning(1), *cloud(evfnhops=hops)))
    assert event.extensions["evfnhops"] == "1"


def test_the_trace_goes_on() -> None:
    """Emits belong to their cause's trace with a span of their own; without one a trace begins."""
    fields = cloud(traceparent=TRACE, tracestate="a=b")
    first, second = emitted(run(lambda event: iter_of(2), *fields))
    trace, span = TRACE.split("-")[1:3]
    assert first.extensions["traceparent"].split("-")[1] == trace
    assert first.extensions["traceparent"].split("-")[2] != span
    assert first.extensions["traceparent"] == second.extensions["traceparent"]
    assert first.extensions["tracestate"] == "a=b"
    (event,) = emitted(run(returning(1), *cloud(traceparent="00-bad")))
    assert len(event.extensions["traceparent"]) == 55


def test_what_a_followed_event_causes_is_followed() -> None:
    """Every emit, however it is made, begins with the trace and names its cause; the old cause is gone."""
    received = [b"evfntrace", b"t7", b"evfncause", b"older out 1-0", *cloud(region="eu")]

    def every_way(event: Event, context: Context) -> Iterator[object]:
        context.emit("second", 1)
        context.emit("second", 1, subject="s")
        yield 1
        yield Event(1)
        yield event
        yield Event(1, extensions={"evfntrace": "own", "evfncause": "own"})

    outcome = run(every_way, *received)
    assert isinstance(outcome, Succeeded)
    assert len(outcome.emits) == 6
    for emit in outcome.emits:
        assert emit.fields[:4] == (b"evfntrace", b"t7", b"evfncause", b"alert in 5-0")
        assert not {b"evfntrace", b"evfncause"} & {*emit.fields[4::2]}
    assert emitted(outcome)[4].extensions["region"] == "eu"


def test_nothing_else_is_followed() -> None:
    """A trace that does not come first is an extension like any other, and goes no further."""
    outcome = run(lambda event: (each for each in (1, event)), *cloud(evfntrace="t7", evfncause="a b 1-0"))
    assert isinstance(outcome, Succeeded)
    assert not any(name in emit.fields for emit in outcome.emits for name in (b"evfntrace", b"evfncause"))
    outcome = run(returning(1), b"evfntrace", b"no trace's id", b"data", b"1")
    assert isinstance(outcome, Succeeded)
    assert b"evfntrace" not in outcome.emits[0].fields


def raising(error: BaseException) -> Callable[..., Any]:
    def function(event: Event) -> None:
        raise error

    return function


def test_retry_carries_its_time() -> None:
    """Seconds or a timedelta; without either the policy decides."""
    for after in (30, 30.0, timedelta(seconds=30)):
        outcome = run(raising(evfn.Retry("busy", after=after)))
        assert isinstance(outcome, Failed)
        assert (outcome.retry_after, outcome.failure.type) == (timedelta(seconds=30), "evfn.Retry")
    outcome = run(raising(evfn.Retry()))
    assert isinstance(outcome, Failed)
    assert outcome.retry_after is None


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), 1e12, timedelta(days=-1)])
def test_retry_refuses_impossible_times(after: float | timedelta) -> None:
    """At the line that says it."""
    with pytest.raises(ValueError, match="after must be"):
        evfn.Retry(after=after)


def test_reject_and_bad_data_are_rejections() -> None:
    """Both go to the dead letters at once, each with its reason."""
    outcome = run(raising(evfn.Reject("not ours")))
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.failure.message) == ("rejected", "not ours")
    outcome = run(returning(None), b"data", b"{", modes={"in": DataMode.JSON})
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "invalid_data"


def test_invalid_data_raised_by_the_function_is_an_error_like_any_other() -> None:
    """Only evfn's own verdict on the arguments is permanent."""
    assert isinstance(run(raising(evfn.InvalidData("mine"))), Failed)


def test_the_end_of_the_process_is_not_the_functions_outcome() -> None:
    """SystemExit and KeyboardInterrupt are left to whoever runs the attempt; nothing else is."""
    for end in (SystemExit(0), KeyboardInterrupt()):
        with pytest.raises(type(end)):
            run(raising(end))
    for error in (GeneratorExit(), StopIteration(), asyncio.CancelledError(), RecursionError()):
        assert isinstance(run(raising(error)), Failed)


def test_a_failure_has_user_frames_causes_and_bases() -> None:
    """Everything needed to understand it, and none of evfn's own frames."""

    def function(event: Event) -> None:
        try:
            event.data["phone"]
        except KeyError as error:
            raise ConnectionResetError("gone") from error

    outcome = run(function)
    assert isinstance(outcome, Failed)
    failure = outcome.failure
    assert (failure.type, failure.message) == ("ConnectionResetError", "gone")
    assert failure.bases == (
        "ConnectionResetError", "ConnectionError", "OSError", "Exception", "BaseException",
    )  # fmt: skip
    assert [frame.function.rpartition(".")[2] for frame in failure.frames] == ["function"]
    assert failure.frames[0].file == __file__
    assert [(cause.type, cause.message) for cause in failure.causes] == [("KeyError", "'phone'")]


def test_causes_are_bounded_and_cycles_end() -> None:
    """A thousand causes, or one that causes itself, are cut at twenty."""
    error: BaseException | None = None
    for number in range(1000):
        caused = ValueError(str(number))
        caused.__cause__ = error
        error = caused
    assert error is not None
    outcome = run(raising(error))
    assert isinstance(outcome, Failed)
    assert [cause.message for cause in outcome.failure.causes] == [str(number) for number in range(998, 978, -1)]
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    outcome = run(raising(first))
    assert isinstance(outcome, Failed)
    assert [cause.message for cause in outcome.failure.causes] == ["b"]


def test_members_of_a_group_are_among_its_causes() -> None:
    """An ExceptionGroup says little by itself."""
    outcome = run(raising(ExceptionGroup("two", [ValueError("a"), ExceptionGroup("in", [KeyError("b")])])))
    assert isinstance(outcome, Failed)
    assert [cause.type for cause in outcome.failure.causes] == ["ValueError", "ExceptionGroup", "KeyError"]


def test_messages_are_safe_and_bounded() -> None:
    """Whatever str() of an exception does or gives, it becomes a short text in UTF-8."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

    noted = ValueError("a")
    noted.add_note("at station north")
    for error, message in (
        (BrokenError(), "<str() of the exception failed: SystemExit>"),
        (ValueError("\ud800"), "\\ud800"),
        (noted, "a\nat station north"),
    ):
        outcome = run(raising(error))
        assert isinstance(outcome, Failed)
        assert outcome.failure.message == message
    outcome = run(raising(ValueError("ä" * 10_000)))
    assert isinstance(outcome, Failed)
    assert len(outcome.failure.message.encode()) <= 8192


def test_deep_recursion_keeps_the_ends_of_the_stack() -> None:
    """A thousand equal frames say no more than a hundred."""

    def deeper(event: Event) -> None:
        deeper(event)

    outcome = run(deeper)
    assert isinstance(outcome, Failed)
    assert (outcome.failure.type, len(outcome.failure.frames)) == ("RecursionError", 100)


def test_the_context_tells_what_it_knows() -> None:
    """Attempt, limits, names, and the time that is left."""
    seen: list[Context] = []

    def function(event: Event, context: Context) -> None:
        seen.append(context)
        assert timedelta(seconds=9) < context.remaining() <= timedelta(seconds=10)

    assert run(function, attempts=5, timeout=timedelta(seconds=10)) is NOTHING
    (context,) = seen
    assert (context.attempt, context.attempts, context.invocation_id) == (2, 5, "inv")
    assert (context.topic, context.trigger, context.log.name) == ("in", "alert", "alert")


def test_remaining_time_is_never_negative() -> None:
    """A function that is over its time is told zero."""
    left: list[timedelta] = []
    function = Function(
        lambda event, context: left.append(context.remaining()), Origin("p", "t"), timeout=timedelta(seconds=1)
    )
    assert function.run(Invocation(0, "in", "1-0", 1, "i", [b"data", b""]), started_ns=0) is NOTHING
    assert left == [timedelta(0)]
