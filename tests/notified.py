"""What a service manager hears: a datagram socket in systemd's place."""

import os
import socket
import threading
from types import TracebackType
from typing import Self


class Notified:
    """A context; `address` goes into NOTIFY_SOCKET, `said` is all that came so far, a line each."""

    def __init__(self) -> None:
        self.address = f"@evfn-test-{os.getpid()}-{id(self)}"
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.address[1:]}")
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", f"\0{self.address[1:]}")
        self._thread.join()
        self._socket.close()

    def count(self, line: str) -> int:
        """How often it was said."""
        return self.said.count(line)

    def _listen(self) -> None:
        while message := self._socket.recv(65_536):
            self.said.extend(message.decode().splitlines())
