"""`python -m benchmarks`: runs every section, keeps what it came to in results.json, writes docs/performance.md.

`--only NAME …` runs these sections alone; the others keep their former results. `--quick` compares with the recorded
results instead and changes nothing. `--report` writes the page anew from what is recorded.
"""

import argparse
import asyncio
import importlib
import inspect
import sys
import time
from datetime import UTC, datetime

from benchmarks import guard, machine, report, results
from benchmarks.figure import Effort, Figure
from benchmarks.results import Section
from benchmarks.samples import say

MODULES = ("throughput", "latency", "cold_start", "scale", "peers", "producers")
"""The sections in their order: each a module here with TITLE, its docstring saying how it measures, and `measure`."""


def main() -> int:
    """Returns the exit code: 1 where a section failed, or a guarded ratio fell."""
    arguments = _arguments()
    kept = results.load()
    if arguments.quick:
        return asyncio.run(guard.compare(kept))
    failed = False
    if not arguments.report:
        versions = asyncio.run(machine.versions())
        for name in arguments.only or MODULES:
            kept[name] = section = _measured(name, Effort(rounds=arguments.rounds), versions)
            failed = failed or section.problem is not None
            # Kept at once: a run that is broken off was not for nothing.
            kept = {name: kept[name] for name in MODULES if name in kept}
            results.save(kept)
    report.write(kept)
    say(f"written: {report.PAGE.relative_to(report.PAGE.parents[1])}")
    return 1 if failed else 0


def _measured(name: str, effort: Effort, versions: dict[str, str]) -> Section:
    """One section; whatever goes wrong in it is said in it, and the others go on."""
    say(f"{name} …")
    began = time.monotonic()
    title, how, problem = name, "", None
    figures: list[Figure] = []
    try:
        module = importlib.import_module(f"benchmarks.{name}")
        title, how = module.TITLE, inspect.getdoc(module) or ""
        figures = asyncio.run(module.measure(effort))
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        say(f"  {problem}")
    took = time.monotonic() - began
    say(f"{name}: {took:.0f} s")
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return Section(title, how, now, took, machine.machine(), versions, tuple(figures), problem)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", nargs="+", choices=MODULES, metavar="NAME", help=f"of {', '.join(MODULES)}")
    what.add_argument("--quick", action="store_true", help="compare a part with the recorded ratios; 1 where one fell")
    what.add_argument("--report", action="store_true", help="write the page anew, measure nothing")
    parser.add_argument(
        "--rounds", type=Effort.rounds_of, default=Effort.rounds, help="how often everything is measured"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
