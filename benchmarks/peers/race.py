"""One run of a peer: its workers on a backlog, watched from the outside until all of it is handled."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.footprint import process_seconds
from benchmarks.peers.loopback import LoopbackGround
from benchmarks.peers.peer import Peer, Way
from benchmarks.peers.programs.tally import progress
from benchmarks.subject import Run

PROGRAMS = Path(__file__).parent / "programs"
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
"""How long a peer may take for all of its events."""
LAST_WORDS = 300


def publish(peer: Peer, way: Way, folder: Path, ground: LoopbackGround, events: int) -> None:
    """Fill its queue with its own producer. Raises RuntimeError."""
    ground.clear()
    if peer.node:
        command = ["node", str(PROGRAMS / f"{peer.program}_app.cjs"), "publish", str(events)]
    else:
        command = [str(folder / "bin" / "python"), str(PROGRAMS / "publish.py"), peer.program, str(events)]
    environment = _environment(way, folder, ground, folder)
    done = subprocess.run(command, check=False, cwd=ground.folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"its producer ended with {done.returncode}: {done.stderr[-LAST_WORDS:]}")


def run(way: Way, folder: Path, ground: LoopbackGround, events: int) -> Run:
    """From the first to the last event handled. Raises RuntimeError where not all of them are in time."""
    tally = Path(tempfile.mkdtemp(dir=ground.folder))
    environment = _environment(way, folder, ground, tally)
    ground.rest()
    with (ground.folder / "peer.log").open("w+b") as log:
        workers = [
            subprocess.Popen(
                [part.format(url=ground.peer_url, programs=PROGRAMS) for part in way.command],
                cwd=ground.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            for _ in range(way.processes)
        ]
        sessions = {worker.pid for worker in workers}
        try:
            rate, cpu = _watch(sessions, workers, tally, ground.server_pid, events)
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{error}: {log.read().decode(errors='replace').strip()[-LAST_WORDS:]}") from error
        finally:
            _end(sessions, workers)
    return Run(rate, cpu)


def _watch(
    sessions: set[int], workers: list["subprocess.Popen[bytes]"], tally: Path, server_pid: int, events: int
) -> tuple[float, Mapping[str, float]]:
    deadline = time.perf_counter() + PATIENCE_SECONDS
    first, before = 0, {"workers": 0.0, "server": 0.0}
    while True:
        now = progress(tally)
        if now.events and not first:
            first, before = now.events, _spent(sessions, server_pid)
        if now.events >= events:
            spent = _spent(sessions, server_pid)
            handled = max(now.events - first, 1)
            cpu = {name: (seconds - before[name]) / handled * 1e6 for name, seconds in spent.items()}
            return (now.events - 1) / max(now.seconds, 1e-9), cpu
        if time.perf_counter() > deadline or any(worker.poll() is not None for worker in workers):
            raise RuntimeError(f"{now.events:,} of {events:,} events handled")
        time.sleep(LOOK_SECONDS)


def _environment(way: Way, folder: Path, ground: LoopbackGround, tally: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EVFN_", "VIRTUAL_ENV"))}
    return {
        **ours,
        "PATH": f"{folder / 'bin'}{os.pathsep}{ours.get('PATH', os.defpath)}",
        "PYTHONPATH": str(PROGRAMS),
        "PEER_FOLDER": str(folder),
        "PEER_SETTINGS": json.dumps(way.settings),
        "PEER_TALLY": str(tally),
        "PEER_URL": ground.peer_url,
        **way.environment,
    }


def _end(sessions: set[int], workers: list["subprocess.Popen[bytes]"]) -> None:
    """Kill them: what they hold has been counted, and nobody reads their queue after them."""
    while members := _members(sessions):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for worker in workers:
            worker.wait()


def _spent(sessions: set[int], server_pid: int) -> dict[str, float]:
    """CPU so far, in seconds: of all processes of a peer, ended ones too, and of the server."""
    ticks = sum(sum(map(int, fields[11:15])) for fields in _members(sessions).values())
    return {"workers": ticks / os.sysconf("SC_CLK_TCK"), "server": process_seconds(server_pid)}


def _members(sessions: set[int]) -> dict[int, list[str]]:
    """The processes of these sessions, with the fields of proc(5) stat behind the name: some forks leave their
    process group, none of them its session."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) in sessions and fields[0] != "Z":
                found[int(stat.parent.name)] = fields
    return found
