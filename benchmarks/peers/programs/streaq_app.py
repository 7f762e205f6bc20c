"""streaq."""

import json
import os
from typing import Any

from event import payload
from streaq import Worker
from tally import handled

SETTINGS = json.loads(os.environ["PEER_SETTINGS"])
CODEC: dict[str, Any] = {}
if SETTINGS.get("serializer") == "json":
    CODEC = {"serializer": json.dumps, "deserializer": json.loads}

worker: Worker[None] = Worker(os.environ["PEER_URL"], queue_name="events", **CODEC, **SETTINGS.get("worker", {}))


@worker.task(**SETTINGS.get("task", {}))
async def handle(event: dict[str, Any]) -> None:
    handled()


async def publish(events: int) -> None:
    async with worker:
        for begin in range(0, events, 500):
            numbers = range(begin, min(begin + 500, events))
            await worker.enqueue_many([handle.enqueue(payload(number)) for number in numbers])
