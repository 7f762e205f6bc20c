"""The broker's operations in any order, with any fault between them, against a model of what they promise."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chaos.broker_machine import Bench, BrokerMachine
from evfn.broker.scripts import scripts
from servers import FLAVOURS, RealServer

BRIEF = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=FLAVOURS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A server of its own: the machine flushes it, fills it and takes its keys."""
    server = RealServer(request.param, Path(tempfile.mkdtemp(prefix="evfn-")))
    try:
        bench = Bench(server.start())
        yield bench
        bench.close()
    finally:
        server.stop()


def machine(bench: Bench) -> type[BrokerMachine]:
    """The machine on this server."""
    return type("BrokerOnServer", (BrokerMachine,), {"bench": bench})


@pytest.mark.early(5)
def test_every_event_is_in_one_place_whatever_happens(bench: Bench) -> None:
    """In whatever order instances fetch, settle, die and take over, and whatever others do to the server meanwhile, no
    event is lost, nothing counts twice, and in the end nothing is left over."""
    run_state_machine_as_test(machine(bench), settings=BRIEF)


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_every_event_is_in_one_place_whatever_happens_for_long(bench: Bench) -> None:
    """The same, in many more orders."""
    run_state_machine_as_test(machine(bench), settings=settings(BRIEF, max_examples=3000, stateful_step_count=80))


BROKEN_RUN = settings(
    BRIEF,
    max_examples=400,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
)


BROKEN = {
    "settle acks and forgets the emits": ("settle", "key, err, written = write_emits(first, count)", "written = {}"),
    "settle emits although nothing was acked": (
        "settle",
        "if redis.call('XACK', stream, group, id) == 1 then",
        "redis.call('XACK', stream, group, id)\n  if true then",
    ),
    "settle asks for no lease": ("settle", "if redis.call('HEXISTS', instances, me) == 0 then", "if false then"),
    "settle counts a repeated call as missing": (
        "settle",
        "if unacked > 0 and not repeated then",
        "if unacked > 0 then",
    ),
    "settle does not put back what it could not write": ("settle", "redis.pcall('XCLAIM', stream,", "tostring(stream,"),
    "settle leaves the emits of what it could not write": (
        "settle",
        "for undo = #written, 1, -1 do",
        "for undo = 1, 0 do",
    ),
    "settle leaves the inbox's entries": ("settle", "if inbox then redis.pcall('XDEL', stream, id) end", ""),
    "claim leaves the dead their lease": ("claim", "if beats then redis.call('HDEL', instances, owner) end", ""),
    "claim takes from those who beat": ("claim", "if beats and (not dead or", "if beats and false and (not dead or"),
    "claim charges what was handed over": ("claim", "if uncharged then", "if false then"),
    "release gives away what others hold": ("release", "id, id, 1, me) > 0 then", "id, id, 1) > 0 then"),
    "restore takes what others hold": ("restore", "if pending then", "if false then"),
    "promote leaves the retry in the set": ("promote", "if redis.call('ZREM', retry, invocation) == 1", "if true"),
    "promote leaves the body": ("promote", "redis.pcall('HDEL', bodies, invocation)", ""),
    "redrive leaves the letter": ("redrive", "if redis.call('XDEL', dead, id) ~= 1 then return {'GONE'} end", ""),
    "redrive loses what it could not move": ("redrive", "redis.pcall('XADD', dead, '*', unpack(fields))", ""),
    "a vanished group begins at the newest": (
        "start",
        "XGROUP', 'CREATE', stream, group, last,",
        "XGROUP', 'CREATE', stream, group, '$',",
    ),
    "a consumer is deleted with what it holds": ("delete_consumer", "if info['pending'] > 0 then return 0 end", ""),
    "publish keeps no mark": ("publish", "redis.pcall('HSET', seen, mark, id)", ""),
}
"""What a careless edit could make of the scripts: which one, a text in it, and what stands there instead."""


@pytest.mark.storm
@pytest.mark.parametrize("bench", ["valkey"], indirect=True)
@pytest.mark.parametrize("what", BROKEN)
def test_the_machine_sees_what_is_broken(bench: Bench, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script with one of its rules taken out does not pass: silence of the machine means something."""
    name, rule, instead = BROKEN[what]
    script = next(each for each in scripts() if each.name == name)
    assert script.text.count(rule) == 1
    text = script.text.replace(rule, instead)
    monkeypatch.setitem(vars(script), "text", text)
    monkeypatch.setitem(vars(script), "sha", hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(bench), settings=BROKEN_RUN)
