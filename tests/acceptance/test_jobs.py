"""Jobs as a user meets them: two commands, on a server where each has no more rights than it needs."""

from collections.abc import Iterator

import pytest

from sandbox import Sandbox, wait_until
from servers import RealServer


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest(
        """
        resize:
          topic: uploaded
          function: images:resize
          isolation: job
          emits: resized
          retry: {attempts: 2, initial_delay: 10ms}
        """
    )
    sandbox.function(
        "images",
        """
        def resize(event, context):
            print("resizing", event.data["n"])
            if event.data.get("broken"):
                raise ValueError("no image")
            return event.data
        """,
    )
    return sandbox


@pytest.fixture
def server(project: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One that knows nobody but the generated users, and an administrator."""
    folder = tmp_path_factory.mktemp("s")
    passwords = "".join(f"{role}={role}-pw\n" for role in ("instance", "rq-worker", "producer", "read-only"))
    lines = project.evfn("generate", "acl", "--format", "aclfile", "--password-file", "-", stdin=passwords).stdout
    acl = folder / "users.acl"
    acl.write_text(lines + "user admin on >admin ~* &* +@all\n")
    server = RealServer("valkey", folder / "s", options=["--aclfile", str(acl)]).start()
    yield server
    server.stop()


def as_user(project: Sandbox, server: RealServer, role: str) -> None:
    project.environment["EVFN_REDIS_URL"] = f"unix://sandbox-{role}:{role}-pw@{server.path}"


def test_jobs_run_with_the_rights_of_their_roles(project: Sandbox, server: RealServer) -> None:
    """The instance enqueues and settles, the RQ worker runs, `emit --wait` follows; nothing that is asked is refused,
    output and errors arrive where they do for every trigger."""
    as_user(project, server, "instance")
    with project.running("--no-reload"):
        instance = project.log
        as_user(project, server, "rq-worker")
        with project.rq_worker():
            worker = project.log
            as_user(project, server, "instance")
            followed = project.evfn("emit", "uploaded", '{"n": 1}', "--wait").stdout
            assert "resize   ok" in followed
            assert "→ resized" in followed
            failed = project.evfn("emit", "uploaded", '{"n": 2, "broken": true}', "--wait", expect=3).stdout
            assert "after attempt 2 of 2   ValueError: no image   functions/images.py" in failed
            (letter,) = project.dead("resize")
        wait_until(lambda: "finishing what runs" in worker.read_text(), description="it drains")
    assert (letter["reason"], letter["attempts"], letter["log"]) == ("failed", 2, "resizing 2")
    assert "images.py" in letter["error"]["traceback"]
    assert "resizing 1" in instance.read_text()
    assert "NOPERM" not in instance.read_text() + worker.read_text()
    assert {each for each in server.denied("admin", "admin") if "config|get" not in each} == set()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--queue", "evfn:sandbax"], "no trigger uses the queue 'evfn:sandbax' (did you mean evfn:sandbox?)"),
        (["--drain-timeout", "30"], "--drain-timeout: "),
        ([], "no instance runs in this folder, so there is no server either: start `evfn run` first"),
        (["--redis", "redis:/x"], "redis:/x is no server URL"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(project: Sandbox, arguments: list[str], says: str) -> None:
    """With what to write instead, and exit code 2."""
    assert says in project.evfn("rq-worker", *arguments, expect=2).stderr


def test_without_a_job_there_is_nothing_to_run(project: Sandbox) -> None:
    """A manifest whose triggers all run in processes."""
    project.manifest("resize: {topic: uploaded, function: 'images:resize'}")
    assert "no trigger of this manifest has `isolation: job`" in project.evfn("rq-worker", expect=2).stderr


def test_a_job_that_nobody_runs_is_said(project: Sandbox) -> None:
    """After a few seconds, with what to start."""
    with project.running():
        project.emit("uploaded", {"n": 1})
        wait_until(lambda: "start `evfn rq-worker`" in project.log.read_text(), description="the warning")
