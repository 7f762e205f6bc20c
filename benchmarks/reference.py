"""The reference loops, each run as a process of its own beside what it is compared with."""

import subprocess
import sys
from itertools import count
from pathlib import Path

from benchmarks.ground import Ground

LOOPS = {"R1": "r1", "R2": "r2"}
"""How figures name the loops: `× R1`."""
_ROOT = Path(__file__).parent.parent
_groups = count()


def rate(loop: str, ground: Ground, topic: str, events: int) -> float:
    """Events a second of R1 or R2, on the topic's first so many events. Raises RuntimeError where the loop fails."""
    ground.rest()
    group = f"reference-{next(_groups)}"
    command = [sys.executable, "-m", "benchmarks.loops", LOOPS[loop], ground.url, topic, group, str(events)]
    done = subprocess.run(command, check=False, cwd=_ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{loop} ended with {done.returncode}: {done.stderr.strip().rpartition(chr(10))[2]}")
    ground.client.xgroup_destroy(topic, group)
    return float(done.stdout)
