"""The embedded server of one state folder, shared by every process that works in it.

It belongs to the folder, not to one process: whoever holds `server.lock` runs it, the others connect. When the holder
ends, however it ends, its server ends with it, and whichever process gets the lock first starts it again on that data.
A second lock, `data.lock`, is inherited by the server itself: it says for certain when a predecessor is gone.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from evfn.embedded import socket_path
from evfn.embedded.ping import Answer, ping, shut_down
from evfn.embedded.process import POLL_SECONDS, EmbeddedServerFailed, ServerProcess, binary
from evfn.errors import EvfnError
from evfn.file_lock import FileLock

WATCH_SECONDS = 0.1
HOLDER_WATCH_SECONDS = 0.5
"""How often the process that runs the server looks whether it lives: rarer, for idleness should cost nothing."""
PATIENCE_SECONDS = 20.0
RESTART_SECONDS = 1.0


class EmbeddedServer:
    """This process's share in the folder's server. `state` is the state folder, `.evfn` as a rule.

    Start it in the main thread: the server lives as long as the thread that started it.
    """

    def __init__(self, state: Path, environ: Mapping[str, str] | None = None) -> None:
        self._state = state
        self._environ = os.environ if environ is None else environ
        self._socket: Path | None = None
        self._lock: FileLock | None = None
        self._process: ServerProcess | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where to connect, the same for every process of the folder; known once started."""
        if self._socket is None:
            raise RuntimeError("the embedded server has not been started")
        return f"unix://{self._socket}"

    @property
    def holder(self) -> bool:
        """Whether this process runs the server for the folder just now."""
        return self._lock is not None

    async def start(self) -> None:
        """Returns when the folder's server answers, whoever runs it. A second call does nothing.

        Raises EmbeddedServerFailed where it does not start, UnsafeSocketFolder where its socket would not be safe.
        """
        if self._keeper is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start the embedded server in the main thread: it ends with the thread that started it")
        _prepare(self._state)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as patience:
                while not await self._join():
                    if self._socket is not None and await ping(self._socket) is Answer.LATER:
                        # It reads a long log: that takes as long as it takes.
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise EmbeddedServerFailed(
                f"the embedded server of {self._state} is held by another process, perhaps on another machine,"
                " and does not answer"
            ) from error
        self._keeper = asyncio.create_task(self._keep(), name="embedded-server-keeper")

    async def stop(self) -> None:
        """Leave. Where this process ran the server, it ends with all data written. A second call does nothing."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        process, self._process = self._process, None
        if process is not None:
            await process.stop()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    async def _join(self) -> bool:
        """One try: become the one who runs the server, or find it answering."""
        lock = _try_lock(self._state / "server.lock")
        if lock is not None:
            self._lock = lock
            try:
                await self._run(lock)
            except BaseException:
                self._lock = None
                lock.release()
                raise
            return True
        self._socket = self._published()
        return self._socket is not None and await ping(self._socket) is Answer.READY

    async def _run(self, lock: FileLock) -> None:
        """Start the server; this process holds `lock`."""
        program = binary(self._environ)
        # The path stays while its folder is usable: whoever is connected by it finds the new server there.
        self._socket = self._published() or socket_path.choose(self._state, self._environ)
        data = await self._outlast()
        try:
            lock.write(str(self._socket))
            process = ServerProcess.spawn(program, self._state, self._socket, data)
        finally:
            data.release()
        try:
            await process.ready()
        except BaseException:
            await process.stop()
            raise
        self._process = process

    async def _outlast(self) -> FileLock:
        """Wait until no server works on the data: one whose starter was killed may still be writing."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while (lock := _try_lock(self._state / "data.lock")) is None:
            if self._socket is not None:
                # Where the system does not end it with its starter (macOS), this does.
                await shut_down(self._socket)
            if asyncio.get_running_loop().time() > deadline:
                raise EmbeddedServerFailed(
                    f"an earlier embedded server still works on {self._state / 'data'} and does not end;"
                    f" `fuser {self._state / 'data.lock'}` names its process"
                )
            await asyncio.sleep(POLL_SECONDS)
        return lock

    def _published(self) -> Path | None:
        """The socket the last holder wrote down, if it is one of this folder's, in a folder that is ours alone."""
        with contextlib.suppress(OSError, ValueError, EvfnError):
            path = Path((self._state / "server.lock").read_text())
            if path.is_absolute() and path.name == socket_path.file_name(self._state):
                socket_path.check(path.parent)
                return path
        return None

    async def _keep(self) -> None:
        """See to it that the server is there as long as this process wants it."""
        while True:
            await asyncio.sleep(WATCH_SECONDS if self._lock is None else HOLDER_WATCH_SECONDS)
            if self._lock is not None and self._process is not None and self._process.alive():
                continue
            try:
                if self._lock is not None:
                    self._process = None
                    await self._run(self._lock)
                else:
                    self._lock = _try_lock(self._state / "server.lock")
                    if self._lock is not None:
                        await self._run(self._lock)
            except (EvfnError, OSError):
                # Those who use the server see that it is gone and say so; it is tried again for as long as we are.
                await asyncio.sleep(RESTART_SECONDS)


def _prepare(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state / "data").mkdir(mode=0o700, exist_ok=True)
        ignore = state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise _unusable(state, error) from error


def _try_lock(path: Path) -> FileLock | None:
    try:
        return FileLock.acquire(path)
    except OSError as error:
        raise _unusable(path.parent, error) from error


def _unusable(state: Path, error: OSError) -> EmbeddedServerFailed:
    return EmbeddedServerFailed(
        f"cannot keep events in {state}: {error.strerror}; name another folder with --state, or a server with --redis"
    )
