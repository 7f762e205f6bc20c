"""The workers of an instance on this machine, as the kernel knows them: for looking only."""

from pathlib import Path

_TEMPLATE = b"evfn.workers.template"


def workers(instance_pid: int) -> list[int] | None:
    """The pids of its workers; None where the kernel does not tell (macOS, another user's processes)."""
    children = _children(instance_pid)
    if children is None:
        return None
    templates = [pid for pid in children if _TEMPLATE in _command(pid)]
    return sorted(worker for template in templates for worker in _children(template) or [])


def _children(pid: int) -> list[int] | None:
    try:
        threads = [each / "children" for each in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for each in threads for child in each.read_text().split()]
    except OSError:
        return None


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
