"""The server's URL: what it says, and how it is shown to people."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from evfn.errors import UsageError

_FORMS = (
    "redis://[user:password@]host[:port][/db], rediss://… (TLS), unix:///path/to/socket[?db=n]"
    " or redis+sentinel://[user:password@]host[:port][,host…]/master[/db]"
)
_ESCAPES = "within a user name or a password write %40 for @, %2F for /, %3F for ?, %23 for #"
_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who knows the master of this name, in the order in which they are asked. `options` are those of their sockets."""

    places: tuple[tuple[str, int], ...]
    master: str
    options: dict[str, Any]


NO_SENTINELS = Sentinels((), "", {})


@dataclass(frozen=True, slots=True)
class Url:
    """A checked server URL. `options` are the keyword arguments of redis-py's connection class for it.

    With `sentinels` host and port are theirs to say, whenever a socket is opened.
    """

    scheme: str
    options: dict[str, Any]
    masked: str
    sentinels: Sentinels = NO_SENTINELS


_TLS: dict[str, Callable[[str], object]] = {
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": str,
    "ssl_check_hostname": lambda text: text.lower() in {"1", "true", "yes"},
}
_SENTINEL = {"sentinel_username": "username", "sentinel_password": "password"}
_SHOWN = {"db", "username", "sentinel_username", *_TLS}
"""The query's names whose values are no secret; all others are masked, slips in their names too."""


def parse(url: str) -> Url:
    """Raises UsageError, without the password, for a URL that cannot mean a server."""
    masked = mask(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"{masked} is no server URL; write {_FORMS}") from None
    if parts.scheme not in _SCHEMES or "://" not in url:
        raise UsageError(f"{masked} is no server URL; write {_FORMS}")
    behind = parts.query if parts.scheme == "unix" else parts.path + parts.query
    if parts.fragment or url.endswith("#") or "@" in behind:
        # Read on, a part of a password would be taken for host, port or database, and shown.
        raise UsageError(f"{masked} cannot be read; {_ESCAPES}")
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, secret = credentials.partition(":")
    options: dict[str, Any] = {}
    username = unquote(user) if user else query.pop("username", None)
    password = unquote(secret) if secret else query.pop("password", None)
    if username:
        options["username"] = username
    if password:
        options["password"] = password
    database = query.pop("db", None)
    places: tuple[tuple[str, int], ...] = ()
    master = ""
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise UsageError(f"{masked} lacks the socket's path; write unix:///path/to/socket")
        options["path"] = unquote(parts.path)
    elif parts.scheme.endswith("+sentinel"):
        places = tuple(_place(each, masked, SENTINEL_PORT) for each in hosts.split(","))
        master, path = _master(parts, masked)
        database = database if database is not None else path
    else:
        options["host"], options["port"] = _place(hosts, masked, 6379)
        database = database if database is not None else parts.path.strip("/") or None
    if database is not None:
        if not (database.isascii() and database.isdecimal()):
            raise UsageError(f"{masked}: the database must be a number, not {database!r}")
        options["db"] = int(database)
    sentinel = {_SENTINEL[name]: query.pop(name) for name in _SENTINEL if places and name in query}
    tls = {}
    for name, value in query.items():
        if not parts.scheme.startswith("rediss") or name not in _TLS:
            raise UsageError(f"{masked}: unknown option {name!r}")
        tls[name] = _TLS[name](value)
    sentinels = Sentinels(places, master, {**sentinel, **tls}) if places else NO_SENTINELS
    return Url(parts.scheme, {**options, **tls}, masked, sentinels)


def mask(url: str) -> str:
    """The URL with its password replaced, fit for every output. Where that is hard to tell, more is replaced."""
    scheme, found, rest = url.partition("://")
    if not found:
        # A slip such as `redis:/user:secret@host` must not show the secret either.
        if "@" not in url:
            return _mask_query(url)
        head, _, host = url.rpartition("@")
        return "***" if "?" in url else f"{head.partition(':')[0] if ':' in head else ''}:***@{host}"
    authority, mark, query = rest.partition("?")
    if "@" in query and not (scheme == "unix" and authority.startswith("/") and ":" not in authority):
        # Its @ may end credentials with a question mark in them, or stand in an option's value.
        return f"{scheme}://***"
    # A password may hold an unescaped slash; whatever stands before the last @ is credentials.
    credentials, at, host = authority.rpartition("@")
    if at and not (scheme == "unix" and authority.startswith("/") and ":" not in credentials):
        user, colon, _ = credentials.partition(":")
        user = user if re.fullmatch(r"[\w.-]*", user) else "***"
        authority = f"{user}{':***' if colon else ''}@{host}"
    return f"{scheme}://{authority}" + (_mask_query(f"?{query}") if mark else "")


def _mask_query(url: str) -> str:
    head, mark, query = url.partition("?")
    shown = [
        each if unquote(name) in _SHOWN else f"{name}=***" if equals else "***"
        for each in query.split("&")
        for name, equals, _ in [each.partition("=")]
    ]
    return f"{head}{mark}{'&'.join(shown)}" if mark else head


def _place(text: str, masked: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, named = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{masked}: a port is a number up to 65535; {_ESCAPES}") from None
    if not host:
        raise UsageError(f"{masked} lacks the host; write {_FORMS}")
    return host, port if named is None else named


def _master(parts: SplitResult, masked: str) -> tuple[str, str | None]:
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise UsageError(f"{masked} lacks the master's name, as the sentinels know it; write {_FORMS}")
    return unquote(name), database or None
