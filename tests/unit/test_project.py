"""Where a project is found, and which server it uses."""

from pathlib import Path

import pytest

from evfn.embedded import socket_path
from evfn.errors import UsageError
from evfn.instance_lock import InstanceLock
from evfn.project import Choices, Location, locate, prepare_state


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "p" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "p" / "triggers.yaml").write_text("")
    return tmp_path / "p"


def at(here: Path, environ: dict[str, str] | None = None, **choices: str) -> Location:
    return locate(Choices(**choices), here=here, environ=environ or {})


@pytest.mark.parametrize("below", [".", "deep", "deep/er"])
def test_the_manifest_is_found_here_or_in_a_parent(project: Path, below: str) -> None:
    """Commands work anywhere in the project, on the same functions and the same state."""
    found = at(project / below)
    assert found.manifest == project / "triggers.yaml"
    assert found.folder == project
    assert found.functions == project / "functions"
    assert found.state == project / ".evfn"
    assert found.env_file == project / ".env"


def test_no_manifest_says_where_it_was_looked_for(tmp_path: Path) -> None:
    """The message names the folder and the option."""
    with pytest.raises(UsageError, match=r"no triggers\.yaml in .* or a folder above it; name one with --manifest"):
        at(tmp_path)


def test_a_manifest_named_is_the_one_used(project: Path, tmp_path: Path) -> None:
    """By its file or its folder; functions are relative to it, the state to where one stands."""
    (project / "other.yaml").write_text("")
    found = at(tmp_path, manifest="p/other.yaml", functions="code", state="s")
    assert (found.manifest, found.functions, found.state) == (project / "other.yaml", project / "code", tmp_path / "s")
    assert at(tmp_path, manifest="p").manifest == project / "triggers.yaml"
    with pytest.raises(UsageError, match="no manifest at"):
        at(tmp_path, manifest="nowhere.yaml")


def test_options_win_over_variables_and_variables_over_defaults(project: Path) -> None:
    """Each option has its variable."""
    environ = {
        "EVFN_MANIFEST": str(project),
        "EVFN_FUNCTIONS": "a",
        "EVFN_NAME": "b",
        "EVFN_REDIS_URL": "redis://c",
        "EVFN_STATE": "/d",
    }
    found = at(Path("/"), environ)
    assert (found.functions, found.name, found.server.url, found.state) == (project / "a", "b", "redis://c", Path("/d"))
    assert found.server.source == "EVFN_REDIS_URL"
    found = at(Path("/"), environ, functions="A", name="B", redis="redis://C", state="/D")
    assert (found.functions, found.name, found.server.url, found.state) == (project / "A", "B", "redis://C", Path("/D"))
    assert found.server.source == "--redis"


def test_the_url_may_stand_in_a_file(project: Path) -> None:
    """As systemd's credentials and mounted secrets do; a URL that is said at once wins over the variable's file."""
    secret = project / "redis-url"
    secret.write_text("redis://:secret@h\n")
    environ = {"EVFN_REDIS_URL_FILE": str(secret)}
    for found in (at(project, environ), at(project, redis_file="redis-url")):
        assert found.server.url == "redis://:secret@h"
        assert found.server.named
        assert "secret" not in repr(found)
    assert at(project, environ).server.source == "EVFN_REDIS_URL_FILE"
    assert at(project, {**environ, "EVFN_REDIS_URL": "redis://c"}).server.url == "redis://c"
    assert at(project, environ, redis="redis://c").server.url == "redis://c"
    with pytest.raises(UsageError, match="both name a server"):
        at(project, redis="redis://c", redis_file="redis-url")


@pytest.mark.parametrize("content", [b"", b"\n", b"redis://:secret@h two", b"\xff\xfesecret"])
def test_a_file_that_holds_no_url_is_named_and_not_shown(project: Path, content: bytes) -> None:
    """Nor is the embedded server used in its place."""
    (project / "redis-url").write_bytes(content)
    with pytest.raises(UsageError, match="redis-url must hold one line") as caught:
        at(project, redis_file="redis-url")
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match=r"nowhere.*cannot be read: No such file"):
        at(project, redis_file="nowhere")


def test_without_a_word_the_server_is_the_running_instances_else_the_embedded_one(project: Path) -> None:
    """`evfn emit` in a second terminal reaches what `evfn run --redis …` serves."""
    assert at(project).server.url is None
    lock = InstanceLock.acquire(project / ".evfn", "one", "redis://:secret@host")
    found = at(project)
    assert found.server.url == "redis://:secret@host"
    assert found.server.source == "the instance running in this project"
    assert "secret" not in repr(found)
    lock.release()
    assert at(project).server.url is None


def test_an_instance_on_the_embedded_server_does_not_make_it_a_foreign_one(project: Path) -> None:
    """The command then shares in keeping the embedded server alive, instead of just connecting to it."""
    state = project / ".evfn"
    lock = InstanceLock.acquire(state, "one", f"unix:///run/evfn/{socket_path.file_name(state)}")
    assert at(project).server.url is None
    lock.release()


def test_the_state_folder_is_private_and_unseen_by_git(project: Path) -> None:
    """It holds events, and perhaps a server's password."""
    prepare_state(project / ".evfn")
    prepare_state(project / ".evfn")
    assert (project / ".evfn").stat().st_mode & 0o777 == 0o700
    assert (project / ".evfn" / ".gitignore").read_text() == "*\n"
