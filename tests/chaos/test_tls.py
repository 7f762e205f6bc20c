"""A server behind TLS: its certificate, its name and one's own certificate are checked, and mistakes are named."""

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from evfn import Client
from evfn.broker import blocking, link
from evfn.broker.connection import Connection
from evfn.clock import SystemClock
from evfn.errors import BrokerError
from servers import RealServer, free_port


@dataclass(frozen=True)
class Secured:
    """A server that speaks TLS on `port`, and asks clients for a certificate of the same authority."""

    server: RealServer
    port: int
    folder: Path

    def url(self, *, host: str = "localhost", ca: str = "ca", own: str | None = "client") -> str:
        mine = "" if own is None else f"&ssl_certfile={self.folder}/{own}.crt&ssl_keyfile={self.folder}/{own}.key"
        return f"rediss://{host}:{self.port}/0?ssl_ca_certs={self.folder}/{ca}.crt{mine}"

    def options(self, name: str) -> list[str]:
        return ["--tls-cert-file", f"{self.folder}/{name}.crt", "--tls-key-file", f"{self.folder}/{name}.key"]


def certificate(folder: Path, name: str, host: str, signer: str | None) -> None:
    """A key and its certificate, signed by another of the folder, or by itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"]
    if signer is not None:
        command += ["-addext", f"subjectAltName=DNS:{host}", "-CA", f"{folder}/{signer}.crt"]
        command += ["-CAkey", f"{folder}/{signer}.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    """Debian's server, for the embedded one is built without TLS."""
    folder = Path(tempfile.mkdtemp(prefix="evfn-"))
    certificate(folder, "ca", "", None)
    certificate(folder, "other", "", None)
    for name in ("server", "client"):
        certificate(folder, name, "localhost", "ca")
    port = free_port()
    place = Secured(RealServer("redis", folder / "s"), port, folder)
    options = ["--tls-port", str(port), "--tls-ca-cert-file", f"{folder}/ca.crt", *place.options("server")]
    server = RealServer("redis", folder / "s", tcp=True, options=options)
    try:
        yield Secured(server.start(), port, folder)
    finally:
        server.stop()


async def told(url: str) -> str:
    """What is wrong with a URL, in one line, by both connections."""
    connection = await Connection.open(url, clock=SystemClock())
    with pytest.raises(BrokerError) as raised:
        await connection.probe()
    await connection.close()
    with pytest.raises(BrokerError) as other:
        Client(url, deadline=timedelta(seconds=1)).emit("t", 1)
    assert "\n" not in f"{raised.value}{other.value}"
    return f"{raised.value} {other.value}"


async def test_tls_works_with_both_connections(secured: Secured) -> None:
    """With the authority, the right name and a certificate of one's own."""
    connection = await Connection.open(secured.url(), clock=SystemClock())
    assert (await connection.probe()).name == "redis"
    with Client(secured.url()) as client:
        client.emit("readings", 1)
    assert await connection.call("XLEN", "readings") == 1
    await connection.close()


async def test_large_replies_come_whole_through_tls(secured: Secured) -> None:
    """Far more than one record of TLS, one alone and many in a row, byte for byte."""
    connection = await Connection.open(secured.url(), clock=SystemClock())
    big = bytes(range(256)) * 4_000
    assert await connection.call("SET", "big", big) == b"OK"
    assert await connection.call("GET", "big") == big
    assert await connection.pipeline([("GET", "big"), ("ECHO", "between")] * 3) == [big, b"between"] * 3
    await connection.close()


async def test_what_is_wrong_with_tls_is_named(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown authority, another host's name, no certificate of one's own, TLS left out or asked of a plain
    server: each names the server, and what it is where that can be told."""
    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(blocking, "CONNECT_SECONDS", 0.5)
    for wrong in (secured.url(ca="other"), secured.url(host="127.0.0.1")):
        assert (await told(wrong)).count("is not trusted") == 2
    assert str(secured.port) in await told(secured.url(own=None))
    assert str(secured.port) in await told(f"redis://127.0.0.1:{secured.port}")
    plain = await told(f"rediss://localhost:{secured.server.port}?ssl_ca_certs={secured.folder}/ca.crt")
    assert plain.count("TLS") == 2


async def test_f59_a_certificate_swapped_while_it_runs(secured: Secured) -> None:
    """New sockets are refused and the reason named while it is not trusted; they work again when it is mended."""
    connection = await Connection.open(secured.url(), clock=SystemClock())
    certificate(secured.folder, "wrong", "localhost", "other")
    words = {"good": secured.options("server"), "bad": secured.options("wrong")}
    swap = {name: [word.removeprefix("--") for word in each] for name, each in words.items()}
    await connection.ping()
    assert secured.server.command("CONFIG", "SET", *swap["bad"]) == b"+OK"
    await connection.ping()
    fresh = await Connection.open(secured.url(), clock=SystemClock())
    with pytest.raises(BrokerError, match="certificate"):
        await fresh.ping()
    assert secured.server.command("CONFIG", "SET", *swap["good"]) == b"+OK"
    await fresh.ping()
    await fresh.close()
    await connection.close()
