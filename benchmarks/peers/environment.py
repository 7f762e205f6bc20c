"""A peer's own environment, made where caches are and used again: nothing of it gets into this project's."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import Peer

REQUIREMENTS = Path(__file__).parent / "requirements"
PATIENCE_SECONDS = 600


class NotInstalledError(Exception):
    """The peer cannot be had here; the message is what the installer said."""


def requirements(peer: Peer) -> Path:
    """The file with everything that belongs in its environment, each in one version."""
    return REQUIREMENTS / f"{peer.program}.{'json' if peer.node else 'txt'}"


def prepare(peer: Peer) -> Path:
    """The folder of its environment. Raises NotInstalledError."""
    wanted = requirements(peer)
    # What is wanted is in the name, so that other versions get another folder.
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _cache() / f"{peer.program}-{digest}"
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if peer.node:
            _install_node(folder, wanted)
        else:
            _install_python(folder, wanted)
        ready.touch()
    return folder


def version(peer: Peer, folder: Path) -> str:
    """Which one it is."""
    if peer.node:
        command = ["node", "-p", "require('./node_modules/bullmq/package.json').version"]
    else:
        name = {"taskiq": "taskiq-redis"}.get(peer.program, peer.program)
        command = [str(folder / "bin" / "python"), "-c", f"import importlib.metadata as m; print(m.version({name!r}))"]
    return subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True).stdout.strip()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evfn" / "peers"


def _install_python(folder: Path, wanted: Path) -> None:
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)]
    _run([str(_make(folder)), *pip], folder)


def _make(folder: Path) -> Path:
    """A virtual environment; the path of its interpreter."""
    _run([sys.executable, "-m", "venv", str(folder)], folder)
    return folder / "bin" / "python"


def _install_node(folder: Path, wanted: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalledError("there is no Node.js with npm here")
    shutil.copy(wanted, folder / "package.json")
    # A lock file would record where packages came from; the versions are all pinned in package.json.
    _run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], folder)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, check=False, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"{command[0]} took longer than {PATIENCE_SECONDS} s") from error
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reasons = [line for line in said if "error" in line.lower()]
        raise NotInstalledError((reasons or said or [f"the installer ended with {done.returncode}"])[-1])
