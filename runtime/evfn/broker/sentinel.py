"""What sentinels say: where the master is, or why none of them names one."""

from collections.abc import Sequence
from typing import Any

from evfn.broker.url import Url
from evfn.errors import BrokerError, BrokerUnavailable

ANSWER_SECONDS = 1.0
"""How long one sentinel may take, to connect and to answer; then the next is asked."""

Place = tuple[str, int]


def ask(url: Url) -> tuple[str, str, str]:
    """The command that asks a sentinel for the master of this URL."""
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.sentinels.master)


def shown(url: Url, place: Place) -> str:
    """A sentinel, for messages."""
    return f"sentinel {place[0]}:{place[1]} of {url.masked}"


def named(url: Url, place: Place, reply: Any) -> Place:
    """The master that a sentinel's reply names. Raises BrokerError where it knows none of this name."""
    if reply is None:
        raise BrokerError(f"{shown(url, place)} knows no master called {url.sentinels.master}")
    return reply[0].decode(), int(reply[1])


def server(url: Url, master: Place) -> str:
    """The master itself, for messages."""
    return f"{url.scheme.removesuffix('+sentinel')}://{master[0]}:{master[1]} (the master that {url.masked} names)"


def not_master(url: Url, master: Place) -> BrokerUnavailable:
    """A sentinel that has not heard of a failover yet names a server that is a replica by now."""
    return BrokerUnavailable(f"{server(url, master)} is no master; the sentinels will name another")


def failure(url: Url, problems: Sequence[BrokerError]) -> BrokerError:
    """What is wrong where no sentinel led to a master: permanent only if every one of them said something permanent."""
    passing = [each for each in problems if isinstance(each, BrokerUnavailable)]
    if not passing:
        return problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return BrokerUnavailable(f"no master of {url.masked}: {passing[-1]}{more}")
