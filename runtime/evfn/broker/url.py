"""The server's URL: what it says, and how it is shown to people."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from evfn.errors import UsageError

_FORMS = "redis://[user:password@]host[:port][/db], rediss://… (TLS) or unix:///path/to/socket[?db=n]"
_SECRET_QUERY = re.compile(r"([?&](?:password|ssl_password)=)[^&]*")


@dataclass(frozen=True, slots=True)
class Url:
    """A checked server URL. `options` are the keyword arguments of redis-py's connection class for it."""

    scheme: str
    options: dict[str, Any]
    masked: str


_TLS: dict[str, Callable[[str], object]] = {
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": str,
    "ssl_check_hostname": lambda text: text.lower() in {"1", "true", "yes"},
}


def parse(url: str) -> Url:
    """Raises UsageError, without the password, for a URL that cannot mean a server."""
    masked = mask(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{masked} is no server URL ({error}); write {_FORMS}") from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise UsageError(f"{masked} is no server URL; write {_FORMS}")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    options: dict[str, Any] = {}
    username = unquote(parts.username) if parts.username else query.pop("username", None)
    password = unquote(parts.password) if parts.password else query.pop("password", None)
    if username:
        options["username"] = username
    if password:
        options["password"] = password
    database = query.pop("db", None)
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise UsageError(f"{masked} lacks the socket's path; write unix:///path/to/socket")
        options["path"] = unquote(parts.path)
    else:
        if not parts.hostname:
            raise UsageError(f"{masked} lacks the host; write {_FORMS}")
        options["host"] = parts.hostname
        options["port"] = port or 6379
        database = database if database is not None else parts.path.strip("/") or None
    if database is not None:
        if not database.isdecimal():
            raise UsageError(f"{masked}: the database must be a number, not {database!r}")
        options["db"] = int(database)
    for name, value in query.items():
        if parts.scheme != "rediss" or name not in _TLS:
            raise UsageError(f"{masked}: unknown option {name!r}")
        options[name] = _TLS[name](value)
    return Url(parts.scheme, options, masked)


def mask(url: str) -> str:
    """The URL with its password replaced, fit for every output."""
    scheme, found, rest = url.partition("://")
    if not found:
        # A slip such as `redis:/user:secret@host` must not show the secret either.
        head, at, tail = url.rpartition("@")
        return f"{head.partition(':')[0]}:***@{tail}" if at else _SECRET_QUERY.sub(r"\1***", url)
    authority, slash, path = rest.partition("/")
    # A password may hold an unescaped slash; whatever stands before the last @ is credentials.
    if "@" in rest and "@" not in authority:
        authority, slash, path = rest, "", ""
    credentials, at, host = authority.rpartition("@")
    if at:
        user = credentials.partition(":")[0]
        authority = f"{user}:***@{host}" if ":" in credentials else f"{user}@{host}"
    return f"{scheme}://{authority}{slash}" + _SECRET_QUERY.sub(r"\1***", path)
