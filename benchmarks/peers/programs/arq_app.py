"""arq."""

import asyncio
import json
import os
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from event import payload
from tally import handled

SETTINGS = json.loads(os.environ["PEER_SETTINGS"])
REDIS = RedisSettings.from_dsn(os.environ["PEER_URL"])
CODEC: dict[str, Any] = {}
if SETTINGS.get("serializer") == "msgpack":
    import msgpack

    CODEC = {"job_serializer": msgpack.packb, "job_deserializer": msgpack.unpackb}
if SETTINGS.get("uvloop"):
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def handle(context: Any, event: dict[str, Any]) -> None:
    handled()


class WorkerSettings:
    functions = (handle,)
    redis_settings = REDIS


for name, value in {**CODEC, **SETTINGS.get("worker", {})}.items():
    setattr(WorkerSettings, name, staticmethod(value) if callable(value) else value)


async def publish(events: int) -> None:
    pool = await create_pool(REDIS, **CODEC)
    for begin in range(0, events, 100):
        numbers = range(begin, min(begin + 100, events))
        await asyncio.gather(*(pool.enqueue_job("handle", payload(number)) for number in numbers))
    await pool.aclose()
