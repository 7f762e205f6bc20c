"""Fetched entries on their way to a worker: in order, kept as they came, but for those that somebody follows."""

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.broker.group import Group, Source
from evfn.clock import SystemClock
from evfn.event import TRACED
from evfn.filter import Filter
from evfn.listener import Listeners
from evfn.services.held import HeldEntries
from evfn.services.intake import Intake, Taken
from evfn.services.reports import Reports
from evfn.services.subscription import Subscription
from evfn.trigger import DataMode, Trigger

TRIGGER = Trigger("w", ("t",), "m:f")


def taken(followed: list[bool], condition: Filter | None) -> tuple[Taken, Intake]:
    """What a fetch of so many entries comes to, of which these are followed."""
    intake = Intake(
        TRIGGER, condition, lambda _: DataMode.AUTO, cast("Reports", None), Listeners(), SystemClock()
    )  # fmt: skip
    subscription = Subscription("t", cast("Group", None), {})
    entries: list[tuple[bytes, list[bytes] | None]] = [
        (b"%d-0" % number, [*([TRACED, b"who"] if each else []), b"n", b"%d" % number])
        for number, each in enumerate(followed)
    ]
    return asyncio.run(intake.read(subscription, Source.TOPIC, entries)), intake


@pytest.mark.parametrize("condition", [None, "true"])
@given(followed=st.lists(st.booleans(), min_size=1, max_size=12))
def test_entries_keep_their_order_and_only_the_followed_stand_alone(
    condition: str | None, followed: list[bool]
) -> None:
    """With a filter and without; each once, and those that somebody follows are known for it."""
    found, intake = taken(followed, None if condition is None else Filter.compile(condition))
    held = [delivery for part in found.held for delivery in part]
    assert [each.stream_id for each in held] == [f"{number}-0" for number in range(len(followed))]
    alone = [each for part in found.held if not isinstance(part, HeldEntries) for each in part]
    assert [each.stream_id for each in alone] == [f"{number}-0" for number, each in enumerate(followed) if each]
    assert intake.followed == set(alone)
    assert all(part for part in found.held)
    assert {each.invocation_id for each in held} == {f"w:t:{each.stream_id}" for each in held}
