"""Who takes an event: what is said agrees with where groups begin and with what filters decide."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evfn.broker.beginning import beginnings
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.start import Action, Started, Starter
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.services.audience import Stance, audience
from evfn.trigger import DataMode, Project, Settings, Start, StartAt, TopicRules, Trigger
from servers import RealServer

TOPIC = "readings.new"
GROUP = "climate/alert"
STATS = "t:evfn:{t:readings.new}:climate/alert:stats"
HOT = [b"data", b'{"celsius": 31.5, "station": "x"}']


async def begins(connection: Connection, keys: Keys, start: Start) -> str:
    (position,) = await beginnings(connection, keys, TOPIC, [(GROUP, start)])
    assert isinstance(position, str)
    return position


async def started(connection: Connection, keys: Keys, start: Start, *patterns: str) -> Started:
    (one,) = await Starter(connection, keys).start(GROUP, patterns or [TOPIC], [TOPIC], start)
    assert isinstance(one, Started)
    return one


@pytest.mark.parametrize("start", [StartAt.NEW, StartAt.EARLIEST, "2-1", "5-0", datetime(2030, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("past", ["nothing", "decided for its pattern", "group deleted", "stream deleted"])
async def test_where_a_missing_group_would_begin_is_where_it_begins(
    connection: Connection, keys: Keys, start: Start, past: str
) -> None:
    """What is foretold of a group that is not there yet is what making it then does, whatever was before."""
    if past == "decided for its pattern":
        await Starter(connection, keys).start(GROUP, ["readings.*"], [], start)
    elif past != "nothing":
        await connection.call("XADD", keys.topic(TOPIC), "4-0", "n", "0")
        await started(connection, keys, start)
        await connection.call("XGROUP", "DESTROY", keys.topic(TOPIC), GROUP)
        if past == "stream deleted":
            await connection.call("DEL", keys.topic(TOPIC))
    ids = ["7-0", "8-0"] if past == "group deleted" else ["1-0", "2-0", "2-1"]
    for each in ids:
        await connection.call("XADD", keys.topic(TOPIC), each, "n", "0")
    foretold = await begins(connection, keys, start)
    made = await started(connection, keys, start)
    assert made.action in (Action.CREATED, Action.RECREATED)
    assert made.position == (ids[-1] if foretold == "$" else foretold)
    assert await begins(connection, keys, start) == made.position


async def test_nothing_is_made_by_asking(connection: Connection, keys: Keys, server: RealServer) -> None:
    """On a server of the user's own only `run` makes groups."""
    assert await begins(connection, keys, StartAt.NEW) == "$"
    assert await connection.call("DBSIZE") == 0


def project(*triggers: Trigger, mode: DataMode = DataMode.AUTO) -> Project:
    return Project("climate", triggers, ((TOPIC, TopicRules(data=mode)),), Settings(key_prefix="t:"))


LISTENS = Trigger("alert", ("readings.*",), "climate:alert", start=StartAt.EARLIEST)


@pytest.mark.parametrize(
    ("trigger", "stance", "line"),
    [
        (LISTENS, Stance.TAKES, "alert"),
        (replace(LISTENS, filter="event.data.celsius > 30"), Stance.TAKES, "alert"),
        (
            replace(LISTENS, filter="event.data.station == 'x' && event.data.celsius < 0"),
            Stance.SKIPS,
            "alert: no, event.data.celsius < 0 is false (event.data.celsius is 31.5)",
        ),
        (
            replace(LISTENS, filter="event.data.dew_point > 3"),
            Stance.FILTER_ERROR,
            "alert: filter error, no field 'dew_point' (has: celsius, station)",
        ),
        (replace(LISTENS, enabled=False), Stance.DISABLED, "alert: disabled, its events wait"),
        (
            replace(LISTENS, start="99-0"),
            Stance.LATER,
            "alert: no, it begins after this event (start: 99-0)",
        ),
        (
            replace(LISTENS, start=StartAt.NEW),
            Stance.LATER,
            "alert: no, it begins with what is emitted after the first `evfn run`",
        ),
    ],
)
async def test_each_stance_and_its_line(
    connection: Connection, keys: Keys, trigger: Trigger, stance: Stance, line: str
) -> None:
    """Promise 7: for any event evfn can say which triggers take it, which do not and why."""
    stranger = replace(LISTENS, name="stranger", topics=("other",))
    found = await audience(connection, project(stranger, trigger), TOPIC, "5-0", HOT)
    assert [(each.trigger, each.stance, each.line) for each in found] == [("alert", stance, line)]


async def test_a_broken_trigger_says_why_in_one_line(connection: Connection) -> None:
    """In the manifest's order; a trigger that begins later will not have the event, broken or not."""
    late = replace(LISTENS, name="late", start="99-0")
    problems = {"alert": "functions/climate.py:3: invalid syntax\nmore", "late": "x"}
    found = await audience(connection, project(late, LISTENS), TOPIC, "5-0", HOT, problems=problems)
    assert [each.stance for each in found] == [Stance.LATER, Stance.BROKEN]
    assert found[1].line == "alert: broken, functions/climate.py:3: invalid syntax; its events wait"
    (unsaid,) = await audience(connection, project(LISTENS), TOPIC, "5-0", HOT, problems={"alert": ""})
    assert unsaid.line == "alert: broken, its function does not load; its events wait"


async def test_data_are_read_as_the_topic_says(connection: Connection) -> None:
    """The same rule that `run` goes by."""
    trigger = replace(LISTENS, filter="event.data == '{}'")
    for mode, stance in ((DataMode.TEXT, Stance.TAKES), (DataMode.AUTO, Stance.SKIPS)):
        (verdict,) = await audience(connection, project(trigger, mode=mode), TOPIC, "5-0", [b"data", b"{}"])
        assert verdict.stance is stance


async def test_a_key_in_the_way_is_told_of_its_trigger_alone(connection: Connection, server: RealServer) -> None:
    """The others are told as ever."""
    server.command("SET", STATS, "mine")
    other = replace(LISTENS, name="other")
    first, second = await audience(connection, project(LISTENS, other), TOPIC, "5-0", HOT)
    assert (first.stance, second.stance) == (Stance.BROKEN, Stance.TAKES)
    assert STATS in first.reason


async def test_a_user_who_may_not_look_is_refused_loudly(connection: Connection, server: RealServer) -> None:
    """A right that is missing is no statement about any trigger."""
    server.command("ACL", "SETUSER", "emitter", "on", "nopass", "~*", "+xadd", "+auth", "+hello")
    try:
        await connection.call("AUTH", "emitter", "x")
        with pytest.raises(BrokerError) as caught:
            await audience(connection, project(LISTENS), TOPIC, "5-0", HOT)
        assert not isinstance(caught.value, BrokerUnavailable)
    finally:
        server.command("ACL", "DELUSER", "emitter")
