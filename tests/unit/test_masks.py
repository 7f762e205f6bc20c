"""What a log shows of secrets: nothing."""

import time

import pytest

from evfn.trigger import Project, Trigger
from evfn_cli.masks import Masks, masks


def project(env: dict[str, str]) -> Project:
    return Project("p", (Trigger(name="t", topics=("x",), function="m:f", env=tuple(env.items())),))


def test_values_of_variables_that_are_called_secrets_are_masked() -> None:
    """Of the manifest, `.env` and the environment; also line by line, and the password in a URL; nothing else is."""
    found = masks(
        project({"API_TOKEN": "tok-1234", "LOG_LEVEL": "warning"}),
        {"DB_PASSWORD": "hunter22", "PIN_SECRET": "1234", "PRIVATE_KEY": "-----BEGIN\nabcdefgh\n-----END"},
        {"DATABASE_URL": "postgres://me:s%40cret-1@db/x", "HOME": "/home/someone"},
        {"SMTP_PASS": "letmein1", "GITHUB_PAT": "ghp_12345", "STORE_CREDS": "me/letmein2", "BYPASS": "nothing"},
    )
    assert found.mask("tok-1234 hunter22 abcdefgh s@cret-1 s%40cret-1") == "*** *** *** *** ***"
    assert found.mask("letmein1 ghp_12345 me/letmein2 nothing") == "*** *** *** nothing"
    assert found.mask("a warning in /home/someone at 1234") == "a warning in /home/someone at 1234"


def test_what_was_secret_stays_so() -> None:
    """A reload brings other values, and what runs on the ones before goes on, at least until it ends."""
    found = Masks(["the-old-one"]).joined(Masks(["the-new-one"]))
    assert found.mask("the-old-one the-new-one") == "*** ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to redis://me:pass@host:1/0 and http://host/", "to redis://me:***@host:1/0 and http://host/"),
        ('{"user": "me", "password": "x y", "n": 1}', '{"user": "me", "password": ***, "n": 1}'),
        ("AUTH_TOKEN=abc, next", "AUTH_TOKEN=***, next"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("client_secret='abc", "client_secret=***"),
        ("the token expired", "the token expired"),
    ],
)
def test_what_stands_behind_a_secret_s_name_is_masked(text: str, shown: str) -> None:
    """In what functions write and events hold."""
    assert Masks([]).mask_written(text) == shown


@pytest.mark.parametrize("piece", ["x", "a-", "password", "password  ", 'token="', "a://", "a://b:", "=: ", "bearer "])
def test_no_text_takes_long(piece: str) -> None:
    """A function may write what it likes: the instance that logs it has leases to renew."""
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    Masks(["some-secret"]).mask_written(text)
    assert time.process_time() - began < 1
