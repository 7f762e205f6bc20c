"""A producer that keeps time, run as a process of its own.

`python -m benchmarks.producer URL TOPIC TOPICS RATE FIRST EVENTS` publishes so many plain entries, numbered from FIRST,
at so many a second, in turn on the topics TOPIC.0, TOPIC.1, … Each carries its number and the time at which it was
sent: nanoseconds of the monotonic clock, which all processes of a machine share. What is late is sent at once, with the
time at which it was.
"""

import json
import sys
import time

import redis

PADDING = "x" * 130
"""Makes an event 200 bytes of JSON, more or less."""


def publish(url: str, topic: str, topics: int, rate: float, first: int, events: int) -> None:
    """Returns when all are stored."""
    client = redis.Redis.from_url(url)
    client.ping()
    begin = time.monotonic()
    for number in range(first, first + events):
        pause = begin + (number - first) / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        sent = {"number": number, "sent_ns": time.monotonic_ns(), "padding": PADDING}
        client.xadd(f"{topic}.{number % topics}", {"data": json.dumps(sent)})


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]))
