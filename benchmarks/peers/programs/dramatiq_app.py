"""dramatiq on its Redis broker."""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from event import payload
from tally import handled

dramatiq.set_broker(RedisBroker(url=os.environ["PEER_URL"]))


@dramatiq.actor
def handle(event: dict[str, Any]) -> None:
    handled()


def publish(events: int) -> None:
    for number in range(events):
        handle.send(payload(number))
