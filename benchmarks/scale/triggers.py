"""1, 100 and 1,000 triggers on as many topics: their start, what they cost while nothing happens, and one event."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.figure import Effort, Figure
from benchmarks.footprint import descendants, megabytes, process_name, process_seconds
from benchmarks.ground import Ground
from benchmarks.subject import Subject, Trigger
from evfn_cli import states

COUNTS = (1, 100, 1_000)
PER_MODULE = 10
IDLE_SECONDS = 20.0
CALM_SECONDS = 3.0
"""After the last worker has gone."""
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.01
EVENTS = 100
PAUSE_SECONDS = 0.02

FUNCTIONS = "".join(f"def f{number}(event):\n    pass\n\n\n" for number in range(PER_MODULE))
PROBE = """\
import os
import time

told = os.open("told", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def handle(event):
    os.write(told, f"{time.monotonic_ns() - event.data['sent_ns']}\\n".encode())
"""


@dataclass(frozen=True)
class Standing:
    """An instance with all its triggers ok, `after` so many seconds."""

    process: "subprocess.Popen[bytes]"
    after: float

    @property
    def workers(self) -> list[int]:
        """Those that run functions; a loaded template runs none, and stays."""
        return [each for each in descendants(self.process.pid)[1:] if process_name(each) != "evfn-loaded"]


@dataclass(frozen=True)
class Calm:
    """One instance in which nothing happens. CPU in per cent of a core, memory in MB."""

    dispatcher: float
    server: float
    written: float
    memory: float
    loading: Mapping[str, float]


async def measure(ground: Ground, effort: Effort) -> list[Figure]:
    figures: list[Figure] = []
    memory: dict[int, float] = {}
    for count in COUNTS:
        figures += await _measured(ground, effort, count, memory)
    figures += await _others(ground)
    return figures


async def _measured(ground: Ground, effort: Effort, count: int, memory: dict[int, float]) -> list[Figure]:
    subject = _subject(ground, f"all-{count}", count, PER_MODULE, {"idle": "2s"})
    starts: list[float] = []
    for _ in range(effort.rounds):
        async with standing(subject, "serve", count) as instance:
            starts.append(instance.after)
    async with standing(subject, "serve", count) as instance:
        starts.append(instance.after)
        calm = await _calm(ground, instance)
    memory[count] = calm.memory
    latencies = await _latencies(ground, count)
    most = count == COUNTS[-1]
    name = f"{count:,} trigger{'s' if count > 1 else ''}"
    over = memory[count] - memory[1]
    # The first start of all makes every group.
    first, *later = starts
    return [
        Figure(
            f"{name}: start until every one is ok",
            "s",
            tuple(later),
            least=3.0 if most else None,
            aim=1.5 if most else None,
            more_is_better=False,
            about={"first ever": first},
        ),
        Figure(
            f"{name}: idle CPU of dispatcher and server",
            "% of a core",
            (calm.dispatcher + calm.server,),
            least=1.0 if most else None,
            aim=0.3 if most else None,
            more_is_better=False,
            about={"dispatcher": calm.dispatcher, "server": calm.server},
        ),
        Figure(
            f"{name}: append-only file while idle",
            "B/s",
            (calm.written,),
            least=1000.0 if most else None,
            more_is_better=False,
        ),
        Figure(
            f"{name}: memory of the dispatcher" + (" over one trigger" if most else ""),
            "MB",
            (over if most else calm.memory,),
            least=100.0 if most else None,
            aim=50.0 if most else None,
            more_is_better=False,
            about={"in all": calm.memory, **calm.loading},
        ),
        Figure(
            f"{name}: latency of one event, p50",
            "ms",
            (median(latencies),),
            more_is_better=False,
            about={"p95": quantiles(latencies, n=20)[-1]},
        ),
    ]


async def _others(ground: Ground) -> list[Figure]:
    """What cannot be shared: as many modules as triggers; and what `evfn run` has beside that."""
    count = COUNTS[-1]
    own = _subject(ground, "own-modules", count, 1, {"idle": "2s"})
    async with standing(own, "serve", count):
        pass  # The first start of all makes every group.
    async with standing(own, "serve", count) as instance:
        own_start = instance.after
    watching = _subject(ground, "run", count, PER_MODULE, {"idle": "2s"})
    async with standing(watching, "run", count):
        pass
    async with standing(watching, "run", count) as instance:
        run_start = instance.after
        calm = await _calm(ground, instance)
    name = f"{count:,} triggers"
    return [
        Figure(f"{name}, a module for each: start until every one is ok", "s", (own_start,), more_is_better=False),
        Figure(f"{name}, evfn run: start until every one is ok", "s", (run_start,), more_is_better=False),
        Figure(
            f"{name}, evfn run: idle CPU of dispatcher and server",
            "% of a core",
            (calm.dispatcher + calm.server,),
            more_is_better=False,
            about={"dispatcher": calm.dispatcher, "server": calm.server},
        ),
    ]


def _subject(ground: Ground, name: str, count: int, per_module: int, workers: Mapping[str, object]) -> Subject:
    bound = [
        Trigger(f"t{n}", f"{name}.{n}", f"m{n // per_module}:f{n % per_module}", {"workers": dict(workers)})
        for n in range(count)
    ]
    modules = {f"m{n}": FUNCTIONS for n in range((count + per_module - 1) // per_module)}
    return Subject(ground.folder / name, ground.url, modules, bound)


@asynccontextmanager
async def standing(subject: Subject, command: str, triggers: int) -> AsyncIterator[Standing]:
    """Start an instance, wait until so many of its triggers are ok, and end it at last."""
    began = time.perf_counter()
    process = subject.start(command)
    try:
        await _until(lambda: _ok(subject.folder) == triggers, "every trigger is ok")
        yield Standing(process, time.perf_counter() - began)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE_SECONDS)


async def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while not holds():
        if time.perf_counter() > deadline:
            raise RuntimeError(f"not within {PATIENCE_SECONDS:.0f} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)


def _ok(folder: Path) -> int:
    return sum(each["state"] == "ok" for each in states.read(folder / ".evfn").values())


async def _calm(ground: Ground, instance: Standing) -> Calm:
    pid = instance.process.pid
    loading = {
        "while workers idle": megabytes(pid),
        "template": megabytes(descendants(pid)[0]),
        "workers": float(len(instance.workers)),
        "of workers": sum(map(megabytes, instance.workers)),
    }
    await _until(lambda: not instance.workers, "idle workers end")
    await asyncio.sleep(CALM_SECONDS)
    before = process_seconds(pid), process_seconds(ground.server_pid), _written(ground), time.perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    after = process_seconds(pid), process_seconds(ground.server_pid), _written(ground), time.perf_counter()
    dispatcher, server, written, took = (end - begin for begin, end in zip(before, after, strict=True))
    return Calm(dispatcher / took * 100, server / took * 100, written / took, megabytes(pid), loading)


def _written(ground: Ground) -> float:
    return float(ground.client.info("persistence")["aof_current_size"])


async def _latencies(ground: Ground, count: int) -> list[float]:
    """Milliseconds from before the XADD to the function, whose worker stays, with all other triggers idle."""
    name = f"probed-{count}"
    topic = f"{name}.0"
    bound = [Trigger("t0", topic, "probe", {"workers": {"min": 1, "max": 1}})]
    bound += [
        Trigger(f"t{n}", f"{name}.{n}", f"m{n // PER_MODULE}:f{n % PER_MODULE}", {"workers": {"idle": "2s"}})
        for n in range(1, count)
    ]
    modules = {f"m{n}": FUNCTIONS for n in range((count + PER_MODULE - 1) // PER_MODULE)}
    subject = Subject(ground.folder / name, ground.url, {"probe": PROBE, **modules}, bound)
    told = subject.folder / "told"
    async with standing(subject, "serve", count) as instance:
        await _until(lambda: len(instance.workers) <= 1, "idle workers end")
        for _ in range(EVENTS):
            ground.client.xadd(topic, {"data": f'{{"sent_ns": {time.monotonic_ns()}}}'})
            await asyncio.sleep(PAUSE_SECONDS)
        await _until(lambda: len(told.read_text().split()) >= EVENTS, "every event ran")
    return [int(each) / 1e6 for each in told.read_text().split()]
