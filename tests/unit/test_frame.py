"""What a worker says of a frame's emits: told together, in order, and only where it can be what a worker says."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from evfn.outcome import Failure, Naming
from evfn.workers.delivery import Delivery
from evfn.workers.entries import Entries
from evfn.workers.frame import FormedReplies, Frame
from evfn.workers.ledger import Ledger
from evfn.workers.protocol import (
    EmitData,
    FailedReply,
    Form,
    FormedReply,
    Record,
    Reply,
    SucceededReply,
    pack,
)

FIRST = 512
"""The second frame's slots of a page of two."""
EVENTS = 8


class Numbered(Entries):
    def delivery(self, pair: tuple[bytes, list[bytes]]) -> Delivery:
        name = pair[0].decode()
        return Delivery(topic="t", stream_id=name, attempt=1, invocation_id=name, fields=pair[1])


class Said:
    """A frame of events, and what the worker says of them."""

    def __init__(self) -> None:
        descriptor = Ledger.create(2 * FIRST)
        self.ledger = Ledger(descriptor, 2 * FIRST)
        os.close(descriptor)
        self.frame = Frame(1, FIRST, Numbered("w", "t", [(b"%d" % number, [b"n", b"1"]) for number in range(EVENTS)]))
        self.frame.arena = self.ledger.arena(FIRST)
        self.frame.arena.clear()
        self._theirs = self.ledger.arena(FIRST)

    def say(self, *records: Record) -> list[Any]:
        """What is heard of it, slots counted from the frame's first."""
        return [
            (each.form.topic, [slot - FIRST for slot in each.slots], list(each.own))
            if isinstance(each, FormedReplies)
            else type(each).__name__
            for each in self.hear(*records)
        ]

    def hear(self, *records: Record) -> list[FormedReplies | Reply]:
        for record in records:
            assert self._theirs.add(pack(record))
        return self.frame.heard()


@pytest.fixture
def said() -> Iterator[Said]:
    made = Said()
    yield made
    made.ledger.close()


def form(topic: str = "out") -> Form:
    return Form(topic, (b"a", None, b"b", b"1", b"c", None))


def formed(slot: int, number: int = 0, *own: bytes) -> FormedReply:
    return FormedReply(FIRST + slot, number, own or (b"a%d" % slot, b"c%d" % slot))


def test_emits_of_one_topic_keep_their_order(said: Said) -> None:
    """Those of one form in a row are together; another form for the topic, or an emit by itself, comes after them."""
    assert said.say(form(), formed(0), formed(1)) == [("out", [0, 1], [(b"a0", b"a1"), (b"c0", b"c1")])]
    assert said.say() == []
    failed = FailedReply(FIRST + 3, Failure("E", ""), None)
    heard = said.say(form("other"), form(), formed(2), failed, formed(4, 1), formed(5), formed(6, 2))
    assert [each if isinstance(each, str) else each[:2] for each in heard] == [
        "FailedReply",
        ("out", [2, 5]),
        ("out", [6]),
        ("other", [4]),
    ]
    alone = SucceededReply(FIRST + 2, [EmitData("out", [b"a", b"1"])], False)
    assert [each if isinstance(each, str) else "together" for each in said.say(formed(1), alone, formed(3))] == [
        "together",
        "SucceededReply",
        "together",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        formed(1, 1),
        formed(1, -1),
        formed(1, 0, b"one"),
        formed(1, 0, b"one", b"two", b"three"),
        formed(-1),
        formed(EVENTS),
        formed(-FIRST - 1),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
def test_what_no_worker_says_is_refused(said: Said, wrong: FormedReply, after: int) -> None:
    """Function code may write into these pages: an unknown form, other values than its form has room for, and events of
    other frames never get to the server."""
    with pytest.raises(ValueError):  # noqa: PT011 - each case says it in its own words
        said.say(form(), *[formed(0)] * after, wrong)


@pytest.mark.parametrize("place", [-1, 1, 6])
def test_a_form_whose_id_has_no_place_is_refused(said: Said, place: int) -> None:
    """Neither outside of its fields, nor where another value is to be."""
    assert said.say(Form("out", form().fields, Naming(3, b"", b""))) == []
    with pytest.raises(ValueError, match=f"place {place}"):
        said.say(Form("out", form().fields, Naming(place, b"", b"")))


def test_emits_whose_form_leaves_nothing_to_them_are_refused(said: Said) -> None:
    """There is no such form."""
    with pytest.raises(ValueError, match="0 values"):
        said.say(Form("out", (b"a", b"1")), FormedReply(FIRST, 0, ()))


def test_events_that_emitted_are_taken_once(said: Said) -> None:
    """All in a row, or those that are left among others, with what is each one's own."""
    taken = []
    for number, slots in enumerate([(1, 2, 3), (2, 3, 4), (7, 5, 7)]):
        (heard,) = said.hear(form(), *[formed(slot, number) for slot in slots])
        assert isinstance(heard, FormedReplies)
        found = said.frame.take_entries(heard)
        assert found is not None
        taken.append(([each.stream_id for each in found[0]], [list(values) for values in found[1]]))
    assert taken == [
        (["1", "2", "3"], [[b"a1", b"a2", b"a3"], [b"c1", b"c2", b"c3"]]),
        (["4"], [[b"a4"], [b"c4"]]),
        (["7", "5"], [[b"a7", b"a5"], [b"c7", b"c5"]]),
    ]
    assert [slot - FIRST for slot, _ in said.frame.left(said.ledger)] == [0, 6]
