"""What a reader has to know of each peer beside its figures, as a page has it."""

from collections.abc import Iterable

from benchmarks.peers.peer import Peer

HEAD = """\
| peer | ways | where the function runs apart | taken off its queue | `kill -9` of its workers |
| --- | --- | --- | --- | --- |"""
EVFN = (
    "| evfn | its defaults | a process for the function, one for many events | with what it emitted, once"
    " the function has returned; always so | delivered again after the lease, 10 s by default;"
    " a killed worker's at once |"
)


def table(peers: Iterable[Peer]) -> str:
    """A row for each, then where its settings are documented."""
    known = tuple(peers)
    rows = [f"| {each.name} | {_ways(each)} | {each.isolated} | {each.acked} | {each.killed} |" for each in known]
    sources = "\n".join(f"- {each.name}: {', '.join(f'<{url}>' for url in each.sources)}" for each in known)
    return "\n".join([HEAD, EVFN, *rows]) + f"\n\nThese are documented in:\n\n{sources}\n"


def _ways(peer: Peer) -> str:
    return "; ".join(f"*{way.name}*: {way.says}" for way in peer.ways)
