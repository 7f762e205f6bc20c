"""What goes wrong in a storm: each fault does its harm, ends it, and leaves the rest to evfn."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import redis

from chaos.fleet import Fleet, Member, send
from evfn.broker.settle import SETTLE
from proxy import Fault
from servers import RealServer

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


class Ground:
    """Where a storm takes place: two servers, one of them a replica that may take over, each on a small disk of its own
    and with a clock that may be set, as far as this machine allows that."""

    def __init__(self, folder: Path) -> None:
        self.servers: list[RealServer] = []
        self.mounts: list[Path] = []
        self._clock = folder / "clock"
        environment = {}
        self.has_clock = FAKETIME.exists()
        if self.has_clock:
            self.set_clock(0)
            environment = {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        # Synced before each reply: what was accepted is there after kill -9 of the server.
        options = ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]
        for name in ("a", "b"):
            disk = folder / name
            disk.mkdir()
            if os.geteuid() == 0 and _mount(disk):
                self.mounts.append(disk)
            self.servers.append(RealServer("valkey", disk / "d", tcp=True, options=options, environment=environment))
        for server in self.servers:
            server.start()
        self.follow()

    @property
    def server(self) -> RealServer:
        """The master."""
        return self.servers[0]

    @property
    def disk(self) -> Path | None:
        """The small disk of the master."""
        mine = [mount for mount in self.mounts if mount in self.server.folder.parents]
        return mine[0] if mine else None

    def follow(self) -> None:
        """Let the second copy the first from here on."""
        self.servers[1].command("REPLICAOF", "127.0.0.1", self.servers[0].port)

    def replica_is_complete(self) -> bool:
        """Whether it has copied all there was when it began."""
        with redis.Redis.from_url(self.servers[1].url) as client:
            facts = client.info("replication")
        return isinstance(facts, dict) and facts.get("master_link_status") == "up"

    def set_clock(self, hours: int) -> None:
        """The servers' clocks, so many hours from the real time."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{hours * 3600:+d}\n")
        new.rename(self._clock)

    def close(self) -> None:
        """Take it all down."""
        for server in self.servers:
            server.stop()
        for mount in self.mounts:
            subprocess.run(["/bin/umount", mount], check=False)


def _mount(folder: Path) -> bool:
    return subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], check=False).returncode == 0


