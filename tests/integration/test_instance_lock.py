"""Instance locks: who lives is known at once and for certain, whatever ended the others."""

import subprocess
import sys
from pathlib import Path

import pytest

from evfn import instance_lock
from evfn.instance_lock import InstanceLock

HOLDER = """
import sys
from pathlib import Path
from evfn.instance_lock import InstanceLock
lock = InstanceLock.acquire(Path(sys.argv[1]), sys.argv[2], "redis://there")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_living_instance_is_seen_and_a_released_one_is_gone(tmp_path: Path) -> None:
    """Held while it runs; after a clean end there is no file at all."""
    assert instance_lock.ids(tmp_path) == []
    lock = InstanceLock.acquire(tmp_path, "a", "redis://x")
    assert instance_lock.held(tmp_path, "a") is True
    assert [(each.instance, each.server) for each in instance_lock.living(tmp_path)] == [("a", "redis://x")]
    assert (tmp_path / "instances" / "a.lock").stat().st_mode & 0o777 == 0o600
    lock.release()
    lock.release()
    assert instance_lock.held(tmp_path, "a") is None
    assert instance_lock.ids(tmp_path) == []


def test_a_killed_instance_is_dead_at_once(tmp_path: Path) -> None:
    """Its file stays with a free lock, until somebody clears it away."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert [(each.instance, each.pid) for each in instance_lock.living(tmp_path)] == [("a", process.pid)]
        instance_lock.clear(tmp_path, "a")
        assert instance_lock.held(tmp_path, "a") is True
        process.kill()
    assert instance_lock.held(tmp_path, "a") is False
    assert instance_lock.living(tmp_path) == []
    instance_lock.clear(tmp_path, "a")
    assert instance_lock.held(tmp_path, "a") is None


def test_an_id_belongs_to_one_living_instance(tmp_path: Path) -> None:
    """A second one with the same id is refused; a dead one's id is free."""
    first = InstanceLock.acquire(tmp_path, "a")
    with pytest.raises(FileExistsError, match="a is running already"):
        InstanceLock.acquire(tmp_path, "a")
    first.release()
    InstanceLock.acquire(tmp_path, "a").release()
