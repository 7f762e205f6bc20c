"""The reference: what a person writes by hand with redis-py, run as a process of its own.

`python -m benchmarks.loops r1|r2 URL TOPIC GROUP EVENTS` reads that many events and prints the rate, from the first
request to the last acknowledgement. R1 decodes with `json.loads`, R2 with `msgspec.json`; both fetch 1,000 at a time
and acknowledge them in one call. No isolation, no retries, no counting: what they do not do is what evfn adds.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import redis

COUNT = 1_000
DECODERS: dict[str, Callable[[bytes], Any]] = {"r1": json.loads, "r2": msgspec.json.Decoder().decode}


def run(decode: Callable[[bytes], Any], url: str, topic: str, group: str, events: int) -> float:
    """Events a second."""
    client = redis.Redis.from_url(url)
    client.xgroup_create(topic, group, "0")
    began = time.perf_counter()
    seen = 0
    while seen < events:
        reply: Any = client.xreadgroup(group, "one", {topic: ">"}, count=min(COUNT, events - seen))
        entries = reply[0][1]
        for _, fields in entries:
            decode(fields[b"data"])
        client.xack(topic, group, *(entry for entry, _ in entries))
        seen += len(entries)
    return seen / (time.perf_counter() - began)


if __name__ == "__main__":
    name, url, topic, group, count = sys.argv[1:]
    print(run(DECODERS[name], url, topic, group, int(count)))  # noqa: T201
