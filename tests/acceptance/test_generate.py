"""`evfn generate`: files with the project's own names in them, no secret, and nobody's edits lost."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from evfn_cli.main import run
from sandbox import Sandbox, wait_until
from servers import RealServer

KINDS = ("systemd", "docker", "kubernetes")
TRIGGERS = """
    pack:
      topic: orders.new
      function: pack
      emits: orders.packed
      retry: {attempts: 2, initial_delay: 0s}
      env: {KEY: "${API_KEY}", LEVEL: "${LEVEL:-info}", PLAIN: value}
    audit:
      topic: orders.**
      function: audit
"""


@dataclass(frozen=True, slots=True)
class Said:
    out: str
    err: str


Evfn = Callable[..., Said]


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """Two triggers; one needs a secret that this machine does not have."""
    sandbox.manifest(TRIGGERS, head="version: 1\nname: shop\ntopics:\n  orders.new: {max_events: 1000}\n")
    sandbox.function("pack", "def handle(event):\n    assert event.data['n'] > 0\n    return event.data\n")
    sandbox.function("audit", "def handle(event):\n    note(event.data['n'])\n")
    return sandbox


@pytest.fixture
def evfn(project: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evfn:
    """The command line without a process of its own, as these commands start and ask nothing."""
    monkeypatch.chdir(project.folder)
    for name in [name for name in os.environ if name.startswith("EVFN_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str, stdin: str = "", expect: int = 0) -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = run(list(arguments))
        said = Said(*capsys.readouterr())
        assert code == expect, said
        return said

    return call


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_made_kept_renewed_and_never_lost(project: Sandbox, evfn: Evfn, kind: str) -> None:
    """Made; the same again: unchanged; for other options: renewed, all but nothing where one was edited."""
    out = project.folder / "deploy" / kind
    generate = ("generate", kind, "--out", f"deploy/{kind}")
    said = evfn(*generate)
    files = tree(out)
    assert [line.split() for line in said.out.splitlines()] == [
        ["made", f"deploy/{kind}/{name}"] for name in sorted(files)
    ]
    assert "Read them, then:" in said.err
    assert "API_KEY, LEVEL" in said.err
    assert {line.split()[0] for line in evfn(*generate).out.splitlines()} == {"unchanged"}
    assert tree(out) == files

    edited = out / next(name for name in files if "45" in files[name])
    edited.write_text(f"# mine\n{edited.read_text()}")
    before = tree(out)
    refused = evfn(*generate, "--drain-timeout", "20s", expect=1).err
    assert str(edited.relative_to(project.folder)) in refused
    assert "--force" in refused
    assert tree(out) == before

    forced = evfn(*generate, "--drain-timeout", "20s", "--force").out
    assert f"renewed    deploy/{kind}/{edited.relative_to(out)}" in forced
    assert "# mine" not in edited.read_text()
    assert "35" in edited.read_text()
    renewed = evfn(*generate).out
    assert "renewed" in renewed, "what is as it was made needs no --force"
    assert tree(out) == files


def test_no_secret_gets_into_a_file(project: Sandbox, evfn: Evfn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what the shell holds nor what .env does; only names."""
    monkeypatch.setenv("API_KEY", "s3cret-of-the-shell")
    monkeypatch.setenv("EVFN_REDIS_URL", "redis://:s3cret-of-the-server@nowhere.invalid")
    (project.folder / ".env").write_text("LEVEL=s3cret-of-the-file\n")
    for kind in KINDS:
        evfn("generate", kind, "--out", f"out/{kind}")
        whole = "".join(tree(project.folder / "out" / kind).values())
        assert "s3cret" not in whole
        assert "API_KEY" in whole
        assert "PLAIN" not in whole, "what the manifest sets itself needs no place"


