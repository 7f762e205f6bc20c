"""SAQ on Redis."""

import asyncio
import json
import os
from typing import Any

from event import payload
from saq import Queue
from tally import handled

SETTINGS = json.loads(os.environ["PEER_SETTINGS"])
CODEC: dict[str, Any] = {}
if SETTINGS.get("serializer") == "orjson":
    import orjson

    CODEC = {"dump": orjson.dumps, "load": orjson.loads}

queue = Queue.from_url(os.environ["PEER_URL"], name="events", **CODEC)


async def handle(context: Any, *, event: dict[str, Any]) -> None:
    handled()


settings = {"queue": queue, "functions": [handle], **SETTINGS.get("worker", {})}


async def publish(events: int) -> None:
    for begin in range(0, events, 100):
        numbers = range(begin, min(begin + 100, events))
        await asyncio.gather(
            *(queue.enqueue("handle", event=payload(number), **SETTINGS.get("job", {})) for number in numbers)
        )
    await queue.disconnect()
