"""Where a project is and which server it uses: the folder with the manifest, and what options or variables say."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evfn import instance_lock
from evfn.errors import UsageError
from evfn.trigger import Project

MANIFEST = "triggers.yaml"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user named; None where nothing. Each has its variable: EVFN_MANIFEST, EVFN_FUNCTIONS and so on."""

    manifest: str | None = None
    functions: str | None = None
    name: str | None = None
    redis: str | None = None
    redis_file: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """The server to use. `url` is None for the embedded one; `source` says for people who chose it, and `named` whether
    an option or a variable did.

    The URL may hold a password: mask it wherever it is shown.
    """

    url: str | None = field(repr=False)
    source: str
    named: bool = False


@dataclass(frozen=True, slots=True)
class Location:
    """A project found. All paths are absolute; `functions` and `state` need not exist yet."""

    manifest: Path
    functions: Path
    state: Path
    state_named: bool
    """Whether an option or a variable named the state folder, as typos are made there."""
    name: str | None
    server: Server

    @property
    def folder(self) -> Path:
        """The project's folder: the functions' working directory."""
        return self.manifest.parent

    @property
    def env_file(self) -> Path:
        return self.folder / ".env"


@dataclass(frozen=True, slots=True)
class OpenedProject:
    """A project as its manifest and its `.env` define it; `env_file` holds what the environment does not have itself.

    `warnings` are lines for the person who wrote them.
    """

    project: Project
    env_file: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...] = ()


Reopen = Callable[[], OpenedProject]
"""Reads manifest and `.env` anew. Raises UsageError with every mistake."""


def locate(choices: Choices, *, here: Path, environ: Mapping[str, str]) -> Location:
    """Find the project of the folder `here`. Options win over variables, variables over what is found.

    Raises UsageError where there is no manifest, and where the file with the server's URL holds none.
    """
    manifest = find_manifest(choices, here=here, environ=environ)
    functions = choices.functions or environ.get("EVFN_FUNCTIONS") or "functions"
    state = choices.state or environ.get("EVFN_STATE")
    state_folder = _absolute(here / state if state else manifest.parent / ".evfn")
    return Location(
        manifest=manifest,
        functions=_absolute(manifest.parent / functions),
        state=state_folder,
        state_named=bool(state),
        name=choices.name or environ.get("EVFN_NAME") or None,
        server=_server(choices, here, environ, state_folder),
    )


def find_manifest(choices: Choices, *, here: Path, environ: Mapping[str, str]) -> Path:
    """The manifest of the project of the folder `here`. Raises UsageError where there is none."""
    named = choices.manifest or environ.get("EVFN_MANIFEST")
    return _named(here / named) if named else _search(here)


def enclosing(folder: Path) -> Path | None:
    """The folder of the project that a folder lies in: itself, or the nearest above it; None where there is none."""
    return next((each for each in (folder, *folder.parents) if (each / MANIFEST).is_file()), None)


def prepare_state(state: Path) -> None:
    """Make the state folder, closed to others and unseen by git. Raises OSError where that cannot be."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def read_url(path: Path) -> str:
    """The server's URL that a file holds: a secret that its surroundings hand to a process as a file.

    Raises UsageError where it cannot be read, or holds anything else than one line.
    """
    try:
        lines = path.read_text("utf-8").split()
    except OSError as error:
        raise UsageError(f"{path}, the file with the server's URL, cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        lines = []
    if len(lines) != 1:
        raise UsageError(f"{path} must hold one line, the server's URL, such as redis://user:password@host:6379")
    return lines[0]


def _server(choices: Choices, here: Path, environ: Mapping[str, str], state: Path) -> Server:
    if choices.redis and choices.redis_file:
        raise UsageError("--redis and --redis-file both name a server; write one of them")
    if choices.redis:
        return Server(choices.redis, "--redis", named=True)
    if choices.redis_file:
        return Server(read_url(here / choices.redis_file), "--redis-file", named=True)
    if environ.get("EVFN_REDIS_URL"):
        return Server(environ["EVFN_REDIS_URL"], "EVFN_REDIS_URL", named=True)
    if environ.get("EVFN_REDIS_URL_FILE"):
        return Server(read_url(here / environ["EVFN_REDIS_URL_FILE"]), "EVFN_REDIS_URL_FILE", named=True)
    from evfn.embedded import socket_path  # Here, for it brings asyncio along, which `--help` does not need.

    running = next((each.server for each in instance_lock.living(state)), "")
    # An instance on the embedded server names it as well, but that one is ours to keep alive, not just to connect to.
    if running and not running.endswith("/" + socket_path.file_name(state)):
        return Server(running, "the instance running in this project")
    return Server(None, f"events in {os.path.relpath(state)}")


def _named(path: Path) -> Path:
    if path.is_dir():
        path /= MANIFEST
    if not path.is_file():
        raise UsageError(f"no manifest at {path}")
    return _absolute(path)


def _search(here: Path) -> Path:
    folder = enclosing(here)
    if folder is None:
        raise UsageError(
            f"no {MANIFEST} in {here} or a folder above it; name one with --manifest, or make a project with evfn init"
        )
    return _absolute(folder / MANIFEST)


def _absolute(path: Path) -> Path:
    # Not resolved: a path through a symbolic link is shown as the user knows it.
    return Path(os.path.normpath(path))
