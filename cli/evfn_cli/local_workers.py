"""The workers of an instance on this machine, as the kernel knows them: for looking only."""

from pathlib import Path

_TEMPLATE = b"evfn.workers.template"
_LOADED = b"evfn-loaded\n"
"""What the kernel calls a template that has a function loaded; it is a child of the other, and has workers as well."""


def workers(instance_pid: int) -> list[int] | None:
    """The pids of its workers; None where the kernel does not tell (macOS, another user's processes)."""
    children = _children(instance_pid)
    if children is None:
        return None
    templates = [pid for pid in children if _TEMPLATE in _read(pid, "cmdline")]
    found = [child for template in templates for child in _children(template) or []]
    loaded = [pid for pid in found if _read(pid, "comm") == _LOADED]
    return sorted({*found, *(worker for template in loaded for worker in _children(template) or [])} - {*loaded})


def _children(pid: int) -> list[int] | None:
    try:
        threads = [each / "children" for each in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for each in threads for child in each.read_text().split()]
    except OSError:
        return None


def _read(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""
