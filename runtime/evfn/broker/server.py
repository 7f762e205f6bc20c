"""Which server this is, and whether evfn runs on it."""

from dataclasses import dataclass

from evfn.errors import BrokerError

OLDEST_REDIS = (7, 0)
OLDEST_VALKEY = (8, 0)


@dataclass(frozen=True, slots=True)
class Server:
    """`name` is redis, valkey or unknown; `version` its numbers, empty where the server does not tell."""

    name: str
    version: tuple[int, ...]

    @property
    def text(self) -> str:
        """Name and version for people."""
        return f"{self.name.capitalize()} {'.'.join(map(str, self.version))}".strip()

    def require_supported(self, where: str) -> None:
        """Raises BrokerError that names both versions where this server is too old."""
        oldest = OLDEST_VALKEY if self.name == "valkey" else OLDEST_REDIS
        if self.version and self.version < oldest:
            raise BrokerError(f"{where} is {self.text}; evfn needs Redis 7.0 or Valkey 8.0, or newer")


def parse_info(text: str) -> Server:
    """The server that an INFO reply describes."""
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    # Valkey reports the Redis version it is compatible with as well; its own is the one that counts.
    if "valkey_version" in facts:
        return Server("valkey", _numbers(facts["valkey_version"]))
    if "redis_version" in facts:
        return Server("redis", _numbers(facts["redis_version"]))
    return Server("unknown", ())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip().split(".") if part.isdecimal())
