"""The server goes and comes back: consumption resumes by itself, whatever was going on."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox, wait_until
from servers import FLAVOURS, RealServer

MANIFEST = "any: {topic: work, function: 'any:run', start: earliest}"
NOTE = "\ndef run(event):\n    note(event.data['n'])\n"


@pytest.fixture(params=FLAVOURS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("server")
    server = RealServer(request.param, folder, options=["--appendonly", "yes", "--appendfsync", "always"]).start()
    yield server
    server.stop()


@pytest.fixture
def remote(sandbox: Sandbox, server: RealServer) -> Sandbox:
    """A sandbox whose commands use a server of its own, not the embedded one."""
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    sandbox.manifest(MANIFEST)
    sandbox.function("any", NOTE)
    return sandbox


def test_events_run_on_a_server_of_the_users_own(remote: Sandbox) -> None:
    """The same project, unchanged, on Redis 7.0 and on Valkey."""
    remote.emit("work", *({"n": n} for n in range(100)))
    remote.run()
    assert sorted(map(int, remote.notes())) == list(range(100))
    assert remote.status("any")["succeeded"] == 100


def test_f23_server_killed_and_started_again(remote: Sandbox, server: RealServer) -> None:
    """What was accepted before, and what comes after, runs; the instance is never restarted."""
    with remote.running() as process:
        remote.emit("work", *({"n": n} for n in range(50)))
        wait_until(lambda: len(remote.notes()) >= 50, description="the first events ran")
        server.kill()
        time.sleep(1.0)  # long enough for every connection to notice
        server.start()
        remote.emit("work", *({"n": n} for n in range(50, 100)))
        wait_until(lambda: set(map(int, remote.notes())) == set(range(100)), description="the later events ran")
        wait_until(lambda: remote.status("any")["pending"] == 0, description="everything is settled")
        assert process.poll() is None
    assert remote.status("any")["succeeded"] == 100


def test_f26_server_comes_back_empty(remote: Sandbox, server: RealServer) -> None:
    """After FLUSHALL the groups are made again at the beginning, and it is said; what is published then runs."""
    with remote.running():
        remote.emit("work", {"n": 1})
        wait_until(lambda: remote.notes() == ["1"], description="the first event ran")
        server.flush()
        remote.emit("work", {"n": 2})
        wait_until(lambda: remote.notes() == ["1", "2"], description="the event after it ran")
        wait_until(lambda: remote.status("any")["pending"] == 0, description="it is settled")
        assert "was gone" in remote.log.read_text() or "lost its lease" in remote.log.read_text()


def test_f28_scripts_flushed_under_load(remote: Sandbox, server: RealServer) -> None:
    """SCRIPT FLUSH at any time is no error to anybody."""
    with remote.running():
        for begin in range(0, 500, 50):
            remote.emit("work", *({"n": n} for n in range(begin, begin + 50)))
            server.command("SCRIPT", "FLUSH")
        wait_until(lambda: len(remote.notes()) >= 500, description="all ran")
        wait_until(lambda: remote.status("any")["pending"] == 0, description="all are settled")
    assert sorted(map(int, remote.notes())) == list(range(500))
    assert "error" not in remote.log.read_text().lower()


def test_instance_elsewhere_is_named_before_anything_is_taken(
    remote: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A second folder with the same project name shares the events; it says so, and names --name for a copy."""
    other = Sandbox(tmp_path_factory.mktemp("other"), server=remote.environment["EVFN_REDIS_URL"])
    other.manifest(MANIFEST)
    other.function("any", NOTE)
    with remote.running():
        remote.emit("work", {"n": 1})
        wait_until(lambda: remote.notes() == ["1"], description="the first instance serves")
        with other.running():
            assert "--name" in other.log.read_text()
        with other.running("--name", "copy"):
            assert "--name" not in other.log.read_text()
            wait_until(lambda: other.notes() == ["1"], description="the copy has its own groups")
    wait_until(lambda: not other.processes(), description="nothing is left")


def test_embedded_server_killed_under_the_instance(sandbox: Sandbox) -> None:
    """The instance starts it again; nothing that was accepted is lost."""
    sandbox.manifest(MANIFEST)
    sandbox.function("any", NOTE)
    with sandbox.running():
        sandbox.emit("work", {"n": 1})
        wait_until(lambda: sandbox.notes() == ["1"], description="the first event ran")
        servers = [pid for pid in sandbox.processes() if "valkey" in Path(f"/proc/{pid}/exe").resolve().name]
        assert len(servers) == 1
        os.kill(servers[0], signal.SIGKILL)
        wait_until(
            lambda: sandbox.evfn("emit", "work", '{"n": 2}', expect=None).returncode == 0, description="it serves again"
        )
        wait_until(lambda: "2" in sandbox.notes(), description="the event after the kill ran")


def test_what_a_dead_instance_had_not_filtered_is_filtered(remote: Sandbox, server: RealServer) -> None:
    """Events that it had fetched, and no more, are taken over like new ones: the filter decides on them first."""
    remote.manifest("any: {topic: work, function: 'any:run', filter: event.data.n > 1, start: earliest}")
    remote.emit("work", {"n": 1}, {"n": 2}, {})
    server.command("XGROUP", "CREATE", "work", "sandbox/any", "0")
    server.command("XREADGROUP", "GROUP", "sandbox/any", "ghost", "STREAMS", "work", ">")
    remote.run()
    assert remote.notes() == ["2"]
    status = remote.status("any")
    assert (status["delivered"], status["filtered"], status["filter_errors"], status["succeeded"]) == (3, 2, 1, 1)


def test_search_among_very_many_keys_is_said_to_be_slow(remote: Sandbox, server: RealServer) -> None:
    """Only patterns search: with exact topics alone the number of keys is of no interest."""
    server.command("DEBUG", "POPULATE", 100_001, "filler")
    done = remote.run()
    assert "100,000 keys" not in done.stdout + done.stderr
    remote.manifest(MANIFEST.replace("topic: work", 'topic: "work.*"'))
    done = remote.run()
    assert "100,000 keys" in done.stdout + done.stderr


def test_a_group_that_cannot_be_made_again_keeps_no_other_topic_waiting(remote: Sandbox, server: RealServer) -> None:
    """One trigger on two topics: the rights to mend one of them are missing, and the other's events run."""
    remote.manifest(MANIFEST.replace("topic: work", "topic: 'work.*'"))
    remote.emit("work.a", {"n": 0})
    remote.emit("work.b", {"n": 1})
    server.command("ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*", "+@all")
    remote.environment["EVFN_REDIS_URL"] = f"unix://limited:pw@{server.path}"
    with remote.running():
        wait_until(lambda: len(remote.notes()) == 2, description="both topics are served")
        server.command("ACL", "SETUSER", "limited", "-xgroup")
        server.command("XGROUP", "DESTROY", "work.a", "sandbox/any")
        remote.environment["EVFN_REDIS_URL"] = server.url
        remote.emit("work.a", {"n": 2})
        remote.emit("work.b", {"n": 3})
        wait_until(lambda: "3" in remote.notes(), description="the other topic is served")
        server.command("ACL", "SETUSER", "limited", "+xgroup")
        wait_until(lambda: "2" in remote.notes(), description="its group is made again")
