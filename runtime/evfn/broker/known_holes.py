"""Published security holes of servers that let a client who may run scripts or commands take the server over."""

from dataclasses import dataclass

from evfn.broker.server import Server

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hole:
    """`mended` is the first version without it, by release series.

    Series older than all of these have none; others that are not named are not judged.
    """

    advisory: str
    what: str
    mended: dict[str, tuple[Version, ...]]

    def is_open_in(self, server: Server) -> bool:
        """Whether this version has it. Distributions that mend without a new number are not known here."""
        versions = self.mended.get(server.name)
        if not versions or not server.version:
            return False
        of_series = [each for each in versions if each[:2] == server.version[:2]]
        if of_series:
            return server.version < of_series[0]
        return server.version < min(versions)


HOLES = (
    Hole(
        "CVE-2025-49844",
        "a Lua script can run any code on the server's machine",
        {
            "redis": ((7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
            "valkey": ((8, 0, 6), (8, 1, 4), (9, 0, 0)),
        },
    ),
    Hole(
        "CVE-2026-23479",
        "a client that is unblocked while it is evicted can run any code there",
        {"valkey": ((8, 0, 9), (8, 1, 7), (9, 0, 4), (9, 1, 0))},
    ),
    Hole(
        "CVE-2026-63639",
        "a prepared stream snapshot can run any code there",
        {"valkey": ((8, 0, 10), (9, 0, 5), (9, 1, 1))},
    ),
    Hole(
        "Redis's security releases of July 2026",
        "several holes can run any code there",
        {"redis": ((7, 2, 15), (7, 4, 10), (8, 2, 8), (8, 4, 5), (8, 6, 5), (8, 8, 1))},
    ),
)


def open_holes(server: Server) -> list[Hole]:
    """All that are published of this version."""
    return [each for each in HOLES if each.is_open_in(server)]
