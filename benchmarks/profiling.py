"""A case at work, for a profiler: `python -m benchmarks.profiling CASE dispatcher|worker|server COMMAND …`.

Publishes a backlog for the case of that name (`no-op`, `filter`, … of `throughput`), starts evfn on it and, once events
are settled, runs the command with `PID` in its words replaced by the process asked for. Ends with the command.
"""

import argparse
import asyncio
import subprocess
import sys
import time

from benchmarks.footprint import descendants, process_seconds
from benchmarks.ground import Ground
from benchmarks.samples import say
from benchmarks.subject import Subject, Trigger
from benchmarks.throughput import CASES, TOPIC

TIMES = 5
"""How many backlogs of the case are published, so that evfn is at work for some seconds."""
PATIENCE_SECONDS = 30.0
LASTING = {"max": 1, "recycle_after": 1_000_000_000}
"""A worker that handles a function of a microsecond would be replaced before a profiler is ready."""


async def main() -> int:
    """The command's exit code."""
    arguments = _arguments()
    case = next(case for case in CASES if case.name == arguments.case)
    async with Ground() as ground:
        ground.publish(TOPIC, TIMES * case.events, case.fields)
        ground.rest()
        trigger = Trigger("profiled", TOPIC, "measured", {**case.settings, "workers": LASTING})
        subject = Subject(ground.folder / "project", ground.url, {"measured": case.function}, [trigger])
        return _profiled(ground, subject, arguments)


def _profiled(ground: Ground, subject: Subject, arguments: argparse.Namespace) -> int:
    instance = subject.start("run")
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not subject.done(ground.client):
            if time.monotonic() > deadline:
                raise RuntimeError("nothing was settled")
            time.sleep(0.1)
        pid = {
            "dispatcher": instance.pid,
            "worker": _worker(instance.pid),
            "server": ground.server_pid,
        }[arguments.process]
        settled, began = subject.done(ground.client), time.monotonic()
        code = subprocess.run([word.replace("PID", str(pid)) for word in arguments.command], check=False).returncode
        rate = (subject.done(ground.client) - settled) / (time.monotonic() - began)
        say(f"{rate:,.0f} events/s were settled meanwhile")
    finally:
        instance.kill()
        instance.wait()
    return code


def _worker(instance: int) -> int:
    """The busiest of those that the template has forked."""
    return max((each for each in descendants(instance) if not descendants(each)), key=process_seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=__doc__.partition("\n")[0])
    cases = [case.name for case in CASES]
    parser.add_argument("case", choices=cases, metavar="CASE", help="as docs/performance.md names it")
    parser.add_argument("process", choices=("dispatcher", "worker", "server"))
    parser.add_argument("command", nargs=argparse.REMAINDER, help="run beside it; PID in it is the process")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
