"""FastStream: a stream read by a consumer group."""

import asyncio
import json
import os
from typing import Any

from event import payload
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from tally import handled

URL = os.environ["PEER_URL"]
SETTINGS = json.loads(os.environ["PEER_SETTINGS"])

broker = RedisBroker(URL, **({"logger": None, "apply_types": False} if SETTINGS.get("silent") else {}))
app = FastStream(broker)
stream = StreamSub("events", group="peers", consumer=f"peer-{os.getpid()}", **SETTINGS.get("stream", {}))

if SETTINGS.get("stream", {}).get("batch"):

    @broker.subscriber(stream=stream)
    async def handle_many(events: list[dict[str, Any]]) -> None:
        for _ in events:
            handled()

else:

    @broker.subscriber(stream=stream, **SETTINGS.get("subscriber", {}))
    async def handle(event: dict[str, Any]) -> None:
        handled()


async def publish(events: int) -> None:
    async with RedisBroker(URL, logger=None) as producer:
        for begin in range(0, events, 100):
            numbers = range(begin, min(begin + 100, events))
            await asyncio.gather(*(producer.publish(payload(number), stream="events") for number in numbers))
        # Made here, from the beginning, for a subscriber makes it where the stream ends.
        await (await producer.connect()).xgroup_create("events", "peers", "0")
