"""The systemd units: systemd itself finds nothing wrong with them, and little that is open."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from deployments import ALERT, ODD, deployment
from evfn_cli.deployment import Deployment
from evfn_cli.units import units

EXPOSURE = 2.0
"""Above this a unit is more open than it has to be; systemd's own scale ends at 10, and calls up to 2 OK."""


def analyze(*arguments: str) -> str:
    """What systemd-analyze says, as long as it ends with 0. Skips the test where there is none, or fails it if
    EVFN_REQUIRE_SYSTEMD is 1."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("EVFN_REQUIRE_SYSTEMD") == "1":
            pytest.fail("systemd-analyze is required, but missing")
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Where the units say that the project lies, with a program that there is; a name that needs escaping."""
    folder = tmp_path / "srv 100%"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "evfn").symlink_to(sys.executable)
    return folder


def laid(made: Deployment, project: Path, out: Path) -> dict[str, str]:
    files = units(made, PurePosixPath(project))
    for name, text in files.items():
        (out / name).write_text(text)
    return files


def settings(text: str) -> dict[str, list[str]]:
    """The settings of a unit; one that stands several times has several values."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and re.fullmatch("[A-Za-z]+", name):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    "made",
    [deployment(), deployment("3d-a--b-", settings=ODD), deployment("x" * 63, ALERT)],
    ids=["plain", "odd", "long"],
)
def test_systemd_finds_nothing_wrong(made: Deployment, project: Path, tmp_path: Path) -> None:
    """Every unit, as an instance of each template; also under names that need escaping."""
    out = tmp_path / "units"
    out.mkdir()
    files = laid(made, project, out)
    names = [name.replace("@.", "@9464.") for name in files if name != "environment"]
    assert analyze("verify", "--man=no", *(str(out / name) for name in names)) == ""
    wanted = settings(files[f"{made.name}.target"])["Wants"][0].split()
    assert {re.sub("@.*", "@.service", each) for each in wanted} == {name for name in files if "@" in name}


def test_little_is_open(project: Path, tmp_path: Path) -> None:
    """By systemd's own measure, for both kinds of units."""
    for name in laid(deployment(), project, tmp_path):
        if "@" in name:
            said = analyze(
                "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(tmp_path / name)
            )
            score = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
            assert score is not None
            assert float(score[1]) <= EXPOSURE


def test_an_instance_drains_is_watched_and_gets_its_secret_as_a_file() -> None:
    """What makes a stop lose nothing, and a hang end."""
    unit = settings(units(deployment(), PurePosixPath("/srv/climate"))["evfn-climate@.service"])
    assert unit["ExecStart"] == ["/srv/climate/.venv/bin/evfn serve --drain-timeout 1m30s"]
    assert unit["WorkingDirectory"] == ["/srv/climate"]
    assert (unit["Type"], unit["NotifyAccess"], unit["KillMode"]) == (["notify"], ["main"], ["mixed"])
    assert int(unit["TimeoutStopSec"][0]) > 90
    assert int(unit["WatchdogSec"][0]) > 0
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == (["always"], ["2"])
    assert unit["LoadCredential"] == ["redis-url:/etc/evfn/climate/redis-url"]
    assert "EVFN_REDIS_URL_FILE=%d/redis-url" in unit["Environment"]
    assert "EVFN_HTTP=127.0.0.1:%i" in unit["Environment"]
    assert unit["EnvironmentFile"] == ["-/etc/evfn/climate/environment"]


def test_rq_workers_are_there_where_a_trigger_has_jobs() -> None:
    """With the server's user of their own; a project without jobs gets no unit that would have nothing to do."""
    files = units(deployment(), PurePosixPath("/srv/climate"))
    worker = settings(files["evfn-climate-rq-worker@.service"])
    assert worker["ExecStart"] == ["/srv/climate/.venv/bin/evfn rq-worker --drain-timeout 20m"]
    assert worker["LoadCredential"] == ["redis-url:/etc/evfn/climate/redis-url-rq-worker"]
    assert len(settings(files["evfn-climate.target"])["Wants"][0].split()) == 5
    assert not any("rq-worker" in name for name in units(deployment("climate", ALERT), PurePosixPath("/srv")))


def test_settings_reach_the_process_whatever_is_in_them() -> None:
    """systemd takes quotes, blanks, backslashes and percent signs apart by rules of its own."""
    unit = settings(units(deployment(settings=ODD), PurePosixPath("/srv"))["evfn-climate@.service"])
    words = [word.replace("%%", "%") for line in unit["Environment"] for word in shlex.split(line)]
    for name, value in ODD.items():
        assert f"{name}={value}" in words


def test_variables_are_named_and_have_no_value() -> None:
    """Whoever fills in the file sees which there are."""
    text = units(deployment(), PurePosixPath("/srv"))["environment"]
    assert "\n#API_KEY=\n#LEVEL=\n" in text


def test_projects_have_slices_that_do_not_contain_each_other() -> None:
    """A hyphen in a slice's name would put `a-b` into the limits of `a`."""
    files = units(deployment("heat-alert"), PurePosixPath("/srv"))
    assert "evfn-heat_alert.slice" in files
    assert settings(files["evfn-heat-alert@.service"])["Slice"] == ["evfn-heat_alert.slice"]
