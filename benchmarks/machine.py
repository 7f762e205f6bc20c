"""What was measured on, and with which versions: a figure without these says little."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks.ground import Ground

_ROOT = Path(__file__).parent.parent
PACKAGES = ("redis", "hiredis", "msgspec", "pydantic", "common-expression-language")


def machine() -> dict[str, str]:
    """This one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
    }


async def versions() -> dict[str, str]:
    """Of evfn and of everything whose speed is in the figures."""
    async with Ground() as ground:
        found = ground.client.info("server")
    server = {"Valkey": found["valkey_version"]} if "valkey_version" in found else {"Redis": found["redis_version"]}
    return {
        "evfn": f"{version('evfn')}{_commit()}",
        "Python": platform.python_version(),
        **server,
        **{package: version(package) for package in PACKAGES},
    }


def _commit() -> str:
    """Which one is checked out; nothing where this is no repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "describe", "--always", "--dirty"]
    said = subprocess.run(command, check=False, cwd=_ROOT, capture_output=True, text=True).stdout.strip()
    return f" ({said})" if said else ""


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
