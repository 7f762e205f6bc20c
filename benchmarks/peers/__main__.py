"""`python -m benchmarks.peers [--rounds N] [--share PART] [NAME …]`: these peers alone; prints a table."""

import argparse
import asyncio
import signal
import sys

from benchmarks import report
from benchmarks.figure import Effort
from benchmarks.peers import measure
from benchmarks.peers.catalogue import PEERS


def main() -> int:
    """Nothing is recorded; 1 where something could not be measured."""
    known = {each.name.lower().replace(" ", "-"): each for each in PEERS}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--rounds", type=Effort.rounds_of, default=Effort.rounds, help="how often each is run")
    parser.add_argument(
        "--share", type=Effort.share_of, default=Effort.share, help="which part of the usual number of events"
    )
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(known)}")
    # Ended by its clean-up, so that no peer is left behind looking for its server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    peers = [known[name] for name in arguments.names] or PEERS
    figures = asyncio.run(measure(Effort(arguments.rounds, arguments.share), peers))
    sys.stdout.write(report.tables(figures))
    return 0 if all(each.samples for each in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
