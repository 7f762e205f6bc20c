"""evfn and one peer on the same server, by turns."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import backlog
from benchmarks.figure import Effort, Figure
from benchmarks.peers import race
from benchmarks.peers.environment import NotInstalledError, prepare, version
from benchmarks.peers.loopback import LoopbackGround
from benchmarks.peers.peer import Peer, Way
from benchmarks.samples import Samples, Taken, say
from benchmarks.subject import Run

RATE, TIMES = "events/s", "×"
TOPIC = "readings"
EVFN_EVENTS = 200_000
NO_OP = "def handle(event):\n    event.data\n"


@dataclass(frozen=True)
class Standing:
    """What came of it: the rates of evfn and of each of the peer's ways, a sample a round."""

    peer: Peer
    evfn: Figure
    ways: tuple[tuple[Way, Figure], ...]

    @property
    def fastest(self) -> Figure | None:
        """Of the ways that call the function for each event; None where none could be measured."""
        measured = [figure for way, figure in self.ways if way.each and figure.samples]
        return max(measured, key=lambda figure: figure.value, default=None)

    def beside(self, name: str, least: float | None = None, aim: float | None = None) -> Figure:
        """How many times as fast as the fastest way evfn was in the same round."""
        theirs = self.fastest
        if theirs is None or not self.evfn.samples:
            problem = next(each.problem for each in (self.evfn, *(figure for _, figure in self.ways)) if each.problem)
            return Figure(name, TIMES, (), least, aim, problem=problem)
        ratios = tuple(ours / other for ours, other in zip(self.evfn.samples, theirs.samples, strict=True))
        about = {f"evfn, {RATE}": self.evfn.value, f"{theirs.name}, {RATE}": theirs.value}
        return Figure(name, TIMES, ratios, least, aim, about=about)


async def hold(peer: Peer, effort: Effort) -> Standing:
    """Install the peer, let its own producer publish for each of its ways, then run those and evfn by turns."""
    say(f"  {peer.name} …")
    try:
        folder = prepare(peer)
    except NotInstalledError as error:
        say(f"  {peer.name} is missing: {error}")
        return _missing(peer, f"missing: {error}")
    names = {way.name: f"{peer.name} {version(peer, folder)}, {way.name}" for way in peer.ways}
    samples = Samples()
    async with LoopbackGround() as ground:
        ground.publish(TOPIC, effort.events(EVFN_EVENTS))
        runs: list[tuple[str, Callable[[], Taken]]] = [("evfn", partial(_evfn, ground, effort))]
        for number, way in enumerate(peer.ways):
            try:
                race.publish(peer, way, folder, ground, effort.events(way.events))
            except RuntimeError as error:
                return _missing(peer, str(error))
            ground.keep(number)
            runs.append((names[way.name], partial(_peer, ground, way, number, folder, effort)))
        for turn in range(effort.rounds):
            # Nobody always comes after the same other.
            first = turn % len(runs)
            for name, run in (*runs[first:], *runs[:first]):
                samples.take(name, run)
    ways = tuple((way, samples.figure(names[way.name], RATE, about=True)) for way in peer.ways)
    return Standing(peer, samples.figure("evfn", RATE, about=True), ways)


def _missing(peer: Peer, problem: str) -> Standing:
    ways = tuple((way, Figure(f"{peer.name}, {way.name}", RATE, (), problem=problem)) for way in peer.ways)
    return Standing(peer, Figure("evfn", RATE, ()), ways)


def _evfn(ground: LoopbackGround, effort: Effort) -> Taken:
    ground.clear()
    return _taken(backlog.settle(ground, TOPIC, effort.events(EVFN_EVENTS), NO_OP, {}))


def _peer(ground: LoopbackGround, way: Way, number: int, folder: Path, effort: Effort) -> Taken:
    ground.lay_out(number)
    return _taken(race.run(way, folder, ground, effort.events(way.events)))


def _taken(run: Run) -> Taken:
    return Taken({RATE: run.rate}, run.about)
