"""What processes take: CPU seconds so far, and memory in MB."""

import contextlib
from pathlib import Path


def seconds(pid: int) -> float:
    """CPU of all threads of one process. Source: the first field of schedstat, nanoseconds."""
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            nanoseconds += int(thread.read_text().split()[0])
    return nanoseconds / 1e9


def megabytes(pid: int) -> float:
    """Its proportional set size: what is shared counts for each by its part. 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) / 1024


def process_name(pid: int) -> str:
    """What the process calls itself; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """Its children, theirs, and so on; of an instance its template comes first."""
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(each for child in children for each in descendants(child))]
