"""The frames between the processes: what goes in comes out, however the bytes are cut."""

from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.outcome import Failure, Frame
from evfn.workers.protocol import (
    LENGTH,
    MAX_FRAME_BYTES,
    Cancel,
    EmitData,
    Exited,
    FailedReply,
    Fork,
    ForkAgain,
    Forked,
    ForkFailed,
    FrameDone,
    FrameReader,
    Imported,
    Invocation,
    Lacking,
    LoadFailed,
    Message,
    Output,
    Ready,
    RejectedReply,
    Stop,
    SucceededReply,
    Work,
    WorkEntries,
    WorkerConfig,
    encode,
)

INT = st.integers(0, 2**31)
TEXT = st.text(max_size=20)
BYTES = st.binary(max_size=20)


Part = TypeVar("Part")


def tuples(parts: st.SearchStrategy[Part]) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(parts, max_size=2).map(tuple)


def failures(causes: st.SearchStrategy[tuple[Failure, ...]]) -> st.SearchStrategy[Failure]:
    frames = st.builds(Frame, TEXT, INT, TEXT)
    return st.builds(Failure, TEXT, TEXT, tuples(TEXT), tuples(frames), causes)


FAILURE = failures(tuples(failures(st.just(()))))
CONFIG = st.builds(
    WorkerConfig,
    project=TEXT,
    project_dir=TEXT,
    functions_dir=TEXT,
    trigger=TEXT,
    function=TEXT,
    emits=st.lists(TEXT, max_size=2),
    data_modes=st.dictionaries(TEXT, TEXT, max_size=2),
    concurrency=INT,
    timeout_ms=INT,
    slots=INT,
    env=st.dictionaries(TEXT, TEXT, max_size=2),
    attempts=INT,
)
INVOCATION = st.builds(Invocation, INT, TEXT, TEXT, INT, TEXT, st.lists(BYTES, max_size=4))
EMIT = st.builds(EmitData, TEXT, st.lists(BYTES, max_size=4))
MESSAGE: st.SearchStrategy[Message] = st.one_of(
    st.builds(Work, INT, st.lists(INVOCATION, max_size=3)),
    st.builds(Cancel, INT),
    st.builds(Stop),
    st.builds(Ready, TEXT, st.booleans(), st.dictionaries(TEXT, TEXT, max_size=2)),
    st.builds(Imported, st.dictionaries(TEXT, TEXT, max_size=2)),
    st.builds(LoadFailed, TEXT, TEXT),
    st.builds(SucceededReply, INT, st.lists(EMIT, max_size=2), st.booleans()),
    st.builds(FailedReply, INT, FAILURE, st.none() | INT),
    st.builds(RejectedReply, INT, TEXT, FAILURE),
    st.builds(Output, st.integers(-1, 9), TEXT, TEXT),
    st.builds(FrameDone, INT, INT),
    st.builds(Fork, INT, CONFIG),
    st.builds(ForkAgain, INT, BYTES, TEXT),
    st.builds(Lacking, INT),
    st.builds(Forked, INT, INT, st.booleans()),
    st.builds(ForkFailed, INT, TEXT),
    st.builds(Exited, INT, st.integers(-64, 255)),
)


WORK = WorkEntries(1, 0, "p/t", "t", [(b"1-0", [b"data", b"{}"])])


@given(messages=st.lists(MESSAGE, max_size=5), size=st.integers(1, 50))
def test_messages_survive_any_cutting_of_the_stream(messages: list[Message], size: int) -> None:
    """A socket may deliver frames together, in pieces, or cut within their length."""
    stream = b"".join(encode(message) for message in messages)
    reader = FrameReader()
    read = [message for at in range(0, len(stream), size) for message in reader.feed(stream[at : at + size])]
    assert read == messages


def test_a_partial_frame_waits() -> None:
    """Nothing comes out before the last byte is there."""
    frame = encode(Output(3, "stdout", "hello"))
    reader = FrameReader()
    assert list(reader.feed(frame[:-1])) == []
    assert list(reader.feed(frame[-1:])) == [Output(3, "stdout", "hello")]


def test_a_reader_left_half_way_keeps_the_rest() -> None:
    """Whoever stops after one message gets the others from the next call."""
    reader = FrameReader()
    messages = reader.feed(encode(Cancel(1)) + encode(Cancel(2)))
    assert next(messages) == Cancel(1)
    messages.close()  # type: ignore[attr-defined]  # the iterator is a generator
    assert list(reader.feed(b"")) == [Cancel(2)]


def test_the_memory_of_a_chunk_may_be_used_again() -> None:
    """What was read stays whole where the next chunk comes into the same memory, and that memory is not held on to."""
    stream = encode(WORK) + encode(Output(3, "stdout", "hello"))
    memory = bytearray(len(encode(WORK)) + 5)
    reader = FrameReader()
    memory[:] = stream[: len(memory)]
    read = list(reader.feed(memoryview(memory)))
    rest = stream[len(memory) :]
    memory[: len(rest)] = rest
    read += reader.feed(memoryview(memory)[: len(rest)])
    memory.clear()
    assert read == [WORK, Output(3, "stdout", "hello")]


@pytest.mark.parametrize(
    "stream",
    [
        LENGTH.pack(MAX_FRAME_BYTES + 1),
        b"GET / HTTP/1.1\r\n",
        LENGTH.pack(3) + b"\xff\xff\xff",
        LENGTH.pack(len(unknown := msgspec.msgpack.encode(["unknown", 1]))) + unknown,
    ],
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    """The other side is broken, and nothing it says may be believed."""
    with pytest.raises(ValueError, match=r"."):
        list(FrameReader().feed(stream))
