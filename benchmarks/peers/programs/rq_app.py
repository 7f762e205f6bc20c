"""RQ."""

import json
import os
from typing import Any

from event import payload
from redis import Redis
from rq import Queue
from tally import handled

SETTINGS = json.loads(os.environ["PEER_SETTINGS"])


def handle(event: dict[str, Any]) -> None:
    handled()


def publish(events: int) -> None:
    from rq.serializers import JSONSerializer

    serializer = JSONSerializer if SETTINGS.get("serializer") == "json" else None
    queue = Queue("events", connection=Redis.from_url(os.environ["PEER_URL"]), serializer=serializer)
    queue.enqueue_many(
        [Queue.prepare_data("rq_app.handle", (payload(number),), **SETTINGS.get("job", {})) for number in range(events)]
    )
