"""`evfn forget`: what is left of triggers that are gone, said and deleted."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Sandbox, wait_until
from servers import RealServer

BOTH = """
    keep: {topic: work, function: 'any:run', start: earliest, retry: {attempts: 1}}
    old: {topic: [work, more], function: 'any:run', start: earliest, retry: {attempts: 1}}
"""
KEEP = BOTH.strip().splitlines()[0].strip()


@pytest.fixture
def server(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer("valkey", tmp_path_factory.mktemp("s")).start()
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    yield server
    server.stop()


@pytest.fixture
def gone(sandbox: Sandbox, server: RealServer) -> Sandbox:
    """`old` is no longer in the manifest; it left a dead letter on each of two topics, and an event not delivered."""
    sandbox.manifest(BOTH)
    sandbox.function("any", "def run(event):\n    if event.data == 'bad': raise ValueError('bad')\n")
    sandbox.emit("work", "bad", "good")
    sandbox.emit("more", "bad")
    sandbox.run(expect=3)
    sandbox.manifest(KEEP)
    sandbox.emit("work", "later")
    return sandbox


def keys(server: RealServer, glob: str) -> int:
    return int(server.command("EVAL", "return #redis.call('KEYS', ARGV[1])", 0, glob).removeprefix(b":"))


def leftovers(box: Sandbox) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(box.evfn("status", "--json").stdout)["leftovers"]
    return found


def test_status_names_what_is_left_and_forget_deletes_it(gone: Sandbox, server: RealServer) -> None:
    """With counts; nothing without --yes; then all of it and nothing else. Once more it says there is nothing."""
    assert leftovers(gone) == [
        {
            "trigger": "old",
            "group": "sandbox/old",
            "project": "sandbox",
            "topics": ["more", "work"],
            "lag": 1,
            "pending": 0,
            "due": 0,
            "dead": 2,
        }
    ]
    told = "sandbox/old on more, work: 1 not delivered, 2 dead letters"
    said = gone.evfn("status").stderr
    assert f"no longer in the manifest: {told}; `evfn forget old --yes` deletes it" in said
    asked = gone.evfn("forget", "old", expect=2)
    assert asked.stdout == f"would forget {told}\n"
    assert "add --yes" in asked.stderr
    assert keys(server, "*:sandbox/old*") > 0
    assert gone.evfn("forget", "old", "--yes").stdout == f"{told}; forgotten\n"
    assert keys(server, "*:sandbox/old*") == 0
    assert server.command("EVAL", "return #redis.call('XINFO', 'GROUPS', 'work')", 0) == b":1"
    assert server.command("XLEN", "work") == b":3"
    assert leftovers(gone) == []
    assert "nothing of old of project sandbox is on the server" in gone.evfn("forget", "old", "--yes", expect=1).stderr
    assert len(gone.dead("keep")) == 1


def test_forget_all_as_json(gone: Sandbox, server: RealServer) -> None:
    """Every leftover, and nothing that the manifest has; with nothing left it is done, not failed."""
    would = gone.evfn("forget", "--all", "--json", expect=2)
    assert [each["trigger"] for each in json.loads(would.stdout)["would_forget"]] == ["old"]
    done = json.loads(gone.evfn("forget", "--all", "--yes", "--json").stdout)
    assert done["version"] == 1
    assert [each["dead"] for each in done["forgotten"]] == [2]
    again = gone.evfn("forget", "--all", "--yes", "--json")
    assert json.loads(again.stdout) == {"version": 1, "forgotten": []}
    assert "nothing to forget" in again.stderr
    assert keys(server, "*:sandbox/keep:*") > 0


def test_what_is_in_use_is_not_forgotten(gone: Sandbox) -> None:
    """Neither what the manifest has, nor what an instance somewhere still serves, with the way out; nor by a slip."""
    assert "keep is in the manifest; take it out first" in gone.evfn("forget", "keep", "--yes", expect=2).stderr
    assert "(did you mean old?)" in gone.evfn("forget", "olt", "--yes", expect=1).stderr
    assert "name triggers, or write --all" in gone.evfn("forget", "--yes", expect=2).stderr
    assert "name triggers, or write --all" in gone.evfn("forget", "old", "--all", expect=2).stderr
    assert "cannot be a project's name" in gone.evfn("forget", "--all", "--project", "A/b", expect=2).stderr
    other = gone.folder / "other.yaml"
    gone.manifest(BOTH)
    (gone.folder / "triggers.yaml").rename(other)
    gone.manifest(KEEP)
    with gone.running("--manifest", "other.yaml"):
        told = ""

        def refused() -> bool:
            nonlocal told
            told = gone.evfn("forget", "--all", "--yes", expect=None).stderr
            return "old of sandbox is served by an instance on" in told

        wait_until(refused, description="it is said who serves it")
        assert "stop that first" in told
    assert gone.evfn("forget", "--all", "--yes").returncode == 0


def test_a_trigger_taken_out_while_the_instance_runs_can_be_forgotten(gone: Sandbox) -> None:
    """The instance goes on, and does not bring it back."""
    gone.manifest(BOTH)
    with gone.running():
        gone.manifest(KEEP)
        wait_until(
            lambda: gone.evfn("forget", "old", "--yes", expect=None).returncode == 0,
            description="the instance has let go of it",
        )
        gone.emit("work", "more")
        wait_until(lambda: gone.status("keep")["lag"] == 0, description="the instance goes on")
        assert leftovers(gone) == []


def test_a_renamed_project_forgets_its_old_name(gone: Sandbox, server: RealServer) -> None:
    """Also the triggers that the manifest still has under the new name; those stay. So too a copy made by --name."""
    gone.manifest(KEEP, head="version: 1\nname: renamed\n")
    gone.run(expect=3)
    assert leftovers(gone) == []
    done = gone.evfn("forget", "--all", "--project", "sandbox", "--yes")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "sandbox/keep on work",
        "sandbox/old on more, work",
    ]
    assert keys(server, "*sandbox/*") == 0
    assert gone.status("keep")["dead"] == 1


def test_what_is_forgotten_no_longer_holds_a_topic_back(gone: Sandbox, server: RealServer) -> None:
    """The warning names the line to write, and what it names is what helps."""
    gone.manifest(KEEP, head="version: 1\nname: sandbox\ntopics:\n  work: {retention: 1s}\n")
    with gone.running():
        wait_until(
            lambda: (
                "old has yet to finish 1 events, and is no longer in the manifest; `evfn forget old --yes` deletes its"
                in gone.log.read_text()
            ),
            description="it is said who holds the events",
        )
        gone.evfn("forget", "old", "--yes")
        wait_until(lambda: server.command("XLEN", "work") == b":0", description="what is finished goes")
