"""Half a thousand events a second, an edit every two seconds, a third of them broken: nobody notices but the author."""

import json
import math
import os
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from evfn import Client
from sandbox import Sandbox, wait_until

SECONDS = 60.0
RATE = 500
BATCH = 25
EDITS = 30
FUNCTION = """
import os
import time

from .shared import SHARED

MAIN = {main}


def run(event):
    with open(os.environ["JOURNAL"], "a") as journal:
        journal.write(f"{{event.data['n']}} {{MAIN}} {{SHARED}} {{time.monotonic_ns()}}\\n")
    return {{"n": event.data["n"]}}
"""
BROKEN = ("def run(:\n", "import no_such_module\n", "from .shared import", "raise RuntimeError\n", "")


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.mark.early(1)
def test_thirty_edits_under_load_lose_and_double_nothing(sandbox: Sandbox) -> None:
    """Every event runs once and is recorded once; a good edit serves an event within a second (p95); memory stays flat;
    no process is left behind."""
    sandbox.manifest(
        """
        busy:
          topic: work
          function: busy:run
          emits: done
          workers: {max: 2}
        """
    )
    main, shared = (sandbox.folder / "functions" / name for name in ("busy.py", "shared.py"))
    main.write_text(FUNCTION.format(main=0))
    shared.write_text("SHARED = 0\n")
    edited: dict[tuple[str, int], int] = {}
    with sandbox.running() as run:
        wait_until(lambda: "ready" in sandbox.log.read_text(), description="it is ready")
        url = json.loads(sandbox.evfn("status", "--json").stdout)["server"]
        published = publish_in_background(url)
        memory: list[float] = []
        for edit in range(1, EDITS + 1):
            time.sleep(SECONDS / EDITS)  # the pace of the edits is part of the claim
            if edit % 3 == 0:
                main.write_text(BROKEN[edit // 3 % len(BROKEN)])
            elif edit % 3 == 1:
                edited["main", edit] = time.monotonic_ns()
                main.write_text(FUNCTION.format(main=edit))
            else:
                edited["shared", edit] = time.monotonic_ns()
                shared.write_text(f"SHARED = {edit}\n")
            memory.append(resident_mib(run.pid))
        total = published.finish()
        wait_until(lambda: sandbox.status("busy")["succeeded"] == total, description="all events are settled")
        status = sandbox.status("busy")
        workers = json.loads(sandbox.evfn("status", "--json").stdout)["instances"].popitem()[1]["workers"]
    lines = [line.split() for line in sandbox.notes()]
    assert Counter(int(n) for n, *_ in lines) == Counter(range(total))
    assert (status["delivered"], status["emitted"], status["failed"]) == (total, total, 0)
    waited = []
    for (where, edit), at in edited.items():
        column = 1 if where == "main" else 2
        first = min((int(line[3]) for line in lines if line[column] == str(edit)), default=None)
        assert first is not None, f"edit {edit} of {where} never ran"
        waited.append((first - at) / 1e9)
    waited.sort()
    p95 = waited[math.ceil(len(waited) * 0.95) - 1]
    middle, growth = waited[len(waited) // 2], max(memory[-5:]) - max(memory[3:8])
    print(  # noqa: T201 - the figures are of interest
        f"{total:,} events, {len(waited)} good edits: p50 {middle:.2f} s, p95 {p95:.2f} s, memory {growth:+.1f} MiB"
    )
    assert p95 <= 1.0
    assert growth < 8
    assert len(workers) <= 2
    assert sandbox.processes() == []


class Published:
    def __init__(self) -> None:
        self.stop = threading.Event()
        self.total = 0
        self.thread: threading.Thread | None = None

    def finish(self) -> int:
        """Stop publishing; how many there are."""
        self.stop.set()
        assert self.thread is not None
        self.thread.join()
        return self.total


def publish_in_background(url: str) -> Published:
    """So many events a second, until told to stop."""
    published = Published()

    def publish() -> None:
        numbers = count()
        began = time.monotonic()
        with Client(url) as client:
            while not published.stop.is_set():
                client.emit_many("work", [{"n": next(numbers)} for _ in range(BATCH)])
                published.total += BATCH
                published.stop.wait(max(0.0, began + published.total / RATE - time.monotonic()))

    published.thread = threading.Thread(target=publish)
    published.thread.start()
    return published
