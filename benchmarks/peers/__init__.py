"""evfn beside other systems that call a function for each event: each in its own environment, on the same server.

Every peer gets the same 200 bytes of JSON, published first with its own client; its function does nothing with them but
count. Its rate is from the first to the last event handled. evfn's is from its counters of what is *settled*, as in the
other sections, of 200,000 events. All of them connect over loopback TCP, as the peers are documented, and all
processes share the machine. Each peer runs by turns with evfn; a ratio is that of one round, to the peer's faster way.
The fastest Python peer is the fastest of those that take an event off its queue after it was handled. *Usual* is what
the peer's first steps show, with its defaults; *best* are the settings from its documentation that were fastest here.
Both have hiredis, and uvloop where the peer takes it by itself.
"""

from collections.abc import Sequence

from benchmarks.figure import Effort, Figure
from benchmarks.peers.catalogue import BULLMQ, BULLMQ_SANDBOXED, PEERS
from benchmarks.peers.contest import RATE, Standing, hold
from benchmarks.peers.described import table
from benchmarks.peers.peer import Peer

TITLE = "Peers"
__doc__ = f"{__doc__}\n{table(PEERS)}"
ASKED = {BULLMQ.name: (8.0, 12.0), BULLMQ_SANDBOXED.name: (40.0, 60.0)}
"""How many times as fast as these evfn must be, and is aimed to be."""


async def measure(effort: Effort, peers: Sequence[Peer] = PEERS) -> list[Figure]:
    """How many times as fast evfn is, then everybody's rates."""
    standings = [await hold(peer, effort) for peer in peers]
    rates = [figure for each in standings for _, figure in each.ways]
    ours = tuple(sample for each in standings for sample in each.evfn.samples)
    beside = [each.beside(f"evfn beside {each.peer.name}", *ASKED.get(each.peer.name, ())) for each in standings]
    return [*_python(standings), *beside, Figure("evfn", RATE, ours), *rates]


def _python(standings: Sequence[Standing]) -> list[Figure]:
    """evfn beside the fastest of those in Python; nothing where not all of them were to be measured."""
    name = "evfn beside the fastest Python peer"
    able = [each for each in standings if not each.peer.node and each.peer.acks_late]
    if len(able) < sum(not each.node and each.acks_late for each in PEERS):
        return []
    fastest = max(able, key=lambda each: each.fastest.value if each.fastest else 0.0)
    return [fastest.beside(name, 25.0, 40.0)]
