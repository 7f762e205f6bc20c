"""What systemd is told of the instance, as sd_notify(3) writes it; without systemd nothing is."""

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from datetime import timedelta


class ServiceManager:
    """Takes its variables out of the environment: functions, and what they start, must not speak for the instance."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        period, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        # A leading @ stands for the NUL of Linux' abstract names.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._status = ""
        mine = pid in ("", str(os.getpid()))
        self.watchdog: timedelta | None = None
        """How often it wants to be told that the instance works; None where it does not watch."""
        if self._address and mine and period.isdecimal() and int(period) > 0:
            self.watchdog = timedelta(microseconds=int(period)) / 2

    def ready(self) -> bool:
        """The start, or a reload, is over; whether the manager could be told."""
        return self._send("READY=1")

    def reloading(self) -> None:
        """Until `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The instance drains."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def more_time(self, length: timedelta) -> None:
        """The start, or the end, takes so much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={length // timedelta(microseconds=1)}")

    def works(self) -> None:
        """To be sent as often as `watchdog` says, from whatever must not stand still."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> bool:
        if not self._address:
            return True
        # A manager that does not listen, or cannot at this moment, stops nothing.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.setblocking(False)
            notifier.sendto(message.encode("utf-8", "backslashreplace"), self._address)
            return True
        return False
