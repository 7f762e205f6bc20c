"""Fill a peer's queue with its own client: `python publish.py PEER EVENTS`."""

import asyncio
import importlib
import sys

if __name__ == "__main__":
    peer, events = sys.argv[1:]
    published = importlib.import_module(f"{peer}_app").publish(int(events))
    if asyncio.iscoroutine(published):
        asyncio.run(published)
