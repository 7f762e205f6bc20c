"""Server URLs: read, refused with what to write, shown without passwords; waiting before the next try."""

from contextlib import suppress
from datetime import timedelta
from urllib.parse import quote

import pytest
from hypothesis import example, given
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
        ("user:secret@host", "user:***@host"),
        ("redis:/host?password=sec@secret", "***"),
        ("redis://host/0?password=sec@secret", "redis://***"),
        ("redis://user:sec@ret?secret@host", "redis://***"),
        ("redis://host?passwrod=secret", "redis://host?passwrod=***"),
        ("redis://host?p%61ssword=secret", "redis://host?p%61ssword=***"),
        ("unix:///run/a@b?db=1", "unix:///run/a@b?db=1"),
        (
            "redis+sentinel://u:secret@a:1,b/m/0?sentinel_password=secret",
            "redis+sentinel://u:***@a:1,b/m/0?sentinel_password=***",
        ),
    ],
)
def test_no_password_is_ever_shown(url: str, shown: str) -> None:
    assert mask(url) == shown


SLIPS = ("{}://", "{}:/", "{}:", "{}:///")
PLAIN = "abcdefghijklmnopqrstuvwxyz*:/@?&="
PART = 5
"""So much of a secret in an output is too much."""
SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=6, max_size=12).filter(
    # So odd that no part of it is anywhere by chance, as `redis` of `redis00` would be.
    lambda text: all(any(each not in PLAIN for each in text[at : at + PART]) for at in range(len(text) - PART + 1))
)


@given(
    st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "http"]),
    st.sampled_from(SLIPS),
    SECRETS,
    st.sampled_from(["h", "h:7/3", "a:1,b:2/master/0", "/run/s?db=2", "h?ssl_ca_certs=/ca"]),
    st.booleans(),
)
@example("unix", "{}:///", "00012?", "h", False)
def test_no_password_is_shown_whatever_is_in_it(scheme: str, slip: str, secret: str, host: str, escaped: bool) -> None:
    """Between the colon and the @, escaped or not, in every form and with slips in the form; in errors too."""
    written = quote(secret, safe="") if escaped else secret
    url = f"{slip.format(scheme)}user:{written}@{host}"
    shown = mask(url)
    with suppress(UsageError):
        shown += parse(url).masked
    try:
        parse(url)
    except UsageError as error:
        shown += str(error)
    for size in range(PART, len(written) + 1):
        assert not any(written[at : at + size] in shown for at in range(len(written) - size + 1))


@given(st.sampled_from(["redis://h/0", "rediss://h", "unix:///s", "redis+sentinel://a,b/m"]), SECRETS)
def test_no_password_in_an_option_is_shown(url: str, secret: str) -> None:
    """The server's and the sentinels', also where the option's name has a slip."""
    written = quote(secret, safe="")
    for name in ("password", "sentinel_password", "ssl_password", "pasword"):
        assert written not in mask(f"{url}?db=1&{name}={written}")


def test_what_sentinel_urls_say() -> None:
    """Several sentinels, the master's name, its user and database, and a password for the sentinels themselves."""
    url = parse("redis+sentinel://user:p%40@a:1,b,[::1]:3/main/2?sentinel_password=other")
    assert url.sentinels.places == (("a", 1), ("b", 26379), ("::1", 3))
    assert url.sentinels.master == "main"
    assert url.sentinels.options == {"password": "other"}
    assert url.options == {"username": "user", "password": "p@", "db": 2}
    secured = parse("rediss+sentinel://a/main?ssl_ca_certs=/ca")
    assert secured.options == secured.sentinels.options == {"ssl_ca_certs": "/ca"}


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
        "redis://user:12#secret@host",
        "redis://user:12/secret@host",
        "redis://user:12?secret@host",
        "redis://user:se#secret@host",
        "redis://host#",
        "redis+sentinel://user:secret@a:1,b:2",
        "redis+sentinel://a,,b/main",
        "redis+sentinel://a/main/secret@",
        "redis://host?sentinel_password=secret",
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