class Nemeses:
    """With `only`, no other fault than these. `counted` says how often each struck."""

    def __init__(self, fleet: Fleet, ground: Ground, draw: Random, only: Sequence[str] = ()) -> None:
        self.fleet = fleet
        self.ground = ground
        self.draw = draw
        self._only = only
        self.counted: dict[str, int] = {}
        self._stopped: set[int] = set()

    def every(self) -> Mapping[str, tuple[int, Callable[[], None]]]:
        """All faults, with their weights."""
        found: dict[str, tuple[int, Callable[[], None]]] = {
            "kill -9 of an instance": (10, self.kill_instance),
            "kill -9 of any process": (14, self.kill_any),
            "SIGTERM to an instance": (6, self.terminate),
            "any process stands still": (8, self.stop_any),
            "an instance stands still": (8, self.stop_instance),
            "connections reset": (6, self.reset),
            "a reply is lost": (10, self.lose_reply),
            "a network falls silent": (5, self.silence),
            "a machine hears nothing": (4, self.deafen),
            "a machine is refused": (4, self.refuse),
            "a network is slow": (4, self.slow_down),
            "scripts flushed": (4, self.flush_scripts),
            "all clients killed": (4, self.kill_clients),
            "the server killed": (5, self.kill_server),
            "the server stands still": (4, self.stop_server),
            "the server is full": (4, self.fill_server),
            "the server loses all data": (1, self.flush),
            "failover to a replica that lags": (1, self.fail_over),
        }
        if self.fleet.has_jobs:
            found["RQ's keys are lost"] = (4, self.lose_jobs)
            found["SIGHUP to a machine"] = (4, self.reload)
        if self.ground.has_clock:
            found["the server's clock jumps"] = (4, self.set_clock)
        if self.ground.mounts:
            found["the server's disk is full"] = (2, self.fill_disk)
        return {name: fault for name, fault in found.items() if not self._only or name in self._only}

    def strike(self) -> str:
        """Do one of them from beginning to end; its name."""
        every = self.every()
        names = list(every)
        name = self.draw.choices(names, [every[each][0] for each in names])[0]
        self._strike(name)
        return name

    def _strike(self, name: str) -> None:
        self.counted[name] = self.counted.get(name, 0) + 1
        self.every()[name][1]()

    def heal(self) -> None:
        """No fault lasts any longer."""
        for pid in self._stopped:
            send(pid, signal.SIGCONT)
        for member in self.fleet.members:
            self._heal(member)
        if self.ground.has_clock:
            self.ground.set_clock(0)

    # --- processes ------------------------------------------------------------------------------------------------

    def kill_instance(self) -> None:
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def reload(self) -> None:
        """An instance ends by it, what runs jobs reads the project anew."""
        self._signal(signal.SIGHUP)

    def kill_any(self) -> None:
        if (pid := self._any()) is not None:
            send(pid, signal.SIGKILL)

    def stop_any(self) -> None:
        if (pid := self._any()) is not None:
            self._stand_still(pid, self.draw.uniform(0.2, 4.0))

    def stop_instance(self) -> None:
        process = self._member().process
        if process is not None:
            self._stand_still(process.pid, self.draw.uniform(0.5, 6.0))

    def _stand_still(self, pid: int, seconds: float) -> None:
        self._stopped.add(pid)
        send(pid, signal.SIGSTOP)
        self._meanwhile(seconds)
        send(pid, signal.SIGCONT)
        self._stopped.discard(pid)

    def _signal(self, number: signal.Signals) -> None:
        process = self._member().process
        if process is not None:
            send(process.pid, number)

    def _any(self) -> int | None:
        found = self.fleet.processes()
        return self.draw.choice(found) if found else None

    def _member(self) -> Member:
        return self.draw.choice(self.fleet.members)

    # --- networks -------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        self._member().network.hang_up(reset=self.draw.random() < 0.5)

    def lose_reply(self) -> None:
        proxy = self._member().proxy
        if self.draw.random() < 0.6:
            proxy.lose_reply_to(SETTLE.sha.encode())
        else:
            proxy.lose_next_reply()

    def silence(self) -> None:
        self._fault(Fault.BLACK_HOLE, self.draw.uniform(0.5, 8.0))

    def deafen(self) -> None:
        self._fault(Fault.DEAF, self.draw.uniform(0.5, 6.0))

    def refuse(self) -> None:
        member = self._member()
        member.proxy.fault = Fault.REFUSE
        member.network.hang_up(reset=True)
        self._meanwhile(self.draw.uniform(0.2, 5.0))
        self._heal(member)

    def slow_down(self) -> None:
        member = self._member()
        member.proxy.delay = 0.1
        self._meanwhile(self.draw.uniform(1.0, 4.0))
        self._heal(member)

    def _fault(self, fault: Fault, seconds: float) -> None:
        member = self._member()
        member.proxy.fault = fault
        self._meanwhile(seconds)
        self._heal(member)

    def _heal(self, member: Member) -> None:
        member.proxy.fault = Fault.NONE
        member.proxy.delay = 0.0

    # --- the server -----------------------------------------------------------------------------------------------

    def flush_scripts(self) -> None:
        self.ground.server.command("SCRIPT", "FLUSH")

    def kill_clients(self) -> None:
        self.ground.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def kill_server(self) -> None:
        self.ground.server.kill()
        self._meanwhile(self.draw.uniform(0.0, 3.0))
        self.ground.server.start()

    def stop_server(self) -> None:
        send(self.ground.server.pid, signal.SIGSTOP)
        self._meanwhile(self.draw.uniform(0.3, 7.0))
        send(self.ground.server.pid, signal.SIGCONT)

    def fill_server(self) -> None:
        self.ground.server.command("CONFIG", "SET", "maxmemory", "1")
        self._meanwhile(self.draw.uniform(0.5, 3.0))
        self.ground.server.command("CONFIG", "SET", "maxmemory", "0")

    def flush(self) -> None:
        with self.fleet.publishing:
            self.fleet.set_aside()
            self.ground.server.command("FLUSHALL")
            self.fleet.begin_anew()

    def lose_jobs(self) -> None:
        with self.fleet.client() as client, contextlib.suppress(redis.RedisError):
            for name in client.scan_iter("rq:*"):
                client.delete(name)

    def set_clock(self) -> None:
        self.ground.set_clock(self.draw.choice([-2, -1, 0, 1, 2]))

    def fill_disk(self) -> None:
        disk = self.ground.disk
        if disk is None:
            return
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 18)):
                pass
        self._meanwhile(self.draw.uniform(0.5, 2.0))
        filler.unlink(missing_ok=True)
        # A server that syncs each write ends itself when it cannot.
        self.ground.server.kill()
        self.ground.server.start()

    def fail_over(self) -> None:
        ground = self.ground
        if not ground.replica_is_complete():
            return
        replica = ground.servers[1]
        # From here on it knows nothing more of what happens.
        replica.command("REPLICAOF", "NO", "ONE")
        self._meanwhile(self.draw.uniform(0.2, 1.0))
        with self.fleet.publishing:
            self.fleet.set_aside()
            ground.server.kill()
            ground.servers.reverse()
            self.fleet.lead_to(ground.server)
            self.fleet.begin_anew()
        ground.servers[1].start()
        ground.follow()

    # --- meanwhile ------------------------------------------------------------------------------------------------

    def _meanwhile(self, seconds: float) -> None:
        """Somebody may die while something else is wrong."""
        end = time.monotonic() + seconds
        kills = [name for name in self.every() if name.startswith("kill")]
        for pause in self._pauses(seconds):
            time.sleep(pause)
            if kills and time.monotonic() < end and self.draw.random() < 0.3:
                self._strike(self.draw.choice(kills))

    def _pauses(self, seconds: float) -> Iterator[float]:
        left = seconds
        while left > 0:
            pause = min(left, self.draw.uniform(0.3, 3.0))
            left -= pause
            yield pause
