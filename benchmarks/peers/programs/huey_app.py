"""huey on Redis."""

import json
import os
from typing import Any

from event import payload
from huey import RedisHuey
from tally import handled

SETTINGS = json.loads(os.environ["PEER_SETTINGS"])

huey = RedisHuey("events", url=os.environ["PEER_URL"], **SETTINGS.get("huey", {}))


@huey.task()
def handle(event: dict[str, Any]) -> None:
    handled()


def publish(events: int) -> None:
    for number in range(events):
        handle(payload(number))
