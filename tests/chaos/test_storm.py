"""Everything at once: whatever happens to evfn, each event has its effect once; and a storm tells a wrong build."""

import sys
from pathlib import Path

import pytest

from chaos import wrong_build
from chaos.fleet import JOBS, evfn
from chaos.storm import storm

SEED = 20261124
FINDS = {
    "ack before run": ["kill -9 of an instance"],
    "emits outside the script": ["a reply is lost", "kill -9 of an instance"],
    "done before outputs": ["kill -9 of an instance"],
    "no fence": ["an instance stands still", "a network falls silent"],
    "claim without deleting the field": ["an instance stands still", "a network falls silent"],
}
"""What of all that goes wrong shows each of the wrong builds; the rest only takes time."""


@pytest.mark.early(5)
def test_f8_a_brief_storm_breaks_no_promise(tmp_path: Path) -> None:
    """Three instances, five functions, all faults at random; `make chaos` does the same for longer."""
    report = storm(tmp_path, 10, SEED, evfn())
    assert report.kept, str(report)
    assert report.events > 100
    assert sum(report.faults.values()) > 3


@pytest.mark.storm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [5, 11])
def test_f51_a_storm_over_jobs_breaks_no_promise(tmp_path: Path, seed: int) -> None:
    """Two instances, and two machines that run their jobs: every event has its effect once, no attempt is one too many,
    and nothing is left of any job."""
    report = storm(tmp_path, 50, seed, evfn(), load=JOBS)
    assert report.kept, str(report)
    assert report.events > 20
    assert sum(report.faults.values()) > 10


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("wrong", wrong_build.WRONG)
def test_a_storm_finds_a_wrong_build(tmp_path: Path, wrong: str) -> None:
    """With one rule taken out a promise is broken, and the verdict says which."""
    command = [sys.executable, wrong_build.__file__, wrong]
    report = storm(tmp_path, 40, SEED, command, FINDS[wrong], patience=5)
    assert not all(each.promised for each in report.verdicts.values()), str(report)
