import os
import subprocess
import sys
import time


def handle(event):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return {"pid": pid != 0}


def leaves(event):
    """A grandchild in a session of its own that outlives its parent, and a plain child."""
    code = "import os, subprocess, sys; print(subprocess.Popen(['sleep', '3600'], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    escaped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    plain = subprocess.Popen(["sleep", "3600"]).pid
    return [int(escaped), plain]


def child_exits(event):
    if os.fork() == 0:
        sys.exit(7)
    os.wait()


def by_libc(event):
    """Behind Python's back: no hook of Python's runs in the child."""
    import ctypes

    pid = ctypes.CDLL(None).fork()
    if pid:
        os.waitpid(pid, 0)
    return {"pid": pid != 0}
