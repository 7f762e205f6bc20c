"""One worker process as the dispatcher sees it: its sockets, its ledger, its end.

A worker's end is seen on its pidfd, never only on its socket: a grandchild may hold the socket open. What the worker
sent before is read in full before the end is reported, so that a finished call is never taken for an unfinished one.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from evfn.workers.ledger import Ledger
from evfn.workers.protocol import FrameReader, FromWorker, ToWorker, encode
from evfn.workers.stack import of_the_function

READ_BYTES = 1 << 16
MAX_STACK_BYTES = 64 * 1024
MAX_RAW_LINE = 8 * 1024
CLOSED_PATIENCE = 0.5
"""Seconds a worker may live on after its control socket was closed."""
STATUS_PATIENCE = 1.0
"""Seconds to wait for the template to tell the exit status of a process that is gone."""


class Worker:
    """A handle on one worker process. All callbacks are made from the event loop.

    `on_message` gets what the worker says, `on_raw_output` each line written below Python's own streams (by C code or a
    child process), `on_end` the exit status once everything before it was delivered.
    """

    def __init__(self, number: int, control: socket.socket, output: int, ledger: int, stack: int, slots: int) -> None:
        self.number = number
        self.pid = 0
        self.ended = False
        self.control_lost = False
        self.ledger = Ledger(ledger, slots)
        os.close(ledger)
        self.on_message: Callable[[FromWorker], None] = _ignore
        self.on_raw_output: Callable[[str], None] = _ignore
        self.on_end: Callable[[int | None], None] = _ignore
        self._control = control
        self._output = output
        self._stack = stack
        self._pidfd = -1
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._raw_line = bytearray()
        self._status: int | None = None
        self._gone = False
        self._loop = asyncio.get_running_loop()
        self._patience: asyncio.TimerHandle | None = None
        control.setblocking(False)
        os.set_blocking(output, False)

    def attach(self, pid: int, pidfd: int) -> None:
        """The process exists; begin to listen to it."""
        self.pid = pid
        self._pidfd = pidfd
        self._loop.add_reader(self._control, self._read_control)
        self._loop.add_reader(self._output, self._read_output)
        self._loop.add_reader(pidfd, self._process_gone)

    def send(self, message: ToWorker) -> None:
        """Queue a message; what the socket does not take at once is written as it drains."""
        if self._gone:
            return
        frame = encode(message)
        if not self._unsent:
            try:
                sent = self._control.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # The worker is going; its end is reported by the pidfd.
            if sent == len(frame):
                return
            frame = frame[sent:]
            self._loop.add_writer(self._control, self._write_control)
        self._unsent += frame

    def kill(self) -> None:
        """End the whole process group now; nothing in the function can outlive it."""
        if self._gone or self.pid == 0:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        # The group may not exist yet in the first instant after the fork; the pidfd names exactly our child.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def request_stack(self) -> None:
        """Have the worker write where it stands; read it with `stack` a moment later."""
        if not self._gone:
            os.ftruncate(self._stack, 0)  # an earlier one must not stand before it
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGUSR1)

    def stack(self) -> str:
        """The stack that the worker's fault handler wrote, if any, as far as it is the function's."""
        with contextlib.suppress(OSError):
            return of_the_function(os.pread(self._stack, MAX_STACK_BYTES, 0).decode(errors="replace").strip())
        return ""

    def resident_bytes(self) -> int:
        """The process's resident memory, 0 when it has ended. Source: field 2 of proc(5) statm, in pages."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def exited(self, status: int) -> None:
        """The template reaped the process: `status` is its exit code, or minus the signal that ended it."""
        self._status = status
        if self._gone:
            self._finish()

    def lost(self) -> None:
        """The template that would have told the exit status is gone."""
        if self.pid == 0:
            self._gone = True
        if self._gone:
            self._finish()

    def _read_control(self) -> None:
        try:
            chunk = self._control.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            # The process is ending, or the function closed its descriptors. Then it notices when it has something to
            # say, and ends by itself with an exit code that tells; one that does not is ended.
            self._loop.remove_reader(self._control)
            if not self._gone:
                self._patience = self._loop.call_later(CLOSED_PATIENCE, self._still_there)
            return
        self._deliver(chunk)

    def _still_there(self) -> None:
        if not self._gone:
            self.control_lost = True
            self.kill()

    def _deliver(self, chunk: bytes) -> None:
        try:
            for message in self._reader.feed(chunk):
                self.on_message(message)  # type: ignore[arg-type]  # a worker only sends FromWorker
        except (ValueError, RuntimeError):
            self.kill()

    def _write_control(self) -> None:
        try:
            sent = self._control.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
        else:
            del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._control)

    def _read_output(self) -> None:
        try:
            chunk = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._loop.remove_reader(self._output)
            return
        self._raw_line += chunk
        *lines, rest = self._raw_line.split(b"\n")
        self._raw_line = rest if len(rest) <= MAX_RAW_LINE else bytearray()
        if len(rest) > MAX_RAW_LINE:
            lines.append(rest)
        for line in lines:
            self.on_raw_output(line[:MAX_RAW_LINE].decode(errors="replace"))

    def _process_gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._gone = True
        if self._patience is not None:
            self._patience.cancel()
        with contextlib.suppress(OSError, BlockingIOError):
            while chunk := self._control.recv(READ_BYTES):
                self._deliver(chunk)
        self._read_output()
        if self._status is not None:
            self._finish()
        else:
            # The template reaps within a millisecond; if it died too, nobody will tell the status.
            self._patience = self._loop.call_later(STATUS_PATIENCE, self._finish)

    def _finish(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self._patience is not None:
            self._patience.cancel()
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._loop.remove_reader(self._output)
        self.on_end(self._status)
        self._control.close()
        for descriptor in (self._output, self._stack, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self.ledger.close()


def _ignore(_: object) -> None:
    """A callback before its owner set one."""
