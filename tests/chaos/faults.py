"""The faults that evfn is tested against, each by tests that carry its number in their names, and those that it is not.

`python -m chaos.faults` (in tests/) prints the table in docs/reliability.md.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

FAULTS = {
    "F1": "a worker is killed while its function runs",
    "F2": "a worker is killed behind an emit, before the function returns",
    "F3": "a worker is killed when its result has arrived and is not settled",
    "F4": "an instance is killed that holds deliveries; another machine takes over",
    "F5": "an instance is killed between a result and its settlement",
    "F6": "an instance is killed right behind a settlement",
    "F7": "kill -9 in every gap between two steps: fetch, hand-over, verdict, settle, promote, claim, release, "
    "restore, redrive, replay, trim, forget …",
    "F8": "everything at random: kills, stalls, partitions, outages, lost data",
    "F9": "the same for half an hour, with the memory watched",
    "F10": "SIGTERM under load: what is not begun goes to others at once",
    "F11": "a second signal; signals while evfn starts; Ctrl-C for all processes of a terminal",
    "F12": "an instance stands still for three leases and wakes up",
    "F13": "a worker stands still",
    "F14": "an instance's event loop stands still for three leases",
    "F15": "an instance is killed: its workers, and what they started, end",
    "F16": "a function leaves a process that holds the worker's pipes",
    "F17": "a function ignores every signal beyond its timeout",
    "F18": "a function swallows its timeout",
    "F19": "a function takes more and more memory",
    "F20": "an event kills its worker, or its instance, every time",
    "F21": "a flood of output, binary or without an end of line",
    "F22": "more emits than one step may hold",
    "F23": "the server is killed under load and started again",
    "F24": "the server is away for three leases: nobody is taken over from",
    "F25": "the server restarts again and again",
    "F26": "the server comes back empty; FLUSHALL; streams are deleted",
    "F27": "a consumer group is destroyed under running instances",
    "F28": "SCRIPT FLUSH all the time",
    "F29": "the reply to a publish is lost",
    "F30": "the reply to a fetch is lost",
    "F31": "the reply to a settlement is lost",
    "F32": "connections are reset, closed, refused, or fall silent",
    "F33": "one of two machines is cut off for three leases, then healed",
    "F34": "a slow network",
    "F35": "the server stands still, sleeps, pauses, or runs a script for long",
    "F36": "the server is full",
    "F37": "the server evicts keys",
    "F38": "the server's disk is full",
    "F39": "the server's append-only file is cut off or damaged",
    "F40": "evfn's own disk is full",
    "F41": "the server's clock jumps by hours",
    "F42": "the clocks of two machines differ by an hour",
    "F43": "a replica that lags takes over",
    "F44": "two masters at once, one of them demoted later",
    "F45": "Sentinel elects another master; a cluster moves slots",
    "F46": "very many deliveries, and one of a dead instance behind them",
    "F47": "topics are trimmed, by evfn's rules and by others",
    "F48": "a function that runs for five leases, with beats and without",
    "F49": "a beat arrives after another has taken over",
    "F50": "instances come and go again and again, with new code",
    "F51": "an RQ worker, or its job, is lost",
    "F52": "a retry falls due while nobody is there",
    "F53": "a redrive, or a replay, is killed half-way",
    "F54": "the HTTP ingress is killed around an accepted request",
    "F55": "slow, idle and oversized HTTP connections",
    "F56": "a process may open no more files",
    "F57": "an import hangs or dies; the process that makes workers is killed",
    "F58": "the manifest is edited under load: broken, trigger removed, changed",
    "F59": "a password, a right or a certificate is changed at run time",
    "F60": "all clients are killed five times a second",
}
UNCOVERED = {
    "F9": "not run by a test: `make chaos SECONDS=1800` is the same storm, but nothing watches the memory",
    "F40": "not tested: evfn writes to its own disk only at the start (lock files, the editor's schema) and what the "
    "embedded server stores",
    "F44": "not tested: what the demoted master alone had accepted is lost, as with every asynchronous replica; `evfn "
    "doctor` says so",
    "F51": "`isolation: job` is not built yet",
    "F54": "there is no HTTP ingress yet",
}
"""Why there is no test."""
PARTLY = {
    "F45": "not in a cluster, which evfn does not support yet",
    "F46": "with 10,000 deliveries, not with a million",
    "F56": "not with a limit of processes: it does not hold for root, as whom these tests run",
}
"""What of it is not tested."""
_NAME = re.compile(r"def test_((?:f\d+_)+)")
TESTS = Path(__file__).parents[1]


def covered() -> dict[str, list[str]]:
    """The files with tests of each fault, as their names say."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in TESTS.rglob("test_*.py"):
        for numbers in _NAME.findall(path.read_text("utf-8")):
            for number in numbers.split("_")[:-1]:
                found[number.upper()].add(path.relative_to(TESTS).as_posix())
    return {number: sorted(paths) for number, paths in found.items()}


def table() -> str:
    """The faults as Markdown."""
    found = covered()
    lines = ["| | fault | tests |", "|---|---|---|"]
    for number, fault in FAULTS.items():
        tests = ", ".join(f"`{path}`" for path in found.get(number, []))
        why = UNCOVERED.get(number) or PARTLY.get(number)
        lines.append(f"| {number} | {fault} | {'; '.join(filter(None, [tests, why]))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
