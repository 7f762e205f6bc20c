"""What a server says of itself, as far as it bears on evfn's promises."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from redis.exceptions import RedisError

from evfn.broker import acl, rights
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.link import link
from evfn.broker.server import Server, parse_info
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.trigger import Project

SETTINGS = (
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "save",
    "min-replicas-to-write",
    "timeout",
    "maxclients",
    "proto-max-bulk-len",
)
_PINGS = 5


@dataclass(frozen=True, slots=True)
class Facts:
    """`info` and `settings` are None where the server does not tell them to this user, and so is every single fact."""

    info: Mapping[str, str] | None
    settings: Mapping[str, str] | None = None
    missing_rights: tuple[str, ...] = ()
    acl_line: str = ""
    keys: int | None = None
    pushes: bool | None = None
    ping: timedelta | None = None
    ahead: timedelta | None = None
    """How far the server's clock is ahead of ours."""
    embedded: bool = False
    sentinels: int = 0
    patterns: bool = False
    file_system: str | None = None
    """That of the state folder."""
    server: Server = field(default=Server("unknown", ()))
    default_user_cut: bool | None = None
    """Whether the user `default` may not do everything, switched on or off."""
    other_role: str = ""
    """Whose user this is asked as, if it is one of the project's, and not an instance's."""

    def number(self, name: str) -> int | None:
        """A number from INFO."""
        text = (self.info or {}).get(name, "")
        return int(text) if text.isdecimal() else None

    def said(self, name: str) -> str | None:
        """A word from INFO."""
        return (self.info or {}).get(name)

    def setting(self, name: str) -> str | None:
        return (self.settings or {}).get(name)


async def information(connection: Connection) -> dict[str, str] | None:
    """All that INFO says; None where this user may not ask."""
    try:
        text = (await connection.call("INFO")).decode("utf-8", "replace")
    except BrokerUnavailable:
        raise
    except BrokerError:
        return None
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def of_information(info: Mapping[str, str] | None, *, embedded: bool) -> Facts:
    """The few facts that one INFO tells, for a look at every start."""
    text = "\n".join(f"{name}:{value}" for name, value in (info or {}).items())
    return Facts(info, server=parse_info(text), embedded=embedded)


async def collect(connection: Connection, project: Project, *, embedded: bool, file_system: str | None) -> Facts:
    """Ask for everything once; changes nothing. Raises BrokerError, UsageError for a key prefix no ACL can name."""
    topics = [text for each in project.triggers for text in (*each.topics, *each.emits)]
    clock = connection.clock
    info = await information(connection)
    pings = []
    for _ in range(_PINGS):
        began = clock.monotonic()
        await connection.ping()
        pings.append(clock.monotonic() - began)
    exact = [topic for topic in topics if "*" not in topic]
    wanted = acl.user(acl.Role.INSTANCE, project)
    name = connection.url.options.get("username", wanted.name)
    others = {acl.user(role, project).name: role.value for role in acl.Role if role is not acl.Role.INSTANCE}
    first = of_information(info, embedded=embedded)
    return Facts(
        info,
        await _settings(connection),
        await rights.missing(connection, Keys(project.settings.key_prefix), project.name, exact),
        # For the user that this is asked as, where it has a name: it is the one that lacks something.
        replace(wanted, name=name).command(),
        await _number(connection, "DBSIZE"),
        await _pushes(connection),
        timedelta(seconds=sorted(pings)[_PINGS // 2]),
        await _ahead(connection),
        embedded,
        len(connection.url.sentinels.places),
        len(exact) < len(topics),
        file_system,
        first.server,
        await _default_user_cut(connection),
        others.get(name, ""),
    )


async def _settings(connection: Connection) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for reply in await connection.pipeline([("CONFIG", "GET", name) for name in SETTINGS]):
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, BrokerError):
            return None
        found.update(zip((each.decode() for each in reply[::2]), (each.decode() for each in reply[1::2]), strict=True))
    return found


async def _default_user_cut(connection: Connection) -> bool | None:
    try:
        flat = await connection.call("ACL", "GETUSER", "default")
    except BrokerUnavailable:
        raise
    except BrokerError:
        return None
    user = dict(zip(flat[::2], flat[1::2], strict=True))
    return not (user[b"commands"].startswith(b"+@all") and b"~*" in user[b"keys"].split())


async def _number(connection: Connection, *command: str) -> int | None:
    try:
        return int(await connection.call(*command))
    except BrokerUnavailable:
        raise
    except BrokerError:
        return None


async def _pushes(connection: Connection) -> bool:
    one = link(connection.url, protocol=3)
    try:
        await one.connect()  # type: ignore[no-untyped-call]
        await one.send_command("CLIENT", "TRACKING", "ON", "NOLOOP")
        await one.read_response()
    except (RedisError, BrokerError, OSError, TimeoutError):
        return False
    finally:
        await one.disconnect(nowait=True)
    return True


async def _ahead(connection: Connection) -> timedelta | None:
    try:
        seconds, micros = await connection.call("TIME")
    except BrokerUnavailable:
        raise
    except BrokerError:
        return None
    return timedelta(seconds=int(seconds) + int(micros) / 1e6 - connection.clock.now().timestamp())
