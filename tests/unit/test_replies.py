"""Replies as they come off a socket: in the order of the questions, whatever pieces they come in."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from evfn.broker.replies import Replies


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop, in which what is awaited lives."""
    with asyncio.Runner() as runner:
        yield runner


def came(replies: Replies, *pieces: bytes) -> None:
    """The socket gives these, one read each."""
    for piece in pieces:
        view = replies.wire.get_buffer(-1)
        view[: len(piece)] = piece
        replies.wire.buffer_updated(len(piece))


def new() -> Replies:
    return Replies(bytearray(64), ValueError)


def test_replies_in_pieces_go_to_their_questions(runner: asyncio.Runner) -> None:
    """Split anywhere, several at once, errors among them."""
    whole = b"+OK\r\n-ERR no\r\n$5\r\na\r\nbc\r\n*2\r\n:1\r\n$-1\r\n"

    async def ask(size: int) -> list[object]:
        replies = new()
        awaited = [replies.next() for _ in range(4)]
        assert not replies.calm
        came(replies, *(whole[at : at + size] for at in range(0, len(whole), size)))
        assert replies.calm
        return [await each for each in awaited]

    for size in range(1, len(whole) + 1):
        ok, refusal, text, several = runner.run(ask(size))
        assert (ok, text, several) == (b"OK", b"a\r\nbc", [1, None])
        assert isinstance(refusal, ValueError)


@pytest.mark.parametrize("noise", [b"+who\r\n", b"$100\r\nhal"])
def test_what_nobody_asked_for_is_nobodys_reply(noise: bytes) -> None:
    """A socket on which something came by itself, whole or in part, is not to be used again."""
    replies = new()
    came(replies, noise)
    assert not replies.calm


def test_a_cancelled_question_keeps_its_place(runner: asyncio.Runner) -> None:
    """Its reply goes to nobody, and not to the next one."""

    async def ask() -> object:
        replies = new()
        first, second = replies.next(), replies.next()
        first.cancel()
        came(replies, b"+first\r\n+second\r\n")
        return await second

    assert runner.run(ask()) == b"second"


def test_an_end_is_told_to_all_who_wait_and_to_who_asks_later(runner: asyncio.Runner) -> None:
    """A lost socket, and one that speaks another protocol; writers that waited for room go on."""

    async def ask() -> None:
        for end in (lambda each: each.wire.connection_lost(None), lambda each: came(each, b"HTTP/1.1 400\r\n")):
            replies = new()
            awaited = [replies.next() for _ in range(2)]
            end(replies)
            for each in (*awaited, replies.next()):
                with pytest.raises((RedisConnectionError, InvalidResponse)):
                    await each
            assert not replies.calm
        wire = new().wire
        wire.pause_writing()
        assert wire.paused
        waiting = asyncio.create_task(wire.drained())
        await asyncio.sleep(0)
        wire.connection_lost(OSError("reset"))
        await waiting

    runner.run(ask())
