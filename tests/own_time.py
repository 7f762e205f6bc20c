"""What a process takes by its own doing: wall time without that in which it stood ready and others had the cores."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any


def without_core(pid: int) -> float:
    """The seconds so far in which the process could have run and had no core; also once it has ended, until reaped."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def to_its_end(process: "subprocess.Popen[Any]") -> float:
    """Wait until the process has ended, without reaping it; the seconds of its own that this took from now on."""
    began, before = time.monotonic(), without_core(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return time.monotonic() - began - (without_core(process.pid) - before)
