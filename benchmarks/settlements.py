"""Sees when events are settled, without a hand on what settles them: a process of its own.

`python -m benchmarks.settlements SOCKET FILE KEY…` has the server tell it of each change of these hashes of counters,
reads `succeeded` anew, and appends a RECORD to the file: the key's place in the list, how many events are settled,
and when it was told, in nanoseconds of the monotonic clock. That is one small read for each call that settles.
"""

import os
import socket
import struct
import sys
import time
from collections import deque

import hiredis

from evfn.broker.link import pack

RECORD = struct.Struct("<qqq")
READ_BYTES = 1 << 18


def run(path: str, file: str, keys: list[str]) -> None:
    """Until the process is ended."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    reader = hiredis.Reader()
    places = {key.encode(): place for place, key in enumerate(keys)}
    told = dict.fromkeys(places, time.monotonic_ns())
    asked: deque[bytes] = deque()
    server.sendall(pack(("HELLO", 3)) + pack(("CLIENT", "TRACKING", "ON")))
    greetings = 2
    records = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    ask = list(places)
    while True:
        server.sendall(b"".join(pack(("HGET", key, "succeeded")) for key in ask))
        asked += ask
        ask = []
        reader.feed(server.recv(READ_BYTES))
        now = time.monotonic_ns()
        while (reply := reader.gets()) is not False:
            if isinstance(reply, hiredis.PushNotification):
                for key in reply[1] or places:
                    told[key] = now
                    ask.append(key)
            elif greetings:
                greetings -= 1
            else:
                key = asked.popleft()
                os.write(records, RECORD.pack(places[key], int(reply or 0), told[key]))


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], sys.argv[3:])