def test_what_is_special_about_the_project_goes_with_it(
    project: Sandbox, evfn: Evfn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another manifest, folder of functions, name or prefix works on the server as it does here."""
    (project.folder / "functions").rename(project.folder / "my code")
    (project.folder / "triggers.yaml").rename(project.folder / "shop.yaml")
    monkeypatch.setenv("EVFN_KEY_PREFIX", "t:")
    options = ("--manifest", "shop.yaml", "--functions", "my code", "--name", "copy", "--drain-timeout", "1m")
    for kind in KINDS:
        evfn("generate", kind, "--out", kind, *options)
    unit = (project.folder / "systemd" / "evfn-copy@.service").read_text()
    for line in ('"EVFN_FUNCTIONS=my code"', "EVFN_MANIFEST=shop.yaml", "EVFN_NAME=copy", "EVFN_KEY_PREFIX=t:"):
        assert f"\nEnvironment={line}\n" in unit
    image = (project.folder / "docker" / "Dockerfile").read_text()
    assert 'COPY ["my code", "my code/"]' in image
    assert 'EVFN_FUNCTIONS="my code"' in image
    assert 'EVFN_FUNCTIONS: "my code"' in (project.folder / "kubernetes" / "configmap.yaml").read_text()
    assert "~t:evfn:{*}:copy/*" in evfn("generate", "acl", "instance", *options[:6]).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["systemd"], "Missing option '--out'"),
        (["systemd", "--out", "x", "--directory", "srv"], "must be a whole path"),
        (["systemd", "--out", "x", "--drain-timeout", "soon"], "--drain-timeout"),
        (["docker", "--out", "x", "--python", "3.12-slim"], "is no version"),
        (["docker", "--out", "x", "--functions", "../elsewhere"], "elsewhere"),
        (["kubernetes", "--out", "x", "--namespace", "Big_Space"], "cannot be a namespace"),
        (["acl", "admin"], "'admin' is not one of"),
        (["acl", "--password-file", "nowhere"], "No such file"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(
    project: Sandbox, evfn: Evfn, arguments: list[str], said: str
) -> None:
    """Exit code 2, one line, no file."""
    done = evfn("generate", *arguments, expect=2)
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (project.folder / "x").exists()


def test_a_folder_that_cannot_be_written_is_said_plainly(project: Sandbox, evfn: Evfn) -> None:
    """No traceback."""
    assert re.match(r"error: /proc/.*: .+\n", evfn("generate", "systemd", "--out", "/proc/new", expect=1).err)


def test_passwords_come_from_a_file_and_are_printed_as_hashes(project: Sandbox, evfn: Evfn) -> None:
    """Where there is none, a placeholder that no server accepts, and a word on it."""
    done = evfn("generate", "acl", "producer", "read-only", "--password-file", "-", stdin="# mine\n\nproducer=a=b c\n")
    producer, reader = done.out.splitlines()
    assert f"#{hashlib.sha256(b'a=b c').hexdigest()} " in producer
    assert "a=b" not in done.out + done.err
    assert "#SHA256_OF_THE_PASSWORD " in reader
    assert "no password for read-only" in done.err
    wrong = evfn("generate", "acl", "--password-file", "-", stdin="produzer=s3cret\n", expect=2).err
    assert "did you mean producer?" in wrong
    assert "s3cret" not in wrong


def test_a_project_works_with_the_users_of_its_acl_file(project: Sandbox, tmp_path: Path) -> None:
    """From publishing to dead letters and trimming, each command as the user it is for, nobody else let in; nothing is
    refused that was asked for. The keys are those of this project alone."""
    passwords = "".join(f"{role}={role}-pw\n" for role in ("instance", "producer", "read-only"))
    lines = project.evfn("generate", "acl", "--format", "aclfile", "--password-file", "-", stdin=passwords).stdout
    acl = tmp_path / "users.acl"
    acl.write_text(lines + "user admin on >admin ~* &* +@all\n")
    server = RealServer("valkey", tmp_path / "server", options=["--aclfile", str(acl)])

    def as_user(role: str) -> None:
        project.environment["EVFN_REDIS_URL"] = f"unix://shop-{role}:{role}-pw@{server.path}"

    project.environment["API_KEY"] = "x"
    try:
        server.start()
        assert server.command("PING").startswith(b"-NOAUTH")
        as_user("instance")
        with project.running("--no-reload"):
            as_user("producer")
            project.emit("orders.new", *({"n": number} for number in (1, 2, 0)))
            wait_until(lambda: len(project.notes()) == 5, description="audit has had all of both topics")
            as_user("instance")
            project.evfn("emit", "orders.new", '{"n": 3}', "--wait")
            as_user("read-only")
            status = project.evfn("status", "--json").stdout
            assert "NOPERM" not in status
            assert json.loads(status)["triggers"]["pack"]["dead"] == 1
            assert "orders.packed" in project.evfn("tail", "--no-follow").stdout
            assert "NOPERM" in project.evfn("dlq", "redrive", "pack", "--all", expect=1).stderr
            as_user("instance")
            project.evfn("dlq", "redrive", "pack", "--all", "--no-wait")
            project.evfn("replay", "audit", "--from", "earliest")
            assert "this user may do all that evfn asks for" in project.evfn("doctor", expect=None).stdout
        assert "NOPERM" not in project.log.read_text()
        # The server's settings, and its other users, are more than an instance may know.
        assert {each for each in server.denied("admin", "admin") if each.startswith("shop-instance")} <= {
            "shop-instance: config|get",
            "shop-instance: acl|getuser",
        }
    finally:
        server.stop()
