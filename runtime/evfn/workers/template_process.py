"""The template process as the dispatcher sees it: started on demand, asked to fork, started anew when it dies."""

import array
import asyncio
import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import count

from evfn.errors import EvfnError
from evfn.workers.ledger import Ledger
from evfn.workers.process import READ_BYTES, Worker
from evfn.workers.protocol import (
    Exited,
    Forget,
    Fork,
    ForkAgain,
    Forked,
    ForkFailed,
    FrameReader,
    Lacking,
    WorkerConfig,
    encode,
    identity,
)


class ForkRefused(EvfnError):  # noqa: N818 - what happened, in the system's words
    """The system refused another process (or the template died); the same call may pass later."""


class _LoadedTemplateGone(Exception):  # noqa: N818 - what happened
    """A worker has to be asked for with everything that it takes to load its function."""


class Template:
    """Forks workers in milliseconds from a clean, single-threaded process that never ran user code."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._reader = FrameReader()
        self._pidfds: list[int] = []
        self._numbers = count(1)
        self._sending = asyncio.Lock()
        self._workers: dict[int, Worker] = {}
        self._forks: dict[int, asyncio.Future[tuple[Worker, bool]]] = {}
        """Those under way, by their numbers: the worker, and whether a loaded template forked it."""
        self._loaded: dict[int, tuple[WorkerConfig, bytes]] = {}
        """Configs, by their `id`, that a loaded template had a worker for, with their identities."""

    async def fork(self, config: WorkerConfig, also: Sequence[str] = ()) -> Worker:
        """A new worker process; it says Ready, or why not, by itself, and LoadedToo of what it is `also` to load.

        Raises ForkRefused where the system has no room for another process.
        """
        known = None if also else self._loaded.get(id(config))
        if known is not None and config.pinned is not None:
            again = ForkAgain(next(self._numbers), known[1], config.pinned.revision)
            with contextlib.suppress(_LoadedTemplateGone):
                return (await self._fork(again, config.slots))[0]
            self._loaded.pop(id(config), None)
        worker, loaded = await self._fork(Fork(next(self._numbers), config, list(also)), config.slots)
        if loaded:
            self._loaded[id(config)] = (config, identity(config))
        return worker

    async def _fork(self, order: Fork | ForkAgain, slots: int) -> tuple[Worker, bool]:
        number = order.worker
        with contextlib.ExitStack() as far, contextlib.ExitStack() as near:
            try:
                channel = self._channel()
                control, control_far = socket.socketpair()
                near.callback(control.close)
                far.callback(control_far.close)
                output, output_far = os.pipe2(os.O_CLOEXEC)
                near.callback(os.close, output)
                far.callback(os.close, output_far)
                ledger = Ledger.create(slots)
                near.callback(os.close, ledger)
                stack = os.memfd_create("evfn-stack", os.MFD_CLOEXEC)
                near.callback(os.close, stack)
            except OSError as error:
                raise ForkRefused(_refusal(error)) from error
            await self._order(channel, order, [control_far.fileno(), output_far, ledger, stack])
            near.pop_all()
        worker = Worker(number, control, output, ledger, stack, slots)
        self._workers[number] = worker
        future: asyncio.Future[tuple[Worker, bool]] = asyncio.get_running_loop().create_future()
        self._forks[number] = future
        return await future

    def forget(self, config: WorkerConfig, revision: str) -> None:
        """No worker of this revision will be asked for any more: nothing need be kept for it.

        Said only where it can be said at once; what is not forgotten goes when others need its place.
        """
        self._loaded.pop(id(config), None)
        if self._control is not None and not self._sending.locked():
            with contextlib.suppress(OSError):
                self._control.send(encode(Forget(identity(config), revision)))

    async def _order(self, channel: socket.socket, order: Fork | ForkAgain, descriptors: list[int]) -> None:
        try:
            async with self._sending:
                await _send(channel, encode(order), descriptors)
        except OSError as error:
            raise ForkRefused(f"the template process cannot be reached: {error}") from error

    async def stop(self) -> None:
        """End the template and with it every worker; returns when the process is reaped."""
        process, self._process = self._process, None
        self._close_control()
        if process is None:
            return
        # The closed socket is its order to kill all workers and leave; the signal is for one that cannot obey.
        for _ in range(100):
            if process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        else:
            process.kill()
            process.wait()
        # Each lets go of its descriptors when it is seen to have ended, which takes the loop another round.
        for _ in range(100):
            for worker in list(self._workers.values()):
                worker.lost()
            if all(worker.ended for worker in self._workers.values()):
                break
            await asyncio.sleep(0.01)

    def _channel(self) -> socket.socket:
        """The control socket of a living template, started where there is none."""
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._close_control()
        ours, theirs = socket.socketpair()
        # Started from the main thread, which lives as long as the process: the template's parent-death signal is
        # bound to the thread that started it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "evfn.workers.template", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._control = ours
        self._reader = FrameReader()
        asyncio.get_running_loop().add_reader(ours, self._read, ours)
        return ours

    def _read(self, control: socket.socket) -> None:
        try:
            chunk, ancillary, _, _ = control.recvmsg(READ_BYTES, socket.CMSG_SPACE(4 * 64), socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            chunk, ancillary = b"", []
        for _level, kind, content in ancillary:
            if kind == socket.SCM_RIGHTS:
                descriptors = array.array("i")
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
                self._pidfds.extend(descriptors)
        if not chunk:
            self._died()
            return
        for message in self._reader.feed(chunk):
            match message:
                case Forked(number, pid, loaded):
                    self._forked(number, pid, loaded)
                case Lacking(number):
                    self._workers.pop(number).lost()
                    self._refuse(number, _LoadedTemplateGone())
                case ForkFailed(number, text):
                    worker = self._workers.pop(number)
                    worker.lost()
                    self._refuse(number, ForkRefused(text))
                case Exited(number, status):
                    gone = self._workers.pop(number, None)
                    if gone is not None:
                        gone.exited(status)

    def _forked(self, number: int, pid: int, loaded: bool) -> None:
        if self._pidfds:
            worker = self._workers[number]
            worker.attach(pid, self._pidfds.pop(0))
            self._answer(number, worker, loaded)
            return
        # There was no descriptor left to receive its handle in; without it nobody would see it end.
        os.kill(pid, signal.SIGKILL)
        self._workers.pop(number).lost()
        self._refuse(number, ForkRefused(_refusal(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))))

    def _answer(self, number: int, worker: Worker, loaded: bool) -> None:
        future = self._forks.pop(number)
        if future.done():
            worker.kill()
        else:
            future.set_result((worker, loaded))

    def _refuse(self, number: int, why: Exception) -> None:
        future = self._forks.pop(number, None)
        if future is not None and not future.done():
            future.set_exception(why)

    def _died(self) -> None:
        """Every worker dies with its template (parent-death signal); the next fork starts another."""
        self._close_control()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        for number in list(self._forks):
            self._refuse(number, ForkRefused("the template process ended"))
        workers, self._workers = self._workers, {}
        for worker in workers.values():
            worker.kill()
            worker.lost()

    def _close_control(self) -> None:
        self._loaded.clear()
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
        for descriptor in self._pidfds:
            os.close(descriptor)
        self._pidfds.clear()


def _refusal(error: OSError) -> str:
    if error.errno != errno.EMFILE:
        return f"{error.strerror}"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"too many open files: this process may have {limit:,}, and needs about five for each worker (`ulimit -n`)"


async def _send(control: socket.socket, frame: bytes, descriptors: list[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    while True:
        try:
            sent = control.sendmsg([frame], ancillary)
            break
        except BlockingIOError:
            await asyncio.sleep(0.001)
    if sent < len(frame):
        await asyncio.get_running_loop().sock_sendall(control, frame[sent:])
