"""The reference for latency: a blocking loop as one writes it by hand, run as a process of its own.

`python -m benchmarks.waiting_loop URL TOPIC FILE` waits for events, decodes and acknowledges them, until it is ended.
For each it appends a RECORD to the file: its number, when it was sent, when its handling began, and when it was
acknowledged.
"""

import json
import os
import struct
import sys
import time
from typing import Any

import redis

RECORD = struct.Struct("<qqqq")
COUNT = 1_000
BLOCK_MS = 2_000


def run(url: str, topic: str, file: str) -> None:
    """Until the process is ended."""
    client = redis.Redis.from_url(url)
    client.xgroup_create(topic, "waiting", "0", mkstream=True)
    records = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    while True:
        reply: Any = client.xreadgroup("waiting", "one", {topic: ">"}, count=COUNT, block=BLOCK_MS)
        entries = reply[0][1] if reply else []
        handled = []
        for _, fields in entries:
            began = time.monotonic_ns()
            event = json.loads(fields[b"data"])
            handled.append((event["number"], event["sent_ns"], began))
        if entries:
            client.xack(topic, "waiting", *(entry for entry, _ in entries))
            settled = time.monotonic_ns()
            os.write(records, b"".join(RECORD.pack(*each, settled) for each in handled))


if __name__ == "__main__":
    run(*sys.argv[1:])
