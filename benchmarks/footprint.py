"""What processes take: CPU so far, and memory."""

import contextlib
import os
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Its children, theirs, and so on; of an instance its template comes first."""
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(each for child in children for each in descendants(child))]


def process_name(pid: int) -> str:
    """What the process calls itself; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def process_seconds(pid: int) -> float:
    """CPU of all threads of one process. Source: the first field of schedstat, nanoseconds."""
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            nanoseconds += int(thread.read_text().split()[0])
    return nanoseconds / 1e9


def reaped_seconds(pid: int) -> float:
    """CPU of the children that it has waited for. Source: fields 16 and 17 of proc(5) stat, in ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int, kind: str = "Pss:") -> float:
    """Its proportional set size: what is shared counts for each by its part. Or what else of smaps_rollup begins so, as
    `Private_` for what is its own. 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024
