"""Where the server listens."""

import re
from dataclasses import dataclass

from evfn.errors import UsageError

LOOPBACK = "127.0.0.1"
_FORM = re.compile(r"(?:(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s\[\]:/@]*)):)?([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 stands for any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`9464` and `:9464` are on this machine alone; another host has to be written out. Raises UsageError."""
        found = _FORM.fullmatch(text.strip())
        if found is None or int(found[3]) > 65_535:
            raise UsageError(
                f"{text!r} is no address to listen on: write :PORT for this machine alone, HOST:PORT or [IPV6]:PORT"
            )
        return cls(found[1] or found[2] or LOOPBACK, int(found[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
