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
            lambda: "foreign has 0 events in hand and 50 before it" in sandbox.log.read_text(),
            description="it is said who holds the events",
        )
        assert "XGROUP DESTROY work foreign removes it" in sandbox.log.read_text()
        assert server.command("XLEN", "work") == b":50"
        server.command("XGROUP", "DESTROY", "work", "foreign")
        wait_until(lambda: server.command("XLEN", "work") == b":%d" % left, description="what is finished goes")
    status = json.loads(sandbox.evfn("status", "--json").stdout)
    assert status["triggers"]["any"]["succeeded"] == len(sandbox.notes()) == 50
    assert status["triggers"]["any"]["dropped"] == 0
    assert (status["topics"]["work"]["oldest_at"] is None) is (left == 0)
