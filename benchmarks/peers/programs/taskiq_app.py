"""taskiq with the stream broker of taskiq-redis."""

import asyncio
import json
import os
from typing import Any

from event import payload
from tally import handled
from taskiq_redis import RedisStreamBroker

SETTINGS = json.loads(os.environ["PEER_SETTINGS"])

broker = RedisStreamBroker(os.environ["PEER_URL"], queue_name="events", consumer_id="0", **SETTINGS.get("broker", {}))
if SETTINGS.get("serializer") == "orjson":
    from taskiq.serializers import ORJSONSerializer

    broker = broker.with_serializer(ORJSONSerializer())


@broker.task
async def handle(event: dict[str, Any]) -> None:
    handled()


async def publish(events: int) -> None:
    await broker.startup()
    for begin in range(0, events, 100):
        numbers = range(begin, min(begin + 100, events))
        await asyncio.gather(*(handle.kiq(payload(number)) for number in numbers))
    await broker.shutdown()
