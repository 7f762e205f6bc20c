"""A topic's rules at work: what is finished goes, what is not stays, and it is said who has not finished."""

import json
from collections.abc import Iterator

import pytest

from sandbox import Sandbox, wait_until
from servers import RealServer

HEAD = "version: 1\nname: sandbox\ntopics:\n  work: {RULE}\n"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer("valkey", tmp_path_factory.mktemp("s")).start()
    yield server
    server.stop()


@pytest.mark.parametrize(("rule", "left"), [("retention: 1s", 0), ("max_events: 7", 7)])
def test_finished_events_go_and_unfinished_ones_stay(
    sandbox: Sandbox, server: RealServer, rule: str, left: int
) -> None:
    """A group nobody reads with holds everything, and is named with the way to remove it; without it all goes."""
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    sandbox.manifest("any: {topic: work, function: 'any:run', start: earliest}", head=HEAD.replace("RULE", rule))
    sandbox.function("any", "def run(event):\n    note('ran')\n")
    server.command("XGROUP", "CREATE", "work", "foreign", "0", "MKSTREAM")
    with sandbox.running():
        sandbox.emit("work", *range(50))
        wait_until(
            lambda: "foreign has yet to finish 50 events; evfn did not make this group" in sandbox.log.read_text(),
            description="it is said who holds the events",
        )
        assert "`XGROUP DESTROY work foreign` where nobody reads it" in sandbox.log.read_text()
        assert server.command("XLEN", "work") == b":50"
        topic = json.loads(sandbox.evfn("status", "--json").stdout)["topics"]["work"]
        assert topic["held_by"] == [{"group": "foreign", "why": "unfinished", "pending": 0, "lag": 50}]
        assert "work keeps" in topic["problem"]
        assert topic["problem"] in sandbox.evfn("status").stdout
        server.command("XGROUP", "DESTROY", "work", "foreign")
        wait_until(lambda: server.command("XLEN", "work") == b":%d" % left, description="what is finished goes")
    assert sandbox.log.read_text().count("foreign has yet to finish") == 1
    status = json.loads(sandbox.evfn("status", "--json").stdout)
    assert status["triggers"]["any"]["succeeded"] == len(sandbox.notes()) == 50
    assert status["triggers"]["any"]["dropped"] == 0
    topic = status["topics"]["work"]
    assert (topic["oldest_at"] is None) is (left == 0)
    assert (topic["held_by"], topic["problem"]) == ([], None)


def test_an_instance_that_is_there_only_for_a_moment_trims_too(sandbox: Sandbox, server: RealServer) -> None:
    """What earlier runs finished goes as soon as the next begins; a disabled trigger has never finished anything."""
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    trigger = "any: {topic: work, function: 'any:run', start: earliest, enabled: ENABLED}"
    head = HEAD.replace("RULE", "max_events: 1")
    sandbox.manifest(trigger.replace("ENABLED", "true"), head=head)
    sandbox.function("any", "def run(event): pass\n")
    sandbox.run()
    sandbox.emit("work", *range(5))
    sandbox.manifest(trigger.replace("ENABLED", "false") + "\nother: {topic: other, function: 'any:run'}", head=head)
    sandbox.run()
    assert server.command("XLEN", "work") == b":5"
    assert "any has yet to finish 5 events, and is disabled" in sandbox.evfn("status").stdout
    sandbox.manifest(trigger.replace("ENABLED", "true"), head=head)
    sandbox.run()
    sandbox.run()
    assert server.command("XLEN", "work") == b":1"


def test_b11_finished_events_do_not_fill_memory(sandbox: Sandbox, server: RealServer) -> None:
    """A million that were finished are gone after one look, and the server answers others meanwhile."""
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    sandbox.manifest("any: {topic: work, function: 'any:run'}", head=HEAD.replace("RULE", "max_events: 10"))
    sandbox.function("any", "def run(event): pass\n")
    fill = "for i = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'data', string.rep('x', 100)) end"
    for _ in range(10):
        server.command("EVAL", fill, 1, "work")
    server.command("CONFIG", "SET", "slowlog-log-slower-than", "100000")
    server.command("SLOWLOG", "RESET")
    with sandbox.running():
        wait_until(lambda: server.command("XLEN", "work") == b":10", description="the finished ones are gone")
    assert server.command("SLOWLOG", "LEN") == b":0"
