"""The benchmark of peers: what it counts, what it compares, and what it says of a peer that is not to be had."""

import asyncio
import json
import multiprocessing
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks.figure import Effort, Figure
from benchmarks.peers import catalogue, contest, environment, race
from benchmarks.peers.contest import RATE, Standing
from benchmarks.peers.peer import BEST, USUAL, Peer, Way
from benchmarks.peers.programs import tally

WAYS = (
    Way(USUAL, "", 1, ("usual",)),
    Way(BEST, "", 1, ("best",)),
    Way("in batches", "", 1, ("batches",), each=False),
)
PEER = Peer("peer", "peer", "", "", "", (), WAYS)


def standing(evfn: Sequence[float], *rates: Sequence[float]) -> Standing:
    ways = tuple((way, Figure(way.name, RATE, tuple(found))) for way, found in zip(WAYS, rates, strict=True))
    return Standing(PEER, Figure("evfn", RATE, tuple(evfn)), ways)


def handle(counted: tally.Tally, events: int) -> None:
    for _ in range(events):
        counted.handled()


def test_what_forked_processes_handle_is_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of a peer's events is missed, whichever process had it, and time runs from the first to the last."""
    monkeypatch.setenv("PEER_TALLY", str(tmp_path))
    fork = multiprocessing.get_context("fork")
    began = time.monotonic()
    counted = tally.Tally()
    handle(counted, 2)
    for events in (3, 4):
        process = fork.Process(target=handle, args=(counted, events))
        process.start()
        process.join()
    assert tally.progress(tmp_path).events == 2 + 3 + 4
    assert len(list(tmp_path.iterdir())) == 3, "processes that share a record take counts from each other"
    assert 0 < tally.progress(tmp_path).seconds < time.monotonic() - began


def test_nothing_handled_is_no_progress(tmp_path: Path) -> None:
    """Before a peer's first event there is no rate."""
    assert tally.progress(tmp_path) == tally.Progress(0, 0.0)


def test_a_ratio_is_one_of_a_round_and_to_the_faster_way() -> None:
    """A peer is compared at its best, in the same minute, and never by what calls the function for many events."""
    found = standing((100.0, 300.0), (1.0, 1.0), (10.0, 20.0), (999.0, 999.0)).beside("evfn beside peer", 12.0)
    assert (found.samples, found.reached) == ((10.0, 15.0), True)


def test_where_a_peer_failed_the_figure_says_so() -> None:
    """A ratio to what was not measured is not guessed."""
    failed = tuple((way, Figure(way.name, RATE, (), problem="it ended")) for way in WAYS)
    figure = Standing(PEER, Figure("evfn", RATE, (1.0,)), failed).beside("evfn beside peer", 12.0)
    assert (figure.samples, figure.problem, figure.reached) == ((), "it ended", False)


def test_a_peer_that_cannot_be_installed_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures say what the installer said, and the run goes on."""
    (tmp_path / "peer.txt").write_text("nowhere @ file:///nowhere\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(environment, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(environment, "_make", lambda folder: Path(sys.executable))
    figures = [figure for _, figure in asyncio.run(contest.hold(PEER, Effort())).ways]
    assert {len(each.samples) for each in figures} == {0}
    assert all((each.problem or "").startswith("missing: ERROR: ") for each in figures)


@pytest.mark.parametrize("peer", catalogue.PEERS, ids=lambda peer: peer.name)
def test_a_peer_has_its_program_and_pinned_versions(peer: Peer) -> None:
    """What is measured can be had again: every package has one version, and none the address of a registry."""
    wanted = environment.requirements(peer).read_text()
    assert (race.PROGRAMS / f"{peer.program}_app{'.cjs' if peer.node else '.py'}").exists()
    assert "://" not in wanted
    pinned = json.loads(wanted)["dependencies"].values() if peer.node else wanted.splitlines()
    version = r"[0-9.]+" if peer.node else r"#.*|[\w.-]+==[\w.]+"
    assert [each for each in pinned if not re.fullmatch(version, each)] == []
