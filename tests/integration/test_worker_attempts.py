"""Attempts in real worker processes: what the dispatcher hears, and what the ledger says."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from evfn.workers.ledger import Status
from evfn.workers.protocol import (
    Cancel,
    EmitData,
    FailedReply,
    FrameDone,
    Message,
    Output,
    RejectedReply,
    Stop,
    SucceededReply,
)
from workshop import Workshop, plain


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """One template for all tests of this file; each test forks its own workers."""
    with Workshop() as shop:
        yield shop


def only(messages: list[Message], kind: type[Any]) -> Any:
    """The one message of this kind."""
    (found,) = [message for message in messages if isinstance(message, kind)]
    return found


def data(emit: EmitData) -> Any:
    """What an emitted event carries."""
    return msgspec.json.decode(emit.fields[emit.fields.index(b"data") + 1])


def test_a_plain_success_is_nothing_but_its_byte(workshop: Workshop) -> None:
    """Functions that return nothing cost no reply, only the frame's end is told."""
    worker = workshop.fork("ok", "ok")
    said = worker.run(*[plain({"n": n}) for n in range(256)])
    assert [type(message) for message in said] == [FrameDone]
    assert said[0].busy_ns > 0  # type: ignore[union-attr]  # a FrameDone, as just seen
    assert {worker.ledger.status(slot) for slot in range(256)} == {Status.DONE}
    assert worker.ledger.started_ns(0) <= worker.ledger.started_ns(255)


def test_a_returned_value_is_told_before_its_byte(workshop: Workshop) -> None:
    """Emits come as ready stream fields, in a reply for their slot."""
    worker = workshop.fork("ok", "ok:echo")
    said = worker.run(plain({"n": 1}), first=5)
    reply = only(said, SucceededReply)
    assert (reply.slot, reply.emits[0].topic, data(reply.emits[0])) == (5, "out.a", {"n": 1})
    assert worker.ledger.status(5) is Status.REPLIED


def test_frames_come_whole_however_they_are_cut(workshop: Workshop) -> None:
    """Longer than what is read at once, and two under way at a time: each event's data are its own."""
    worker = workshop.fork("ok", "ok:echo")
    letters = "abcdef"
    for first in (0, 3):
        entries = [plain({"text": letter * 300_000}) for letter in letters[first : first + 3]]
        number = worker.hand_over(*entries, first=first)
        worker.hand_over(plain({"text": "short"}), first=6 + first)
        worker.wait_for(FrameDone, lambda done, number=number + 1: done.frame == number)
    replies = {reply.slot: reply.emits[0] for reply in worker.said if isinstance(reply, SucceededReply)}
    assert {slot: data(replies[slot])["text"] for slot in range(6)} == {
        slot: letter * 300_000 for slot, letter in enumerate(letters)
    }


def test_emits_keep_their_order_over_context_and_return(workshop: Workshop) -> None:
    """The context's first, as they were made, then what the function returns."""
    worker = workshop.fork("ok", "ok:emit")
    reply = only(worker.run(plain({})), SucceededReply)
    assert [(emit.topic, data(emit)) for emit in reply.emits] == [
        ("out.a", {"n": 1}), ("out.b", [1, 2]), ("out.a", {"last": True}),
    ]  # fmt: skip


