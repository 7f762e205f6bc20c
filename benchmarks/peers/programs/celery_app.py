"""Celery with Redis as its broker."""

import json
import os
from typing import Any

from celery import Celery
from event import payload
from tally import handled

app = Celery("celery_app", broker=os.environ["PEER_URL"])
app.conf.update(broker_connection_retry_on_startup=True, **json.loads(os.environ["PEER_SETTINGS"]))


@app.task
def handle(event: dict[str, Any]) -> None:
    handled()


def publish(events: int) -> None:
    with app.producer_pool.acquire() as producer:
        for number in range(events):
            handle.apply_async((payload(number),), producer=producer)
