"""A storm: several machines under load, and everything that can go wrong, at random; then the verdict.

`python -m chaos.storm --seconds 60 --seed 7`; the same seed draws the same faults, though not at the same instants.
"""

import argparse
import operator
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from random import Random, SystemRandom

from chaos.fleet import ATTEMPTS, JOBS, PROCESSES, Fleet, Load, evfn
from chaos.history import History, Verdict, judge
from chaos.nemeses import Ground, Nemeses
from sandbox import Sandbox

SETTLING = 180.0
"""Seconds that all the retries, deaths and delays of the last moments may take."""


_PROMISED = {
    "lost": "lost",
    "duplicated effects": "duplicated",
    "effects in part": "partial",
    "effects of a lost lease": "stale",
    "unexpected": "unexpected",
}
"""How a report names what must not be."""


@dataclass(frozen=True)
class Report:
    """What was done, and what came of it."""

    seed: int
    seconds: float
    events: int
    doubtful: int
    attempts: int
    starts: int
    faults: dict[str, int]
    dead: int
    dropped: int
    settled: bool
    longest_recovery: float
    promised_recovery: float
    most_attempts: int
    left: tuple[str, ...]
    verdicts: dict[str, Verdict]

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return (
            all(each.promised for each in self.verdicts.values())
            and self.dropped == 0
            and self.settled
            and self.longest_recovery <= self.promised_recovery
            and self.most_attempts <= ATTEMPTS
            and not self.left
        )

    def __str__(self) -> str:
        def total(what: str) -> int:
            return sum(len(getattr(each, what)) for each in self.verdicts.values())

        width = max(map(len, self.faults), default=0)
        lines = [f"seed {self.seed}, {self.seconds:.0f} s: {self.events:,} events accepted, {self.doubtful:,} in doubt"]
        lines.append(f"{self.attempts:,} attempts, {self.starts:,} starts of instances")
        lines.append(f"faults: {sum(self.faults.values()):,}")
        for name, count in sorted(self.faults.items(), key=lambda each: -each[1]):
            lines.append(f"  {name:<{width}} {count:>4}")
        for words, what in _PROMISED.items():
            lines.append(f"{words} {total(what)}")
        lines.append(f"dropped {self.dropped}, dead letters {self.dead:,}, runs that overlapped {total('overlapping')}")
        lines.append(f"longest recovery {self.longest_recovery:.1f} s (promised: {self.promised_recovery:g} s)")
        lines.append(f"most attempts of one event {self.most_attempts} (allowed: {ATTEMPTS})")
        if self.left:
            lines.append(f"left behind: {', '.join(self.left)}")
        if not self.settled:
            lines.append("not everything was settled in the end")
        lines.append("every promise was kept" if self.kept else "A PROMISE WAS BROKEN")
        for trigger, verdict in self.verdicts.items():
            if not verdict.promised:
                lines.append(f"  {trigger}: {verdict}")
        return "\n".join(lines)


def storm(
    folder: Path,
    seconds: float,
    seed: int,
    command: Sequence[str],
    faults: Sequence[str] = (),
    *,
    load: Load = PROCESSES,
    patience: float = SETTLING,
) -> Report:
    """Let it rage in this folder for so long; with `faults`, only those. After `patience` seconds for the rest of its
    work evfn is judged by what is done."""
    draw = Random(seed)
    box = Sandbox(folder)
    ground = Ground(folder)
    try:
        fleet = Fleet(box, ground.server, Random(seed), command, load)
        nemeses = Nemeses(fleet, ground, draw, faults)
        with fleet.running():
            fleet.recovered(30)
            longest = 0.0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(draw.uniform(0.1, 1.0))
                nemeses.strike()
                if draw.random() < 0.3:
                    nemeses.heal()
                    longest = max(longest, fleet.recovered(min(60, patience)))
            nemeses.heal()
            longest = max(longest, fleet.recovered(min(60, patience)))
            with fleet.publishing:
                settled = fleet.settled(patience)
                histories = fleet.histories()
                dropped = fleet.dropped()
                left = fleet.left_of_jobs()
        return Report(
            seed=seed,
            seconds=seconds,
            events=len(fleet.events | fleet.known.accepted),
            doubtful=len(fleet.known.doubtful),
            attempts=len(box.notes()) - sum(line.endswith("-") for line in box.notes()),
            starts=sum(member.starts for member in fleet.members),
            faults=nemeses.counted,
            dead=sum(len(history.dead) for history in histories.values()),
            dropped=dropped,
            settled=settled,
            longest_recovery=longest,
            promised_recovery=load.recovery,
            most_attempts=max(run.attempt for each in histories.values() for run in each.runs),
            left=tuple(left),
            verdicts=_judged([*fleet.past, histories]),
        )
    finally:
        ground.close()


def _judged(histories: Sequence[Mapping[str, History]]) -> dict[str, Verdict]:
    """By trigger, over all lives of the server's data."""
    return {trigger: reduce(operator.or_, (judge(each[trigger]) for each in histories)) for trigger in histories[0]}


def main() -> int:
    """The command: prints the report; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    parser.add_argument("--jobs", action="store_true", help="functions run as jobs")
    chosen = parser.parse_args()
    sys.stderr.write(f"a storm of {chosen.seconds:g} s with seed {chosen.seed}\n")
    folder = Path(tempfile.mkdtemp(prefix="evfn-storm-"))
    report = storm(folder, chosen.seconds, chosen.seed, evfn(), load=JOBS if chosen.jobs else PROCESSES)
    sys.stdout.write(f"{report}\n")
    if not report.kept:
        sys.stdout.write(f"the project and the logs are in {folder}\n")
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