def test_what_a_frame_has_said_can_be_read_at_any_instant(workshop: Workshop) -> None:
    """Emits stand in shared memory with all that is needed to read them, whatever still waits in the socket."""
    worker = workshop.fork("ok", "ok:tells")
    for first in (0, 3):
        worker.hand_over(plain({"n": 1}), plain({"fails": "no"}), plain({"n": 2}), first=first)
        worker.wait_for(FrameDone, lambda done, number=1 + first // 3: done.frame == number)
    before = len(worker.said)
    worker.hand_over(plain({"n": 3}), plain({"fails": "no"}), plain({"n": 4}), plain({"waits": True}))
    worker.wait_until_running(3)
    heard = worker.heard()
    assert [(type(reply), reply.slot) for reply in heard if isinstance(reply, SucceededReply | FailedReply)] == [
        (SucceededReply, 0), (FailedReply, 1), (SucceededReply, 2),
    ]  # fmt: skip
    assert [data(reply.emits[0]) for reply in heard if isinstance(reply, SucceededReply)] == [{"n": 3}, {"n": 4}]
    assert len(worker.said) == before


def test_what_an_event_printed_comes_before_its_reply(workshop: Workshop) -> None:
    """A dead letter has its log: a reply is not to be found where it may be read before what was printed."""
    worker = workshop.fork("ok", "ok:tells")
    worker.hand_over(
        plain({"n": 1}), plain({"prints": "one"}), plain({"prints": "two", "fails": "no"}), plain({"n": 2}),
        plain({"waits": True}),
    )  # fmt: skip
    worker.wait_until_running(4)
    assert [reply.slot for reply in worker.heard() if isinstance(reply, SucceededReply)] == [0]
    worker.wait_for(SucceededReply, lambda reply: reply.slot == 3)
    told = [said for said in worker.said if isinstance(said, Output | SucceededReply | FailedReply)]
    assert [(type(said), said.slot) for said in told] == [
        (Output, 1), (SucceededReply, 1), (Output, 2), (FailedReply, 2), (SucceededReply, 3),
    ]  # fmt: skip


def test_what_does_not_fit_into_shared_memory_comes_over_the_socket(workshop: Workshop) -> None:
    """Emits of a frame that hold more than there is room for: all of them, each once, in their order."""
    worker = workshop.fork("ok", "ok:tells")
    sizes = [64 * 1024] * 6 + [10] * 3 + [400 * 1024, 10]
    said = worker.run(*[plain({"text": "x" * size}) for size in sizes])
    replies = [message for message in said if isinstance(message, SucceededReply)]
    by_socket = [reply for reply in replies if reply.slot >= 3]
    assert len(by_socket) == len(sizes) - 3
    # What is heard of shared memory at the frame's end came first.
    in_order = [*(reply for reply in replies if reply.slot < 3), *by_socket]
    assert [(reply.slot, len(data(reply.emits[0])["text"])) for reply in in_order] == list(enumerate(sizes))
    assert {worker.ledger.status(slot) for slot in range(len(sizes))} == {Status.REPLIED}
    # And with a form that does not fit any more: the room is taken by what has none.
    said = worker.run(*[plain({"fails": "x" * 60_000})] * 5, plain({"n": 1}))
    assert data(only(said, SucceededReply).emits[0]) == {"n": 1}
    assert len([message for message in said if isinstance(message, FailedReply)]) == 5


def test_generators_and_coroutines_behind_plain_functions(workshop: Workshop) -> None:
    """What the call returns decides, not how the function was written."""
    worker = workshop.fork("generator", "generator:three")
    assert [data(emit) for emit in only(worker.run(plain({})), SucceededReply).emits] == [{"n": 1}, {"n": 2}, {"n": 3}]
    worker = workshop.fork("asynchronous", "asynchronous:hidden")
    assert [data(emit) for emit in only(worker.run(plain({"n": 7})), SucceededReply).emits] == [{"n": 7, "most": 1}]


def test_a_late_failure_emits_nothing(workshop: Workshop) -> None:
    """Emits happen only if the whole attempt succeeds."""
    worker = workshop.fork("generator", "generator:fails_late")
    said = worker.run(plain({}))
    assert only(said, FailedReply).failure.message == "after the first"
    assert not [message for message in said if isinstance(message, SucceededReply)]


@pytest.mark.parametrize("name", ["reading", "spot", "model"])
def test_typed_data_are_validated(workshop: Workshop, name: str) -> None:
    """Laxly, and what does not fit is rejected with its place while the worker goes on."""
    worker = workshop.fork("typed", f"typed:{name}")
    said = worker.run(plain({"celsius": "31.5"}), plain({"celsius": "warm"}), plain({"celsius": 1}))
    rejected = only(said, RejectedReply)
    assert (rejected.slot, rejected.reason) == (1, "invalid_data")
    assert rejected.failure.message.startswith("$.celsius: ")
    replies = [message for message in said if isinstance(message, SucceededReply)]
    assert [data(reply.emits[0])["celsius"] for reply in replies] == [31.5, 1.0]


def test_a_failure_crosses_as_data(workshop: Workshop) -> None:
    """Type, message, bases, user frames and causes; never a pickled exception."""
    worker = workshop.fork("raises", "raises")
    reply = only(worker.run(plain({})), FailedReply)
    failure = reply.failure
    assert (failure.type, failure.message, reply.retry_after_ms) == ("ValueError", "no phone", None)
    assert [frame.function for frame in failure.frames] == ["handle"]
    assert failure.frames[0].file.endswith("raises/functions/raises.py")
    assert [(cause.type, [frame.function for frame in cause.frames]) for cause in failure.causes] == [
        ("KeyError", ["handle", "lookup"])
    ]
    assert worker.ledger.status(0) is Status.REPLIED


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("broken_str", "raises.Broken", "<str() of the exception failed: RuntimeError>"),
        ("group", "ExceptionGroup", "two (2 sub-exceptions)"),
        ("base", "raises.Base", "below Exception"),
        ("surrogate", "ValueError", "\\ud800"),
        ("chain", "ValueError", "999"),
    ],
)
def test_odd_exceptions_are_failures_like_any_other(workshop: Workshop, name: str, kind: str, message: str) -> None:
    """Whatever is raised, the worker tells it and takes the next event."""
    worker = workshop.fork("raises", f"raises:{name}")
    for _ in range(2):
        failure = only(worker.run(plain({})), FailedReply).failure
        assert (failure.type.removeprefix("functions."), failure.message) == (kind, message)
        assert len(failure.causes) <= 20


