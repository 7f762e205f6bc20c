"""The example project's own tests, written as those of any project: functions called, and the whole run for real."""

from pathlib import Path

import pytest

import evfn
from evfn.testing import Project, RunningProject, call

ROOT = Path(__file__).parents[2]
WARM = {"station": "SF", "celsius": 22.5, "at": "2010-07-01T12:00"}


@pytest.fixture
def example() -> Project:
    return Project(ROOT)


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The readings of a test are its own."""
    monkeypatch.setenv("READINGS_DB", str(tmp_path / "readings.sqlite"))
    return tmp_path / "readings.sqlite"


def test_a_warm_reading_is_an_alert(example: Project) -> None:
    """The alert carries the reading on."""
    called = call("heat-alert", WARM, project=example)
    assert [(event.topic, event.data) for event in called.emits] == [("alerts.raised", WARM)]


def test_a_cool_reading_is_none(example: Project) -> None:
    """The filter keeps it from the function, and says why."""
    called = call("heat-alert", WARM | {"celsius": 12}, project=example)
    assert called.skipped == "event.data.celsius > 20.0 is false (event.data.celsius is 12)"


def test_a_reading_without_a_temperature_is_refused(example: Project) -> None:
    """It names what is missing."""
    with pytest.raises(evfn.InvalidData, match="celsius"):
        call("store", {"station": "SF", "at": "2010-07-01T12:00"}, project=example)


def test_a_sensor_gets_time_to_warm_up(example: Project) -> None:
    """Its first reading is asked for again, the second one is taken."""
    warming_up = WARM | {"sensor": "warming-up"}
    with pytest.raises(RuntimeError, match="warming up"):
        call("quality", warming_up, project=example)
    call("quality", warming_up, attempt=2, project=example)


def test_a_warm_reading_is_stored_and_told_of(evfn_project: RunningProject, database: Path) -> None:
    """One event runs the whole project, through the alert that it causes."""
    caused = evfn_project.emit("readings.temperature", WARM)
    assert caused.succeeded, caused
    assert caused["notify"].topic == "alerts.raised"
    assert database.exists()


def test_an_impossible_reading_is_a_dead_letter(evfn_project: RunningProject) -> None:
    """Three attempts, then it is kept with its error; the other triggers are not concerned."""
    caused = evfn_project.emit("readings.temperature", WARM | {"celsius": -300})
    assert caused["quality"].dead_lettered
    assert caused["quality"].attempts == 3
    assert caused["store"].succeeded
    (letter,) = evfn_project.dead_letters("quality")
    assert letter.error.message == "-300 °C is below absolute zero"
