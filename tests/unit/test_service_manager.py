"""What systemd is told, over a real datagram socket."""

import os
import socket
from datetime import timedelta

from evfn_cli.service_manager import ServiceManager
from notified import Notified


def test_without_a_service_manager_nothing_is_told() -> None:
    """And nothing is beaten."""
    manager = ServiceManager({})
    manager.ready()
    assert manager.watchdog is None


def test_a_manager_that_has_gone_stops_nothing() -> None:
    ServiceManager({"NOTIFY_SOCKET": "/nobody/is/here"}).ready()


def test_messages_are_those_of_systemd_and_its_variables_stay_with_the_instance() -> None:
    """A status is one line, and the same one is said once."""
    with Notified() as notified:
        environment = {"NOTIFY_SOCKET": notified.address, "WATCHDOG_USEC": "3000000", "PATH": "/bin"}
        manager = ServiceManager(environment)
        assert environment == {"PATH": "/bin"}
        assert manager.watchdog == timedelta(seconds=1.5)
        manager.ready()
        manager.status("two\nlines")
        manager.status("two lines")
        manager.more_time(timedelta(seconds=2))
        manager.reloading()
        manager.works()
        manager.stopping()
    assert notified.said[:4] == ["READY=1", "STATUS=two lines", "EXTEND_TIMEOUT_USEC=2000000", "RELOADING=1"]
    assert notified.said[4].startswith("MONOTONIC_USEC=")
    assert notified.said[5:] == ["WATCHDOG=1", "STOPPING=1"]


def test_a_manager_that_is_too_busy_to_hear_of_ready_is_told_again() -> None:
    """Else it would wait for that, and then kill what works."""
    address = f"@evfn-test-{os.getpid()}-busy"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy:
        busy.bind(f"\0{address[1:]}")
        manager = ServiceManager({"NOTIFY_SOCKET": address})
        while manager.ready():
            pass
        busy.recv(100)
        assert manager.ready()


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    """WATCHDOG_PID names the one that is to beat."""
    at = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000"}
    assert ServiceManager({**at, "WATCHDOG_PID": "1"}).watchdog is None
    assert ServiceManager({**at, "WATCHDOG_PID": str(os.getpid())}).watchdog is not None
    assert ServiceManager({**at, "WATCHDOG_USEC": "x"}).watchdog is None
