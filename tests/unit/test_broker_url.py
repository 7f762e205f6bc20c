"""Server URLs: read, refused with what to write, shown without passwords; waiting before the next try."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn.broker.backoff import CAP, later
from evfn.broker.position import after, before
from evfn.broker.server import parse_info
from evfn.broker.url import mask, parse
from evfn.errors import BrokerError, UsageError
from evfn.trigger import StartAt


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost"),
        ("redis://:secret@host:1/2", "redis://:***@host:1/2"),
        ("rediss://user:secret@host", "rediss://user:***@host"),
        ("redis://user@host", "redis://user@host"),
        ("redis://user:se@cret@host", "redis://user:***@host"),
        ("redis://user:se/secret@host", "redis://user:***@host"),
        ("unix:///run/s?password=secret&db=1", "unix:///run/s?password=***&db=1"),
        ("redis:/user:secret@host", "redis:***@host"),
    ],
)
def test_no_password_is_ever_shown(url: str, shown: str) -> None:
    assert mask(url) == shown


def test_options_of_each_form() -> None:
    assert parse("redis://u:p%40@h:7/3").options == {
        "username": "u",
        "password": "p@",
        "host": "h",
        "port": 7,
        "db": 3,
    }
    assert parse("redis://h").options == {"host": "h", "port": 6379}
    assert parse("unix:///a/b?db=2&password=x").options == {"path": "/a/b", "db": 2, "password": "x"}
    assert parse("rediss://h?ssl_ca_certs=/ca").options["ssl_ca_certs"] == "/ca"


@pytest.mark.parametrize(
    "url",
    [
        "redis:/user:secret@host",
        "http://user:secret@host",
        "host:6379",
        "",
        "redis://",
        "redis://user:secret@host/abc",
        "redis://user:secret@host:99999",
        "redis://user:secret@host?nonsense=1",
        "unix://relative",
    ],
)
def test_what_is_no_server_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_are_jittered_and_capped(tries: int, random: float) -> None:
    assert timedelta(0) <= later(tries, random) <= CAP
    assert later(tries, 0.0) == timedelta(0)
    assert later(tries, 0.5) <= later(tries + 1, 0.5)


@pytest.mark.parametrize(
    ("info", "supported"),
    [
        ("redis_version:6.2.14\r\n", False),
        ("redis_version:7.0.0\r\n", True),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.5\r\n", False),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n", True),
        ("nothing:known\r\n", True),
    ],
)
def test_old_servers_are_refused(info: str, supported: bool) -> None:
    server = parse_info(info)
    if supported:
        server.require_supported("redis://h")
    else:
        with pytest.raises(BrokerError, match=r"redis://h is \w+ [67]\.2.*Redis 7\.0 or Valkey 8\.0"):
            server.require_supported("redis://h")


def test_the_id_before_another() -> None:
    assert before("5-3") == "5-2"
    assert before("5-0") == "4-18446744073709551615"
    assert before("5") == "4-18446744073709551615"
    assert before("0-0") == "0-0"
    assert after(StartAt.NEW) == "$"
    assert after("7-1") == "7-0"
    with pytest.raises(UsageError, match="no stream id"):
        before("yesterday")
