"""What an instance writes down of its triggers for `evfn status`."""

from pathlib import Path

from evfn import instance_lock
from evfn.listener import Happening, Started, StateChanged, TriggerState, Watched
from evfn_cli import states
from evfn_cli.states import States
from waiting import wait_until


class Nobody:
    def tell(self, happening: Happening) -> None:
        """Listens to nothing."""


async def test_of_many_changes_the_last_is_written(tmp_path: Path) -> None:
    """A thousand triggers ready within a second are not written down a thousand times, and none is left out."""
    lock = instance_lock.InstanceLock.acquire(tmp_path, "me", "redis://h")
    written = States(tmp_path, Nobody())
    names = [f"t{number}" for number in range(1_000)]
    written.tell(Started("p", "me", "redis://h", tuple(Watched(name, ("x",), "m:f") for name in names)))
    stamps = set()
    for name in names:
        written.tell(StateChanged(name, TriggerState.OK))
        stamps.add((tmp_path / "instances" / "me.json").stat().st_mtime_ns)
    assert len(stamps) < len(names) / 4
    await wait_until(lambda: {each["state"] for each in states.read(tmp_path).values()} == {"ok"}, "all are written")
    written.forget()
    assert states.read(tmp_path) == {}
    lock.release()
