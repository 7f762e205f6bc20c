"""What a group will never be given: events that somebody trimmed before they were delivered."""

from collections.abc import Sequence
from dataclasses import dataclass

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.scripts import Script
from evfn.errors import BrokerError, BrokerUnavailable

MISSED = Script("missed", "stream", "stats")


@dataclass(frozen=True, slots=True)
class Missed:
    """So many `events` of a topic, after the id `after` and before `oldest`, the oldest that is left ('' where none
    is). They are counted as delivered and dropped. `final`: it is so until the topic changes."""

    events: int
    after: str = ""
    oldest: str = ""
    final: bool = False


async def missed(connection: Connection, keys: Keys, pairs: Sequence[tuple[str, str]]) -> list[Missed]:
    """Count it for each (topic, group), since the last time anybody did; none where that cannot be done.

    As far as the server can know: not where single events were deleted, not what was trimmed between a look and the
    group's next fetch, and where a group that missed something reads on, not again before it has read all there is.

    Raises BrokerUnavailable.
    """
    calls = [([keys.topic(topic), keys.stats(topic, group)], [group]) for topic, group in pairs]
    found: list[Missed] = []
    for reply in await MISSED.run_many(connection, calls):
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, BrokerError):
            found.append(Missed(0))
            continue
        events, after, oldest, final = reply
        found.append(Missed(events, after.decode(), oldest.decode(), bool(final)))
    return found
