"""A real terminal for tests: a command on a pty, and what a person would see on it."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import PATIENCE, wait_until

_STRING = re.compile(r"\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]|\x1b[=>78]")
_SIZES = ("COLUMNS", "LINES")
_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Terminal:
    """One command that has a terminal of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process = process
        self.written = b""
        self._master = master
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """Everything written so far, controls and all."""
        return self.written.decode(errors="replace")

    def type(self, text: str) -> None:
        """Press keys: "\\x03" is Ctrl-C."""
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size; the kernel tells the command."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGWINCH)

    def expect(self, text: str, *, after: int = 0) -> int:
        """Wait until this was written behind `after`; returns where the next may begin."""
        wait_until(
            lambda: text in self.text[after:] or self.process.poll() is not None, description=f"{text!r} is written"
        )
        at = self.text.find(text, after)
        assert at >= 0, f"{text!r} never came; there is:\n{self.text[-3000:]}"
        return at + len(text)

    def screens(self) -> list[list[str]]:
        """Each picture of a program that redraws the whole screen from its upper left corner, as lines."""
        pictures = re.split(r"\x1b\[H", self.text)[1:]
        return [plain(picture).replace("\r", "").split("\n") for picture in pictures]

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, negative for a signal."""
        code = self.process.wait(seconds)
        self._reader.join(2)
        return code

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while part := os.read(self._master, 65_536):
                self.written += part


def plain(text: str) -> str:
    """Without colours and controls."""
    return _CONTROL.sub("", _STRING.sub("", text))


@contextmanager
def terminal(
    folder: Path,
    environment: dict[str, str],
    arguments: list[str],
    *,
    size: tuple[int, int] = (24, 80),
    program: str | None = None,
) -> Iterator[Terminal]:
    """`evfn` with these arguments, or another program, on a terminal of `size` rows and columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    command = [sys.executable, "-m", "evfn_cli", *arguments] if program is None else [program, *arguments]
    process = subprocess.Popen(
        command,
        cwd=folder,
        # Where they are set, they count for more than the terminal's size; some libraries set them in a test's process.
        env={name: value for name, value in {"TERM": "xterm-256color", **environment}.items() if name not in _SIZES},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=_own_terminal,  # noqa: PLW1509 - it makes two system calls
    )
    os.close(slave)
    shown = Terminal(process, master)
    try:
        yield shown
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)


def _own_terminal() -> None:
    """In the child: a session of its own with the terminal as its own, so that Ctrl-C there reaches it."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
