"""Keys that hold something else, full streams, passwords and rights that change: named, and waited for."""

from collections.abc import Iterator

import pytest

from chaos.outage import HEAD, Outage
from sandbox import Sandbox, wait_until
from servers import FLAVOURS, RealServer

LAST = "18446744073709551615-18446744073709551615"
GENERAL = ("ACL", "SETUSER", "evfn", "reset", "on", ">right", "~*", "+@all")


@pytest.fixture(params=FLAVOURS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server for one test, with a user that may do everything so far."""
    server = RealServer(request.param, tmp_path_factory.mktemp("s")).start()
    server.command(*GENERAL)
    yield server
    server.stop()


@pytest.fixture
def outage(sandbox: Sandbox, server: RealServer) -> Outage:
    return Outage(sandbox, server)


def url(server: RealServer) -> str:
    return f"unix://evfn:right@{server.path}"


def is_blocked(box: Sandbox, trigger: str, *words: str) -> bool:
    """Whether status says so, and why."""
    status = box.status(trigger)
    return status["state"] == "blocked" and all(word in status["problem"] for word in words)


@pytest.mark.parametrize("fault", ["another type", "last id", "no right"])
def test_i15_i20_an_output_that_cannot_be_written_loses_nothing(
    sandbox: Sandbox, server: RealServer, outage: Outage, fault: str
) -> None:
    """The trigger says `blocked`, by which key and why; others go on, and so does it once that is mended."""
    with sandbox.running("--redis", url(server)):
        with outage.load():
            with outage.nobody_publishes():
                wait_until(lambda: outage.accepted <= set(outage.effects()), description="all is done so far")
                before = outage.effects()
                server.command("DEL", "done")
                if fault == "another type":
                    server.command("SET", "done", "x")
                elif fault == "last id":
                    server.command("XADD", "done", LAST, "data", '"last"')
                else:
                    server.command("ACL", "SETUSER", "evfn", "resetkeys", "~evfn:*", "~work")
            why = {"another type": "holds something else", "last id": "last possible", "no right": "NOPERM"}[fault]
            wait_until(lambda: is_blocked(sandbox, "echo", "done", why), description="echo is blocked")
            outage.noted()
            assert sandbox.status("plain")["state"] == "ok"
            server.command("DEL", "done")
            server.command("ACL", "SETUSER", "evfn", "allkeys")
            outage.flows()
        outage.accepted -= set(before)
        outage.settled()


def test_f59_the_password_is_changed(sandbox: Sandbox, server: RealServer, outage: Outage) -> None:
    """Connections that break meanwhile say what is refused, never the password; all goes on when it is given back."""
    with sandbox.running("--redis", url(server)) as process:
        with outage.load():
            server.command("ACL", "SETUSER", "evfn", "resetpass", ">other")
            server.command("CLIENT", "KILL", "USER", "evfn")
            wait_until(
                lambda: "does not accept the user or password" in sandbox.log.read_text(), description="it is named"
            )
            server.command("ACL", "SETUSER", "evfn", "resetpass", ">right")
            outage.flows()
        outage.settled()
        assert process.poll() is None
        assert "right@" not in sandbox.log.read_text()
        assert "polled" not in sandbox.log.read_text()


def test_f59_the_user_is_deleted_until_the_lease_is_gone(sandbox: Sandbox, server: RealServer, outage: Outage) -> None:
    """Locked out and fenced, an instance starts over as soon as it is let in again."""
    with sandbox.running("--redis", url(server)) as process:
        with outage.load():
            server.command("ACL", "DELUSER", "evfn")
            server.command("DEL", "evfn:instances")
            wait_until(
                lambda: "does not accept the user or password" in sandbox.log.read_text(), description="it is named"
            )
            server.command(*GENERAL)
            outage.flows()
        outage.settled()
        assert process.poll() is None
        assert "lost its lease" in sandbox.log.read_text()


@pytest.mark.parametrize("right", ["-xreadgroup", "-xack", "-evalsha", "-@all"])
def test_f59_a_right_is_taken_away(sandbox: Sandbox, server: RealServer, outage: Outage, right: str) -> None:
    """NOPERM is named, and all goes on when the right is given back."""
    with sandbox.running("--redis", url(server)) as process:
        with outage.load():
            server.command("ACL", "SETUSER", "evfn", right)
            try:
                wait_until(lambda: "NOPERM" in sandbox.log.read_text(), description="it is named")
            finally:
                server.command("ACL", "SETUSER", "evfn", "+@all")
            outage.flows()
        outage.settled()
        assert process.poll() is None


def test_f59_one_topic_is_forbidden(sandbox: Sandbox, server: RealServer) -> None:
    """Only its trigger is blocked; the others run, and it does too once it may."""
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    sandbox.manifest(
        """
        open: {topic: open, function: 'any:run', start: earliest}
        secret: {topic: secret, function: 'any:run', start: earliest}
        """,
        head=HEAD,
    )
    sandbox.function("any", "def run(event):\n    note(event.data)\n")
    with sandbox.running("--redis", url(server)):
        server.command("ACL", "SETUSER", "evfn", "resetkeys", "~evfn:*", "~open")
        sandbox.emit("secret", "s1")
        sandbox.emit("open", "o1")
        wait_until(lambda: sandbox.notes() == ["o1"], description="the open one runs")
        wait_until(lambda: is_blocked(sandbox, "secret", "NOPERM"), description="the other is blocked")
        assert sandbox.status("open")["state"] == "ok"
        server.command("ACL", "SETUSER", "evfn", "allkeys")
        wait_until(lambda: sandbox.notes() == ["o1", "s1"], description="it runs")
        wait_until(lambda: sandbox.status("secret")["state"] == "ok", description="it is as it was")