def test_retry_and_reject_are_told_as_such(workshop: Workshop) -> None:
    """With the time, and with the reason."""
    assert only(workshop.fork("raises", "raises:retry").run(plain({})), FailedReply).retry_after_ms == 30_000
    rejected = only(workshop.fork("raises", "raises:reject").run(plain({})), RejectedReply)
    assert (rejected.reason, rejected.failure.type, rejected.failure.message) == ("rejected", "evfn.Reject", "not ours")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_json", "return value not JSON: $.a[3] is a set"),
        ("wrong_topic", "emit to 'elsewhere': it may emit to out.a, out.b"),
    ],
)
def test_results_that_cannot_be_stored_are_rejected(workshop: Workshop, name: str, message: str) -> None:
    """Permanently, and the message names the place."""
    rejected = only(workshop.fork("raises", f"raises:{name}").run(plain({})), RejectedReply)
    assert rejected.reason == "rejected"
    assert rejected.failure.message.startswith(message)


def test_f22_an_endless_generator_is_too_large(workshop: Workshop) -> None:
    """It is ended while it runs, not when memory is full."""
    assert only(workshop.fork("generator", "generator:endless").run(plain({})), RejectedReply).reason == "too_large"


def test_recalled_events_are_skipped(workshop: Workshop) -> None:
    """What the dispatcher took back is not begun, and its neighbours are."""
    worker = workshop.fork("ok", "ok")
    worker.hold()
    number = worker.hand_over(*[plain({})] * 4)
    for slot in (1, 3):
        worker.ledger.mark(slot, Status.RECALLED)
    worker.let_go()
    worker.wait_for(FrameDone, lambda done: done.frame == number)
    assert [worker.ledger.status(slot) for slot in range(4)] == [Status.DONE, Status.SKIPPED] * 2


def test_async_events_run_side_by_side(workshop: Workshop) -> None:
    """Up to the concurrency of the trigger, each with its own output and reply."""
    worker = workshop.fork("asynchronous", "asynchronous", concurrency=3)
    said = worker.run(*[plain({"n": n}) for n in range(6)])
    replies = {message.slot: data(message.emits[0]) for message in said if isinstance(message, SucceededReply)}
    assert {slot: reply["n"] for slot, reply in replies.items()} == {n: n for n in range(6)}
    assert max(reply["most"] for reply in replies.values()) == 3
    assert {(message.slot, message.text) for message in said if isinstance(message, Output)} == {
        (n, f"started {n}") for n in range(6)
    }
    assert {worker.ledger.status(slot) for slot in range(6)} == {Status.REPLIED}


