"""Where evfn is imported once for many commands: each is carried out by a fork, and so by a process of its own.

An import of evfn takes a core a third of a second, a fork some milliseconds, and the tests have more than a thousand
commands. What a user starts imports for itself; so do instances, and the tests of starting, of its cost and of every
command's examples.
"""

import gc
import importlib
import os
import pkgutil
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

COMMAND = Path(__file__).with_name("command.py")
AT_THE_START = ("LD_", "LC_", "LANG", "PYTHON", "TZ", "EVFN_FAILPOINTS")
"""What begins like this is read when a process starts, or when it imports evfn."""


def command(environment: Mapping[str, str]) -> tuple[list[str], list[int]]:
    """How a command line begins instead of with `evfn`, and the descriptors to pass on to it.

    A process that has to start by itself in this environment does so.
    """
    if early(environment) != early(os.environ):
        return [sys.executable, "-m", "evfn_cli"], []
    _, way = _template()
    return [sys.executable, "-I", "-S", str(COMMAND), str(way.fileno())], [way.fileno()]


def early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(AT_THE_START)}


@cache
def _template() -> tuple["subprocess.Popen[bytes]", socket.socket]:
    """The one of this process, and the way to it; it ends when nobody has that any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        template = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    return template, ours


def modules(package: str) -> Iterator[str]:
    """All in it, except for what runs in workers and in users' tests."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if found.name not in ("evfn.workers", "evfn.testing", "evfn_cli.__main__"):
            yield from modules(found.name) if found.ispkg else [found.name]


def serve(way: socket.socket) -> bool:
    """Fork for every request. True in each child, which is to do what `sys.argv` says; False when no more can come."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([way.fileno(), *running], [], [])[0]:
            if ready != way.fileno():
                pid, told = running.pop(ready)
                os.write(told, b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(told)
                os.close(ready)
                continue
            request, descriptors, _, _ = socket.recv_fds(way, 1 << 18, 4)
            if not request:
                return False
            pid = os.fork()
            if pid == 0:
                way.close()
                become(request, descriptors)
                return True
            running[os.pidfd_open(pid)] = (pid, descriptors.pop())
            for descriptor in descriptors:
                os.close(descriptor)


def become(request: bytes, descriptors: list[int]) -> None:
    """Be what asked for it."""
    folder, count, *rest = request.split(b"\0")
    arguments, environment = rest[: int(count)], rest[int(count) :]
    os.chdir(folder)
    os.environb.clear()
    os.environb.update(zip(environment[::2], environment[1::2], strict=True))
    sys.argv[1:] = map(os.fsdecode, arguments)
    sys.path[0] = os.fsdecode(folder)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    # An interpreter looks at what its streams are when it opens them.
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)


if __name__ == "__main__":
    for name in [*modules("evfn"), *modules("evfn_cli")]:
        importlib.import_module(name)
    from evfn_cli.entry import entry

    gc.freeze()  # else every child would go through it all at its end, for a seventh of a second
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        entry()