def test_async_generators_and_failures(workshop: Workshop) -> None:
    """The same outcomes as in sync functions."""
    reply = only(workshop.fork("asynchronous", "asynchronous:stream").run(plain({})), SucceededReply)
    assert [data(emit)["n"] for emit in reply.emits] == [0, 1, 2]
    failed = only(workshop.fork("asynchronous", "asynchronous:fails").run(plain({})), FailedReply)
    assert [frame.function for frame in failed.failure.frames] == ["fails"]


def test_cancel_ends_one_async_event(workshop: Workshop) -> None:
    """Only the slot that is named; the other runs on, and an unknown slot is nobody's."""
    worker = workshop.fork("asynchronous", "asynchronous:waits", concurrency=2)
    worker.hand_over(plain({}), plain({}))
    worker.wait_until_running(0, 1)
    worker.send(Cancel(400))
    worker.send(Cancel(1))
    reply = worker.wait_for(FailedReply)
    assert (reply.slot, reply.failure.type) == (1, "asyncio.exceptions.CancelledError")
    assert worker.ledger.status(0) is Status.RUNNING


def test_a_cancellation_may_be_used_to_finish(workshop: Workshop) -> None:
    """A function that catches it and returns has succeeded."""
    worker = workshop.fork("asynchronous", "asynchronous:swallows")
    worker.hand_over(plain({}))
    worker.wait_until_running(0)
    worker.send(Cancel(0))
    assert data(worker.wait_for(SucceededReply).emits[0]) == {"swallowed": True}


@pytest.mark.parametrize(("case", "function"), [("ok", "ok"), ("asynchronous", "asynchronous")])
def test_stop_lets_run_what_runs(workshop: Workshop, case: str, function: str) -> None:
    """The worker works off what it holds and ends with 0."""
    worker = workshop.fork(case, function)
    worker.hand_over(plain({"n": 1}), plain({"n": 2}))
    worker.send(Stop())
    assert worker.wait_for_end() == 0
    assert [type(message) for message in worker.said if isinstance(message, FrameDone)] == [FrameDone]
    assert worker.ledger.status(1) in (Status.DONE, Status.REPLIED)


def test_the_topic_decides_how_undeclared_data_are_read(workshop: Workshop) -> None:
    """`data: json` for one topic leaves the others as they are."""
    worker = workshop.fork("ok", "ok:echo", data_modes={"strict": "json"})
    assert data(only(worker.run([b"data", b"1"]), SucceededReply).emits[0]) == "1"
    assert data(only(worker.run([b"data", b"1"], topic="strict"), SucceededReply).emits[0]) == 1
    assert only(worker.run([b"data", b"x"], topic="strict"), RejectedReply).reason == "invalid_data"


def test_the_process_is_the_projects(workshop: Workshop) -> None:
    """Its folder, its environment and nothing else, the project first on the path, no terminal."""
    worker = workshop.fork("ok", "ok:where")
    worker.run(plain({}))
    ((_, line),) = worker.lines()
    folder, greeting, path, environment = line.split(" ", 3)
    assert folder == path
    assert folder.endswith("tests/functions/ok")
    assert greeting == "hello"
    assert environment == "['GREETING', 'PATH']"
    worker = workshop.fork("ok", "ok:stdin")
    worker.run(plain({}))
    assert worker.lines() == [
        ("stdout", "no input"),
        ("stderr", "breakpoint(): a worker has no terminal; evfn invoke under-test --debug has one"),
    ]
    worker = workshop.fork("ok", "ok:client")
    worker.run(plain({}))
    ((_, line),) = worker.lines()
    assert "use context.emit" in line
